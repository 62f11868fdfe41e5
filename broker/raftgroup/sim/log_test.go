package sim

// The cheap store: a commit log in memory that knows what a kill and what a power cut leave of it. It does what a gated store
// does with bytes and offsets, refuses what a store must never be asked, and knows nothing of consensus.

import (
	"encoding/binary"
	"errors"
	"fmt"

	"rmqctl/internal/sim"
)

const queues = 3

var (
	errOff  = errors.New("the power is off")
	errFull = errors.New("no space left on device")
	errIO   = errors.New("input/output error")
)

// cheapLog is one member's commit log.
type cheapLog struct {
	sim.Tape
	committed int64
	seg       int64
	leading   bool
	next      [queues]int64 // queue offsets, while leading
	ends      [queues]int64 // where the queues ended at the log's beginning

	m *member // told of everything
}

func (l *cheapLog) MinPhysical() int64 { return l.Base }
func (l *cheapLog) MaxPhysical() int64 { return l.committed }
func (l *cheapLog) SegmentSize() int64 { return l.seg }

func (l *cheapLog) ReadWritten(off int64, buf []byte) (int, error) {
	if off < l.Base || off > l.End() {
		return 0, fmt.Errorf("read at %d of a log of %d to %d", off, l.Base, l.End())
	}
	rest := l.B[off-l.Base:]
	if room := l.seg - off%l.seg; int64(len(rest)) > room {
		rest = rest[:room]
	}
	return copy(buf, rest), nil
}

func (l *cheapLog) AppendRaw(off int64, b []byte) error {
	if err := l.m.diskOp("append"); err != nil {
		return err
	}
	switch {
	case l.leading:
		l.m.fail("AppendRaw at a leader")
	case off != l.End():
		l.m.fail("AppendRaw at %d, the log ends at %d", off, l.End())
	case off%l.seg+int64(len(b)) > l.seg:
		l.m.fail("AppendRaw of %d bytes at %d crosses a segment of %d", len(b), off, l.seg)
	}
	l.Append(b)
	return nil
}

// TruncateTo is durable when it returns; a power cut in its middle leaves the old log or the new one.
func (l *cheapLog) TruncateTo(off int64) error {
	if err := l.m.diskOp("truncate"); err != nil {
		return err
	}
	if off < l.committed || off > l.End() || off < l.Base {
		l.m.fail("TruncateTo %d of a log of %d to %d, committed %d", off, l.Base, l.End(), l.committed)
		return errIO
	}
	l.m.truncating(off)
	l.Truncate(off)
	return nil
}

// Reset empties the log: it goes on at from.
func (l *cheapLog) Reset(from int64, ends []byte) error {
	if err := l.m.diskOp("reset"); err != nil {
		return err
	}
	if from < l.committed || l.leading {
		l.m.fail("Reset to %d, committed %d, leading %v", from, l.committed, l.leading)
	}
	l.m.say("reset to %d, had %d to %d", from, l.Base, l.End())
	l.m.w.Tally.Add("resets", 1)
	l.m.cutRounds(l.Base)
	l.Tape.Reset(from)
	l.committed = from
	l.ends = [queues]int64{}
	for q := range len(ends) / 8 {
		l.ends[q] = int64(binary.BigEndian.Uint64(ends[8*q:]))
	}
	l.m.visible = from
	return nil
}

func (l *cheapLog) Commit(to int64) error {
	if to < l.committed || to > l.End() {
		l.m.fail("Commit %d of a log of %d to %d, committed %d", to, l.Base, l.End(), l.committed)
		return errIO
	}
	from := l.committed
	l.committed = to
	if to > from {
		l.m.published(from, to, l.Slice(from, to))
	}
	return nil
}

func (l *cheapLog) Sync(to int64) error {
	if err := l.m.diskOp("sync"); err != nil {
		return err
	}
	l.m.slow()
	l.Tape.Sync(to)
	return nil
}

// Lead lets appends in. What lies in the log and is not committed yet counts as well: queue offsets go on behind it.
func (l *cheapLog) Lead() error {
	l.leading = true
	l.m.w.Tally.Add("elections", 1)
	next, err := l.endsAt(l.End())
	l.next = next
	return err
}

// endsAt is where the queues end at a place of the log.
func (l *cheapLog) endsAt(at int64) ([queues]int64, error) {
	if at < l.Base || at > l.End() {
		return l.ends, fmt.Errorf("queues at %d of a log of %d to %d", at, l.Base, l.End())
	}
	next := l.ends
	return next, l.m.w.records(l.Slice(l.Base, at), func(r sim.Record) {
		if r.ID != 0 {
			next[r.Queue] = r.Offset + 1
		}
	})
}

func (l *cheapLog) QueueEnds(at int64) ([]byte, error) {
	next, err := l.endsAt(at)
	var out []byte
	for _, n := range next {
		out = binary.BigEndian.AppendUint64(out, uint64(n))
	}
	return out, err
}

// clean drops everything before to.
func (l *cheapLog) clean(to int64) {
	l.ends, _ = l.endsAt(to)
	l.Clean(to)
}

func (l *cheapLog) Follow() (int64, error) {
	l.leading = false
	return l.End(), nil
}

// opened is what a store does at its start.
func (l *cheapLog) opened(committed int64) {
	l.Recover()
	l.committed = max(l.Base, min(committed, l.End()))
	l.leading = false
}
