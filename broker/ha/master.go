// The master: who is connected, how far they are, who waits for them.

package ha

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/internal/clock"
)

// MasterOptions are what a master needs. Log is required; zero values stand for the defaults above.
type MasterOptions struct {
	Log           Source
	Logger        *slog.Logger
	Clock         clock.Clock
	BatchSize     int           // haTransferBatchSize
	Heartbeat     time.Duration // haSendHeartbeatInterval
	Housekeeping  time.Duration // haHousekeepingInterval
	FallBehindMax int64         // haSlaveFallbehindMax
}

// Master sends its log to every slave that connects.
type Master struct {
	o     MasterOptions
	ctx   context.Context
	stop  context.CancelFunc
	group sync.WaitGroup

	mu       sync.Mutex // guards all below
	listener net.Listener
	slaves   map[*slaveConn]struct{}
	best     int64 // the farthest report of those connected; nobody: there is none
	waiting  waiters
	ahead    map[forked]struct{}

	waits  chan struct{} // somebody waits: deadlines are looked at
	waited atomic.Bool   // appends of this master wait for slaves
}

const nobody = math.MinInt64

// forked is a slave that reported more than this master has: its log is not a prefix of ours, now or later.
type forked struct {
	host netip.Addr
	max  int64
}

// maxForked bounds what the master remembers of slaves that were ahead.
const maxForked = 64

// lateCheck is how often waiting appends are looked through for passed deadlines.
const lateCheck = 100 * time.Millisecond

// NewMaster returns a master that has no listener yet: Await answers SlaveNotAvailable.
func NewMaster(o MasterOptions) *Master {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.BatchSize <= 0 {
		o.BatchSize = DefaultBatchSize
	}
	o.BatchSize = min(o.BatchSize, MaxBatchSize)
	o.Heartbeat = orDefault(o.Heartbeat, DefaultHeartbeat)
	o.Housekeeping = orDefault(o.Housekeeping, DefaultHousekeeping)
	if o.FallBehindMax <= 0 {
		o.FallBehindMax = DefaultFallBehindMax
	}
	m := &Master{o: o, slaves: map[*slaveConn]struct{}{}, ahead: map[forked]struct{}{}, best: nobody, waits: make(chan struct{}, 1)}
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.group.Go(m.watchLate)
	return m
}

// mono is the time in nanoseconds, in a count that setting the clock does not move.
func (m *Master) mono() int64 { return int64(clock.Mono(m.o.Clock)) }

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Serve accepts slaves on ln until Close and returns nil then.
func (m *Master) Serve(ln net.Listener) error {
	m.mu.Lock()
	m.listener = ln
	m.mu.Unlock()
	if m.ctx.Err() != nil {
		return ln.Close()
	}
	for {
		c, err := ln.Accept()
		if m.ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			m.o.Logger.Warn("accept slave", "err", err)
			m.pause(100 * time.Millisecond) // out of descriptors, most likely
			continue
		}
		m.add(c)
	}
}

func (m *Master) pause(d time.Duration) {
	select {
	case <-m.ctx.Done():
	case <-m.o.Clock.After(d):
	}
}

func (m *Master) add(c net.Conn) {
	s := newSlaveConn(m, c)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		_ = c.Close()
		return
	}
	m.slaves[s] = struct{}{}
	m.group.Go(s.run)
}

// Close disconnects every slave, answers all that wait with FlushSlaveTimeout and waits for the goroutines.
func (m *Master) Close() error {
	m.stop()
	m.mu.Lock()
	if m.listener != nil {
		_ = m.listener.Close()
	}
	for s := range m.slaves {
		s.close()
	}
	left := m.waiting.all()
	m.mu.Unlock()
	m.group.Wait()
	tell(left, FlushSlaveTimeout)
	return nil
}

// Await calls done once, as soon as one slave has everything before next, at once when no slave is near enough to wait
// for, or after timeout. done may run on the caller's goroutine or on a connection's: it must be quick and must not block.
// It costs no timer, no goroutine and no memory of its own, and is meant for a whole round of appends.
func (m *Master) Await(next int64, timeout time.Duration, done func(Status)) {
	deadline := m.mono() + int64(timeout)
	m.mu.Lock()
	switch best := m.best; {
	case best == nobody || next-best >= m.o.FallBehindMax || m.ctx.Err() != nil:
		m.mu.Unlock()
		done(SlaveNotAvailable)
	case best >= next:
		m.mu.Unlock()
		done(Replicated)
	default:
		first := m.waiting.len() == 0
		m.waiting.add(waiter{next, deadline, done})
		m.mu.Unlock()
		if first {
			m.waited.Store(true)
			select {
			case m.waits <- struct{}{}:
			default:
			}
		}
	}
}

// Replicated tells how far the best slave is that is connected now; false when none has reported.
// It falls when that slave leaves: what a slave had is no promise of what the others have.
func (m *Master) Replicated() (int64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.best, m.best != nobody
}

// acked takes a slave's report and releases what it covers. out is memory to do it in; it is returned for the next time.
func (m *Master) acked(s *slaveConn, off int64, out []waiter) []waiter {
	m.mu.Lock()
	s.ack, s.reported = off, true
	m.best = max(m.best, off)
	out = m.waiting.covered(off, out[:0])
	m.mu.Unlock()
	tell(out, Replicated)
	clear(out)
	return out
}

func (m *Master) remove(s *slaveConn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.slaves, s)
	m.best = nobody
	for s := range m.slaves {
		if s.reported {
			m.best = max(m.best, s.ack)
		}
	}
}

// watchLate answers those that waited too long. While nobody waits it sleeps.
func (m *Master) watchLate() {
	var late []waiter
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.waits:
		}
		for some := true; some; {
			m.pause(lateCheck)
			m.mu.Lock()
			late = m.waiting.late(m.mono(), late[:0])
			some = m.waiting.len() > 0 && m.ctx.Err() == nil
			m.mu.Unlock()
			tell(late, FlushSlaveTimeout)
			clear(late)
		}
	}
}

// start decides where a slave's connection begins, or why it must not: then position is what this master can offer.
func (m *Master) start(host netip.Addr, report int64) (position int64, refuse string) {
	lo, hi := m.o.Log.MinPhysical(), m.o.Log.MaxPhysical()
	m.mu.Lock()
	defer m.mu.Unlock()
	_, known := m.ahead[forked{host, report}]
	switch {
	case report < 0:
		return lo, "it speaks another protocol"
	case report == 0:
		return lo, "" // nothing yet: it gets everything
	case report < lo:
		return lo, "this master no longer has what it needs: empty its store to copy everything"
	case report > hi:
		if len(m.ahead) < maxForked {
			m.ahead[forked{host, report}] = struct{}{}
		}
		return hi, "it is ahead of this master: their logs have parted"
	case known:
		return hi, "it was ahead of this master before: their logs have parted"
	}
	return report, ""
}

// SlaveState is one connected slave.
type SlaveState struct {
	Addr      string
	Connected time.Time
	Reported  bool  // false until its first report
	Ack       int64 // what it has
	Sent      int64 // what has been written to its connection
	LagBytes  int64 // the master's max less Ack
	InSync    bool  // near enough to be waited for
	BytesSent int64 // on this connection
}

// MasterStatus is what operators see of a master.
type MasterStatus struct {
	MaxOffset int64
	Slaves    []SlaveState
	Waiting   int // appends that wait for a slave
}

// Status looks at the slaves that are connected now.
func (m *Master) Status() MasterStatus {
	hi := m.o.Log.MaxPhysical()
	m.mu.Lock()
	defer m.mu.Unlock()
	st := MasterStatus{MaxOffset: hi, Waiting: m.waiting.len()}
	for s := range m.slaves {
		lag := max(hi-s.ack, 0)
		st.Slaves = append(st.Slaves, SlaveState{
			Addr: s.addr, Connected: s.since, Reported: s.reported, Ack: s.ack, Sent: s.sent.Load(), LagBytes: lag,
			InSync: s.reported && lag < m.o.FallBehindMax, BytesSent: s.bytes.Load(),
		})
	}
	sortByAddr(st.Slaves)
	return st
}
