// Handing over the leadership of a raft group: on request, to a preferred member, and at the end.
//
// A leader that hands over takes no more messages first, holds what is sent to it meanwhile, and lets what it has taken be
// committed. So nobody is told that a message may or may not be stored, and what was held goes to the next leader.

package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rmqctl/broker/raftgroup"
	"rmqctl/broker/role"
)

const (
	transferLimit = 3 * time.Second
	quietLimit    = time.Second
	// mostLag is how far behind a member may be that the leadership is handed to: sends wait until it is level.
	mostLag = 16 << 20
	// preferEvery is how often a leader looks whether a preferred member could lead, preferAfter how often in a row it must.
	// Clients look for routes every 30 s: who has just been relieved of the leadership, to be restarted, does not get it back
	// before they have all gone over to the new leader.
	preferEvery = time.Second
	preferAfter = 45
)

const whyHandsOver = "this broker hands over the leadership of its raft group"

// rest makes a leader take no more messages, and returns when those it has taken are committed. resume lets it take them
// again if it still leads.
func (b *Broker) rest(ctx context.Context) (resume func()) {
	b.roleMu.Lock()
	was := *b.role.Load()
	if !was.Takes() {
		b.roleMu.Unlock()
		return func() {}
	}
	term := b.raft.now.Term
	b.role.Set(role.State{Kind: role.Fenced, ID: was.ID, Epoch: was.Epoch, Why: whyHandsOver, Forward: true})
	b.delay.Close()
	b.roleMu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, quietLimit)
	defer cancel()
	for quiet := 0; quiet < 3 && ctx.Err() == nil; {
		if quiet++; b.store.End() != b.store.MaxPhysical() {
			quiet = 0
		}
		select {
		case <-ctx.Done():
		case <-b.o.Clock.After(2 * time.Millisecond): // what has just passed the check comes into the log
		}
	}
	return func() {
		b.roleMu.Lock()
		defer b.roleMu.Unlock()
		if b.role.Load().Kind != role.Fenced || !b.raft.now.Leader || b.raft.now.Term != term || b.stopping.Load() {
			return
		}
		b.delay.Start()
		b.role.Set(was)
	}
}

// handOver lets a leader that stops have another lead first, so that producers wait no longer than a retry. It stays until
// the next leader has asked it for what only it knows.
func (b *Broker) handOver() {
	if b.raft == nil || b.raft.node == nil {
		return
	}
	if id := b.bestFollower(); id != 0 && b.role.Takes() {
		ctx, cancel := context.WithTimeout(context.Background(), transferLimit)
		defer cancel()
		b.rest(ctx)
		if err := b.raft.node.Transfer(ctx, id); err != nil {
			b.log.Warn("hand over at the end", "to", raftgroup.PeerName(id), "err", err)
		} else {
			b.awaitLeader(ctx)
		}
	}
	if err := b.raft.node.Close(); err != nil {
		b.log.Error("leave the raft group", "err", err)
	}
}

// awaitLeader returns when another takes messages.
func (b *Broker) awaitLeader(ctx context.Context) {
	for ctx.Err() == nil {
		if addr := b.whoTakes(); addr != "" && addr != b.Addr() {
			if st, err := b.askState(ctx, addr); err == nil && st.Writable {
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-b.o.Clock.After(5 * time.Millisecond):
		}
	}
}

// TransferLeadership answers TRANSFER_LEADERSHIP.
func (b *Broker) TransferLeadership(ctx context.Context, to string) error {
	if b.raft == nil {
		return errNoGroup
	}
	ctx, cancel := context.WithTimeout(ctx, transferLimit)
	defer cancel()
	id, s := b.bestFollower(), b.raft.node.Status()
	if to != "" {
		n, err := raftgroup.ParseName(to)
		if err != nil {
			return err
		}
		id = n
	}
	switch {
	case id == uint64(b.raft.self.Number) && s.Leader:
		return nil
	case !s.Leader:
		return raftgroup.ErrNotLeader
	case id == 0:
		return errors.New("no other member of the group is there")
	}
	for why := mayLead(s, id); why != nil; why = mayLead(b.raft.node.Status(), id) { // it has just come back
		if errors.Is(why, errNoMember) {
			return why
		}
		select {
		case <-ctx.Done():
			return why
		case <-b.o.Clock.After(50 * time.Millisecond):
		}
	}
	b.log.Info("hands over the leadership", "to", raftgroup.PeerName(id))
	resume := b.rest(ctx)
	defer resume()
	return b.raft.node.Transfer(ctx, id)
}

var errNoMember = errors.New("not a member of the group")

// mayLead says why a member should not be handed the leadership.
func mayLead(s raftgroup.Status, id uint64) error {
	for _, m := range s.Members {
		switch lag := s.End - m.Match; {
		case m.ID != id:
			continue
		case !m.Voter:
			return fmt.Errorf("%s does not vote yet", m.Name)
		case !m.Active:
			return fmt.Errorf("%s has not been heard of", m.Name)
		case m.Snapshot || lag > mostLag:
			return fmt.Errorf("%s is %d bytes behind", m.Name, lag)
		}
		return nil
	}
	return fmt.Errorf("%w: %s", errNoMember, raftgroup.PeerName(id))
}

// bestFollower is the voter with the most of the log; 0 without one.
func (b *Broker) bestFollower() (best uint64) {
	most := int64(-1)
	for _, m := range b.raft.node.Status().Members {
		if m.ID != uint64(b.raft.self.Number) && m.Voter && m.Active && m.Match > most {
			best, most = m.ID, m.Match
		}
	}
	return best
}

// prefer hands the leadership to the first member of preferredLeaderId that could lead for so long.
func (b *Broker) prefer(ctx context.Context) {
	want := b.o.Config.Load().PreferredLeaders()
	if len(want) == 0 {
		return
	}
	tick := b.o.Clock.NewTicker(preferEvery)
	defer tick.Stop()
	last, seen := "", 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !b.role.Takes() {
			seen = 0
			continue
		}
		s, best := b.raft.node.Status(), ""
		for _, name := range want {
			if id, err := raftgroup.ParseName(name); err == nil && (id == uint64(b.raft.self.Number) || mayLead(s, id) == nil) {
				best = name
				break
			}
		}
		if seen++; best != last {
			last, seen = best, 1
		}
		if best == "" || best == b.raft.self.ID || seen < preferAfter {
			continue
		}
		seen = 0
		if err := b.TransferLeadership(ctx, best); err != nil {
			b.log.Warn("hand over to the preferred leader", "to", best, "err", err)
		}
	}
}
