// How a group begins, how fast a dead leader is replaced, and whom a member talks to.

package raftgroup

import (
	"math/rand/v2"
	"slices"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
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
