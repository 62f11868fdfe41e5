// Node: one goroutine drives a Core, and wakes only when there is something to do; connections carry its messages.

package raftgroup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"rmqctl/internal/clock"
)

// Options say how a member lives among its peers. Listener is required, and what CoreOptions require. Bootstrap, Both and
// Rand are the Node's business: see form.go for when a group begins.
type Options struct {
	CoreOptions
	Join     bool // a member without state never begins a group: it waits to be added
	Listener net.Listener
	Dial     func(ctx context.Context, addr string) (net.Conn, error) // nil = TCP
	Clock    clock.Clock
	Tick     time.Duration // 100 ms
	// OnRole is told of each role in order, one call at a time. It may take its time; later roles wait.
	OnRole func(Role)
	// Healthy, when set, is asked by a leader at each tick: an error for GiveUp (2 s) hands the leadership over. It must not wait.
	Healthy func() error
	GiveUp  time.Duration
}

const (
	reopenWait = time.Second
	indexFlush = 500 * time.Millisecond
	statusWait = 300 * time.Millisecond
)

// Node is a running member.
type Node struct {
	o     Options
	log   *slog.Logger
	life  uint64
	group sync.WaitGroup
	ctx   context.Context
	stop  context.CancelFunc
	wake  chan struct{}
	in    *acceptor

	mu      sync.Mutex // guards all below
	rounds  []round
	calls   []func(*Core)
	events  []peerEvent
	roles   []Role
	roleNow chan struct{}
	changed chan struct{} // closed and made anew when roles or members change
	status  Status        // as of the last tick
	links   map[uint64]*link
	known   map[uint64]bool
	guests  map[uint64]string // while it waits: members that have come, and where they can be reached
	waits   bool              // this member is in no group yet: whoever is may tell it
	closing bool
	hung    bool // the driver waits for the disk, and the role was taken back

	stage   atomic.Int32
	leads   atomic.Bool  // what was told last
	busy    atomic.Int64 // by mono: since when the driver works; 0 = it waits
	started bool

	// The driver's own.
	core    *Core
	members int
	told    Role
	form    former
	fast    fastElection
	sick    time.Duration // by mono: since when Healthy has complained
	gaveUp  time.Duration
	reopen  <-chan time.Time
	msgs    []pb.Message
}

// New opens the state beside the log. Nothing runs before Start.
func New(o Options) (*Node, error) {
	if o.Listener == nil {
		return nil, errors.New("raft: Listener is required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Tick == 0 {
		o.Tick = 100 * time.Millisecond
	}
	if o.GiveUp == 0 {
		o.GiveUp = 2 * time.Second
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", addr)
		}
	}
	n := &Node{o: o, log: o.Logger.With("group", o.Group, "self", PeerName(o.Self)), life: rand.Uint64(), wake: make(chan struct{}, 1),
		roleNow: make(chan struct{}, 1), changed: make(chan struct{}), links: map[uint64]*link{}, known: map[uint64]bool{}}
	n.o.CoreOptions.Logger = n.log
	n.o.CoreOptions.Log = &nodeLog{o.CoreOptions.Log, n}
	n.o.CoreOptions.Both = both
	n.o.CoreOptions.Bootstrap = false
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.in = &acceptor{self: o.Self, group: o.Group, ln: o.Listener, hello: n.hello, known: n.isKnown, visit: n.visit, wake: n.poke, clock: o.Clock, log: n.log}
	core, err := Open(n.o.CoreOptions)
	if err != nil {
		return nil, err
	}
	n.core = core
	n.after()
	return n, nil
}

// Start begins to take part in the group.
func (n *Node) Start() error {
	n.started = true
	n.in.start()
	n.group.Go(n.drive)
	n.group.Go(n.tellRoles)
	n.group.Go(n.watch)
	n.group.Go(n.flushIndex)
	return nil
}

// Written hands over a round that the store has written: it is the store's Gate. It never blocks.
func (n *Node) Written(from int64, b []byte) {
	n.mu.Lock()
	n.rounds = append(n.rounds, round{from, b})
	n.mu.Unlock()
	n.poke()
}

func (n *Node) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *Node) isKnown(id uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.waits || n.known[id]
}

func (n *Node) hello() hello {
	return hello{from: n.o.Self, group: n.o.Group, addr: n.o.own(), life: n.life, stage: stage(n.stage.Load())}
}

// drive is the driver.
func (n *Node) drive() {
	tick := n.o.Clock.NewTicker(n.o.Tick)
	defer tick.Stop()
	for {
		ticked := false
		select {
		case <-n.ctx.Done():
			return
		case <-n.wake:
		case <-tick.C:
			ticked = true
		case <-n.fast.timer:
			n.fast.campaign(n)
		case <-n.reopen:
			n.openAgain()
		}
		n.busy.Store(int64(clock.Mono(n.o.Clock)))
		n.turn(ticked)
		n.busy.Store(0)
	}
}

// turn does everything that has come up.
func (n *Node) turn(ticked bool) {
	n.msgs = n.in.in.take(n.msgs)
	n.mu.Lock()
	rounds, calls, events := n.rounds, n.calls, n.events
	n.rounds, n.calls, n.events = nil, nil, nil
	n.mu.Unlock()
	if n.core != nil {
		n.check(n.step(ticked, rounds, events))
	}
	for _, f := range calls {
		f(n.core) // nil: it has failed
	}
	if n.core != nil {
		n.check(n.core.Work(n.send))
	}
	clear(n.msgs)
	n.after()
	if ticked && n.core != nil {
		s := n.look()
		n.mu.Lock()
		n.status = s
		n.mu.Unlock()
	}
}

func (n *Node) step(ticked bool, rounds []round, events []peerEvent) error {
	for _, e := range events {
		n.event(e)
	}
	for i := range n.msgs {
		if err := n.core.Step(n.msgs[i]); err != nil {
			return err
		}
	}
	for _, r := range rounds {
		if err := n.core.Propose(r.from, r.b); err != nil && !errors.Is(err, ErrNotLeader) {
			return err
		}
	}
	if !ticked {
		return nil
	}
	n.health()
	if err := n.mayForm(); err != nil {
		return err
	}
	return n.core.Tick()
}

func (n *Node) event(e peerEvent) {
	if e.lost {
		n.core.Unreachable(e.id)
	}
	if e.heard {
		n.form.heard(e.id, e.stage)
	}
	if e.dead || e.reset {
		n.fast.gone(n, e.id)
	}
}

// check looks at an error of the Core. It is opened again after a while, as after a start of the process, unless it has
// halted: its disk may work again.
func (n *Node) check(err error) {
	if err == nil || n.core == nil {
		return
	}
	st := n.core.Status()
	st.Err, st.State, st.Role.Leader = err.Error(), "halted", false
	n.mu.Lock()
	n.status = st
	n.rounds = nil
	n.mu.Unlock()
	_ = n.core.Close() // there is nothing left to be saved
	n.core = nil
	n.fast.timer = nil
	if errors.Is(err, ErrHalted) {
		return
	}
	n.log.Error("this member cannot go on now, and tries again", "err", err)
	n.reopen = n.o.Clock.After(reopenWait)
}

func (n *Node) openAgain() {
	n.reopen = nil
	core, err := Open(n.o.CoreOptions)
	if err != nil {
		n.log.Error("this member cannot go on yet", "err", err)
		n.reopen = n.o.Clock.After(reopenWait)
		return
	}
	n.log.Info("this member goes on")
	n.core = core
}

// flushIndex keeps the index on the disk about as new as the log is under ASYNC_FLUSH.
func (n *Node) flushIndex() {
	tick := n.o.Clock.NewTicker(indexFlush)
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
		var ix *index
		if n.call(n.ctx, func(c *Core) {
			if c != nil {
				ix = c.ix
			}
		}) == nil && ix != nil {
			if err := ix.sync(); err != nil && n.ctx.Err() == nil {
				n.log.Warn("sync the index", "err", err)
			}
		}
	}
}

// call has the driver run f, and waits for it. f gets nil when there is no Core at the moment.
func (n *Node) call(ctx context.Context, f func(*Core)) error {
	done := make(chan struct{})
	n.mu.Lock()
	n.calls = append(n.calls, func(c *Core) { f(c); close(done) })
	n.mu.Unlock()
	n.poke()
	select {
	case <-done:
		return nil
	case <-n.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Status is the member now, or as it was when its driver last answered.
func (n *Node) Status() Status {
	ctx, cancel := context.WithTimeout(context.Background(), statusWait)
	defer cancel()
	var s Status
	if n.started && n.call(ctx, func(*Core) { s = n.look() }) == nil {
		return s
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

// look is Status, for the driver.
func (n *Node) look() Status {
	if n.core == nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.status
	}
	s := n.core.Status()
	for i := range s.Members {
		m := &s.Members[i]
		l := n.links[m.ID]
		m.Connected = m.ID == n.o.Self || l != nil && l.up.Load()
	}
	return s
}

// Close leaves the group in peace: a leader hands over first.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closing {
		n.mu.Unlock()
		return nil
	}
	n.closing = true
	n.mu.Unlock()
	if n.started {
		n.handOver()
	}
	n.stop()
	if n.started {
		n.in.close()
	} else {
		_ = n.o.Listener.Close()
	}
	n.group.Wait()
	for _, l := range n.links {
		l.close()
	}
	var err error
	if n.core != nil {
		err = n.core.Close()
	}
	if n.told.Leader && n.o.OnRole != nil {
		n.o.OnRole(Role{Term: n.told.Term})
	}
	return err
}

func (n *Node) handOver() {
	ctx, cancel := context.WithTimeout(n.ctx, 2*n.o.Tick*time.Duration(orInt(n.o.ElectionTicks, 10)))
	defer cancel()
	var to uint64
	if n.call(ctx, func(c *Core) {
		if c != nil && c.Role().Leader {
			to = c.levelest()
		}
	}) == nil && to != 0 {
		if err := n.Transfer(ctx, to); err != nil {
			n.log.Warn("the leadership was not handed over", "to", PeerName(to), "err", fmt.Sprint(err))
		}
	}
}
