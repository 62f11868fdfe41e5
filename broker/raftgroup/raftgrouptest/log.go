// Package raftgrouptest has a commit log in memory for tests of raft groups. It holds whoever uses it to the rules of
// raftgroup.Log, and can be killed and lose power.
package raftgrouptest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
)

// Log implements raftgroup.Log.
type Log struct {
	Segment int64
	// OnCommit, when set, is told of each Commit.
	OnCommit func(to int64)
	// Gate gets the rounds, as the store's does.
	Gate func(from int64, b []byte)
	// Fail, when set, is asked before each operation, by its name.
	Fail func(op string) error

	mu      sync.Mutex // guards all below; Gate is called under it, as rounds must come in order
	min     int64      // oldest byte
	b       []byte
	visible int64
	synced  int64
	leading bool
	fresh   bool // nothing was done since it was opened
	ends    []byte
}

// New is an empty log with segments of that length.
func New(segment int64) *Log { return &Log{Segment: segment, fresh: true} }

// Killed is the log as the next process finds it: everything written is there.
func (l *Log) Killed() *Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &Log{Segment: l.Segment, min: l.min, b: bytes.Clone(l.b), visible: l.visible, synced: l.synced, fresh: true, ends: l.ends}
}

// PowerCut is the log after one: any end at or behind the last sync.
func (l *Log) PowerCut(rng *rand.Rand) *Log {
	k := l.Killed()
	if n := k.end() - k.synced; n > 0 {
		k.b = k.b[:k.synced+rng.Int64N(n+1)-k.min]
	}
	k.visible = min(k.visible, k.end())
	return k
}

func (l *Log) fail(op string) error {
	if l.Fail != nil {
		return l.Fail(op)
	}
	return nil
}

func (l *Log) end() int64 { return l.min + int64(len(l.b)) }

func (l *Log) MinPhysical() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.min }
func (l *Log) MaxPhysical() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.visible }
func (l *Log) End() int64         { l.mu.Lock(); defer l.mu.Unlock(); return l.end() }
func (l *Log) SegmentSize() int64 { return l.Segment }
func (l *Log) Leading() bool      { l.mu.Lock(); defer l.mu.Unlock(); return l.leading }
func (l *Log) Synced() int64      { l.mu.Lock(); defer l.mu.Unlock(); return l.synced }

// Visible is what readers see, from the oldest byte on.
func (l *Log) Visible() []byte { l.mu.Lock(); defer l.mu.Unlock(); return l.b[:l.visible-l.min] }

// All is what is written, from the oldest byte on.
func (l *Log) All() []byte { return l.b }

// Append writes a round, as a producer's message would be, and hands it to the gate. A round that does not fit into the
// segment gets zeros before it, in a round of their own.
func (l *Log) Append(p []byte) (from int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.leading {
		return 0, fmt.Errorf("the log takes no appends")
	}
	if left := l.Segment - l.end()%l.Segment; int64(len(p)) > left {
		l.round(make([]byte, left))
	}
	from = l.end()
	l.round(p)
	return from, nil
}

func (l *Log) round(p []byte) {
	from := l.end()
	l.b = append(l.b, p...)
	l.Gate(from, bytes.Clone(p))
}

// Clean removes the oldest segment.
func (l *Log) Clean() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if next := (l.min/l.Segment + 1) * l.Segment; next <= l.visible {
		l.b = bytes.Clone(l.b[next-l.min:])
		l.min, l.synced = next, max(l.synced, next)
	}
}

func (l *Log) ReadWritten(off int64, buf []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fail("read"); err != nil {
		return 0, err
	}
	if off < l.min || off > l.end() {
		return 0, fmt.Errorf("%d is outside of the log, %d to %d", off, l.min, l.end())
	}
	n := min(int64(len(buf)), l.Segment-off%l.Segment)
	return copy(buf[:n], l.b[off-l.min:]), nil
}

func (l *Log) AppendRaw(off int64, b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fail("append"); err != nil {
		return err
	}
	if l.leading || off != l.end() {
		return fmt.Errorf("append at %d, the log ends at %d, leading %v", off, l.end(), l.leading)
	}
	l.fresh = false
	l.b = append(l.b, b...)
	return nil
}

func (l *Log) TruncateTo(off int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fail("truncate"); err != nil {
		return err
	}
	if l.leading || off < l.min || off > l.end() || off < l.visible && !l.fresh {
		return fmt.Errorf("truncate to %d, the log is %d to %d, visible to %d, leading %v", off, l.min, l.end(), l.visible, l.leading)
	}
	l.b = l.b[:off-l.min]
	l.synced, l.visible = min(l.synced, off), min(l.visible, off)
	return nil
}

func (l *Log) Reset(from int64, ends []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fail("reset"); err != nil {
		return err
	}
	if l.leading || from%l.Segment != 0 {
		return fmt.Errorf("reset to %d, leading %v", from, l.leading)
	}
	l.min, l.b, l.visible, l.synced, l.ends, l.fresh = from, nil, from, from, ends, false
	return nil
}

// QueueEnds is anything that Reset can be checked against.
func (l *Log) QueueEnds(at int64) ([]byte, error) { return fmt.Append(nil, "ends at ", at), nil }

// Ends is what Reset was told.
func (l *Log) Ends() string { return string(l.ends) }

func (l *Log) Commit(to int64) error {
	if err := l.fail("commit"); err != nil {
		return err
	}
	if l.OnCommit != nil {
		defer l.OnCommit(to)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if to < l.visible || to > l.end() {
		return fmt.Errorf("commit %d, visible is %d, the end %d", to, l.visible, l.end())
	}
	l.visible, l.fresh = to, false
	return nil
}

func (l *Log) Sync(to int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fail("sync"); err != nil {
		return err
	}
	if to > l.end() {
		return fmt.Errorf("sync to %d, the end is %d", to, l.end())
	}
	l.synced = l.end()
	return nil
}

func (l *Log) Lead() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.visible != l.end() {
		return fmt.Errorf("lead at %d, visible is %d", l.end(), l.visible)
	}
	l.leading, l.fresh = true, false
	return nil
}

func (l *Log) Follow() (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leading = false
	return l.end(), nil
}
