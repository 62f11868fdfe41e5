package consumequeue

// Saving and syncing all queues that have grown: the cost follows what happened, not how many queues there are.

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"rmqctl/broker/store/segment"
)

func (t *Table) markDirty(q *Queue) {
	t.dirtyMu.Lock()
	t.dirty = append(t.dirty, q)
	t.dirtyMu.Unlock()
}

// Save writes the units of all queues with at least least bytes waiting to their files. With sync everything is written and
// put on the disk: afterwards every unit published before the call survives a power cut.
func (t *Table) Save(least int, sync bool) error {
	t.saveMu.Lock()
	defer t.saveMu.Unlock()
	t.dirtyMu.Lock()
	list := t.dirty
	t.dirty = nil
	t.dirtyMu.Unlock()
	var failed error
	for _, q := range list {
		if failed == nil && (sync || q.pending() >= least) {
			failed = q.save()
		}
	}
	if failed == nil && sync {
		failed = t.syncAll(list)
	}
	for _, q := range list {
		t.keepDirty(q)
	}
	return failed
}

// SaveTopic writes one topic's units to their files, without putting them on the disk.
func (t *Table) SaveTopic(name string) error {
	t.saveMu.Lock()
	defer t.saveMu.Unlock()
	for _, id := range t.Queues(name) {
		if q := t.Get(name, id); q != nil {
			if err := q.save(); err != nil {
				return err
			}
		}
	}
	return nil
}

// syncAll syncs the files of list, several at a time: a journalling file system commits for all of them at once. Then the
// directories, each once.
func (t *Table) syncAll(list []*Queue) error {
	if t.whole != nil && len(list) > manyQueues {
		return t.syncWhole(list)
	}
	var mu sync.Mutex // guards parents
	parents := map[string]bool{}
	var g errgroup.Group
	g.SetLimit(8)
	for _, q := range list {
		g.Go(func() error {
			dirs, err := q.sync()
			mu.Lock()
			defer mu.Unlock()
			for _, d := range dirs {
				parents[d] = true
			}
			return err
		})
	}
	err := g.Wait()
	if len(parents) > 0 { // the topics' directories may be as new as those of the queues
		t.mu.Lock()
		t.newDirs = true
		t.mu.Unlock()
	}
	for _, dir := range slices.Sorted(maps.Keys(parents)) {
		if e := t.cache.FS.SyncDir(dir); e != nil && !errors.Is(e, fs.ErrNotExist) {
			t.mu.Lock()
			t.newDirs = true
			t.oweDirs = append(t.oweDirs, dir)
			t.mu.Unlock()
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return err
	}
	return t.syncDir()
}

// manyQueues: beyond so many one sync of the whole file system is cheaper, though it writes what others have left there.
const manyQueues = 500

func (t *Table) syncWhole(list []*Queue) error {
	type debt struct {
		files  []*segment.File
		newDir bool
	}
	debts := make([]debt, len(list))
	for i, q := range list {
		q.mu.Lock()
		debts[i] = debt{q.unsync, q.newDir}
		q.unsync, q.newDir = nil, false
		q.mu.Unlock()
	}
	t.mu.Lock()
	newDirs, owed := t.newDirs, t.oweDirs
	t.newDirs, t.oweDirs = false, nil
	t.mu.Unlock()
	err := t.whole.Sync()
	if err != nil {
		for i, q := range list {
			q.owe(debts[i].files, debts[i].newDir)
		}
		t.mu.Lock()
		t.newDirs, t.oweDirs = t.newDirs || newDirs, append(t.oweDirs, owed...)
		t.mu.Unlock()
	}
	return err
}

// keepDirty puts q back on the list unless all of it is on the disk.
func (t *Table) keepDirty(q *Queue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dirty = !q.gone && (q.end > q.saved || len(q.unsync) > 0 || q.newDir)
	if q.dirty {
		t.markDirty(q)
	}
}

func (t *Table) syncDir() error {
	t.mu.Lock()
	need, owed := t.newDirs, t.oweDirs
	t.newDirs, t.oweDirs = false, nil
	t.mu.Unlock()
	if !need {
		return nil
	}
	for _, dir := range append(owed, t.dir) {
		if err := t.cache.FS.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.mu.Lock()
			t.newDirs, t.oweDirs = true, append(t.oweDirs, owed...)
			t.mu.Unlock()
			return err
		}
	}
	return nil
}

// Dirty is how many queues a Save with sync has to write or sync.
func (t *Table) Dirty() int {
	t.dirtyMu.Lock()
	defer t.dirtyMu.Unlock()
	return len(t.dirty)
}

// PendingBytes is how much of the queues is in memory only.
func (t *Table) PendingBytes() int64 {
	t.dirtyMu.Lock()
	list := append([]*Queue(nil), t.dirty...)
	t.dirtyMu.Unlock()
	n := int64(0)
	for _, q := range list {
		n += int64(q.pending())
	}
	return n
}
