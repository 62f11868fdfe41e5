// Package offset keeps how far each group has consumed each queue: the next offset it wants.
//
// On a master the table is the truth. On a slave it is a copy of the master's, plus what clients committed here while
// they could not reach the master; those entries are remembered as pending until the master has at least as much.
package offset

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"rmqctl/internal/jsonfile"
	"rmqctl/internal/protocol"
	"rmqctl/internal/vfs"
)

// Key names what one group has of one topic.
type Key struct{ Topic, Group string }

// String is the form in which RocketMQ writes the key.
func (k Key) String() string { return k.Topic + "@" + k.Group }

// Entry is one committed offset.
type Entry struct {
	Key
	Queue  int32
	Offset int64
}

// Table is safe for concurrent use. The zero value is not; see New.
type Table struct {
	mu      sync.RWMutex // guards all below
	groups  map[Key]map[int32]int64
	pending map[Key]map[int32]int64 // committed here, not yet known to be at the master; nil unless Track
	changed uint64                  // counts changes; a save remembers how many it has seen

	saving sync.Mutex // one writer of the file; guards saved
	saved  uint64
}

// New returns an empty table.
func New() *Table { return &Table{groups: map[Key]map[int32]int64{}} }

// Get is the group's offset in a queue.
func (t *Table) Get(group, topic string, queue int32) (int64, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n, ok := t.groups[Key{topic, group}][queue]
	return n, ok
}

// Commit sets the group's offset. A lower one is accepted, as by RocketMQ: an operator may set a group back.
func (t *Table) Commit(group, topic string, queue int32, n int64) {
	key := Key{topic, group}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setLocked(key, queue, n)
	if t.pending != nil {
		set(t.pending, key, queue, n)
	}
}

// Raise takes over an offset only if it is further than the one known. It reports whether it was.
func (t *Table) Raise(e Entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old, ok := t.groups[e.Key][e.Queue]; ok && old >= e.Offset {
		return false
	}
	t.setLocked(e.Key, e.Queue, e.Offset)
	return true
}

func (t *Table) setLocked(key Key, queue int32, n int64) {
	queues := t.groups[key]
	if old, ok := queues[queue]; ok && old == n {
		return
	}
	set(t.groups, key, queue, n)
	t.changed++
}

func set(m map[Key]map[int32]int64, key Key, queue int32, n int64) {
	if m[key] == nil {
		m[key] = map[int32]int64{}
	}
	m[key][queue] = n
}

// Track makes the table remember what is committed here until Follow has seen it at the master. For slaves.
func (t *Table) Track() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending == nil {
		t.pending = map[Key]map[int32]int64{}
	}
}

// Own ends Track: what is here is the truth now.
func (t *Table) Own() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending = nil
}

// Follow takes over the master's table and returns the pending entries that are ahead of it, which the master must be
// told. Everything else becomes what the master says, also where that is lower: somebody set the group back there.
// Entries that the master does not have stay.
func (t *Table) Follow(master map[Key]map[int32]int64) (ahead []Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, queues := range t.pending {
		for queue, n := range queues {
			if at, ok := master[key][queue]; ok && at >= n {
				delete(queues, queue)
				continue
			}
			ahead = append(ahead, Entry{key, queue, n})
		}
		if len(queues) == 0 {
			delete(t.pending, key)
		}
	}
	for key, queues := range master {
		for queue, n := range queues {
			if _, mine := t.pending[key][queue]; !mine {
				t.setLocked(key, queue, n)
			}
		}
	}
	return ahead
}

// Told forgets that an entry is pending: the master has taken it. One that was committed anew meanwhile stays.
func (t *Table) Told(e Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, ok := t.pending[e.Key][e.Queue]; ok && n == e.Offset {
		delete(t.pending[e.Key], e.Queue)
	}
}

// Queues is a copy of what one group has of one topic.
func (t *Table) Queues(group, topic string) map[int32]int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return maps.Clone(t.groups[Key{topic, group}])
}

// Topics are the topics of which the group has committed something, sorted.
func (t *Table) Topics(group string) []string {
	return t.list(func(k Key) (string, bool) { return k.Topic, k.Group == group })
}

// Groups are the groups that committed something of the topic, sorted.
func (t *Table) Groups(topic string) []string {
	return t.list(func(k Key) (string, bool) { return k.Group, k.Topic == topic })
}

func (t *Table) list(of func(Key) (string, bool)) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []string
	for key := range t.groups {
		if name, ok := of(key); ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Snapshot is a copy of the whole table.
func (t *Table) Snapshot() map[Key]map[int32]int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make(map[Key]map[int32]int64, len(t.groups))
	for key, queues := range t.groups {
		out[key] = maps.Clone(queues)
	}
	return out
}

// Clone gives dest what src has of the topic.
func (t *Table) Clone(src, dest, topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if queues, ok := t.groups[Key{topic, src}]; ok {
		t.groups[Key{topic, dest}] = maps.Clone(queues)
		t.changed++
	}
}

// Forget drops every entry for which gone holds.
func (t *Table) Forget(gone func(Key) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.groups {
		if gone(key) {
			delete(t.groups, key)
			delete(t.pending, key)
			t.changed++
		}
	}
}

// Load fills the table from the file; a missing file leaves it empty.
func (t *Table) Load(fsys vfs.FS, name string) error {
	_, err := jsonfile.Load(fsys, name, func(b []byte) error {
		groups, err := Decode(b)
		if err != nil {
			return err
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.groups = groups
		return nil
	})
	return err
}

// Save writes the file if anything changed since the last Save.
func (t *Table) Save(fsys vfs.FS, name string) error {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.RLock()
	seen := t.changed
	t.mu.RUnlock()
	if seen == t.saved {
		return nil
	}
	if err := jsonfile.Save(fsys, name, Encode(t.Snapshot())); err != nil {
		return err
	}
	t.saved = seen
	return nil
}

// wire is the table in RocketMQ's files and bodies: {"offsetTable":{"topic@group":{0:12,1:13}}}.
type wire struct {
	OffsetTable map[string]map[int32]int64 `json:"offsetTable"`
}

// Decode reads RocketMQ's text, numbers as keys included.
func Decode(b []byte) (map[Key]map[int32]int64, error) {
	var w wire
	if err := protocol.DecodeJSON(b, &w); err != nil {
		return nil, err
	}
	out := make(map[Key]map[int32]int64, len(w.OffsetTable))
	for text, queues := range w.OffsetTable {
		topic, group, ok := strings.Cut(text, "@")
		if !ok {
			return nil, fmt.Errorf("offset table: %q is not topic@group", text)
		}
		if queues != nil {
			out[Key{topic, group}] = queues
		}
	}
	return out, nil
}

// Encode writes RocketMQ's text, compact: text keys sorted, number keys in order and without quotes.
func Encode(groups map[Key]map[int32]int64) []byte {
	keys := slices.SortedFunc(maps.Keys(groups), func(a, b Key) int { return strings.Compare(a.String(), b.String()) })
	out := []byte(`{"offsetTable":{`)
	for i, key := range keys {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(protocol.AppendJSONString(out, key.String()), ':', '{')
		for j, queue := range slices.Sorted(maps.Keys(groups[key])) {
			if j > 0 {
				out = append(out, ',')
			}
			out = strconv.AppendInt(out, int64(queue), 10)
			out = append(out, ':')
			out = strconv.AppendInt(out, groups[key][queue], 10)
		}
		out = append(out, '}')
	}
	return append(out, "}}"...)
}
