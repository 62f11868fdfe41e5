package commitlog

// A log whose readers see less than is written: that of a member of a raft group.
//
//	[ Min ... Written )[ ... Top )        Flushed <= Written, and what SyncTo has put on the disk ends anywhere up to Top

import "sync/atomic"

// Top is the end of what is written, whether readers see it or not.
func (l *Log) Top() int64 { return max(l.top.Load(), l.Written()) }

// SetTop says where what is written ends.
func (l *Log) SetTop(end int64) { l.top.Store(end) }

// SyncTo puts everything below to, which must be written, on the disk. It returns up to where that is true of what readers see.
func (l *Log) SyncTo(to int64) (int64, error) {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	from := max(l.synced.Load(), l.Flushed())
	if from < to {
		if err := l.sync(from, to); err != nil {
			return l.Flushed(), err
		}
		l.synced.Store(to)
	}
	raise(&l.flushed, min(l.synced.Load(), l.Written()))
	return l.Flushed(), nil
}

func raise(v *atomic.Int64, to int64) {
	if to > v.Load() {
		v.Store(to)
	}
}

// Reset empties the log, which begins and ends at from then, the base of a segment.
func (l *Log) Reset(from int64) error {
	l.wg.Wait()
	l.fill.restart(from)
	l.ahead.Store(0)
	l.Tail.CutFrom(0)
	l.mu.Lock()
	old := l.segs
	l.segs = nil
	l.mu.Unlock()
	l.SetEnd(from, from)
	for i := len(old) - 1; i >= 0; i-- {
		if err := old[i].Remove(true); err != nil {
			return err
		}
	}
	if err := l.cache.FS.SyncDir(l.dir); err != nil {
		return err
	}
	_, err := l.create(from)
	return err
}
