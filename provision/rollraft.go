// The roll of a raft group: never two members at once, followers first, the leader last and only after another one leads.

package provision

import (
	"context"
	"fmt"
	"time"

	"rmqctl/internal/protocol"
	"rmqctl/inventory"
)

const (
	mayStand    = 30 * time.Second // how long a group may take to come into order before a member stops
	mayElect    = 30 * time.Second // how long another leader may take to be seen by everybody
	routeSlack  = time.Second      // a client that fetches its route late
	handOverTry = 3                // a preferred leader may take the lead back: so often it is taken away again
)

// next picks who is restarted next: name servers, slaves, raft followers, raft leaders, masters, by the roles that the
// members have now. The groups' own order stays within each. A name server that knows more brokers than another one waits
// for the brokers: the other is new, and they learn of it when they are restarted.
func (e *engine) next(ctx context.Context, left []*task) int {
	looked := map[*inventory.Group]*replicas{}
	best, rank := 0, 99
	for i, t := range left {
		n := 0
		if t.ns != nil && e.aheadOfOthers(ctx, t.ns) {
			n = 5
		}
		if t.broker != nil {
			g := t.broker.Group
			if looked[g] == nil {
				looked[g] = e.replicas(ctx, g)
			}
			n = rollRank(looked[g], t.broker)
		}
		if n < rank {
			best, rank = i, n
		}
	}
	return best
}

// aheadOfOthers says whether a name server that answers knows fewer brokers than this one.
func (e *engine) aheadOfOthers(ctx context.Context, ns *inventory.NameServer) bool {
	own, err := e.clusterInfo(ctx, ns.Addr())
	if err != nil {
		return false
	}
	for _, o := range e.inv.NameServers {
		if info, err := e.clusterInfo(ctx, o.Addr()); err == nil && members(info.BrokerAddrTable) < members(own.BrokerAddrTable) {
			return true
		}
	}
	return false
}

func rollRank(r *replicas, b *inventory.Broker) int {
	leads := r.leader == b || r.leader == nil && b.Master()
	switch {
	case b.Raft() && leads:
		return 3
	case b.Raft():
		return 2
	case leads:
		return 4
	}
	return 1
}

// ready asserts that a raft group can do without the task's member.
func (e *engine) ready(ctx context.Context, t *task) error {
	return e.until(ctx, t, mayStand, func() (bool, string, error) {
		what := e.replicas(ctx, t.broker.Group).lacks(t.broker, e.inv.Rollout.MaxLagBytes)
		return what == "", what, nil
	}, func(what string) error {
		return refuse(t, mayStop, what, "all other members connected, at most "+bytesText(e.inv.Rollout.MaxLagBytes)+" behind",
			"wait until the group is in sync (rmqctl status), then run it again")
	})
}

func (e *engine) rollRaft(ctx context.Context, t *task, start func(context.Context) error) error {
	if err := e.partners(ctx, t); err != nil {
		return err
	}
	if err := e.ready(ctx, t); err != nil {
		return err
	}
	if err := e.handOver(ctx, t); err != nil {
		return err
	}
	if err := e.cycle(ctx, t, start); err != nil {
		return err
	}
	if err := e.back(ctx, t); err != nil {
		return err
	}
	if err := e.caughtUp(ctx, t); err != nil {
		return err
	}
	return e.healthy(ctx, t)
}

// caughtUp waits until the member, and every other one, is in sync.
func (e *engine) caughtUp(ctx context.Context, t *task) error {
	return e.until(ctx, t, e.inv.Rollout.RecoveryTimeout, func() (bool, string, error) {
		what := e.replicas(ctx, t.broker.Group).lacks(nil, e.inv.Rollout.MaxLagBytes)
		return what == "", what, nil
	}, func(what string) error {
		return refuse(t, mayHealthy, what, bytesText(e.inv.Rollout.MaxLagBytes), "look at its log")
	})
}

// handOver makes another member the leader if the task's one leads. Clients fetch a route every so often (client_wait);
// those that have the old one still send to this member, which passes it on as long as it runs. So it goes on for that
// long. If it takes the lead back meanwhile, being the preferred one, it is relieved again and then stopped at once.
func (e *engine) handOver(ctx context.Context, t *task) error {
	for try := 0; ; try++ {
		r := e.replicas(ctx, t.broker.Group)
		if r.leader != t.broker {
			return nil
		}
		if try == handOverTry {
			return refuse(t, mayStop, "it leads again each time the lead is handed over", "", "look at its log")
		}
		to := r.heir(e.inv.Rollout.MaxLagBytes)
		if to == nil {
			return refuse(t, mayStop, "it leads "+r.group.Name+", and no other member could", "", "rmqctl status")
		}
		if err := e.transfer(ctx, t, r, to); err != nil {
			return err
		}
		if try > 0 {
			continue
		}
		if err := e.relieve(ctx, t); err != nil {
			return err
		}
		e.emit(Event{Host: t.host.name(), Role: t.role, Step: "hand over", State: Progress,
			Why: fmt.Sprintf("%s leads; clients fetch the new route (%s), and this member passes on what still comes", to.Member, e.inv.Rollout.ClientWait)})
		if err := e.wait(ctx, e.inv.Rollout.ClientWait+routeSlack); err != nil {
			return err
		}
	}
}

// relieve hands over the leads of other raft groups whose turn comes later in this roll, so that all of them wait for the
// clients' routes together. Who cannot be relieved now is asked again in its turn.
func (e *engine) relieve(ctx context.Context, t *task) error {
	for _, o := range e.rest {
		if o.broker == nil || !o.broker.Raft() || o.broker.Group == t.broker.Group {
			continue
		}
		r := e.replicas(ctx, o.broker.Group)
		if r.leader != o.broker || r.lacks(o.broker, e.inv.Rollout.MaxLagBytes) != "" {
			continue
		}
		if to := r.heir(e.inv.Rollout.MaxLagBytes); to != nil {
			if err := e.transfer(ctx, o, r, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// transfer moves the lead and proves that the new leader is writable and that every name server shows it.
func (e *engine) transfer(ctx context.Context, t *task, r *replicas, to *inventory.Broker) error {
	ev := Event{Host: t.host.name(), Role: t.role, Step: "hand over", State: Running, Why: fmt.Sprintf("%s → %s", r.leader.Member, to.Member)}
	e.emit(ev)
	_, _, err := ask(ctx, e.net, r.leader.Addr(), protocol.TransferLeadership, &protocol.TransferLeadershipRequest{To: to.RaftName()})
	if err != nil {
		return refuse(t, mayStop, fmt.Sprintf("%s does not hand the lead over to %s: %v", r.leader.Member, to.Member, err), "", "rmqctl status; then run it again")
	}
	if err := e.leadsNow(ctx, t, to, mayStop); err != nil {
		return err
	}
	ev.State = Changed
	e.emit(ev)
	return nil
}

// leadsNow proves it: the member says so and is writable, every name server names it as master, and a message is taken.
func (e *engine) leadsNow(ctx context.Context, t *task, to *inventory.Broker, may string) error {
	g := to.Group
	err := e.until(ctx, t, mayElect, func() (bool, string, error) {
		r := e.replicas(ctx, g)
		if r.leader == nil {
			return false, r.leaderless(), nil
		}
		if r.leader != to {
			return false, fmt.Sprintf("%s leads, not %s", r.leader.Member, to.Member), nil
		}
		if s := r.states[to]; s != nil && !s.Writable {
			return false, fmt.Sprintf("%s leads and is not writable yet: %s", to.Member, s.Why), nil
		}
		why := e.shownAsMaster(ctx, to)
		return why == "", why, nil
	}, func(what string) error {
		return refuse(t, may, what, to.Member+" leads and is writable", "rmqctl status")
	})
	if err != nil {
		return err
	}
	_, err = e.send(ctx, e.inv.NameServers[0], g, to.Addr(), 3*time.Second)
	if !g.Raft && storedOnly(err) {
		e.emit(Event{Host: t.host.name(), Role: t.role, Step: "promote", State: Note,
			Why: fmt.Sprintf("messages are stored, and answered %s until a slave is in sync", protocol.StatusName(protocol.StatusOf(err)))})
		return nil
	}
	if err != nil {
		return refuse(t, may, fmt.Sprintf("the new leader %s takes no message: %v", to.Member, err), "", "look at its log")
	}
	return nil
}

// shownAsMaster says where a broker is not named as its group's master; "" = everywhere it is.
func (e *engine) shownAsMaster(ctx context.Context, b *inventory.Broker) string {
	for _, ns := range e.nameServersOf(ctx, b) {
		info, err := e.clusterInfo(ctx, ns.Addr())
		if err != nil {
			return fmt.Sprintf("name server %s cannot be asked: %v", ns.Addr(), err)
		}
		got := ""
		if d := info.BrokerAddrTable[b.Name]; d != nil {
			got = d.BrokerAddrs[0]
		}
		if got != b.Addr() {
			return fmt.Sprintf("name server %s names %q as master of %s, not %s", ns.Addr(), got, b.Name, b.Addr())
		}
	}
	return ""
}

// raftTasks says whether a raft group is among the tasks.
func raftTasks(tasks []*task) bool {
	for _, t := range tasks {
		if isRaft(t) {
			return true
		}
	}
	return false
}
