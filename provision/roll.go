// The roll: what runs and has to be restarted, one service at a time, each behind its gates. The first gate that does not
// hold ends it, with the number that was wrong.
//
// A slave of a SYNC_MASTER that has no other slave in sync is restarted under a mask of its master too: without it every
// send would be answered SLAVE_NOT_AVAILABLE. The message would be stored, but an application that insists on SEND_OK
// would count it as failed.

package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rmqctl/inventory"
	"rmqctl/provision/step"
)

const (
	mayStop    = "stop"
	mayHealthy = "be called healthy"
)

// roll brings running services in line, one by one.
func (e *engine) roll(ctx context.Context, tasks []*task) error {
	if err := e.mayRoll(ctx, tasks); err != nil {
		return err
	}
	for left := slices.Clone(tasks); len(left) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		t := e.take(ctx, &left)
		// The plan may be old: another run may have been here before we had the lock.
		if err := e.planTask(ctx, t); err != nil {
			return err
		}
		if t.plan.consequence() != step.Restart {
			if err := e.apply(ctx, t); err != nil {
				return err
			}
			continue
		}
		if err := e.rollOne(ctx, t, func(ctx context.Context) error { return e.apply(ctx, t) }); err != nil {
			return err
		}
	}
	return nil
}

// take removes from the list who is next, and notes who comes later.
func (e *engine) take(ctx context.Context, left *[]*task) *task {
	i := e.next(ctx, *left)
	t := (*left)[i]
	*left = slices.Delete(*left, i, i+1)
	e.rest = *left
	return t
}

// mayRoll sees the refusals that do not depend on the moment before anything is touched.
func (e *engine) mayRoll(ctx context.Context, tasks []*task) error {
	for _, t := range tasks {
		if t.broker == nil || t.broker.Raft() {
			continue
		}
		if why := t.drains(e.replicas(ctx, t.broker.Group)); why != "" {
			if err := e.elsewhere(ctx, t, why); err != nil {
				return err
			}
		}
	}
	return nil
}

// drains says why the group's writes have to be elsewhere while the broker restarts; "" = they may stay.
func (t *task) drains(r *replicas) string {
	g := t.broker.Group
	switch {
	case r.leader == t.broker || r.leader == nil && t.broker.Master():
		return "it is the only master"
	case g.Master.Role == inventory.SyncMaster && len(g.Slaves) == 1:
		return "without this slave its master answers every send with SLAVE_NOT_AVAILABLE"
	}
	return ""
}

// elsewhere refuses when no other group can take the sends and nobody has accepted the outage.
func (e *engine) elsewhere(ctx context.Context, t *task, why string) error {
	if e.o.AcceptOutage || !e.inv.AskOutage || e.others(ctx, t.broker.Group) {
		return nil
	}
	return refuse(t, mayStop, why+", and no other group can take the sends meanwhile", "", "--accept-outage, when nobody sends")
}

// rollOne restarts one service; start brings it up again.
func (e *engine) rollOne(ctx context.Context, t *task, start func(context.Context) error) error {
	ev := Event{Host: t.host.name(), Role: t.role, Step: "restart"}
	ev.State = Running
	e.emit(ev)
	var err error
	switch {
	case t.ns != nil:
		err = e.rollNameServer(ctx, t, start)
	case t.broker.Raft():
		err = e.rollRaft(ctx, t, start)
	default:
		err = e.rollPair(ctx, t, start)
	}
	if err != nil {
		ev.State, ev.Err = Failed, err
		e.emit(ev)
		return err
	}
	ev.State = Changed
	e.emit(ev)
	e.mu.Lock()
	e.restarts++
	e.mu.Unlock()
	return nil
}

func (e *engine) rollNameServer(ctx context.Context, t *task, start func(context.Context) error) error {
	before, err := e.clusterInfo(ctx, t.ns.Addr())
	if err != nil {
		return refuse(t, mayStop, "it cannot be asked what it knows: "+err.Error(), "", "look at its log")
	}
	want := members(before.BrokerAddrTable)
	for _, ns := range e.inv.NameServers {
		if ns == t.ns {
			continue
		}
		info, err := e.clusterInfo(ctx, ns.Addr())
		if err != nil {
			return refuse(t, mayStop, fmt.Sprintf("name server %s does not answer: %v", ns.Addr(), err), "", "bring it back first")
		}
		if have := members(info.BrokerAddrTable); have < want {
			return refuse(t, mayStop, fmt.Sprintf("name server %s knows %s", ns.Addr(), count(have, "broker")), fmt.Sprint(want), "wait until all brokers are registered there")
		}
	}
	if err := e.cycle(ctx, t, start); err != nil {
		return err
	}
	err = e.until(ctx, t, 2*time.Minute, func() (bool, string, error) {
		info, err := e.clusterInfo(ctx, t.ns.Addr())
		if err != nil {
			return false, "", err
		}
		have := members(info.BrokerAddrTable)
		return have >= want, fmt.Sprintf("%d of %s registered again", have, count(want, "broker")), nil
	}, func(what string) error { return refuse(t, mayHealthy, what, "", "look at the brokers' logs") })
	if err != nil {
		return err
	}
	return e.healthy(ctx, t)
}

// rollPair restarts a broker of a group without raft, by the role that it has now.
func (e *engine) rollPair(ctx context.Context, t *task, start func(context.Context) error) error {
	r := e.replicas(ctx, t.broker.Group)
	switch r.leader {
	case nil:
		if t.broker.Master() && r.away[t.broker] != nil {
			return refuse(t, mayStop, "it cannot be asked: "+r.away[t.broker].Error(), "", "look at its log")
		}
		return refuse(t, mayStop, "its group has no master: "+r.leaderless(), "", "bring the master back first, or rmqctl promote")
	case t.broker:
		return e.rollMaster(ctx, t, r, start)
	}
	return e.rollSlave(ctx, t, r, start)
}

func (e *engine) rollSlave(ctx context.Context, t *task, r *replicas, start func(context.Context) error) error {
	if why := e.registered(ctx, r.leader); why != "" {
		return refuse(t, mayStop, "its master is not in order: "+why, "", "bring the master back first")
	}
	if err := e.partners(ctx, t); err != nil {
		return err
	}
	if t.drains(r) != "" {
		undo, err := e.drain(ctx, t, r)
		if err != nil {
			return err
		}
		return errors.Join(e.restartSlave(ctx, t, start), undo())
	}
	return e.restartSlave(ctx, t, start)
}

func (e *engine) restartSlave(ctx context.Context, t *task, start func(context.Context) error) error {
	if err := e.cycle(ctx, t, start); err != nil {
		return err
	}
	if err := e.back(ctx, t); err != nil {
		return err
	}
	if err := e.level(ctx, t, t.broker.Group, e.inv.Rollout.MaxLagBytes, e.inv.Rollout.RecoveryTimeout, mayHealthy); err != nil {
		return err
	}
	return e.healthy(ctx, t)
}

func (e *engine) rollMaster(ctx context.Context, t *task, r *replicas, start func(context.Context) error) error {
	g := t.broker.Group
	if err := e.partners(ctx, t); err != nil {
		return err
	}
	if len(g.Slaves) > 0 {
		if err := e.level(ctx, t, g, e.inv.Rollout.MaxLagBytes, 30*time.Second, mayStop); err != nil {
			return err
		}
	}
	undo, err := e.drain(ctx, t, r)
	if err != nil {
		return err
	}
	err = e.restartMaster(ctx, t, r, start)
	if uerr := undo(); err == nil {
		err = uerr
	}
	if err != nil {
		return err
	}
	for _, ns := range e.inv.NameServers {
		if err := e.writable(ctx, ns, g, true); err != nil {
			return refuse(t, mayHealthy, err.Error(), "", "rmqctl admin topicRoute")
		}
	}
	return e.healthy(ctx, t)
}

func (e *engine) restartMaster(ctx context.Context, t *task, r *replicas, start func(context.Context) error) error {
	snapshot, err := e.settle(ctx, t, r)
	if err != nil {
		return err
	}
	if err := e.cycle(ctx, t, start); err != nil {
		return err
	}
	if err := e.back(ctx, t); err != nil {
		return err
	}
	g := t.broker.Group
	if len(g.Slaves) > 0 {
		if err := e.level(ctx, t, g, e.inv.Rollout.MaxLagBytes, 5*time.Minute, mayHealthy); err != nil {
			return err
		}
	}
	return e.until(ctx, t, time.Minute, func() (bool, string, error) {
		now, err := e.offsets(ctx, t.broker)
		if err != nil {
			return false, "", err
		}
		what := now.behind(snapshot)
		return what == "", what, nil
	}, func(what string) error {
		return refuse(t, mayHealthy, what, "no consumer goes back", "consumers would read messages again: look at the broker's log")
	})
}

// settle waits until the slaves have every byte and every consumer's place, and the queues are built. It returns the
// places, which must not have gone back when the master returns.
func (e *engine) settle(ctx context.Context, t *task, r *replicas) (offsets, error) {
	g := t.broker.Group
	if err := e.level(ctx, t, g, 0, time.Minute, mayStop); len(g.Slaves) > 0 && err != nil {
		return nil, err
	}
	err := e.until(ctx, t, time.Minute, func() (bool, string, error) {
		kv, err := e.runtime(ctx, t.broker)
		if err != nil {
			return false, "", err
		}
		n, ok := number(kv, "dispatchBehindBytes")
		return ok && n == 0, fmt.Sprintf("its queues are %s behind its log", bytesText(n)), nil
	}, func(what string) error { return refuse(t, mayStop, what, "0", "wait, then run it again") })
	if err != nil {
		return nil, err
	}
	snapshot, err := e.offsets(ctx, t.broker)
	if err != nil {
		return nil, refuse(t, mayStop, "it cannot be asked where its consumers are: "+err.Error(), "", "")
	}
	for _, s := range r.followers() {
		err := e.until(ctx, t, time.Minute, func() (bool, string, error) {
			have, err := e.offsets(ctx, s)
			if err != nil {
				return false, "", err
			}
			what := have.behind(snapshot)
			return what == "", "slave " + s.Member + ": " + what, nil
		}, func(what string) error {
			return refuse(t, mayStop, what, "the master's", "the slave copies offsets every 10 s: look at its log")
		})
		if err != nil {
			return nil, err
		}
	}
	return snapshot, nil
}

// partners asserts that every other member of the group is there: never two of them at once.
func (e *engine) partners(ctx context.Context, t *task) error {
	for _, b := range t.broker.Group.Brokers {
		if b == t.broker {
			continue
		}
		if why := e.registered(ctx, b); why != "" {
			return refuse(t, mayStop, "another member of its group is not in order: "+why, "", "bring "+b.Member+" back first")
		}
	}
	return nil
}

// drain moves the writes of a group elsewhere, or asks for leave where there is no elsewhere.
func (e *engine) drain(ctx context.Context, t *task, r *replicas) (undo func() error, err error) {
	g := t.broker.Group
	if err := e.elsewhere(ctx, t, t.drains(r)); err != nil {
		return nil, err
	}
	if !e.others(ctx, g) {
		return func() error { return nil }, nil // accepted
	}
	d, err := e.mask(ctx, g)
	if err != nil {
		return nil, err
	}
	if err := e.quiet(ctx, t, r); err != nil {
		return nil, errors.Join(err, d.undo(ctx))
	}
	return func() error { return d.undo(ctx) }, nil
}

// cycle stops the service and starts it again. Its process is asked to end, and never killed.
func (e *engine) cycle(ctx context.Context, t *task, start func(context.Context) error) error {
	if err := e.stopUnit(ctx, t); err != nil {
		return err
	}
	return start(ctx)
}

// back waits until a broker is registered everywhere.
func (e *engine) back(ctx context.Context, t *task) error {
	return e.until(ctx, t, 2*time.Minute, func() (bool, string, error) {
		why := e.registered(ctx, t.broker)
		return why == "", why, nil
	}, func(what string) error { return refuse(t, mayHealthy, what, "", "look at its log") })
}

// healthy watches the service for a while: the same process, and it answers.
func (e *engine) healthy(ctx context.Context, t *task) error {
	first, err := e.unitState(ctx, t)
	if err != nil {
		return err
	}
	for end := e.clock.Now().Add(e.inv.Rollout.MinHealthyTime); ; {
		u, err := e.unitState(ctx, t)
		if err != nil {
			return err
		}
		if !u.Runs() || u.PID != first.PID {
			return refuse(t, mayHealthy, fmt.Sprintf("its process %d ended (%s)", first.PID, u.Active), "", "look at its log")
		}
		if t.broker != nil {
			_, err = e.runtime(ctx, t.broker)
		} else {
			_, err = e.clusterInfo(ctx, t.ns.Addr())
		}
		if err != nil {
			return refuse(t, mayHealthy, "it does not answer: "+err.Error(), "", "look at its log")
		}
		if !e.clock.Now().Before(end) {
			return nil
		}
		if err := e.wait(ctx, time.Second); err != nil {
			return err
		}
	}
}
