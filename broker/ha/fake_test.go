package ha

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"
)

// memLog is a log in memory: the replication door of a store and nothing else.
type memLog struct {
	segment int64

	appending sync.Mutex // one call of the watchers at a time

	mu    sync.Mutex
	min   int64
	data  []byte // from base on
	base  int64
	ends  []byte // of Reset
	watch map[*int]func(int64)
}

func newLog(segment int64) *memLog { return &memLog{segment: segment, watch: map[*int]func(int64){}} }

// logFrom is a log whose older segments were deleted.
func logFrom(segment, base int64) *memLog {
	l := newLog(segment)
	l.min, l.base = base, base
	return l
}

func (l *memLog) append(b []byte) int64 {
	l.appending.Lock()
	defer l.appending.Unlock()
	l.mu.Lock()
	l.data = append(l.data, b...)
	end := l.base + int64(len(l.data))
	var watch []func(int64)
	for _, f := range l.watch {
		watch = append(watch, f)
	}
	l.mu.Unlock()
	for _, f := range watch {
		f(end)
	}
	return end
}

func (l *memLog) MinPhysical() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.min
}

func (l *memLog) MaxPhysical() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.base + int64(len(l.data))
}

func (l *memLog) ReadLog(off int64, buf []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := l.base + int64(len(l.data))
	if off < l.min || off > end {
		return 0, errors.New("outside of the log")
	}
	if left := l.segment - off%l.segment; int64(len(buf)) > left {
		buf = buf[:left]
	}
	return copy(buf, l.data[off-l.base:]), nil
}

func (l *memLog) Watch(grown func(int64)) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := new(int)
	l.watch[id] = grown
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watch, id)
	}
}

func (l *memLog) AppendRaw(off int64, b []byte) error {
	l.mu.Lock()
	if len(l.data) == 0 && l.base == 0 {
		l.base = off
		l.min = off / l.segment * l.segment
	}
	end := l.base + int64(len(l.data))
	l.mu.Unlock()
	if off != end {
		return fmt.Errorf("append at %d, the log ends at %d", off, end)
	}
	l.append(b)
	return nil
}

func (l *memLog) SegmentSize() int64 { return l.segment }

func (l *memLog) QueueEnds(int64) ([]byte, error) { return []byte("ends"), nil }

func (l *memLog) TruncateTo(off int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if off < l.base || off > l.base+int64(len(l.data)) {
		return errors.New("outside of the log")
	}
	l.data = l.data[:off-l.base]
	return nil
}

func (l *memLog) Reset(from int64, ends []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.base, l.min, l.data, l.ends = from, from, nil, ends
	return nil
}

func (l *memLog) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.data)
}

// serve starts a master on a loopback port and returns it with its address.
func serve(t *testing.T, o MasterOptions) (*Master, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := NewMaster(o)
	served := make(chan error, 1)
	go func() { served <- m.Serve(ln) }()
	t.Cleanup(func() {
		m.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return m, ln.Addr().String()
}

func follow(t *testing.T, addr string, o SlaveOptions) *Slave {
	t.Helper()
	s := NewSlave(o)
	t.Cleanup(func() { s.Close() })
	s.SetMaster(addr)
	return s
}

// until waits for a condition that the other side brings about; it fails only when that is hopeless.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// await is Await as a channel.
func await(m *Master, next int64, timeout time.Duration) <-chan Status {
	c := make(chan Status, 1)
	m.Await(next, timeout, func(s Status) { c <- s })
	return c
}

var quiet = slog.New(slog.DiscardHandler)
