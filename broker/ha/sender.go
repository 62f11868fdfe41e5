// The sender of one slave's connection: the log from the slave's end on, in frames, each time all that there is.

package ha

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// sender is the sending half of a slaveConn. Two write: its goroutine, and for small rounds that an append waits for,
// whoever has just written the round to the log, unless that would block.
type sender struct {
	sent      atomic.Int64 // the next byte to send; a slave cannot have more than that from us
	lastWrite atomic.Int64 // by mono
	wake      chan struct{}

	writing sync.Mutex // one write at a time; guards all below
	started bool       // the log is being sent: heartbeats may go out
	at      int64      // sent, when nobody writes
	buf     []byte
	rest    []byte // of buf: what a writer could not send without blocking
	now     *nowWriter
	limit   bucket
}

// send waits for the first report and then sends the log from there on.
func (s *slaveConn) send(first <-chan beginning) error {
	var b beginning
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case b = <-first:
	}
	if !b.agreed {
		var refuse string
		if b.at, refuse = s.m.start(s.host, b.report); refuse != "" {
			return s.refuse(b.report, b.at, refuse)
		}
	}
	s.log.Info("sending the log to a slave", "offset", b.at, "slave", b.report)
	s.begin(b.at)
	s.m.join(s, b)
	s.beat() // the slave learns at once that it is being followed up, even if it is level
	defer s.m.o.Log.Watch(s.grown)()
	for {
		some, wait, err := s.some()
		if err != nil {
			return err
		}
		if wait > 0 {
			s.pause(wait)
			continue
		}
		if some {
			continue
		}
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

func (s *slaveConn) begin(at int64) {
	s.writing.Lock()
	defer s.writing.Unlock()
	frames := max(1, gatherBytes/s.m.o.BatchSize)
	s.buf = make([]byte, frames*(headerSize+s.m.o.BatchSize))
	s.at, s.started, s.now = at, true, newNowWriter(s.conn)
	s.sent.Store(at)
	s.lastWrite.Store(s.m.mono())
}

// pause looks again soon: the limit may have been raised meanwhile.
func (s *slaveConn) pause(d time.Duration) {
	select {
	case <-s.ctx.Done():
	case <-s.m.o.Clock.After(min(d, 100*time.Millisecond)):
	}
}

// some sends what is there, at most a buffer full; false when there was nothing, or nothing may be sent for a while.
func (s *slaveConn) some() (some bool, wait time.Duration, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	out := s.rest
	if len(out) == 0 {
		if wait := s.limit.wait(s.m.mono(), s.m.rate.Load()); wait > 0 {
			return false, wait, nil
		}
		n, err := s.gather(s.buf)
		if n == 0 || err != nil {
			return false, 0, err
		}
		out = s.buf[:n]
	}
	s.rest = nil
	n, err := s.conn.Write(out)
	s.wrote(n)
	return true, 0, err
}

// grown is told of each round of appends, by its writer.
func (s *slaveConn) grown(end int64) {
	if s.m.waited.Load() && s.writing.TryLock() {
		level := s.sendNow(end)
		s.writing.Unlock()
		if level {
			return
		}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// sendNow sends a small round without blocking. It tells whether nothing is left to be sent.
func (s *slaveConn) sendNow(end int64) bool {
	if s.now == nil || len(s.rest) > 0 || end-s.at > inlineBytes || s.limit.wait(s.m.mono(), s.m.rate.Load()) > 0 {
		return false
	}
	n, err := s.gather(s.buf)
	if err != nil {
		return false // the sender meets it again
	}
	k := s.now.write(s.buf[:n])
	s.wrote(k)
	s.rest = s.buf[k:n]
	return k == n && s.at >= end
}

func (s *slaveConn) wrote(n int) {
	s.bytes.Add(int64(n))
	s.limit.spend(n)
	s.lastWrite.Store(s.m.mono())
}

// gather fills buf with as many frames as there are bytes of the log and moves on by them; n is 0 at the log's end.
// sent moves before the write: the slave may have acknowledged it before Write returns.
func (s *slaveConn) gather(buf []byte) (n int, err error) {
	at := s.at
	for step := headerSize + s.m.o.BatchSize; n+step <= len(buf); {
		got, err := s.m.o.Log.ReadLog(at, buf[n+headerSize:n+step])
		if err != nil {
			return 0, fmt.Errorf("read the log at %d: %w", at, err)
		}
		if got == 0 {
			break
		}
		putHeader(buf[n:], at, got)
		n += headerSize + got
		at += int64(got)
	}
	s.at = at
	s.sent.Store(at)
	return n, nil
}

// beat sends a heartbeat unless frames are being written.
func (s *slaveConn) beat() {
	if !s.writing.TryLock() {
		return
	}
	defer s.writing.Unlock()
	if !s.started || len(s.rest) > 0 {
		return
	}
	var h [headerSize]byte
	putHeader(h[:], s.at, 0)
	_, _ = s.conn.Write(h[:]) // a broken connection shows in the other parts
	s.lastWrite.Store(s.m.mono())
}

// pulse tells a slave of ours how far its master is. A socket that is full has frames to tell it.
func (s *slaveConn) pulse() {
	s.m.mu.Lock()
	ours := s.peer != nil
	s.m.mu.Unlock()
	if !ours || !s.writing.TryLock() {
		return
	}
	defer s.writing.Unlock()
	if !s.started || len(s.rest) > 0 {
		return
	}
	s.rest = note{Pulse: &pulse{Max: s.m.o.Log.MaxPhysical(), Epoch: s.m.epoch()}}.encode()
	if s.now != nil {
		k := s.now.write(s.rest)
		s.lastWrite.Store(s.m.mono())
		s.rest = s.rest[k:]
	}
	if len(s.rest) > 0 { // the sender goes on with it
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// nowWriter writes to a connection what can be written without blocking. Used under one lock.
type nowWriter struct {
	raw    syscall.RawConn
	b      []byte
	n      int
	write1 func(fd uintptr) bool
}

// newNowWriter is nil for connections that are no sockets.
func newNowWriter(c any) *nowWriter {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	w := &nowWriter{raw: raw}
	w.write1 = func(fd uintptr) bool {
		if n, err := syscall.Write(int(fd), w.b); err == nil {
			w.n = n
		}
		return true
	}
	return w
}

// write tells how much it has written; after an error nothing: a later, blocking write will show it.
func (w *nowWriter) write(b []byte) int {
	w.b, w.n = b, 0
	if len(b) > 0 && w.raw.Write(w.write1) != nil {
		w.n = 0
	}
	w.b = nil
	return w.n
}
