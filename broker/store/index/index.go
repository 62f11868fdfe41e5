// The index as a whole: its files from the oldest to the newest, and queries over them.

package index

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"rmqctl/internal/vfs"
)

// Errors of the index.
var (
	ErrShape = errors.New("index: file of another shape")
)

// Index is all index files of a store. One goroutine puts; any number query; save runs beside both.
type Index struct {
	fs             vfs.FS
	dir            string
	slots, entries int32

	mu    sync.RWMutex // guards files
	files []*file      // oldest first; the last takes new entries
	save  sync.Mutex   // one Save at a time
}

// Open opens the files in dir. Files of another shape, and names that are no index file's, are reported in aside and left
// out: they can be rebuilt from nothing, so they must not keep a broker from starting.
func Open(fsys vfs.FS, dir string, slots, entries int32) (x *Index, aside []error, err error) {
	x = &Index{fs: fsys, dir: dir, slots: slots, entries: entries}
	if err := vfs.MakeDirs(fsys, dir, 0o755); err != nil {
		return nil, nil, err
	}
	list, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range list {
		if strings.HasSuffix(e.Name(), making) {
			if err := fsys.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, nil, err
			}
			continue
		}
		if len(e.Name()) != 17 || e.IsDir() {
			continue
		}
		if info, err := e.Info(); err == nil && info.Size() == 0 { // a crash between creation and growth
			if err := fsys.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, nil, err
			}
			continue
		}
		f, err := x.openFile(e.Name())
		if err != nil {
			aside = append(aside, err)
			continue
		}
		x.files = append(x.files, f)
	}
	sort.Slice(x.files, func(i, j int) bool { return x.files[i].name < x.files[j].name })
	for _, f := range x.files[:max(len(x.files)-1, 0)] {
		f.close()
	}
	return x, aside, nil
}

// Repair makes the files consistent after a crash: entries at or beyond cut go, and the newest file's slots are rebuilt.
func (x *Index) Repair(cut int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for n := len(x.files); n > 0; n-- {
		f := x.files[n-1]
		if err := f.repair(cut); err != nil {
			return err
		}
		if f.h.next > 1 {
			break
		}
		f.close()
		if err := x.fs.Remove(f.path()); err != nil {
			return err
		}
		x.files = x.files[:n-1]
		if err := x.fs.SyncDir(x.dir); err != nil { // for good: a power cut does not bring old entries back
			return err
		}
	}
	return nil
}

// End is the offset up to which messages are known to be indexed, as far as the files tell: that of the newest entry.
func (x *Index) End() (phys, at int64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(x.files) == 0 {
		return 0, 0
	}
	f := x.files[len(x.files)-1]
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.h.endPhys, f.h.endTime
}

// Put adds a message's keys by their hashes. A message at or below the newest entry is known already.
func (x *Index) Put(hashes []int32, phys, at int64, now time.Time) error {
	if len(hashes) == 0 {
		return nil
	}
	f, err := x.current(now)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if phys <= f.h.endPhys && f.h.next > 1 {
		return nil
	}
	for _, h := range hashes {
		if f.full() {
			f.mu.Unlock()
			next, err := x.current(now)
			f.mu.Lock()
			if err != nil {
				return err
			}
			next.mu.Lock()
			next.put(h, phys, at)
			next.mu.Unlock()
			continue
		}
		f.put(h, phys, at)
	}
	return nil
}

// current is the file that takes entries, a new one when the last is full.
func (x *Index) current(now time.Time) (*file, error) {
	last, open := x.newest()
	if open {
		return last, nil
	}
	return x.roll(last, now)
}

// newest is the last file, nil when there is none, and whether it takes entries.
func (x *Index) newest() (last *file, open bool) {
	x.mu.RLock()
	if n := len(x.files); n > 0 {
		last = x.files[n-1]
	}
	x.mu.RUnlock()
	if last == nil {
		return nil, false
	}
	last.mu.RLock()
	defer last.mu.RUnlock()
	return last, !last.full()
}

func (x *Index) roll(last *file, now time.Time) (*file, error) {
	for range 1000 {
		f := x.newFile(fileName(now))
		if last != nil { // as Java does; the first entry overwrites the begin
			f.h.beginTime, f.h.endTime, f.h.beginPhys, f.h.endPhys = last.h.endTime, last.h.endTime, last.h.endPhys, last.h.endPhys
		}
		if last != nil && f.name <= last.name { // the clock was set back, or summer has ended
			if at, err := nameTime(last.name); err == nil && at.After(now) {
				now = at
			}
			now = now.Add(time.Millisecond)
			continue
		}
		err := f.create()
		if errors.Is(err, fs.ErrExist) {
			now = now.Add(time.Millisecond)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("new index file: %w", err)
		}
		x.mu.Lock()
		x.files = append(x.files, f)
		x.mu.Unlock()
		return f, nil
	}
	return nil, fmt.Errorf("new index file: no free name at %s", now)
}

// Save writes what waits in memory; with sync it also survives a power cut.
func (x *Index) Save(sync bool) error {
	x.save.Lock()
	defer x.save.Unlock()
	x.mu.RLock()
	files := append([]*file(nil), x.files...)
	x.mu.RUnlock()
	for i, f := range files {
		full := i < len(files)-1
		if full && !f.needsSave() {
			continue
		}
		if err := f.save(sync || full); err != nil {
			return fmt.Errorf("index file %s: %w", f.name, err)
		}
	}
	return nil
}

func (f *file) needsSave() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.hurt || f.loose
}

// Waiting is how many entries are in memory only.
func (x *Index) Waiting() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := 0
	for _, f := range x.files {
		f.mu.RLock()
		n += len(f.fresh)
		f.mu.RUnlock()
	}
	return n
}

// Find calls visit with the offsets of entries for hash whose time lies in [begin, end], newest first, until it says stop.
// The times are rounded to seconds, and another key may have the same hash: the caller looks at the messages.
func (x *Index) Find(hash int32, begin, end int64, visit func(phys int64) bool) error {
	x.mu.RLock()
	files := append([]*file(nil), x.files...)
	x.mu.RUnlock()
	for i := len(files) - 1; i >= 0; i-- {
		f := files[i]
		f.mu.RLock()
		h := f.h
		f.mu.RUnlock()
		if h.next <= 1 || h.beginTime > end || h.endTime < begin {
			continue
		}
		if more, err := f.find(hash, begin, end, visit); !more || err != nil {
			return err
		}
	}
	return nil
}

// RemoveBefore deletes files whose newest entry lies below logMin, never the last one.
func (x *Index) RemoveBefore(logMin int64, found func(file string)) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.files) > 1 && x.files[0].h.endPhys < logMin {
		f := x.files[0]
		f.mu.Lock()
		f.close()
		f.mu.Unlock()
		if err := x.fs.Remove(filepath.Join(x.dir, f.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		found(f.path())
		x.files = append([]*file(nil), x.files[1:]...)
	}
	return nil
}

// Close gives descriptors back. Save first.
func (x *Index) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range x.files {
		f.mu.Lock()
		f.close()
		f.mu.Unlock()
	}
}
