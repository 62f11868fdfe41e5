// How a group begins, how fast a dead leader is replaced, and what the driver is asked from outside.

package raftgroup

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// former decides when a member without state may begin the group with its configured peers: when each of them has said that
// it knows of no group either; or, some seconds after the start, when a majority has and nobody knows of one. A member that
// lost its disk finds peers that do, and waits until a leader has given it the log.
type former struct {
	stages map[uint64]stage
	ticks  int
}

func (f *former) heard(id uint64, s stage) {
	if f.stages == nil {
		f.stages = map[uint64]stage{}
	}
	f.stages[id] = s
}

// formGrace is in ticks.
const formGrace = 50

func (f *former) may(self uint64, peers []Peer) bool {
	f.ticks++
	answered := 1
	for _, p := range peers {
		s, found := f.stages[p.ID]
		if p.ID == self || !found {
			continue
		}
		if s == lived {
			return false
		}
		answered++
	}
	return answered == len(peers) || f.ticks > formGrace && answered > len(peers)/2
}

func (n *Node) mayForm() error {
	if n.core.Formed() || n.o.Join || !n.form.may(n.o.Self, n.o.Peers) {
		return nil
	}
	n.log.Info("the group begins", "peers", len(n.o.Peers))
	if err := n.core.Close(); err != nil {
		return err
	}
	o := n.o.CoreOptions
	o.Bootstrap = true
	core, err := Open(o)
	if err != nil {
		return err
	}
	n.core, n.members = core, -1
	return nil
}

// stage is what peers are told.
func (c *Core) stage() stage {
	switch {
	case !c.Formed() && c.vote.now.Term == 0:
		return blank
	case c.Formed() && c.ix.base == begun && c.ix.last == begun.Index && c.vote.now.Term == 0:
		return fresh
	}
	return lived
}

// fastElection: when a leader's process is known to have ended (nobody listens at its port any more, or another process
// does), its followers need not wait out their timeouts. They forget it and ask for votes after a small random pause, again
// and again while nobody leads.
type fastElection struct {
	timer <-chan time.Time
	tries int
}

const (
	fastPause = 100 * time.Millisecond
	fastTries = 20
)

func (f *fastElection) gone(n *Node, id uint64) {
	if n.core.Role().LeaderID != PeerName(id) || n.core.leading {
		return
	}
	n.log.Info("the leader's process is gone", "member", PeerName(id))
	if err := n.core.ForgetLeader(); err != nil {
		return // the driver meets it again
	}
	f.tries = 0
	f.timer = n.o.Clock.After(10*time.Millisecond + rand.N(fastPause))
}

func (f *fastElection) campaign(n *Node) {
	f.timer = nil
	if n.core == nil || n.core.Role().LeaderID != "" || f.tries >= fastTries {
		return
	}
	f.tries++
	_ = n.core.Campaign() // an error is met again by the driver
	f.timer = n.o.Clock.After(2*fastPause + rand.N(2*fastPause))
}

// connect makes the links what the members are.
func (n *Node) connect() {
	peers := n.core.Peers()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.core.Formed() {
		n.guests = nil
	}
	for id, addr := range n.guests { // its leader may be one that our configuration does not name any more
		if !slices.ContainsFunc(peers, func(p Peer) bool { return p.ID == id }) {
			peers = append(peers, Peer{ID: id, Addr: addr})
		}
	}
	n.known = map[uint64]bool{n.o.Self: true}
	n.waits = !n.core.Formed()
	for _, p := range append(slices.Clone(peers), n.o.Peers...) {
		n.known[p.ID] = true
	}
	for id, l := range n.links {
		if !slices.Contains(peers, l.peer) {
			delete(n.links, id)
			n.group.Go(l.close)
		}
	}
	for _, p := range peers {
		if n.links[p.ID] == nil {
			l := &link{peer: p, hello: n.hello, tell: n.happened, dial: n.o.Dial, clock: n.o.Clock, log: n.log}
			n.links[p.ID] = l
			l.start()
		}
	}
	n.announceLocked()
}

// visit notes who has come to a member that waits to be taken in, and is to be answered.
func (n *Node) visit(id uint64, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waits && addr != "" && n.guests[id] != addr {
		if n.guests == nil {
			n.guests = map[uint64]string{}
		}
		n.guests[id] = addr
		n.calls = append(n.calls, func(c *Core) {
			if c != nil {
				n.connect()
			}
		})
		n.poke()
	}
}

// own is where the configuration says that this member is.
func (o *Options) own() string {
	for _, p := range o.Peers {
		if p.ID == o.Self {
			return p.Addr
		}
	}
	return ""
}

func (n *Node) happened(e peerEvent) {
	n.mu.Lock()
	n.events = append(n.events, e)
	n.mu.Unlock()
	n.poke()
}

// send is called by the driver, who alone changes links.
func (n *Node) send(m pb.Message) {
	if l := n.links[m.To]; l != nil {
		l.send(m)
	}
}

// levelest is the voter to hand over to: the one that has most of the log among those heard of lately; 0 = none.
func (c *Core) levelest() (best uint64) {
	var match uint64
	c.rn.WithProgress(func(id uint64, typ raft.ProgressType, p tracker.Progress) {
		if id == c.o.Self || typ == raft.ProgressTypeLearner || p.State != tracker.StateReplicate {
			return
		}
		if p.Match > match || p.Match == match && (best == 0 || id < best) {
			best, match = id, p.Match
		}
	})
	return best
}

// Transfer makes the member to the leader and returns when it is; on the leader only.
func (n *Node) Transfer(ctx context.Context, to uint64) error {
	err := n.ask(ctx, func(c *Core) error { return c.Transfer(to) })
	if err != nil {
		return err
	}
	return n.until(ctx, func(s *Status) (bool, error) {
		switch {
		case s.LeaderID == PeerName(to):
			return true, nil
		case s.LeaderID == PeerName(n.o.Self) && s.Transfer == "":
			return false, fmt.Errorf("raft: %s did not take over in time", PeerName(to))
		case s.LeaderID != "" && s.LeaderID != PeerName(n.o.Self):
			return false, fmt.Errorf("raft: %s leads now", s.LeaderID)
		}
		return false, nil
	})
}

// AddMember takes a new member in: at first it only learns, and the leader makes it a voter when it is level. Returns when
// the group has agreed that it learns.
func (n *Node) AddMember(ctx context.Context, p Peer) error {
	return n.changeMember(ctx, true, p)
}

// RemoveMember returns when the group has agreed.
func (n *Node) RemoveMember(ctx context.Context, id uint64) error {
	return n.changeMember(ctx, false, Peer{ID: id})
}

func (n *Node) changeMember(ctx context.Context, add bool, p Peer) error {
	if err := n.ask(ctx, func(c *Core) error { return c.ChangeMember(add, p) }); err != nil {
		return err
	}
	return n.until(ctx, func(s *Status) (bool, error) {
		if slices.ContainsFunc(s.Members, func(m Member) bool { return m.ID == p.ID }) == add {
			return true, nil
		}
		if !s.Leader {
			return false, fmt.Errorf("%w any more: whether the members have changed is not known", ErrNotLeader)
		}
		return false, nil
	})
}

func (n *Node) ask(ctx context.Context, f func(*Core) error) error {
	err := error(ErrHalted)
	if cerr := n.call(ctx, func(c *Core) {
		if c != nil {
			err = f(c)
		}
	}); cerr != nil {
		return cerr
	}
	return err
}

// until waits for a state; it looks whenever roles or members have changed, and at each tick.
func (n *Node) until(ctx context.Context, done func(*Status) (bool, error)) error {
	tick := n.o.Clock.NewTicker(n.o.Tick)
	defer tick.Stop()
	for {
		n.mu.Lock()
		changed := n.changed
		n.mu.Unlock()
		var s Status
		if err := n.call(ctx, func(*Core) { s = n.look() }); err != nil {
			return err
		}
		if ok, err := done(&s); ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.ctx.Done():
			return ErrClosed
		}
	}
}
