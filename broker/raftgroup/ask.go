// What a Node is asked from outside: to hand over, to take members in and out.

package raftgroup

import (
	"context"
	"fmt"
	"slices"
)

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
