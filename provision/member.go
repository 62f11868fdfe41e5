// Who belongs to a group: members join and leave, one at a time.
//
// The inventory comes first: it says where the new member runs, and no longer names who goes. A member that joins is
// started empty, learns the log without a vote, and votes when it is level. Running members need no restart for it.

package provision

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"rmqctl/internal/protocol"
	"rmqctl/inventory"
	"rmqctl/provision/step"
)

const mayJoin = "be called a member"

// memberOn finds a group and its member by the name of a node or of the member.
func (e *engine) memberOn(group, node string) (*inventory.Group, *inventory.Broker, error) {
	g := e.inv.Group(group)
	if g == nil {
		var names []string
		for _, g := range e.inv.Groups {
			names = append(names, g.Name)
		}
		return nil, nil, fmt.Errorf("no group is called %q: %s has %s", group, e.inv.Name, strings.Join(names, ", "))
	}
	for _, b := range g.Brokers {
		if b.Node.Name == node || b.Member == node || b.Raft() && b.RaftName() == node {
			return g, b, nil
		}
	}
	return g, nil, &NotNamedError{Group: g, Node: node, Known: e.inv.Node(node) != nil, File: e.inv.File}
}

// behind says why a member is no full one yet; "" = it votes and is at most limit bytes behind.
func (r *replicas) behind(b *inventory.Broker, limit int64) string {
	if r.leader == nil {
		return r.leaderless()
	}
	if b == r.leader {
		return ""
	}
	m := r.member(b)
	switch {
	case m == nil:
		return b.Member + " is not known to " + r.leader.Member
	case !m.Connected:
		return b.Member + " is not connected to " + r.leader.Member
	case m.LagBytes > limit:
		return fmt.Sprintf("%s is %s behind at %s/s%s", b.Member, bytesText(m.LagBytes), bytesText(m.BytesPerSecond), eta(m))
	case b.Raft() && !m.Voter:
		return b.Member + " does not vote yet"
	}
	return ""
}

// MemberAdd starts a member that the inventory names and that its group does not know yet, and waits until it is level.
func MemberAdd(ctx context.Context, o Options, group, node string) (*Result, error) {
	return withReached(ctx, o, func(ctx context.Context, e *engine, away map[string]error) error {
		g, b, err := e.memberOn(group, node)
		if err != nil {
			return err
		}
		if err := e.askFor(ctx, "add a member", e.joinText(ctx, g, b)...); err != nil {
			return err
		}
		return e.join(ctx, g, b, away)
	})
}

func (e *engine) joinText(ctx context.Context, g *inventory.Group, b *inventory.Broker) []string {
	if !g.Raft {
		limit := "as fast as it goes (limit it while it runs: updateBrokerConfig of the master, haFlowControlEnable=true and maxHaTransferByteInSecond)"
		if r := e.replicas(ctx, g); r.leader != nil {
			if now := e.running(ctx, r.leader); now["haFlowControlEnable"] == "true" {
				limit = "at " + now["maxHaTransferByteInSecond"] + " bytes a second at most"
			}
		}
		return []string{fmt.Sprintf("%s is started on %s and copies the master's log %s", b.Member, b.Node.Name, limit)}
	}
	return []string{fmt.Sprintf("%s on %s is started empty, learns the log of %s and votes when it is level", b.Member, b.Node.Name, g.Name)}
}

func (e *engine) join(ctx context.Context, g *inventory.Group, b *inventory.Broker, away map[string]error) error {
	t := e.taskOf(b)
	if t == nil {
		return fmt.Errorf("the host of %s cannot be reached: %w", b.Member, away[b.Node.Name])
	}
	r := e.replicas(ctx, g)
	if r.leader == nil {
		return refuse(t, mayJoin, r.leaderless(), "a leader, who takes it in", "rmqctl status")
	}
	if err := e.prepare(ctx, t); err != nil {
		return err
	}
	if byAddr(g, r.leader.Addr()) == nil {
		// Who is to leave leads. It hands over now, not later: the new member's file does not name it.
		to := r.heir(e.inv.Rollout.MaxLagBytes)
		if to == nil {
			return refuse(t, mayJoin, r.leader.Member+" leads and no member that stays could", "", "rmqctl status")
		}
		if err := e.transfer(ctx, t, r, to); err != nil {
			return err
		}
		r = e.replicas(ctx, g)
		if r.leader == nil {
			return refuse(t, mayJoin, r.leaderless(), "a leader, who takes it in", "rmqctl status")
		}
	}
	if g.Raft && r.member(b) == nil {
		// First the group knows it, then it is started: a member that nobody knows would wait without being ready.
		if err := e.changeMember(ctx, t, r.leader, protocol.MemberAdd, b.RaftName(), b.RaftAddr()); err != nil {
			return err
		}
	}
	if err := e.apply(ctx, t); err != nil {
		return err
	}
	ev := Event{Host: t.host.name(), Role: t.role, Step: "join " + g.Name, State: Progress}
	last := ""
	err := e.until(ctx, t, e.inv.Rollout.RecoveryTimeout, func() (bool, string, error) {
		r := e.replicas(ctx, g)
		what := r.behind(b, e.inv.Rollout.MaxLagBytes)
		if m := r.member(b); m != nil && what != last {
			last = what
			ev.Done, ev.Total, ev.Why = m.Match, m.Match+m.LagBytes, what
			e.emit(ev)
		}
		return what == "", what, nil
	}, func(what string) error {
		return refuse(t, mayJoin, what, "level", "rmqctl status; it goes on by itself")
	})
	if err != nil {
		return err
	}
	ev.State, ev.Why = Changed, "level, and a full member"
	if !g.Raft {
		ev.Why = "in sync with its master"
	}
	e.emit(ev)
	return nil
}

// prepare brings all hosts in line (names, firewall: the others have to reach the new one) and the binary to its host.
func (e *engine) prepare(ctx context.Context, t *task) error {
	for _, h := range e.hosts {
		for _, x := range h.tasks {
			if x != t && !isHost(x) && !isNamesrv(x) {
				continue
			}
			if err := e.planTask(ctx, x); err != nil {
				return err
			}
			if obs := obstaclesOf(x); x == t && obs != nil {
				return &ObstacleError{obs}
			}
		}
	}
	for _, h := range e.hosts {
		if h.state != nil {
			continue
		}
		if err := e.bringAgent(ctx, h); err != nil {
			return err
		}
		if err := e.lockHosts(ctx, []*host{h}); err != nil {
			return err
		}
	}
	if err := e.each(ctx, e.tasks(isHost), e.apply); err != nil {
		return err
	}
	// A name server may have gone with a dead member's host: the new member waits until it is registered at the new one.
	return e.each(ctx, e.tasks(func(x *task) bool { return isNamesrv(x) && x.plan.consequence() != step.Restart }), e.apply)
}

func obstaclesOf(t *task) []Obstacle {
	p := &Plan{Hosts: []HostPlan{{Host: t.host.name(), Roles: []*RolePlan{t.plan}}}}
	return p.Obstacles()
}

func (e *engine) changeMember(ctx context.Context, t *task, leader *inventory.Broker, op, id, addr string) error {
	e.emit(Event{Host: t.host.name(), Role: t.role, Step: op + " " + id, State: Running, Why: "asked of " + leader.Member})
	_, _, err := ask(ctx, e.net, leader.Addr(), protocol.ChangeRaftMember, &protocol.ChangeRaftMemberRequest{Op: op, ID: id, Address: addr})
	if err != nil {
		return fmt.Errorf("%s does not %s %s: %w", leader.Member, op, id, err)
	}
	e.emit(Event{Host: t.host.name(), Role: t.role, Step: op + " " + id, State: Changed})
	e.count()
	return nil
}

// MemberRemove takes a member out of a raft group. who is its node, its member name or its id (n0), which also finds one
// that the inventory does not name any more.
func MemberRemove(ctx context.Context, o Options, group, who string) (*Result, error) {
	return withReached(ctx, o, func(ctx context.Context, e *engine, away map[string]error) error {
		g, err := e.raftGroup(group)
		if err != nil {
			return err
		}
		id, err := e.raftIDOf(ctx, g, who)
		if err != nil {
			return err
		}
		if err := e.askFor(ctx, "remove a member", fmt.Sprintf("%s leaves %s and is stopped; its store stays where it is", id, g.Name)); err != nil {
			return err
		}
		return e.leave(ctx, g, id)
	})
}

// MemberReplace adds one member and then removes another.
func MemberReplace(ctx context.Context, o Options, group, old, node string) (*Result, error) {
	return withReached(ctx, o, func(ctx context.Context, e *engine, away map[string]error) error {
		g, err := e.raftGroup(group)
		if err != nil {
			return err
		}
		id, err := e.raftIDOf(ctx, g, old)
		if err != nil {
			return err
		}
		_, b, err := e.memberOn(group, node)
		var no *NotNamedError
		if errors.As(err, &no) {
			no.Leaves = id
		}
		if err != nil {
			return err
		}
		if b.RaftName() == id {
			return fmt.Errorf("%s on %s would take the place of itself: ids are never used again, so pin a new one in %s with member.%s.raft_id", id, node, e.inv.File, node)
		}
		if err := e.askFor(ctx, "replace a member", append(e.joinText(ctx, g, b), fmt.Sprintf("then %s leaves %s and is stopped; its store stays where it is", id, g.Name))...); err != nil {
			return err
		}
		if err := e.join(ctx, g, b, away); err != nil {
			return err
		}
		return e.leave(ctx, g, id)
	})
}

func (e *engine) raftGroup(name string) (*inventory.Group, error) {
	g, _, err := e.memberOn(name, "")
	var no *NotNamedError
	if g == nil {
		return nil, err
	}
	if errors.As(err, &no) && !g.Raft {
		return nil, fmt.Errorf("%s is no raft group: stop a slave with rmqctl stop --only and take it out of slaves = [...]", g.Name)
	}
	return g, nil
}

var raftName = regexp.MustCompile(`^n[0-9]+$`)

// raftIDOf finds a member by node, member name or id: by the inventory, else by the address that the leader knows.
func (e *engine) raftIDOf(ctx context.Context, g *inventory.Group, who string) (string, error) {
	r := e.replicas(ctx, g)
	if r.leader == nil {
		return "", errors.New(r.leaderless())
	}
	members := r.states[r.leader].Members
	known := func(id string) bool {
		return slices.ContainsFunc(members, func(m protocol.ReplicationMember) bool { return m.ID == id })
	}
	for _, b := range g.Brokers {
		if (b.Node.Name == who || b.Member == who) && known(b.RaftName()) {
			return b.RaftName(), nil
		}
	}
	id := who
	if i := strings.LastIndex(who, "-n"); i >= 0 && who[:i] == g.Name {
		id = who[i+1:]
	}
	if raftName.MatchString(id) && known(id) {
		return id, nil
	}
	var list []string
	for _, m := range members {
		host, _, _ := net.SplitHostPort(m.Addr)
		if n := e.inv.Node(who); n != nil && n.Advertise == host {
			return m.ID, nil
		}
		list = append(list, m.ID+" at "+m.Addr)
	}
	return "", fmt.Errorf("%s is not a member of %s, which has %s", who, g.Name, strings.Join(list, ", "))
}

// strangers refuses to start a member that its running group does not know: it would wait for ever.
func (e *engine) strangers(ctx context.Context) error {
	for _, g := range e.inv.Groups {
		if !g.Raft {
			continue
		}
		r := e.replicas(ctx, g)
		if r.leader == nil {
			continue // not there yet, or down: starting its members is what helps
		}
		for _, b := range g.Brokers {
			if r.member(b) == nil {
				t := e.taskOf(b)
				return refuse(t, "be deployed", fmt.Sprintf("%s has been running without %s", g.Name, b.RaftName()), "",
					fmt.Sprintf("rmqctl member add %s %s %s (or member replace)", e.inv.File, g.Name, b.Node.Name))
			}
		}
	}
	return nil
}
