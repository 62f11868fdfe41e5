package consumequeue

// Damage: what was known of a queue tells whether its files are still what they were; units that are not are put right from
// the log, one by one (Patch) or all together (Forget, then Restore).

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"rmqctl/broker/store/segment"
)

// Past is what a queue was at a moment when all of it was on the disk.
type Past struct {
	Topic      string
	ID         int32
	First, End int64 // the first unit of its first file; behind its last one
	Last       Unit  // the last one, without its tags
}

// Doubt is a queue whose files begin later than they did.
type Doubt struct {
	Past
	At   int64 // the first unit that is there
	Phys int64 // where its message lies
}

// Know tells the table what its queues were. Queues that are loaded afterwards end there at least, if their files agree.
func (t *Table) Know(list []Past) {
	known := map[string][]Past{}
	for _, k := range list {
		known[k.Topic] = append(known[k.Topic], k)
	}
	t.few = len(list) <= mostLooked
	t.known.Store(&known)
}

// unknow forgets a topic that goes on purpose.
func (t *Table) unknow(topic string) {
	known := t.known.Load()
	if known == nil || (*known)[topic] == nil {
		return
	}
	left := maps.Clone(*known)
	delete(left, topic)
	t.known.Store(&left)
}

func (t *Table) was(topic string, id int32) (Past, bool) {
	known := t.known.Load()
	if known == nil {
		return Past{}, false
	}
	for _, k := range (*known)[topic] {
		if k.ID == id {
			return k, true
		}
	}
	return Past{}, false
}

// Ends is what the queues are now, to be known later once a Save with sync has followed. Of queues that were not used since
// the start it repeats what was known; it opens no file.
func (t *Table) Ends() []Past {
	var all []*Queue
	var out []Past
	known := t.known.Load()
	t.mu.RLock()
	for name, tp := range t.topics {
		if all = append(all, tp.queues...); !tp.listed && known != nil {
			out = append(out, (*known)[name]...)
		}
	}
	t.mu.RUnlock()
	for _, q := range all {
		if k, ok := q.now(); ok {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b Past) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func (q *Queue) now() (Past, bool) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if !q.loaded {
		return q.t.was(q.Topic, q.ID)
	}
	if q.gone || q.end == 0 || q.end == q.first() && len(q.tail) == 0 {
		return Past{}, false
	}
	u := Unit{Phys: q.lastAt, Size: int32(q.last - q.lastAt)}
	if q.lastOff != q.end-1 {
		u = Unit{Size: fillerSize}
	}
	first := q.first()
	return Past{q.Topic, q.ID, first - first%(q.t.segSize/UnitSize), q.end, u}, true
}

// Broken looks into the files of the queues that were known, without loading them, and returns those that are not what they
// were: a file is gone, or the last unit is not there. Of the doubtful ones the first file is gone: retention may have taken
// it, unless the log has older messages of the queue.
func (t *Table) Broken(logMin int64) (broken []Past, doubtful []Doubt) {
	known := t.known.Load()
	if known == nil {
		return nil, nil
	}
	if !t.few {
		return nil, nil // each is looked at when it is loaded
	}
	for _, of := range *known {
		for _, k := range of {
			stands, first := t.stands(k)
			if !stands {
				broken = append(broken, k)
			} else if u, err := t.look(queueDir(t.dir, k.Topic, k.ID), first); first > k.First && (err != nil || u.Phys > logMin) {
				doubtful = append(doubtful, Doubt{k, first, u.Phys})
			}
		}
	}
	return broken, doubtful
}

// mostLooked bounds what a start spends on looking into files of queues that nobody may ask for.
const mostLooked = 4096

// is tells whether u is the last unit that was known.
func (k *Past) is(u Unit) bool { return u.Phys == k.Last.Phys && u.Size == k.Last.Size }

// stands looks for the files of a queue and its last unit. first is the first unit that is there.
func (t *Table) stands(k Past) (ok bool, first int64) {
	perFile := t.segSize / UnitSize
	dir := queueDir(t.dir, k.Topic, k.ID)
	end := k.End - (k.End-1)%perFile // of the last file's first unit, plus one
	first = -1
	for n := k.First; n < end; n += perFile {
		info, err := t.cache.FS.Stat(filepath.Join(dir, segment.Name(n*UnitSize)))
		switch {
		case err == nil && info.Size() == t.segSize:
			if first < 0 {
				first = n
			}
		case errors.Is(err, fs.ErrNotExist) && first < 0: // retention takes the first ones
		default:
			return false, 0
		}
	}
	if first < 0 {
		return false, 0
	}
	u, err := t.look(dir, k.End-1)
	return err == nil && k.is(u), first
}

// look reads one unit past everything that is cached.
func (t *Table) look(dir string, i int64) (Unit, error) {
	f := t.cache.Known(dir, i*UnitSize-i*UnitSize%t.segSize, t.segSize)
	defer f.Close()
	var b [UnitSize]byte
	if err := f.ReadAt(b[:], i*UnitSize-f.Base()); err != nil {
		return Unit{}, err
	}
	return At(b[:], 0), nil
}

// endKnown ends the queue where it was known to end, and behind that at the last unit that goes on. ok is false when
// nothing is known, or the files do not agree. Units in between may be damaged: who reads them notices.
func (q *Queue) endKnown() (ok bool, err error) {
	k, ok := q.t.was(q.Topic, q.ID)
	if !ok || len(q.files) == 0 || q.file(k.End-1) == nil {
		return false, nil
	}
	q.saved = q.files[len(q.files)-1].End() / UnitSize // unit() reads the files
	u, err := q.unit(k.End - 1)
	if err != nil || !k.is(u) || !u.Filler() && u.Phys+int64(u.Size) > q.t.cut {
		return false, err
	}
	n, err := q.goesOn(k.End, u.Phys)
	if err != nil {
		return false, err
	}
	q.end, q.saved, q.tail = n, n, nil
	if q.t.walk {
		if err := errors.Join(q.mark(), q.dropBehind(n)); err != nil {
			return false, err
		}
	}
	return true, q.cutToPhys(q.t.cut)
}

// notBelow lets a queue not end below what was known: its readers have seen those offsets. Its missing units are zero, and
// are put right from the log by whoever reads them. Where there are few queues the start has made it again instead.
func (q *Queue) notBelow() {
	k, ok := q.t.was(q.Topic, q.ID)
	if !ok || q.end >= k.End || q.t.walk || q.t.few {
		return
	}
	if tell := q.t.Short; tell != nil {
		tell(q.Topic, q.ID, q.end, k.End)
	}
	if len(q.files) == 0 {
		q.end, q.saved = k.First, k.First
	}
	q.tail = append(q.tail, make([]byte, (k.End-q.end)*UnitSize)...)
	q.end = k.End
	if !q.dirty {
		q.dirty = true
		q.t.markDirty(q)
	}
}

// goesOn is the end of the units from n on that are valid and newer than highest.
func (q *Queue) goesOn(n, highest int64) (int64, error) {
	buf := make([]byte, 0, 16*UnitSize)
	for {
		f := q.file(n)
		if f == nil {
			return n, nil
		}
		k := int(min(f.End()/UnitSize-n, int64(cap(buf)/UnitSize)))
		buf = buf[:k*UnitSize]
		if err := f.ReadAt(buf, n*UnitSize-f.Base()); err != nil {
			return 0, err
		}
		for i := range k {
			u := At(buf, i)
			if !u.valid() || !u.Filler() && u.Phys <= highest {
				return n, nil
			}
			if n++; !u.Filler() {
				highest = u.Phys
			}
		}
		buf = make([]byte, 0, min(4*cap(buf), 1<<20)) // a queue that has not grown costs one small read
	}
}

// Patch puts a unit that is in a file right.
func (q *Queue) Patch(at int64, u Unit) error {
	if err := q.rlock(); err != nil {
		return err
	}
	saved, f := q.saved, q.file(at)
	q.mu.RUnlock()
	if at >= saved || f == nil {
		return fmt.Errorf("consumequeue: %s/%d: unit %d is not in a file", q.Topic, q.ID, at)
	}
	return f.WriteAt(Append(nil, u), at*UnitSize-f.Base())
}

// Forget makes the queue empty after its files were moved away.
func (q *Queue) Forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, f := range q.files {
		f.Close()
	}
	q.loaded, q.files, q.unsync, q.tail = true, nil, nil, nil
	q.end, q.saved, q.last, q.lastAt, q.lastOff, q.minFor, q.Gen = 0, 0, 0, 0, -1, -1, 0
}

// Newer tells whether the queue has a message that lies behind phys in the log.
func (q *Queue) Newer(phys int64) bool {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.last > 0 && q.lastAt > phys
}

// Dir is where the files of the queue lie.
func (q *Queue) Dir() string { return q.dir }

// PadTo makes the queue end at offset end at least: offsets without a message are marked as lost. A queue must never number
// new messages below what its readers have seen.
func (q *Queue) PadTo(end int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.load(); err != nil {
		return err
	}
	if q.end == q.first() && len(q.tail) == 0 && end > q.end { // nothing of it is left: as if it began here
		q.startAt(end)
	}
	for q.end < end {
		q.publish(lost)
	}
	return nil
}
