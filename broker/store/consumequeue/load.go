package consumequeue

// Loading a queue: its files are listed at its first use, and its end is what was written to them.

import (
	"rmqctl/broker/store/segment"
)

// load reads the directory. Called with mu held for writing.
func (q *Queue) load() error {
	if q.loaded {
		return nil
	}
	list := func() (files []*segment.File, err error) {
		if q.t.walk {
			return q.t.cache.ListUnsynced(q.dir, q.t.segSize)
		}
		files, _, err = q.t.cache.List(q.dir, q.t.segSize)
		return files, err
	}
	files, err := list()
	if err != nil {
		return err
	}
	if files, err = q.contiguous(files); err != nil {
		return err
	}
	q.files, q.minFor = files, -1
	if err := q.findEnd(); err != nil {
		return err
	}
	q.notBelow()
	q.loaded = true
	return nil
}

// contiguous looks for a gap between the files. After a crash it means that a file's name did not reach the disk: what lies
// behind was not promised and is made again from the log. Else what lies before cannot be reached.
func (q *Queue) contiguous(files []*segment.File) ([]*segment.File, error) {
	for i := 1; i < len(files); i++ {
		if files[i].Base() == files[i-1].End() {
			continue
		}
		if !q.t.walk {
			return q.contiguous(files[i:])
		}
		for _, f := range files[i:] {
			if err := f.Remove(true); err != nil {
				return nil, err
			}
		}
		return files[:i], q.t.cache.FS.SyncDir(q.dir)
	}
	return files, nil
}

// findEnd looks for the last unit that was written and lies below the cut of the table.
func (q *Queue) findEnd() error {
	q.end, q.last, q.lastAt, q.lastOff = 0, 0, 0, -1
	if ok, err := q.endKnown(); ok || err != nil {
		return err
	}
	if q.t.walk {
		return q.findEndAfterCrash()
	}
	for i := len(q.files) - 1; i >= 0; i-- {
		f := q.files[i]
		n, err := q.validUnits(f)
		if err != nil {
			return err
		}
		if n == 0 && i > 0 {
			continue
		}
		q.end = f.Base()/UnitSize + n
		break
	}
	q.saved, q.tail = q.end, nil
	return q.cutToPhys(q.t.cut)
}

// findEndAfterCrash: units of records below the cut are on the disk, all others may be there, missing, or stale. So the end
// lies in the newest file that begins with a unit below the cut, and what is behind it is removed: a stale unit must not
// pass for one of the future.
func (q *Queue) findEndAfterCrash() error {
	i := len(q.files) - 1
	for ; i > 0; i-- {
		ok, err := q.surely(q.files[i], 0)
		if err == nil && ok {
			ok, err = q.surely(q.files[i-1], q.files[i-1].Size()/UnitSize-1)
		}
		if err != nil {
			return err
		}
		if ok {
			break
		}
	}
	if i >= 0 {
		n, err := q.walkUnits(q.files[i], q.files[i].Size()/UnitSize)
		if err != nil {
			return err
		}
		q.end = q.files[i].Base()/UnitSize + n
	}
	q.saved, q.tail = q.end, nil
	if err := q.mark(); err != nil {
		return err
	}
	if err := q.dropBehind(q.end); err != nil {
		return err
	}
	return q.cutToPhys(q.t.cut)
}

// Mark is a unit that was on the disk after a crash, the last of its queue.
type Mark struct {
	Topic string
	ID    int32
	At    int64
	Unit  Unit
}

// Marks are those found by Limit with Member set, of queues whose last unit is dropped.
func (t *Table) Marks() []Mark {
	t.dirtyMu.Lock()
	defer t.dirtyMu.Unlock()
	return t.marks
}

func (q *Queue) mark() error {
	if !q.t.Member || q.end == q.first() {
		return nil
	}
	u, err := q.unit(q.end - 1)
	if err != nil || u.Filler() || u.Phys < q.t.cut {
		return err
	}
	q.t.dirtyMu.Lock()
	defer q.t.dirtyMu.Unlock()
	q.t.marks = append(q.t.marks, Mark{q.Topic, q.ID, q.end - 1, u})
	return nil
}

// surely tells whether unit i of f was on the disk before the crash.
func (q *Queue) surely(f *segment.File, i int64) (bool, error) {
	var b [UnitSize]byte
	if err := f.ReadAt(b[:], i*UnitSize); err != nil {
		return false, err
	}
	u := At(b[:], 0)
	return u.valid() && (u.Filler() || u.Phys < q.t.cut), nil
}

// validUnits counts the written units at the start of f: after a clean stop they are followed by zeros only.
func (q *Queue) validUnits(f *segment.File) (int64, error) {
	total := f.Size() / UnitSize
	var b [UnitSize]byte
	lo, hi := int64(0), total // units below lo are valid, hi and behind are not
	for lo < hi {
		mid := (lo + hi) / 2
		if err := f.ReadAt(b[:], mid*UnitSize); err != nil {
			return 0, err
		}
		if At(b[:], 0).valid() {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, nil
}

func (q *Queue) walkUnits(f *segment.File, total int64) (int64, error) {
	buf := make([]byte, 0, 1024*UnitSize)
	highest := int64(-1)
	k := int64(4096 / UnitSize) // grows: most queues are short, and reading a hole fills memory with zeros
	for n := int64(0); n < total; k = 1024 {
		k = min(k, total-n)
		buf = buf[:k*UnitSize]
		if err := f.ReadAt(buf, n*UnitSize); err != nil {
			return 0, err
		}
		for i := range int(k) {
			u := At(buf, i)
			if !u.valid() || !u.Filler() && u.Phys <= highest {
				return n + int64(i), nil
			}
			if !u.Filler() {
				highest = u.Phys
			}
		}
		n += k
	}
	return total, nil
}
