// Start, stop and restart of a cluster that is deployed.

package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rmqctl/provision/step"
)

// Restart restarts the services one at a time, behind the gates of a roll. What does not run is started.
func Restart(ctx context.Context, o Options) (*Result, error) {
	return withCluster(ctx, o, func(ctx context.Context, e *engine) error {
		order := slices.Concat(e.tasks(isNamesrv), e.tasks(isSlave), e.tasks(isRaft), e.tasks(isMaster))
		order, err := e.only(order)
		if err != nil {
			return err
		}
		if err := e.ask(ctx, rollTitle(order), order, true); err != nil {
			return err
		}
		if err := e.mayRestart(ctx, order); err != nil {
			return err
		}
		for len(order) > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			t := e.take(ctx, &order)
			start := func(ctx context.Context) error { return e.startUnit(ctx, t) }
			u, err := e.unitState(ctx, t)
			if err != nil {
				return err
			}
			if !u.Runs() {
				if err := e.startAndWait(ctx, t); err != nil {
					return err
				}
				continue
			}
			if err := e.rollOne(ctx, t, start); err != nil {
				return err
			}
		}
		return nil
	})
}

// mayRestart is mayRoll for those that run.
func (e *engine) mayRestart(ctx context.Context, tasks []*task) error {
	var run []*task
	for _, t := range tasks {
		u, err := e.unitState(ctx, t)
		if err != nil {
			return err
		}
		if u.Runs() {
			run = append(run, t)
		}
	}
	return e.mayRoll(ctx, run)
}

// Start starts what does not run: name servers, masters, slaves, raft members.
func Start(ctx context.Context, o Options) (*Result, error) {
	return withCluster(ctx, o, func(ctx context.Context, e *engine) error {
		for _, kind := range []func(*task) bool{isNamesrv, isMaster, isSlave, isRaft} {
			if err := e.inWave(ctx, e.tasks(kind), e.startAndWait); err != nil {
				return err
			}
		}
		return e.named()
	})
}

// Stop stops the services: raft members, masters, slaves, name servers. Nothing is killed.
func Stop(ctx context.Context, o Options) (*Result, error) {
	return withCluster(ctx, o, func(ctx context.Context, e *engine) error {
		if err := e.ask(ctx, "stop", e.tasks(func(t *task) bool { return t.unit != "" }), false); err != nil {
			return err
		}
		for _, kind := range []func(*task) bool{isRaft, isMaster, isSlave, isNamesrv} {
			if err := e.inWave(ctx, e.tasks(kind), e.stopUnit); err != nil {
				return err
			}
		}
		return e.named()
	})
}

// inWave does f on those of the tasks that the operator named.
func (e *engine) inWave(ctx context.Context, tasks []*task, f func(context.Context, *task) error) error {
	var hit []*task
	for _, t := range tasks {
		if got, err := e.only([]*task{t}); err == nil || len(got) > 0 {
			hit = append(hit, got...)
		}
	}
	return e.each(ctx, hit, f)
}

// named complains about names that match nothing.
func (e *engine) named() error {
	_, err := e.only(e.tasks(func(t *task) bool { return t.unit != "" }))
	return err
}

// ask shows what will be done, in the shape of a plan.
func (e *engine) ask(ctx context.Context, title string, tasks []*task, roll bool) error {
	return e.askFor(ctx, title, wave{title, tasks, roll}.String())
}

// askFor shows what will be done, step by step, and asks.
func (e *engine) askFor(ctx context.Context, title string, steps ...string) error {
	return e.confirm(ctx, &Plan{Cluster: e.inv.Name, Order: steps, title: title + " (cluster " + e.inv.Name + ")"})
}

// withCluster opens the hosts, insists on the agent on each, and holds the lock around f.
func withCluster(ctx context.Context, o Options, f func(context.Context, *engine) error) (*Result, error) {
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	defer e.close()
	if err := e.open(ctx); err != nil {
		return nil, err
	}
	for _, h := range e.hosts {
		if h.m.Agent() == nil {
			return nil, &StepError{Host: h.name(), Role: "host", Step: "agent", Err: errors.New("the cluster is not deployed here: run rmqctl deploy")}
		}
	}
	if err := e.lock(ctx); err != nil {
		return nil, err
	}
	err = f(ctx, e)
	e.finish(ctx, err)
	return e.result(), err
}

func (e *engine) stopUnit(ctx context.Context, t *task) error {
	ev := Event{Host: t.host.name(), Role: t.role, Step: "stop " + t.unit}
	u, err := e.unitState(ctx, t)
	if err != nil {
		return err
	}
	if !u.Runs() && u.Active != "activating" {
		ev.State = OK
		e.emit(ev)
		return nil
	}
	ev.State = Running
	e.emit(ev)
	h := t.host.m.Agent().Host(ctx)
	if err = h.Run(t.host.sup.Stop(t.unit, e.inv.Service.StopTimeout)); err == nil {
		if u, err = e.unitState(ctx, t); err == nil && u.Runs() {
			err = fmt.Errorf("process %d is still there", u.PID)
		}
	}
	if err != nil {
		return e.explain(ctx, t, step.Running{Unit: t.unit}, fmt.Errorf("stop: %w", err))
	}
	ev.State = Changed
	e.emit(ev)
	e.count()
	return nil
}

func (e *engine) startUnit(ctx context.Context, t *task) error {
	ev := Event{Host: t.host.name(), Role: t.role, Step: "start " + t.unit}
	u, err := e.unitState(ctx, t)
	if err != nil {
		return err
	}
	if u.Active == "absent" {
		return &StepError{Host: t.host.name(), Role: t.role, Step: ev.Step, Err: errors.New("it is not deployed here: run rmqctl deploy")}
	}
	if u.Runs() && u.Active == "active" {
		ev.State = OK
		e.emit(ev)
		return nil
	}
	ev.State = Running
	e.emit(ev)
	if err := t.host.m.Agent().Host(ctx).Run(t.host.sup.Start(t.unit, e.inv.Service.StartTimeout)); err != nil {
		return e.explain(ctx, t, step.Running{Unit: t.unit}, fmt.Errorf("start: %w", err))
	}
	ev.State = Changed
	e.emit(ev)
	e.count()
	return nil
}

func (e *engine) startAndWait(ctx context.Context, t *task) error {
	if err := e.startUnit(ctx, t); err != nil {
		return err
	}
	if t.broker != nil {
		return e.back(ctx, t)
	}
	return e.until(ctx, t, time.Minute, func() (bool, string, error) {
		_, err := e.clusterInfo(ctx, t.ns.Addr())
		return err == nil, "", err
	}, func(what string) error { return refuse(t, mayHealthy, what, "", "look at its log") })
}

// Kill ends one member's process at once, as a power cut would: for demonstrations and tests on this machine. It refuses
// on a node that is not local.
func Kill(ctx context.Context, o Options, member string) error {
	_, err := withCluster(ctx, o, func(ctx context.Context, e *engine) error {
		hit := e.tasks(func(t *task) bool { return t.unit != "" && t.role == member })
		if len(hit) == 0 {
			return errors.New("no such member: " + member)
		}
		t := hit[0]
		if !t.host.node.Local() {
			return fmt.Errorf("%s is not on this machine: rmqctl does not kill there", t.label())
		}
		return t.host.m.Agent().Host(ctx).Run(t.host.sup.Kill(t.unit))
	})
	return err
}
