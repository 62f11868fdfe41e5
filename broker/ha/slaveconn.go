// One slave's connection at its master: a goroutine that reads reports and one that sends the log.

package ha

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

type slaveConn struct {
	m     *Master
	conn  net.Conn
	addr  string
	host  netip.Addr
	since time.Time
	log   *slog.Logger
	ctx   context.Context // ends with the connection
	end   context.CancelFunc

	reported bool  // guarded by m.mu
	ack      int64 // guarded by m.mu

	sent     atomic.Int64 // the next byte to send; a slave cannot have more than that from us
	bytes    atomic.Int64
	lastRead atomic.Int64 // unix nanoseconds of the clock

	writing   sync.Mutex // one frame at a time
	lastWrite atomic.Int64
	started   atomic.Bool // the log is being sent: heartbeats may go out
	once      sync.Once
}

func newSlaveConn(m *Master, c net.Conn) *slaveConn {
	s := &slaveConn{m: m, conn: c, addr: c.RemoteAddr().String(), since: m.o.Clock.Now()}
	if ap, err := netip.ParseAddrPort(s.addr); err == nil {
		s.host = ap.Addr().Unmap()
	}
	s.log = m.o.Logger.With("remote", s.addr)
	s.lastRead.Store(s.since.UnixNano())
	s.ctx, s.end = context.WithCancel(m.ctx)
	return s
}

func (s *slaveConn) close() {
	s.once.Do(func() {
		s.end()
		_ = s.conn.Close()
	})
}

// run lives as long as the connection.
func (s *slaveConn) run() {
	s.log.Info("slave connected")
	first := make(chan int64, 1)
	var parts sync.WaitGroup
	parts.Go(func() { s.ended("read", s.readReports(first)) })
	parts.Go(func() { s.ended("send", s.send(first)) })
	parts.Go(s.housekeep)
	parts.Wait()
	s.m.remove(s)
}

// ended closes the connection; the first part to end says why.
func (s *slaveConn) ended(part string, err error) {
	if s.ctx.Err() == nil {
		s.log.Info("slave disconnected", "in", part, "err", err)
	}
	s.close()
}

// housekeep sends heartbeats and closes a connection over which nothing came for too long.
func (s *slaveConn) housekeep() {
	tick := s.m.o.Clock.NewTicker(min(s.m.o.Housekeeping, s.m.o.Heartbeat) / 5)
	defer tick.Stop()
	for {
		var now time.Time
		select {
		case <-s.ctx.Done():
			return
		case now = <-tick.C:
		}
		if quiet := now.UnixNano() - s.lastRead.Load(); quiet > int64(s.m.o.Housekeeping) {
			s.log.Warn("slave is silent, closing", "took", time.Duration(quiet))
			s.close()
			return
		}
		if s.started.Load() && now.UnixNano()-s.lastWrite.Load() >= int64(s.m.o.Heartbeat) {
			s.beat()
		}
	}
}

// readReports hands the first report to the sender and takes each later one as an acknowledgement.
func (s *slaveConn) readReports(first chan<- int64) error {
	var in reports
	var released []waiter
	buf := make([]byte, 1024)
	begun := false
	for {
		n, err := s.conn.Read(buf)
		if err != nil {
			return err
		}
		s.lastRead.Store(s.m.o.Clock.Now().UnixNano())
		off, ok := in.feed(buf[:n])
		if !ok {
			continue
		}
		if !begun {
			begun = true
			first <- off
			continue
		}
		// Zero is a slave that still has nothing. More than was sent is no acknowledgement of ours.
		if off < 0 || off > s.sent.Load() {
			return fmt.Errorf("report of %d, but only %d was sent: %w", off, s.sent.Load(), errFrame)
		}
		released = s.m.acked(s, off, released)
	}
}

// send waits for the first report and then sends the log from there on, each time all that there is.
func (s *slaveConn) send(first <-chan int64) error {
	var report int64
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case report = <-first:
	}
	at, refuse := s.m.start(s.host, report)
	if refuse != "" {
		return s.refuse(report, at, refuse)
	}
	s.log.Info("sending the log to a slave", "offset", at, "slave", report)
	s.sent.Store(at)
	s.m.acked(s, report, nil)
	s.lastWrite.Store(s.m.o.Clock.Now().UnixNano())
	s.started.Store(true)
	s.beat() // the slave learns at once that it is being followed up, even if it is level
	frames := max(1, gatherBytes/s.m.o.BatchSize)
	buf := make([]byte, frames*(headerSize+s.m.o.BatchSize))
	for {
		n, next, err := s.gather(buf, at)
		if err != nil {
			return err
		}
		if n == 0 {
			if err := s.m.o.Log.WaitPhysical(s.ctx, at); err != nil {
				return err
			}
			continue
		}
		if err := s.write(buf[:n], next); err != nil {
			return err
		}
		at = next
	}
}

// gather fills buf with as many frames as there are bytes of the log; n is 0 at the log's end.
func (s *slaveConn) gather(buf []byte, at int64) (n int, next int64, err error) {
	for step := headerSize + s.m.o.BatchSize; n+step <= len(buf); {
		got, err := s.m.o.Log.ReadLog(at, buf[n+headerSize:n+step])
		if err != nil {
			return 0, at, fmt.Errorf("read the log at %d: %w", at, err)
		}
		if got == 0 {
			break
		}
		putHeader(buf[n:], at, got)
		n += headerSize + got
		at += int64(got)
	}
	return n, at, nil
}

// write sends frames after which the slave will have everything before next.
func (s *slaveConn) write(frames []byte, next int64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	// Before the write: the slave may have acknowledged it before Write returns.
	s.sent.Store(next)
	n, err := s.conn.Write(frames)
	s.bytes.Add(int64(n))
	s.lastWrite.Store(s.m.o.Clock.Now().UnixNano())
	return err
}

// beat sends a heartbeat unless frames are being written.
func (s *slaveConn) beat() {
	if !s.writing.TryLock() {
		return
	}
	defer s.writing.Unlock()
	var h [headerSize]byte
	putHeader(h[:], s.sent.Load(), 0)
	_, _ = s.conn.Write(h[:]) // a broken connection shows in the other parts
	s.lastWrite.Store(s.m.o.Clock.Now().UnixNano())
}

// refuse shows the slave what this master could offer, so that its log too says what does not fit, and ends.
func (s *slaveConn) refuse(report, offer int64, why string) error {
	s.log.Error("slave refused: "+why, "slave", report, "min", s.m.o.Log.MinPhysical(), "max", s.m.o.Log.MaxPhysical())
	var h [headerSize]byte
	putHeader(h[:], offer, 0)
	_, _ = s.conn.Write(h[:])
	s.close()
	return nil
}

func sortByAddr(s []SlaveState) {
	slices.SortFunc(s, func(a, b SlaveState) int { return cmp.Compare(a.Addr, b.Addr) })
}
