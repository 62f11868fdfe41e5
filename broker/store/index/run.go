package index

// Many entries at once: a round of appends, a block of a recovered log.

import "time"

// Put is one key of one message: the hash of topic and key, where the message lies, when it was stored.
type Put struct {
	Hash     int32
	Phys, At int64
}

// PutRun adds the entries of run, which come in the order of the log, those of one message next to each other. A message
// at or below the newest entry is known already. now names a new file, if one is needed.
func (x *Index) PutRun(run []Put, now func() time.Time) error {
	for len(run) > 0 {
		f, open := x.newest()
		if !open {
			var err error
			if f, err = x.roll(f, now()); err != nil {
				return err
			}
		}
		n, waiting := f.putRun(run)
		run = run[n:]
		if waiting >= mostWaiting {
			if err := x.Save(false); err != nil {
				return err
			}
		}
	}
	return nil
}

// mostWaiting bounds the memory of entries that wait: 16 MiB. Recovery comes here.
const mostWaiting = 1 << 20

// putRun adds entries until the file is full and tells how many it has taken care of, and how many wait now.
func (f *file) putRun(run []Put) (done, waiting int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := int64(-1)
	if f.h.next > 1 {
		known = f.h.endPhys
	}
	for i, p := range run {
		if p.Phys <= known {
			continue
		}
		if f.full() {
			return i, len(f.fresh)
		}
		f.put(p.Hash, p.Phys, p.At)
	}
	return len(run), len(f.fresh)
}
