package consumequeue

// Making a queue shorter: at its end by recovery, at its start by retention, altogether with its topic.

import (
	"errors"
	"io/fs"

	"rmqctl/broker/store/segment"
)

// cutToPhys drops the units of records that do not end at or below phys. Marks of lost messages at the end stay when none
// of a record is dropped: their offsets were seen and are not used again.
func (q *Queue) cutToPhys(phys int64) error {
	n, dropped := q.end, false
	for n > q.first() {
		u, err := q.unit(n - 1)
		if err != nil {
			return err
		}
		if u == leading && q.t.Member { // what came before is known to have been: its offsets are not used again
			q.last, q.lastAt, q.lastOff = 0, 0, -1
			break
		}
		if u.Filler() || u.Phys+int64(u.Size) > phys {
			dropped = dropped || !u.Filler()
			if !u.Filler() && q.end-n >= 64 { // far behind: halve instead of walking
				m, err := q.firstFrom(phys, n)
				if err != nil {
					return err
				}
				n = min(m, n-1)
				continue
			}
			n--
			continue
		}
		q.last, q.lastAt, q.lastOff = u.Phys+int64(u.Size), u.Phys, n-1
		break
	}
	if n == q.end || !dropped {
		return nil
	}
	if n <= q.first() {
		return q.resetLocked()
	}
	return q.cutUnits(n)
}

// firstFrom is the first unit below hi whose record lies at or behind phys.
func (q *Queue) firstFrom(phys, hi int64) (int64, error) {
	lo := q.first()
	for lo < hi {
		mid := (lo + hi) / 2
		u, err := q.unit(mid)
		if err != nil {
			return 0, err
		}
		if !u.Filler() && u.Phys >= phys {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, nil
}

// cutUnits ends the queue at unit n.
func (q *Queue) cutUnits(n int64) error {
	if n >= q.saved {
		q.tail = append([]byte(nil), q.tail[:(n-q.saved)*UnitSize]...)
		q.end = n
		return nil
	}
	q.end, q.saved, q.tail = n, n, nil
	return q.dropBehind(n)
}

// dropBehind makes the files end at unit n, after a power cut too: a unit that came back would pass for a newer one.
func (q *Queue) dropBehind(n int64) error {
	at := n * UnitSize
	k := len(q.files)
	for ; k > 0 && q.files[k-1].Base() >= at; k-- {
		if err := q.files[k-1].Remove(true); err != nil {
			return err
		}
	}
	if k < len(q.files) {
		q.files = q.files[:k:k]
		if err := q.t.cache.FS.SyncDir(q.dir); err != nil {
			return err
		}
	}
	if k > 0 && at < q.files[k-1].End() {
		return q.files[k-1].CutIfNeeded(at - q.files[k-1].Base())
	}
	return nil
}

// resetLocked empties the queue; its next unit may have any offset.
func (q *Queue) resetLocked() error {
	for i := len(q.files) - 1; i >= 0; i-- {
		if err := q.files[i].Remove(true); err != nil {
			return err
		}
	}
	if len(q.files) > 0 {
		if err := q.t.cache.FS.SyncDir(q.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	q.files, q.unsync, q.tail = nil, nil, nil
	q.end, q.saved, q.last, q.lastAt, q.lastOff, q.minFor = 0, 0, 0, 0, -1, -1
	return nil
}

// RemoveBefore deletes the files whose units all lie below logMin, never the last, and returns their names.
func (q *Queue) RemoveBefore(logMin int64) ([]string, error) {
	if err := q.rlock(); err != nil {
		return nil, err
	}
	n := len(q.files)
	q.mu.RUnlock()
	if n < 2 {
		return nil, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	var gone []string
	for len(q.files) > 1 {
		f := q.files[0]
		u, err := q.unit(f.End()/UnitSize - 1)
		if err != nil || u.Filler() || u.Phys >= logMin {
			return gone, err
		}
		if err := f.Remove(true); err != nil {
			return gone, err
		}
		if err := q.t.cache.FS.SyncDir(q.dir); err != nil { // before the next goes: a power cut leaves no gap
			return gone, err
		}
		gone = append(gone, f.Path())
		q.files = append([]*segment.File(nil), q.files[1:]...)
		q.minFor = -1
	}
	return gone, nil
}

// remove deletes the queue's files and its directory.
func (q *Queue) remove() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gone = true
	if err := q.load(); err != nil {
		return err
	}
	if err := q.resetLocked(); err != nil {
		return err
	}
	return q.t.cache.FS.RemoveAll(q.dir)
}
