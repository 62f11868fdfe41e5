// Promotion of a slave, with fencing: before it becomes master the old master has stopped taking messages, is not running,
// or is known by the operator to be dead. Two masters of one group would each acknowledge what the other does not have.

package provision

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"rmqctl/internal/protocol"
	"rmqctl/inventory"
)

// PromoteOptions say whom, and what is known of the old master.
type PromoteOptions struct {
	Member          string // broker-a-s
	OldMasterIsDead bool   // its host cannot be reached, and somebody has made sure that it does not run there
}

const (
	mayPromote = "become master"
	levelAfter = time.Minute // how long a slave may take to get the rest after its master has been fenced
)

// Promote makes a slave master of its group. The inventory stays as it is: it says where brokers run, and who is master
// is kept with their stores from then on.
func Promote(ctx context.Context, o Options, p PromoteOptions) (*Result, error) {
	return withReached(ctx, o, func(ctx context.Context, e *engine, away map[string]error) error {
		b := e.inv.Broker(p.Member)
		switch {
		case b == nil:
			return fmt.Errorf("no broker of %s is called %q: it has %s", e.inv.Name, p.Member, memberNames(e.inv))
		case b.Raft():
			return fmt.Errorf("%s is a member of a raft group, which elects its leader: rmqctl transfer INVENTORY %s %s", b.Member, b.Name, b.Node.Name)
		}
		r := e.replicas(ctx, b.Group)
		if r.leader == nil {
			r.leader = r.fenced() // a promotion was cut short: it goes on from there
		}
		t := e.taskOf(b)
		switch {
		case t == nil:
			return fmt.Errorf("the host of %s cannot be reached: %w", b.Member, away[b.Node.Name])
		case r.leader == b && (r.states[b] == nil || leads(r.states[b])):
			e.emit(Event{Host: t.host.name(), Role: t.role, Step: "promote", State: OK, Why: fmt.Sprintf("it is master already, epoch %d", r.epoch)})
			return nil
		case r.states[b] == nil:
			return refuse(t, mayPromote, "it cannot be asked how far it is: "+r.away[b].Error(), "", "start it, or look at its log")
		case r.leader == b: // fenced: it is master again
			return e.again(ctx, t, r)
		case r.leader != nil:
			return e.exchange(ctx, t, r)
		}
		return e.succeed(ctx, t, r, away, p)
	})
}

// exchange: the old master answers. It is fenced, the slave gets the rest, the roles change.
func (e *engine) exchange(ctx context.Context, t *task, r *replicas) error {
	b, old := t.broker, r.leader
	if err := e.askFor(ctx, "promote "+b.Member,
		fmt.Sprintf("%s on %s (master, epoch %d) stops taking messages: sends of %s fail or go to other groups until the end", old.Member, old.Node.Name, r.epoch, b.Name),
		fmt.Sprintf("%s on %s gets the rest and becomes master; nothing is lost", b.Member, b.Node.Name),
		fmt.Sprintf("%s becomes its slave", old.Member)); err != nil {
		return err
	}
	err := e.until(ctx, t, mayStand, func() (bool, string, error) {
		n := e.replicas(ctx, b.Group)
		if n.states[b] == nil || n.states[old] == nil {
			return false, n.leaderless(), nil
		}
		lag := n.states[old].End - n.states[b].End
		return lag <= e.inv.Rollout.MaxLagBytes, b.Member + " is " + bytesText(max(lag, 0)) + " behind", nil
	}, func(what string) error {
		return refuse(t, mayPromote, what, bytesText(e.inv.Rollout.MaxLagBytes), "wait until it has caught up (rmqctl status): sends would wait for it")
	})
	if err != nil {
		return err
	}
	ev := Event{Host: t.host.name(), Role: t.role, Step: "promote", State: Running, Why: "fence " + old.Member}
	e.emit(ev)
	if err := e.setRole(ctx, old, &protocol.ChangeBrokerRoleRequest{Role: protocol.RoleFenced}); err != nil {
		return refuse(t, mayPromote, fmt.Sprintf("%s does not stop taking messages: %v", old.Member, err), "", "look at its log")
	}
	err = e.until(ctx, t, levelAfter, func() (bool, string, error) {
		n := e.replicas(ctx, b.Group)
		if n.states[b] == nil || n.states[old] == nil {
			return false, n.leaderless(), nil
		}
		lag := n.states[old].End - n.states[b].End
		return lag == 0, b.Member + " is " + bytesText(max(lag, -lag)) + " from the end of " + old.Member, nil
	}, func(what string) error {
		return refuse(t, mayPromote, what, "level", "rmqctl status, then run it again")
	})
	sync := b.Group.Master.Role == inventory.SyncMaster
	if err == nil {
		err = e.setRole(ctx, b, &protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster, Epoch: r.epoch + 1, Sync: sync})
	}
	if err != nil { // nobody else is master: the old one goes on
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
		defer cancel()
		return errors.Join(err, e.setRole(undo, old, &protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster, Sync: sync}))
	}
	if err := e.settleRoles(ctx, t, r.epoch+1); err != nil {
		return err
	}
	ev.State, ev.Why = Changed, fmt.Sprintf("master since epoch %d; %s is its slave", r.epoch+1, old.Member)
	e.emit(ev)
	e.count()
	return nil
}

// again ends the fence of a master that nobody has succeeded.
func (e *engine) again(ctx context.Context, t *task, r *replicas) error {
	if err := e.askFor(ctx, "promote "+t.role, t.role+" was fenced by a promotion that was cut short, and takes messages again"); err != nil {
		return err
	}
	req := &protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster, Sync: t.broker.Group.Master.Role == inventory.SyncMaster}
	if err := e.setRole(ctx, t.broker, req); err != nil {
		return refuse(t, mayPromote, err.Error(), "", "look at its log")
	}
	if err := e.settleRoles(ctx, t, r.epoch+1); err != nil {
		return err
	}
	e.count()
	return nil
}

// succeed: nobody leads. The old master is made sure of, then the slave takes its place with what it has.
func (e *engine) succeed(ctx context.Context, t *task, r *replicas, away map[string]error, p PromoteOptions) error {
	b := t.broker
	old := r.lastMaster(b)
	if old == nil {
		return refuse(t, mayPromote, "who was master of "+b.Name+" before is not known", "", "rmqctl status")
	}
	if why := r.ahead(b); why != "" {
		return refuse(t, mayPromote, why, "the most of the log", "promote that one")
	}
	fence, err := e.fencing(ctx, t, old, r, away, p)
	if err != nil {
		return err
	}
	if err := e.askFor(ctx, "promote "+b.Member, fence, fmt.Sprintf("%s on %s becomes master with epoch %d, with what it has: %s", b.Member, b.Node.Name, r.epoch+1, r.window(b)),
		fmt.Sprintf("when %s comes back it becomes a slave; what only it had is kept beside its store (lost+found), and not in the group", old.Member)); err != nil {
		return err
	}
	if ot := e.taskOf(old); ot != nil && ot.host.m.Agent() != nil && r.states[old] == nil {
		if err := e.stopUnit(ctx, ot); err != nil {
			return fmt.Errorf("%s is not stopped, so %s was not promoted (end that process by hand and run it again): %w", old.Member, b.Member, err)
		}
	}
	sync := b.Group.Master.Role == inventory.SyncMaster
	req := &protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster, Epoch: r.epoch + 1, Sync: sync, Force: true}
	if err := e.setRole(ctx, b, req); err != nil {
		return refuse(t, mayPromote, err.Error(), "", "look at its log")
	}
	if err := e.settleRoles(ctx, t, r.epoch+1); err != nil {
		return err
	}
	e.emit(Event{Host: t.host.name(), Role: t.role, Step: "promote", State: Changed, Why: fmt.Sprintf("master since epoch %d; `rmqctl start --only %s` brings %s back as its slave", r.epoch+1, old.Member, old.Member)})
	e.count()
	return nil
}

// fencing says how the old master is kept from taking messages, or refuses.
func (e *engine) fencing(ctx context.Context, t *task, old *inventory.Broker, r *replicas, away map[string]error, p PromoteOptions) (string, error) {
	if s := r.states[old]; s != nil {
		return fmt.Sprintf("%s on %s answers: it is %s and takes no messages", old.Member, old.Node.Name, s.Role), nil
	}
	if ot := e.taskOf(old); ot != nil && ot.host.m.Agent() != nil {
		u, err := e.unitState(ctx, ot)
		if err != nil {
			return "", refuse(t, mayPromote, "whether the old master runs cannot be asked: "+err.Error(), "", "")
		}
		return fmt.Sprintf("%s on %s does not answer (its service is %s) and is stopped", old.Member, old.Node.Name, u.Active), nil
	}
	if !p.OldMasterIsDead {
		why := "its host cannot be reached"
		if err := away[old.Node.Name]; err != nil {
			why = firstLine(err.Error())
		}
		return "", refuse(t, mayPromote, fmt.Sprintf("nobody knows whether the old master %s on %s still takes messages: %s", old.Member, old.Node.Name, why),
			"", "make sure that it is off (power, cable, console) and say so: --old-master-is-dead. If it still runs and clients reach it, what they send there is lost. "+
				"What "+t.broker.Member+" has: "+r.window(t.broker))
	}
	return fmt.Sprintf("%s on %s cannot be reached and is dead, you say", old.Member, old.Node.Name), nil
}

// fenced is a master that was told to take no more messages; nil: none.
func (r *replicas) fenced() *inventory.Broker {
	for _, b := range r.group.Brokers {
		if s := r.states[b]; s != nil && s.Role == protocol.RoleFenced {
			r.epoch = s.Epoch
			return b
		}
	}
	return nil
}

// lastMaster is who led before: whom the slave followed, else the inventory's master.
func (r *replicas) lastMaster(slave *inventory.Broker) *inventory.Broker {
	if s := r.states[slave]; s != nil && s.LeaderAddr != "" {
		if b := byAddr(r.group, s.LeaderAddr); b != nil && b != slave {
			return b
		}
	}
	if r.group.Master != slave {
		return r.group.Master
	}
	for _, b := range r.followers() {
		if b != slave && r.states[b] == nil {
			return b
		}
	}
	return nil
}

// ahead names a slave that has more of the log than b; "" = none that answers.
func (r *replicas) ahead(b *inventory.Broker) string {
	for _, o := range r.group.Brokers {
		if s := r.states[o]; o != b && s != nil && s.Role == protocol.RoleSlave && s.End > r.states[b].End {
			return fmt.Sprintf("%s has %s more of the log than it", o.Member, bytesText(s.End-r.states[b].End))
		}
	}
	return ""
}

// window says what may be lost with a master that cannot be asked.
func (r *replicas) window(b *inventory.Broker) string {
	g := r.group
	silent := 0
	for _, o := range g.Slaves {
		if o != b && r.states[o] == nil {
			silent++
		}
	}
	end := fmt.Sprintf("its log ends at %d", r.states[b].End)
	switch {
	case g.Master.Role != inventory.SyncMaster:
		return end + "; the group is asynchronous: what the old master acknowledged and had not sent on is lost (milliseconds of sends if it kept up)"
	case silent > 0:
		return fmt.Sprintf("%s; the group is synchronous, but %s cannot be asked and may have more than this one", end, count(silent, "other slave"))
	}
	return end + "; the group is synchronous: everything that was answered SEND_OK is there"
}

func (e *engine) setRole(ctx context.Context, b *inventory.Broker, q *protocol.ChangeBrokerRoleRequest) error {
	_, _, err := ask(ctx, e.net, b.Addr(), protocol.ChangeBrokerRole, q)
	if err != nil {
		return fmt.Errorf("make %s %s: %w", b.Member, q.Role, err)
	}
	return nil
}

// settleRoles tells the others whom to follow and proves that the new master serves.
func (e *engine) settleRoles(ctx context.Context, t *task, epoch int64) error {
	b := t.broker
	q := &protocol.ChangeBrokerRoleRequest{Role: protocol.RoleSlave, Epoch: epoch, MasterAddr: b.Addr(),
		MasterHAAddr: net.JoinHostPort(b.Node.Advertise, strconv.Itoa(b.HAPort))}
	r := e.replicas(ctx, b.Group)
	for _, o := range b.Group.Brokers {
		if o == b || r.states[o] == nil {
			continue
		}
		if err := e.setRole(ctx, o, q); err != nil {
			e.emit(Event{Host: o.Node.Name, Role: o.Member, Step: "promote", State: Note, Why: err.Error() + "; it finds the new master through the name servers"})
		}
	}
	return e.leadsNow(ctx, t, b, mayHealthy)
}

func memberNames(inv *inventory.Inventory) string {
	var out string
	for i, b := range inv.Brokers() {
		if i > 0 {
			out += ", "
		}
		out += b.Member
	}
	return out
}
