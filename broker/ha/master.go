// The master: who is connected, how far they are, who waits for them.

package ha

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/broker/ha/decide"
	"rmqctl/broker/ha/epoch"
	"rmqctl/internal/clock"
)

// MasterOptions are what a master needs. Log is required; zero values stand for the defaults above.
type MasterOptions struct {
	Log          Source
	Logger       *slog.Logger
	Clock        clock.Clock
	BatchSize    int           // haTransferBatchSize
	Heartbeat    time.Duration // haSendHeartbeatInterval
	Housekeeping time.Duration // haHousekeepingInterval
	Rules        decide.Rules  // changed later by SetRules

	Self decide.Identity
	// Epochs is this log's history: Lead was called before the first append. Without it slaves of ours are compared by bytes.
	Epochs *epoch.File
	// OnNewer is called when a slave has followed a master of a higher epoch: this one was replaced. It must not block.
	OnNewer func(epoch int64, slave decide.Identity)
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
	acks     decide.Acks
	numbers  int64 // of connections
	waiting  waiters
	ahead    map[forked]struct{}

	waits  chan struct{} // somebody waits: deadlines are looked at
	waited atomic.Bool   // appends of this master wait for slaves
	scarce atomic.Bool   // appends are to be refused; set by checkAdmit
	rate   atomic.Int64  // Rules.BytesPerSecond
}

// forked is a slave that reported more than this master has: its log is not a prefix of ours, now or later.
type forked struct {
	host netip.Addr
	max  int64
}

// maxForked bounds what the master remembers of slaves that were ahead.
const maxForked = 64

// lateCheck is how often waiting appends are looked through for passed deadlines.
const lateCheck = 100 * time.Millisecond

// muteAfter is how long a slave may owe a report and still be waited for. Clients give a send up after 3 s, as slaveTimeout
// does: they must have been answered by then, and the next ones must not wait at all.
const muteAfter = 2 * time.Second

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
	m := &Master{o: o, slaves: map[*slaveConn]struct{}{}, ahead: map[forked]struct{}{}, waits: make(chan struct{}, 1)}
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.SetRules(o.Rules)
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
	m.numbers++
	s.number = m.numbers
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

// Await calls done once, as soon as as many slaves as the rules ask for have everything before next, at once when no slave
// is near enough to wait for, or after timeout. done may run on the caller's goroutine or on a connection's: it must be quick
// and must not block. It costs no timer, no goroutine and no memory of its own, and is meant for a whole round of appends.
func (m *Master) Await(next int64, timeout time.Duration, done func(Status)) {
	now := m.mono()
	m.mu.Lock()
	switch {
	case m.ctx.Err() != nil:
		m.mu.Unlock()
		done(SlaveNotAvailable)
	case m.acks.Covered(next) >= next:
		m.mu.Unlock()
		done(Replicated)
	case m.acks.InSync(next) == 0:
		m.mu.Unlock()
		done(SlaveNotAvailable)
	default:
		first := m.waiting.len() == 0
		m.waiting.add(waiter{next, now, now + int64(timeout), done})
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

// Admit answers InSyncReplicasNotEnough when an append must not even be stored, and Replicated otherwise. It costs next to
// nothing and sees a slave that falls behind a second late.
func (m *Master) Admit() Status {
	if m.scarce.Load() {
		return InSyncReplicasNotEnough
	}
	return Replicated
}

// SetRules changes how many copies appends wait for, those that wait already too, and how fast slaves are fed.
func (m *Master) SetRules(r decide.Rules) {
	m.rate.Store(r.BytesPerSecond)
	m.mu.Lock()
	m.acks.SetRules(r)
	out := m.changed(nil)
	m.mu.Unlock()
	tell(out, Replicated)
}

// Replicated tells how far the best slave is that is connected now; false when none has reported.
// It falls when that slave leaves: what a slave had is no promise of what the others have.
func (m *Master) Replicated() (int64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	best := m.acks.Held(1)
	return best, best != decide.Nobody
}

// changed takes out whoever need not wait any more after a report or the rules have changed. The caller holds mu, and tells
// them when it has let go of it.
func (m *Master) changed(out []waiter) []waiter {
	end := m.o.Log.MaxPhysical()
	m.scarce.Store(!m.acks.Admit(end))
	return m.waiting.covered(m.acks.Covered(end), out)
}

// acked takes a slave's report and releases what it covers. out is memory to do it in; it is returned for the next time.
func (m *Master) acked(s *slaveConn, off int64, out []waiter) []waiter {
	m.mu.Lock()
	s.ack, s.told = off, m.mono()
	if s.reported {
		m.acks.Report(s.number, off)
	}
	out = m.changed(out[:0])
	m.mu.Unlock()
	tell(out, Replicated)
	clear(out)
	return out
}

// join counts a slave from its first report on. A slave of ours has one connection: an older one is half dead.
func (m *Master) join(s *slaveConn, b beginning) {
	m.mu.Lock()
	id := "host " + s.host.String() // a Java slave does not tell more
	if s.peer != nil {
		id = s.peer.String()
	}
	for other := range m.slaves {
		if other != s && s.peer != nil && other.peer != nil && *other.peer == *s.peer && other.number < s.number {
			other.close()
		}
	}
	s.ack, s.reported, s.told = b.report, true, m.mono()
	m.acks.Join(s.number, id, b.report)
	out := m.changed(nil)
	m.mu.Unlock()
	tell(out, Replicated)
}

// known notes whose connection it is.
func (m *Master) known(s *slaveConn, who decide.Identity) {
	m.mu.Lock()
	s.peer = &who
	m.mu.Unlock()
}

// remove releases nobody: who waits was promised copies at a time when there were more slaves.
func (m *Master) remove(s *slaveConn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.slaves, s)
	m.acks.Leave(s.number)
	m.scarce.Store(!m.acks.Admit(m.o.Log.MaxPhysical()))
}

// side is what slaves of ours are told of this log.
func (m *Master) side() decide.Side {
	side := decide.Side{Identity: m.o.Self, Segment: m.o.Log.SegmentSize(), Min: m.o.Log.MinPhysical(), Max: m.o.Log.MaxPhysical()}
	if m.o.Epochs != nil {
		side.Epoch, side.Epochs = m.o.Epochs.Epoch(), m.o.Epochs.List()
	}
	return side
}

func (m *Master) epoch() int64 {
	if m.o.Epochs == nil {
		return 0
	}
	return m.o.Epochs.Epoch()
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
			late = m.givenUp(m.mono(), late)
			some = m.waiting.len() > 0 && m.ctx.Err() == nil
			m.mu.Unlock()
			tell(late, FlushSlaveTimeout)
			clear(late)
		}
	}
}

// givenUp looks for slaves that owe a report for too long (their host has lost its power: no connection tells), and takes out
// everybody when none is left to wait for. The caller holds mu.
func (m *Master) givenUp(now int64, out []waiter) []waiter {
	if m.waiting.len() == 0 {
		return out
	}
	oldest := m.waiting.list[m.waiting.head]
	for s := range m.slaves {
		if s.reported && s.ack < oldest.next && now-max(s.told, oldest.since) > int64(muteAfter) {
			m.acks.Mute(s.number)
		}
	}
	if m.acks.InSync(oldest.next) > 0 {
		return out
	}
	return append(out, m.waiting.all()...)
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
