package journal

// A table whose changes are in a journal before they are in its file.
//
// The file is the whole table, as RocketMQ reads it; writing it costs as much as the table is large. Commit makes what has
// changed durable by one record per change and one fsync for all who wait, and leaves the file to Save, which is called
// every few seconds and at the end. A change that comes alone goes to the file at once.
//
// The journal begins with the version of the file that it continues:
//
//	{"counter":17,"timestamp":1700000000000}                                     base
//	{"counter":18,"timestamp":1700000000007,"name":"T","value":{...}}            put; without a value: deleted
//
// It counts for that file, and for an older one in its place. For a newer one it does not: Save was about to empty the
// journal, or a Java broker has written the file in between, who knows nothing of it.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"rmqctl/internal/jsonfile"
	"rmqctl/internal/vfs"
)

// alone is how long nothing may have been written for a change to go to the file at once.
const alone = 5 * time.Second

// Codec turns a table and its rows into bytes and back.
type Codec[V any] struct {
	Decode    func([]byte) (map[string]V, jsonfile.Version, error)
	Encode    func(map[string]V, jsonfile.Version) ([]byte, error)
	DecodeRow func(name string, b []byte) (V, error)
	EncodeRow func(V) ([]byte, error)
}

// Table is a jsonfile.Table with a journal. The zero value is an empty table that Load must be called for.
type Table[V any] struct {
	jsonfile.Table[V]

	cmu     sync.Mutex // guards changed
	changed map[string]struct{}

	smu     sync.Mutex // one Commit or Save at a time; guards all below
	journal *File
	base    jsonfile.Version // of the file
	wrote   time.Time        // when something was written last
}

type record struct {
	Counter   int64           `json:"counter"`
	Timestamp int64           `json:"timestamp"`
	Name      string          `json:"name,omitempty"`
	Value     json.RawMessage `json:"value,omitempty"`
}

// Put sets a value and moves the version on.
func (t *Table[V]) Put(name string, v V, now time.Time) {
	t.Table.Put(name, v, now)
	t.note(name)
}

// PutNew sets a value unless the name has one, and returns the one that stands.
func (t *Table[V]) PutNew(name string, v V, now time.Time) (stands V, isNew bool) {
	if stands, isNew = t.Table.PutNew(name, v, now); isNew {
		t.note(name)
	}
	return stands, isNew
}

// Delete drops a name and moves the version on. It reports whether the name was there.
func (t *Table[V]) Delete(name string, now time.Time) bool {
	was := t.Table.Delete(name, now)
	if was {
		t.note(name)
	}
	return was
}

func (t *Table[V]) note(name string) {
	t.cmu.Lock()
	defer t.cmu.Unlock()
	if t.changed == nil {
		t.changed = map[string]struct{}{}
	}
	t.changed[name] = struct{}{}
}

func (t *Table[V]) takeChanged() map[string]struct{} {
	t.cmu.Lock()
	defer t.cmu.Unlock()
	c := t.changed
	t.changed = nil
	return c
}

func (t *Table[V]) putBack(names map[string]struct{}) {
	for name := range names {
		t.note(name)
	}
}

// Load fills the table from the file and the journal beside it.
func (t *Table[V]) Load(fsys vfs.FS, name string, c Codec[V]) error {
	t.smu.Lock()
	defer t.smu.Unlock()
	rows, version := map[string]V{}, jsonfile.Version{}
	if _, err := jsonfile.Load(fsys, name, func(b []byte) (err error) {
		rows, version, err = c.Decode(b)
		return err
	}); err != nil {
		return err
	}
	t.Loaded(rows, version)
	t.base = version
	r := replay[V]{file: version, version: version, rows: maps.Clone(rows), decode: c.DecodeRow}
	var err error
	if t.journal, err = Open(fsys, name+".journal", r.take); err != nil {
		return err
	}
	if r.ignored {
		t.journal.forget()
	}
	if r.applied {
		t.Replace(r.rows, r.version) // other than the file: the next Save writes it
	}
	return nil
}

// replay is the reading of a journal.
type replay[V any] struct {
	file    jsonfile.Version
	decode  func(string, []byte) (V, error)
	seen    bool // the base
	ignored bool
	applied bool
	rows    map[string]V
	version jsonfile.Version
}

func (r *replay[V]) take(b []byte) error {
	var rec record
	if err := json.Unmarshal(b, &rec); err != nil {
		return err
	}
	v := jsonfile.Version{Counter: rec.Counter, Timestamp: rec.Timestamp}
	switch {
	case !r.seen:
		r.seen, r.ignored = true, v != r.file && r.file.Counter >= v.Counter
	case r.ignored:
	case len(rec.Value) == 0:
		delete(r.rows, rec.Name)
		r.version, r.applied = v, true
	default:
		row, err := r.decode(rec.Name, rec.Value)
		if err != nil {
			return fmt.Errorf("%q: %w", rec.Name, err)
		}
		r.rows[rec.Name], r.version, r.applied = row, v, true
	}
	return nil
}

// Commit returns when everything that was changed before the call survives a power cut. Those who wait at the same time
// share one fsync.
func (t *Table[V]) Commit(fsys vfs.FS, name string, c Codec[V], now time.Time) error {
	t.smu.Lock()
	defer t.smu.Unlock()
	changed := t.takeChanged()
	if len(changed) == 0 {
		return nil
	}
	idle := now.Sub(t.wrote)
	t.wrote = now
	if t.journal == nil || t.journal.Empty() && (idle >= alone || idle < 0) {
		return t.keep(changed, t.saveLocked(fsys, name, c))
	}
	return t.keep(changed, t.append(changed, c))
}

// keep notes again what could not be written.
func (t *Table[V]) keep(changed map[string]struct{}, err error) error {
	if err != nil {
		t.putBack(changed)
	}
	return err
}

func (t *Table[V]) append(changed map[string]struct{}, c Codec[V]) error {
	var records [][]byte
	if t.journal.Empty() {
		records = append(records, t.record("", nil, t.base))
	}
	version := t.Version() // not before any of the changes
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		var value []byte
		if row, ok := t.Get(name); ok {
			b, err := c.EncodeRow(row)
			if err != nil {
				return err
			}
			value = bytes.TrimSpace(b)
		}
		records = append(records, t.record(name, value, version))
	}
	return t.journal.Append(records...)
}

func (t *Table[V]) record(name string, value []byte, v jsonfile.Version) []byte {
	b, err := json.Marshal(record{v.Counter, v.Timestamp, name, value})
	if err != nil { // a value that is no JSON: the codec's fault
		panic(fmt.Sprintf("journal: %q: %v", name, err))
	}
	return b
}

// Save writes the file if anything differs from it, and empties the journal.
func (t *Table[V]) Save(fsys vfs.FS, name string, c Codec[V]) error {
	t.smu.Lock()
	defer t.smu.Unlock()
	changed := t.takeChanged()
	return t.keep(changed, t.saveLocked(fsys, name, c))
}

func (t *Table[V]) saveLocked(fsys vfs.FS, name string, c Codec[V]) error {
	base := t.base
	err := t.Table.Save(fsys, name, func(rows map[string]V, v jsonfile.Version) ([]byte, error) {
		base = v
		return c.Encode(rows, v)
	})
	if err != nil {
		return err
	}
	t.base = base
	if t.journal == nil {
		return nil
	}
	return t.journal.Reset()
}

// Close gives the journal's descriptor back.
func (t *Table[V]) Close() error {
	t.smu.Lock()
	defer t.smu.Unlock()
	if t.journal == nil {
		return nil
	}
	return t.journal.Close()
}
