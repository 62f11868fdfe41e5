// The slave: follows one master at a time, connects again when a connection ends, tells what it is doing.

package ha

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/broker/ha/decide"
	"rmqctl/broker/ha/epoch"
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

	Self decide.Identity
	// Epochs is this log's history. Without it the slave does not announce itself and is, for every master, one of 4.x.
	Epochs *epoch.File
	// Keep copies a stretch of the log to lost+found before it is cut off (KeepTail); without it nothing is cut off.
	Keep func(from, to int64) (file string, err error)
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
	lastRead  atomic.Int64 // by mono
	lastWrite atomic.Int64
	reported  atomic.Int64
	late      int          // how often in a row a master of ours answered too late; of the goroutine that connects
	masterMax atomic.Int64 // what a master of ours has told; 0: unknown
	speed     progress
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
	s.lastRead.Store(s.mono())
	s.masterMax.Store(0)
	s.speed.restart()
	var beats sync.WaitGroup
	beats.Go(l.keepAlive)
	defer beats.Wait()
	defer close(l.done)
	read, err := l.open()
	if err != nil {
		return err
	}
	return l.receive(read)
}

func (s *Slave) following(off int64) {
	s.state.Store(int32(Following))
	s.mu.Lock()
	s.lastErr = ""
	s.mu.Unlock()
	s.o.Logger.Info("following the master", "remote", s.Status().Master, "offset", off)
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

	MasterMax      int64 // the end of the master's log; 0: a Java master does not tell
	BytesPerSecond int64
	// Left is the time until this slave is level at that rate; negative while that cannot be told.
	Left time.Duration
}

func (s *Slave) mono() int64 { return int64(clock.Mono(s.o.Clock)) }

// when is what the clock shows for a moment kept by mono; 1970 if it never came.
func (s *Slave) when(at *atomic.Int64) time.Time {
	if at.Load() == 0 {
		return time.Unix(0, 0)
	}
	return s.o.Clock.Now().Add(-time.Duration(s.mono() - at.Load()))
}

// Status looks at the slave now.
func (s *Slave) Status() SlaveStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := SlaveStatus{
		Master: s.master, State: LinkState(s.state.Load()), MaxOffset: s.o.Log.MaxPhysical(), Reported: s.reported.Load(),
		BytesRead: s.bytes.Load(), LastRead: s.when(&s.lastRead), LastReport: s.when(&s.lastWrite), Err: s.lastErr,
		MasterMax: s.masterMax.Load(), Left: -1,
	}
	if st.MasterMax > 0 {
		st.BytesPerSecond, st.Left = s.speed.rate(s.mono(), st.MaxOffset, max(st.MasterMax, st.MaxOffset))
	}
	return st
}
