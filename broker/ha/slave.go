// The slave: connects to its master, appends what comes, reports how far it is.

package ha

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/broker/store"
	"rmqctl/internal/clock"
)

// SlaveOptions are what a slave needs. Log is required.
type SlaveOptions struct {
	Log    Sink
	Logger *slog.Logger
	Clock  clock.Clock
	// Dial connects to the master's HA address; nil = TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Durable, when set, is asked before a report: done is called once the log is on disk up to next. It makes the
	// acknowledgements of a SYNC_FLUSH slave mean the disk, not the page cache.
	Durable      func(next int64, done func(error))
	Heartbeat    time.Duration // haSendHeartbeatInterval
	Housekeeping time.Duration // haHousekeepingInterval
}

// LinkState is what a slave is doing, in one word.
type LinkState int32

const (
	NoMaster   LinkState = iota // no address is known yet
	Connecting                  // not connected, trying
	Following                   // connected; the log is being copied or is level
	Diverged                    // the master's log does not continue ours: nothing is copied until an operator acts
)

func (s LinkState) String() string {
	return [...]string{"no master", "connecting", "following", "diverged"}[s]
}

// ErrDiverged: the master's log does not continue the slave's.
var ErrDiverged = errors.New("the master's log does not continue this one")

// First reconnects are quick; a master that comes back after an hour is found within a second. A refusal lasts until an
// operator acts: asking again is for the case that he did so at the master.
const (
	backoffMin  = 100 * time.Millisecond
	backoffMax  = time.Second
	refusedMax  = 5 * time.Second
	dialTimeout = 3 * time.Second
	readBuffer  = 512 << 10
)

// Slave follows one master at a time.
type Slave struct {
	o     SlaveOptions
	ctx   context.Context
	stop  context.CancelFunc
	group sync.WaitGroup

	mu      sync.Mutex // guards master, moved, conn, lastErr
	master  string
	moved   chan struct{} // closed and replaced when master changes
	conn    net.Conn
	lastErr string

	state     atomic.Int32
	bytes     atomic.Int64
	lastRead  atomic.Int64 // unix nanoseconds
	lastWrite atomic.Int64
	reported  atomic.Int64
}

// NewSlave starts following as soon as SetMaster names an address.
func NewSlave(o SlaveOptions) *Slave {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", addr)
		}
	}
	o.Heartbeat = orDefault(o.Heartbeat, DefaultHeartbeat)
	o.Housekeeping = orDefault(o.Housekeeping, DefaultHousekeeping)
	s := &Slave{o: o, moved: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.group.Go(s.follow)
	return s
}

// SetMaster names the master's HA address (host:port), from the configuration or the name server; "" = none.
// The connection to another address is given up.
func (s *Slave) SetMaster(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.master == addr {
		return
	}
	s.o.Logger.Info("master of this slave", "remote", addr, "was", s.master)
	s.master = addr
	close(s.moved)
	s.moved = make(chan struct{})
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// Close disconnects and waits for the goroutines.
func (s *Slave) Close() error {
	s.stop()
	s.mu.Lock()
	if s.conn != nil {
		_ = s.conn.Close()
	}
	s.mu.Unlock()
	s.group.Wait()
	return nil
}

// follow connects again and again, quickly at first.
func (s *Slave) follow() {
	wait := backoffMin
	for s.ctx.Err() == nil {
		s.mu.Lock()
		addr, moved := s.master, s.moved
		s.mu.Unlock()
		if addr == "" {
			s.state.Store(int32(NoMaster))
			s.pause(moved, nil)
			continue
		}
		got := s.bytes.Load()
		err := s.session(addr)
		if s.ctx.Err() != nil {
			return
		}
		s.note(addr, err)
		if s.bytes.Load() != got && !errors.Is(err, ErrDiverged) {
			wait = backoffMin // it was a working connection
		}
		s.pause(moved, s.o.Clock.After(wait))
		if wait = min(wait*2, refusedMax); !errors.Is(err, ErrDiverged) {
			wait = min(wait, backoffMax)
		}
	}
}

func (s *Slave) pause(moved <-chan struct{}, after <-chan time.Time) {
	select {
	case <-s.ctx.Done():
	case <-moved:
	case <-after:
	}
}

// note keeps why the last connection ended and says it once, not at each attempt.
func (s *Slave) note(addr string, err error) {
	state := Connecting
	if errors.Is(err, ErrDiverged) {
		state = Diverged
	}
	s.state.Store(int32(state))
	s.mu.Lock()
	repeated := s.lastErr == err.Error()
	s.lastErr = err.Error()
	s.mu.Unlock()
	switch {
	case repeated:
	case state == Diverged:
		s.o.Logger.Error("replication refused", "remote", addr, "offset", s.o.Log.MaxPhysical(), "err", err)
	default:
		s.o.Logger.Warn("not connected to the master", "remote", addr, "err", err)
	}
}

// session is one connection from dial to its end; the error says why it ended.
func (s *Slave) session(addr string) error {
	if LinkState(s.state.Load()) != Diverged {
		s.state.Store(int32(Connecting))
	}
	conn, err := s.o.Dial(s.ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	s.mu.Lock()
	if s.master != addr || s.ctx.Err() != nil {
		s.mu.Unlock()
		return context.Canceled
	}
	s.conn = conn
	s.mu.Unlock()
	l := &link{s: s, conn: conn, done: make(chan struct{})}
	s.lastRead.Store(s.o.Clock.Now().UnixNano())
	var beats sync.WaitGroup
	beats.Go(l.keepAlive)
	defer beats.Wait()
	defer close(l.done)
	if err := l.report(s.o.Log.MaxPhysical()); err != nil { // at once: a Java slave lets its master wait five seconds
		return err
	}
	return l.receive()
}

// link is the slave's end of one connection.
type link struct {
	s       *Slave
	conn    net.Conn
	done    chan struct{}
	writing sync.Mutex // one report at a time; guards top
	top     int64      // the highest report on this connection
}

// report tells the master an offset, never one below an earlier one: flushes may be told out of order.
func (l *link) report(off int64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.top = max(l.top, off)
	off = l.top
	var b [reportSize]byte
	binary.BigEndian.PutUint64(b[:], uint64(off))
	if _, err := l.conn.Write(b[:]); err != nil {
		return err
	}
	l.s.reported.Store(off)
	l.s.lastWrite.Store(l.s.o.Clock.Now().UnixNano())
	return nil
}

// receive appends frame after frame. It reports when no further whole frame is at hand: once for each burst.
func (l *link) receive() error {
	in := bufio.NewReaderSize(counted{l}, readBuffer)
	var body []byte
	fresh := true // nothing came on this connection yet
	for {
		var h [headerSize]byte
		if _, err := io.ReadFull(in, h[:]); err != nil {
			return err
		}
		off, size, err := parseHeader(h[:])
		if err != nil {
			return err
		}
		if err := l.fits(off); err != nil {
			return err
		}
		if fresh {
			fresh = false
			l.s.following(off)
		}
		if size > 0 {
			if cap(body) < size {
				body = make([]byte, size)
			}
			body = body[:size]
			if _, err := io.ReadFull(in, body); err != nil {
				return err
			}
			if err := l.append(off, body); err != nil {
				return err
			}
		}
		if size > 0 && !wholeFrameBuffered(in) {
			if err := l.acknowledge(); err != nil {
				return err
			}
		}
	}
}

// append writes a frame. Bytes that are no records where records must be mean that two logs have parted unnoticed.
func (l *link) append(off int64, body []byte) error {
	err := l.s.o.Log.AppendRaw(off, body)
	if errors.Is(err, store.ErrBadStream) {
		return fmt.Errorf("%w: %w", ErrDiverged, err)
	}
	if err != nil {
		return fmt.Errorf("append %d bytes at %d: %w", len(body), off, err)
	}
	return nil
}

// wholeFrameBuffered: the next frame can be taken without waiting for the network.
func wholeFrameBuffered(in *bufio.Reader) bool {
	if in.Buffered() < headerSize {
		return false
	}
	h, err := in.Peek(headerSize)
	if err != nil {
		return false
	}
	_, size, err := parseHeader(h)
	return err == nil && in.Buffered() >= headerSize+size
}

// fits holds a frame's offset against the end of our log. An empty log takes any beginning.
func (l *link) fits(off int64) error {
	end := l.s.o.Log.MaxPhysical()
	switch {
	case end == 0 || off == end:
		return nil
	case off < end:
		return fmt.Errorf("%w: it offers offset %d, this slave already has %d, %d bytes more", ErrDiverged, off, end, end-off)
	}
	return fmt.Errorf("%w: it begins at %d, this slave ends at %d; empty this store to copy everything", ErrDiverged, off, end)
}

func (s *Slave) following(off int64) {
	s.state.Store(int32(Following))
	s.mu.Lock()
	s.lastErr = ""
	s.mu.Unlock()
	s.o.Logger.Info("following the master", "remote", s.Status().Master, "offset", off)
}

// acknowledge reports the end of the log, after the disk has it if that is asked for.
func (l *link) acknowledge() error {
	end := l.s.o.Log.MaxPhysical()
	if l.s.o.Durable == nil {
		return l.report(end)
	}
	l.s.o.Durable(end, func(err error) {
		if err == nil {
			err = l.report(end)
		}
		if err != nil {
			_ = l.conn.Close() // the reader sees it and connects anew
		}
	})
	return nil
}

// keepAlive reports when nothing was to be reported for a while, and closes a connection that fell silent.
func (l *link) keepAlive() {
	s := l.s
	tick := s.o.Clock.NewTicker(min(s.o.Heartbeat, s.o.Housekeeping) / 5)
	defer tick.Stop()
	for {
		var now time.Time
		select {
		case <-l.done:
			return
		case now = <-tick.C:
		}
		if quiet := now.UnixNano() - s.lastRead.Load(); quiet > int64(s.o.Housekeeping) {
			s.o.Logger.Warn("master is silent, closing", "took", time.Duration(quiet))
			_ = l.conn.Close()
			return
		}
		if now.UnixNano()-s.lastWrite.Load() >= int64(s.o.Heartbeat) {
			_ = l.report(s.reported.Load()) // a broken connection shows in the reader
		}
	}
}

// counted is the connection with what came over it counted.
type counted struct{ l *link }

func (c counted) Read(b []byte) (int, error) {
	n, err := c.l.conn.Read(b)
	if n > 0 {
		c.l.s.bytes.Add(int64(n))
		c.l.s.lastRead.Store(c.l.s.o.Clock.Now().UnixNano())
	}
	return n, err
}

// SlaveStatus is what operators see of a slave.
type SlaveStatus struct {
	Master     string // HA address, "" while unknown
	State      LinkState
	MaxOffset  int64
	Reported   int64 // what the master has been told
	BytesRead  int64 // since the start of the process
	LastRead   time.Time
	LastReport time.Time
	Err        string // why it is not following
}

// Status looks at the slave now.
func (s *Slave) Status() SlaveStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SlaveStatus{
		Master: s.master, State: LinkState(s.state.Load()), MaxOffset: s.o.Log.MaxPhysical(), Reported: s.reported.Load(),
		BytesRead: s.bytes.Load(), LastRead: time.Unix(0, s.lastRead.Load()), LastReport: time.Unix(0, s.lastWrite.Load()), Err: s.lastErr,
	}
}
