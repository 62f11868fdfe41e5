// A member leaves a raft group: the lead goes elsewhere, the others stay a majority in sync, its process is stopped.

package provision

import (
	"context"
	"errors"
	"fmt"
	"net"

	"rmqctl/internal/protocol"
	"rmqctl/inventory"
	"rmqctl/provision/step"
)

// leave takes a member out, after the lead has gone elsewhere, if the others are a majority in sync without it.
func (e *engine) leave(ctx context.Context, g *inventory.Group, id string) error {
	r := e.replicas(ctx, g)
	if r.leader == nil {
		return errors.New(r.leaderless())
	}
	t := e.anyTask(g)
	if why := mayLeave(r.states[r.leader].Members, r.leader.RaftName(), id, e.inv.Rollout.MaxLagBytes); why != "" {
		return refuse(t, "let "+id+" go", why, "a majority of those that stay in sync", "rmqctl status")
	}
	if r.leader.RaftName() == id {
		to := r.heir(e.inv.Rollout.MaxLagBytes)
		if to == nil {
			return refuse(t, "leave", "it leads "+g.Name+", and no other member could", "", "rmqctl status")
		}
		if err := e.transfer(ctx, t, r, to); err != nil {
			return err
		}
		r = e.replicas(ctx, g)
		if r.leader == nil || r.leader.RaftName() == id {
			return refuse(t, "leave", "it leads again", "", "take preferred_leader out of the inventory and deploy first")
		}
	}
	addr := ""
	for _, m := range r.states[r.leader].Members {
		if m.ID == id {
			addr = m.Addr
		}
	}
	if err := e.changeMember(ctx, t, r.leader, protocol.MemberRemove, id, ""); err != nil {
		return err
	}
	return e.retire(ctx, g, id, addr)
}

// anyTask is a task of the group to speak for it.
func (e *engine) anyTask(g *inventory.Group) *task {
	for _, b := range g.Brokers {
		if t := e.taskOf(b); t != nil {
			return t
		}
	}
	return &task{host: &host{node: g.Brokers[0].Node}, role: g.Name}
}

// mayLeave says why a group cannot do without a member; "" = it can.
func mayLeave(members []protocol.ReplicationMember, leader, id string, limit int64) string {
	stay, in := 0, 0
	for _, m := range members {
		if m.ID == id || !m.Voter {
			continue
		}
		stay++
		if m.ID == leader || m.Connected && m.LagBytes <= limit {
			in++
		}
	}
	if in < stay/2+1 {
		return fmt.Sprintf("of the %s that would stay only %d are in sync", count(stay, "voter"), in)
	}
	return ""
}

// retire stops the process of who left, if its host can be reached, and says what is left to do by hand.
func (e *engine) retire(ctx context.Context, g *inventory.Group, id, addr string) error {
	member := g.Name + "-" + id
	unit := "rmq-" + e.inv.Name + "-" + member + ".service"
	host, _, _ := net.SplitHostPort(addr)
	for _, h := range e.hosts {
		if h.node.Advertise != host || h.m.Agent() == nil {
			continue
		}
		t := &task{host: h, role: member, unit: unit}
		if err := e.stopUnit(ctx, t); err != nil {
			return err
		}
		if !h.sup.Builtin {
			boot := step.Enabled{Unit: unit}
			if err := e.remove(ctx, t, boot.Absent(), boot.Owned()); err != nil {
				return err
			}
		}
		e.emit(Event{Host: h.name(), Role: member, Step: "leave " + g.Name, State: Changed, Why: "stopped, and not started at boot; its store stays: remove it by hand when you are sure"})
		e.sayLines(g, id)
		return nil
	}
	e.emit(Event{Step: "leave " + g.Name, State: Note, Why: fmt.Sprintf("the host of %s (%s) cannot be reached: nobody listens to it any more; when it comes back: systemctl disable --now %s", id, addr, unit)})
	e.sayLines(g, id)
	return nil
}
