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
	files, _, err := q.t.cache.List(q.dir, q.t.segSize)
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
		return files[:i], nil
	}
	return files, nil
}

// findEnd looks for the last unit that was written and lies below the cut of the table.
func (q *Queue) findEnd() error {
	q.end, q.last, q.lastAt = 0, 0, 0
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

// validUnits counts the written units at the start of f. After a clean stop they are followed by zeros only, so halving
// finds the end; after a crash only a walk does.
func (q *Queue) validUnits(f *segment.File) (int64, error) {
	total := f.Size() / UnitSize
	if q.t.walk {
		return q.walkUnits(f, total)
	}
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
	for n := int64(0); n < total; {
		k := min(total-n, 1024)
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
