// A table that a JSON file keeps, with the version that RocketMQ compares.

package jsonfile

import (
	"maps"
	"sync"
	"time"

	"rmqctl/internal/vfs"
)

// Version tells two states of a table apart: the counter goes up by one with each change, Timestamp (ms) is the moment
// of the last one.
type Version struct{ Counter, Timestamp int64 }

// Table is a set of named values with a version, kept in one file. Values are never changed in place: a change puts a
// new one, so a reader may keep what it got. The zero value is an empty table.
type Table[V any] struct {
	mu      sync.RWMutex // guards all below
	rows    map[string]V
	version Version
	changed uint64 // counts changes, those of Replace too

	saving sync.Mutex // one writer of the file; guards saved
	saved  uint64
}

// Get is the value of that name.
func (t *Table[V]) Get(name string) (V, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	v, ok := t.rows[name]
	return v, ok
}

// Put sets a value and moves the version on.
func (t *Table[V]) Put(name string, v V, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.putLocked(name, v, now)
}

// PutNew sets a value unless the name has one, and returns the one that stands.
func (t *Table[V]) PutNew(name string, v V, now time.Time) (stands V, isNew bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old, ok := t.rows[name]; ok {
		return old, false
	}
	t.putLocked(name, v, now)
	return v, true
}

func (t *Table[V]) putLocked(name string, v V, now time.Time) {
	if t.rows == nil {
		t.rows = map[string]V{}
	}
	t.rows[name] = v
	t.movedLocked(now)
}

// Delete drops a name and moves the version on. It reports whether the name was there.
func (t *Table[V]) Delete(name string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.rows[name]; !ok {
		return false
	}
	delete(t.rows, name)
	t.movedLocked(now)
	return true
}

func (t *Table[V]) movedLocked(now time.Time) {
	t.version = Version{t.version.Counter + 1, now.UnixMilli()}
	t.changed++
}

// Touch moves the version on without a change of the values.
func (t *Table[V]) Touch(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.movedLocked(now)
}

// Replace makes the table exactly these rows at that version.
func (t *Table[V]) Replace(rows map[string]V, v Version) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows, t.version = maps.Clone(rows), v
	t.changed++
}

// Loaded is Replace for what was just read from the file: there is nothing to save.
func (t *Table[V]) Loaded(rows map[string]V, v Version) {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.Replace(rows, v)
	t.mu.RLock()
	defer t.mu.RUnlock()
	t.saved = t.changed
}

// All is a copy of the rows and the version they have together.
func (t *Table[V]) All() (map[string]V, Version) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return maps.Clone(t.rows), t.version
}

// Version is the version now.
func (t *Table[V]) Version() Version {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.version
}

// Save writes the file if anything changed since the last Save. Callers that changed something at the same time share
// one write: each waits until a write that began after its change is done.
func (t *Table[V]) Save(fsys vfs.FS, name string, encode func(map[string]V, Version) ([]byte, error)) error {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.RLock()
	seen := t.changed
	rows, version := t.rows, t.version
	if seen != t.saved {
		rows = maps.Clone(rows)
	}
	t.mu.RUnlock()
	if seen == t.saved {
		return nil
	}
	text, err := encode(rows, version)
	if err != nil {
		return err
	}
	if err := Save(fsys, name, text); err != nil {
		return err
	}
	t.saved = seen
	return nil
}
