// One slave's connection at its master: a goroutine that reads reports and one that sends the log.

package ha

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/broker/ha/decide"
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

	number   int64            // ascends with each connection
	peer     *decide.Identity // of a slave of ours; guarded by m.mu
	reported bool             // guarded by m.mu
	ack      int64            // guarded by m.mu
	told     int64            // when its last report came, by mono; guarded by m.mu

	speed    progress
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
	first := make(chan beginning, 1)
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
		s.sample(int64(clock.MonoOf(now)))
		if int64(clock.MonoOf(now))-s.lastWrite.Load() >= int64(s.m.o.Heartbeat) {
			s.beat()
		}
		s.pulse()
	}
}

// sample notes how far the slave is, for its rate.
func (s *slaveConn) sample(now int64) {
	end := s.m.o.Log.MaxPhysical()
	s.m.mu.Lock()
	reported, ack := s.reported, s.ack
	s.m.scarce.Store(!s.m.acks.Admit(end)) // nobody reports that it has fallen behind
	s.m.mu.Unlock()
	if reported {
		s.speed.sample(now, ack, end)
	}
}

// errRefused: the slave was told why.
var errRefused = errors.New("refused")

// beginning is where the log is sent from on.
type beginning struct {
	report int64
	agreed bool // with a slave of ours: at is what both have agreed on
	at     int64
}

// heard reads from the connection and notes when something came.
type heard struct{ s *slaveConn }

func (h heard) Read(b []byte) (int, error) {
	n, err := h.s.conn.Read(b)
	if n > 0 {
		h.s.lastRead.Store(h.s.m.mono())
	}
	return n, err
}

// readReports hands where the slave begins to the sender and takes each later report as an acknowledgement.
func (s *slaveConn) readReports(first chan<- beginning) error {
	in := bufio.NewReaderSize(heard{s}, 4096)
	begin, err := s.begins(in)
	if err != nil {
		return err
	}
	first <- begin
	var words reports
	var released []waiter
	buf := make([]byte, 1024)
	for {
		n, err := in.Read(buf)
		if err != nil {
			return err
		}
		off, ok := words.feed(buf[:n])
		if !ok {
			continue
		}
		// Zero is a slave that still has nothing. More than was sent is no acknowledgement of ours.
		if off < 0 || off > s.sent.Load() {
			return fmt.Errorf("report of %d, but only %d was sent: %w", off, s.sent.Load(), errFrame)
		}
		released = s.m.acked(s, off, released)
	}
}

func readWord(in io.Reader) (int64, error) {
	var b [reportSize]byte
	_, err := io.ReadFull(in, b[:])
	return int64(binary.BigEndian.Uint64(b[:])), err
}

// begins reads the first report, and before it what a slave of ours wants to agree on.
func (s *slaveConn) begins(in io.Reader) (beginning, error) {
	word, err := readWord(in)
	if err != nil || word != announce {
		return beginning{report: word}, err
	}
	v, err := s.agree(in)
	if err != nil {
		return beginning{}, err
	}
	for word == announce { // it is still at work on its log
		if word, err = readWord(in); err != nil {
			return beginning{}, err
		}
	}
	if word != v.At {
		return beginning{}, fmt.Errorf("%w: the slave begins at %d, agreed was %s at %d", errFrame, word, v.Action, v.At)
	}
	return beginning{report: word, agreed: true, at: v.At}, nil
}

// agree compares the two logs with a slave of ours and tells it what becomes of its own.
func (s *slaveConn) agree(in io.Reader) (decide.Verdict, error) {
	me := s.m.side()
	if _, err := s.conn.Write(note{Hello: helloOf(me)}.encode()); err != nil {
		return decide.Verdict{}, err
	}
	n, err := readNote(in)
	if err != nil {
		return decide.Verdict{}, err
	}
	if n.Hello == nil {
		return decide.Verdict{}, fmt.Errorf("%w: no hello", errFrame)
	}
	it, err := n.Hello.side()
	if err != nil {
		return decide.Verdict{}, err
	}
	v := decide.Decide(me, it, compare(s.m.o.Log, n.Hello.Sums))
	s.m.known(s, it.Identity)
	var ends []byte
	if v.Action == decide.Restart {
		if ends, err = s.m.o.Log.QueueEnds(v.At); err != nil {
			return decide.Verdict{}, fmt.Errorf("where the queues stand at %d: %w", v.At, err)
		}
	}
	_, err = s.conn.Write(note{Verdict: &verdict{v.Action.String(), v.At, v.Why, ends}}.encode())
	s.log.Log(s.ctx, level(v), "slave of ours", "slave", it.Identity.String(), "min", it.Min, "max", it.Max, "verdict", v.Action.String(), "offset", v.At, "why", v.Why)
	if v.Stale && s.m.o.OnNewer != nil {
		s.m.o.OnNewer(it.Epoch, it.Identity)
	}
	if v.Action == decide.Refuse && err == nil {
		err = errRefused
	}
	return v, err
}

// level: what keeps a slave from being one, or takes bytes from it, is nothing to be overlooked.
func level(v decide.Verdict) slog.Level {
	switch v.Action {
	case decide.Continue:
		return slog.LevelInfo
	case decide.Refuse:
		return slog.LevelError
	}
	return slog.LevelWarn
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
