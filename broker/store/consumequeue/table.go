package consumequeue

// All queues of a store: finding, saving and deleting them.

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"rmqctl/broker/store/segment"
	"rmqctl/internal/vfs"
)

// Table is all queues of a store. Queues are found without touching the disk, except the first time a topic is asked for.
type Table struct {
	dir     string
	segSize int64
	cache   *segment.Cache
	whole   vfs.Whole                         // nil: files are synced one by one
	cut     int64                             // at loading, units of records beyond are dropped
	walk    bool                              // at loading, trust no file to be zero behind its end
	known   atomic.Pointer[map[string][]Past] // what the queues were, for loading
	few     bool                              // so few were known that their files were looked at

	// Short, when set, is told of a queue whose files end before the queue was known to end.
	Short func(topic string, id int32, at, end int64)

	mu      sync.RWMutex // guards topics, every topic's queues, and watched
	topics  map[string]*topic
	watched map[queueID]*atomic.Int32

	// Member, when set, keeps more: Marks, and where a queue began that began in the middle.
	Member bool

	dirtyMu sync.Mutex // guards dirty and marks
	marks   []Mark
	dirty   []*Queue
	saveMu  sync.Mutex // one Save at a time
	oweDirs []string   // guarded by mu: topic directories whose sync failed
	newDirs bool       // guarded by mu: topic directories may have been created since the last sync
}

type queueID struct {
	topic string
	id    int32
}

type topic struct {
	listed bool // the directory was read
	queues []*Queue
}

// Open lists the topics in dir; nothing else is read before it is needed.
func Open(dir string, segSize int64, cache *segment.Cache) (*Table, error) {
	// What a killed process made may not be on the disk yet: newDirs sees to it at the first checkpoint.
	t := &Table{dir: dir, segSize: segSize, cache: cache, topics: map[string]*topic{}, newDirs: true}
	if err := vfs.MakeDirs(cache.FS, dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := cache.FS.Stat(dir + deleted); err == nil { // a process was killed while it deleted topics: they stay deleted
		if err := cache.FS.SyncDir(dir); err != nil {
			return nil, err
		}
		if err := cache.FS.RemoveAll(dir + deleted); err != nil {
			return nil, err
		}
	}
	var err error
	if t.whole, err = vfs.OpenWhole(cache.FS, dir); err != nil {
		return nil, err
	}
	entries, err := cache.FS.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() {
			t.topics[e.Name()] = &topic{}
		}
	}
	return t, nil
}

// Limit says how queues are loaded from now on: units of records that end beyond cut are dropped; after a crash (walk)
// every unit is looked at, and all queues are loaded at once so that nothing stale stays behind.
func (t *Table) Limit(cut int64, walk bool) error {
	t.cut, t.walk = cut, walk
	if !walk {
		return nil
	}
	var g errgroup.Group
	g.SetLimit(16) // they wait for the disk: a journalling file system commits for all of them at once
	for _, name := range t.Topics() {
		g.Go(func() error {
			for _, id := range t.Queues(name) {
				if _, err := t.Get(name, id).End(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// CutFrom drops every unit whose record does not end at or below phys, in all queues.
func (t *Table) CutFrom(phys int64) error {
	t.saveMu.Lock()
	defer t.saveMu.Unlock()
	for _, q := range t.all() {
		q.mu.Lock()
		err := q.load()
		if err == nil {
			err = q.cutToPhys(phys)
			q.minFor = -1
		}
		q.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Table) all() []*Queue {
	var out []*Queue
	for _, name := range t.Topics() {
		for _, id := range t.Queues(name) {
			if q := t.Get(name, id); q != nil {
				out = append(out, q)
			}
		}
	}
	return out
}

// Get is the queue, or nil when there is none. It never makes one.
func (t *Table) Get(name string, id int32) *Queue {
	t.mu.RLock()
	tp := t.topics[name]
	if tp == nil || tp.listed {
		q := tp.find(id)
		t.mu.RUnlock()
		return q
	}
	t.mu.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listLocked(name, tp)
	return tp.find(id)
}

// GetBytes is Get for a name that lies in a record; it does not allocate when the queue exists.
func (t *Table) GetBytes(name []byte, id int32) *Queue {
	t.mu.RLock()
	tp := t.topics[string(name)]
	if tp != nil && tp.listed {
		q := tp.find(id)
		t.mu.RUnlock()
		if q != nil {
			return q
		}
	} else {
		t.mu.RUnlock()
	}
	return t.Ensure(string(name), id)
}

// Ensure is the queue, made in memory when there is none. Its directory appears when its first units are saved.
func (t *Table) Ensure(name string, id int32) *Queue {
	if q := t.Get(name, id); q != nil {
		return q
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	tp := t.topics[name]
	if tp == nil {
		tp = &topic{listed: true}
		t.topics[name] = tp
		t.newDirs = true
	}
	t.listLocked(name, tp)
	if q := tp.find(id); q != nil {
		return q
	}
	_, missed := t.was(name, id) // its files are gone: it does not begin at 0
	q := t.newQueueLocked(name, id)
	q.loaded, q.minFor = !missed, -1
	tp.add(q)
	return q
}

func (t *Table) newQueueLocked(name string, id int32) *Queue {
	q := &Queue{Topic: name, ID: id, t: t, dir: queueDir(t.dir, name, id)}
	q.attention.Store(t.watched[queueID{name, id}])
	return q
}

// Attention is the counter of those who wait for news of a queue. It outlives the queue: a topic may be deleted and made
// again while they wait, and may not be there yet.
func (t *Table) Attention(name string, id int32) *atomic.Int32 {
	q := t.Get(name, id)
	if q != nil {
		if n := q.attention.Load(); n != nil {
			return n
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key := queueID{name, id}
	n := t.watched[key]
	if n == nil {
		if t.watched == nil {
			t.watched = map[queueID]*atomic.Int32{}
		}
		n = new(atomic.Int32)
		t.watched[key] = n
	}
	if q = t.topics[name].find(id); q != nil {
		q.attention.Store(n)
	}
	return n
}

func (t *Table) listLocked(name string, tp *topic) {
	if tp.listed {
		return
	}
	tp.listed = true
	entries, err := t.cache.FS.ReadDir(filepath.Join(t.dir, name))
	if err != nil {
		return
	}
	for _, e := range entries {
		if id, err := strconv.ParseInt(e.Name(), 10, 32); err == nil && e.IsDir() && id >= 0 {
			tp.add(t.newQueueLocked(name, int32(id)))
		}
	}
}

func (tp *topic) find(id int32) *Queue {
	if tp == nil {
		return nil
	}
	if int(id) < len(tp.queues) && id >= 0 && tp.queues[id].ID == id { // the usual case: 0, 1, 2 ...
		return tp.queues[id]
	}
	i := sort.Search(len(tp.queues), func(i int) bool { return tp.queues[i].ID >= id })
	if i < len(tp.queues) && tp.queues[i].ID == id {
		return tp.queues[i]
	}
	return nil
}

func (tp *topic) add(q *Queue) {
	tp.queues = append(tp.queues, q)
	sort.Slice(tp.queues, func(i, j int) bool { return tp.queues[i].ID < tp.queues[j].ID })
}

// Topics are the names that have queues, sorted.
func (t *Table) Topics() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]string, 0, len(t.topics))
	for name := range t.topics {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}

// Queues are the queue ids of a topic, sorted.
func (t *Table) Queues(name string) []int32 {
	t.Get(name, 0)
	t.mu.RLock()
	defer t.mu.RUnlock()
	tp := t.topics[name]
	if tp == nil {
		return nil
	}
	out := make([]int32, len(tp.queues))
	for i, q := range tp.queues {
		out[i] = q.ID
	}
	return out
}

// Delete removes a topic with all its units.
func (t *Table) Delete(name string) error {
	t.unknow(name)
	t.saveMu.Lock()
	defer t.saveMu.Unlock()
	t.Get(name, 0)
	t.mu.Lock()
	tp := t.topics[name]
	delete(t.topics, name)
	t.mu.Unlock()
	if tp == nil {
		return nil
	}
	if err := t.moveAway(name); err != nil {
		return err
	}
	for _, q := range tp.queues {
		if err := q.remove(); err != nil {
			return err
		}
	}
	return t.cache.FS.RemoveAll(t.dir + deleted)
}

// deleted ends the name of the directory beside ours that deleted topics go to first: a topic is there or not, never in part.
const deleted = ".deleted"

func (t *Table) moveAway(name string) error {
	from, to := filepath.Join(t.dir, name), filepath.Join(t.dir+deleted, name)
	if _, err := t.cache.FS.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := vfs.MakeDirs(t.cache.FS, t.dir+deleted, 0o755); err != nil {
		return err
	}
	if err := t.cache.FS.Rename(from, to); err != nil {
		return err
	}
	if err := t.cache.FS.SyncDir(t.dir + deleted); err != nil {
		return err
	}
	return t.cache.FS.SyncDir(t.dir)
}

// RemoveBefore deletes the files of all queues that lie wholly below logMin. found is told of each.
func (t *Table) RemoveBefore(logMin int64, found func(file string)) error {
	var errs []error
	for _, q := range t.all() {
		files, err := q.RemoveBefore(logMin)
		for _, f := range files {
			found(f)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Close gives all descriptors back.
func (t *Table) Close() {
	if t.whole != nil {
		t.whole.Close()
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, tp := range t.topics {
		for _, q := range tp.queues {
			q.close()
		}
	}
}
