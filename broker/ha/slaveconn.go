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

	"rmqctl/internal/clock"
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

	bytes    atomic.Int64
	lastRead atomic.Int64 // by mono

	once   sync.Once
	sender // sender.go
}

func newSlaveConn(m *Master, c net.Conn) *slaveConn {
	s := &slaveConn{m: m, conn: c, addr: c.RemoteAddr().String(), since: m.o.Clock.Now()}
	if ap, err := netip.ParseAddrPort(s.addr); err == nil {
		s.host = ap.Addr().Unmap()
	}
	s.log = m.o.Logger.With("remote", s.addr)
	s.wake = make(chan struct{}, 1)
	s.lastRead.Store(m.mono())
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
		if quiet := int64(clock.MonoOf(now)) - s.lastRead.Load(); quiet > int64(s.m.o.Housekeeping) {
			s.log.Warn("slave is silent, closing", "took", time.Duration(quiet))
			s.close()
			return
		}
		if int64(clock.MonoOf(now))-s.lastWrite.Load() >= int64(s.m.o.Heartbeat) {
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
		s.lastRead.Store(s.m.mono())
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
