// Start, stop, restart and destroy of a cluster that is deployed.

package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"rmqctl/provision/agent"
	"rmqctl/provision/role"
	"rmqctl/provision/step"
)

// Restart restarts the services one at a time, behind the gates of a roll. What does not run is started.
func Restart(ctx context.Context, o Options) (*Result, error) {
	return withCluster(ctx, o, func(ctx context.Context, e *engine) error {
		order := append(append(e.tasks(isNamesrv), e.tasks(isSlave)...), e.tasks(isMaster)...)
		order, err := e.only(order)
		if err != nil {
			return err
		}
		if err := e.ask(ctx, "restart one by one", order, true); err != nil {
			return err
		}
		for _, t := range order {
			if err := ctx.Err(); err != nil {
				return err
			}
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

// Start starts what does not run: name servers, masters, slaves.
func Start(ctx context.Context, o Options) (*Result, error) {
	return withCluster(ctx, o, func(ctx context.Context, e *engine) error {
		for _, kind := range []func(*task) bool{isNamesrv, isMaster, isSlave} {
			if err := e.inWave(ctx, e.tasks(kind), e.startAndWait); err != nil {
				return err
			}
		}
		return e.named()
	})
}

// Stop stops the services: masters, slaves, name servers. Nothing is killed.
func Stop(ctx context.Context, o Options) (*Result, error) {
	return withCluster(ctx, o, func(ctx context.Context, e *engine) error {
		if err := e.ask(ctx, "stop", e.tasks(func(t *task) bool { return t.unit != "" }), false); err != nil {
			return err
		}
		for _, kind := range []func(*task) bool{isMaster, isSlave, isNamesrv} {
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
	p := &Plan{Cluster: e.inv.Name, Order: []string{wave{title, tasks, roll}.String()}}
	return e.confirm(ctx, p)
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

// DestroyOptions say how much goes.
type DestroyOptions struct {
	Data bool // stores too
}

// Destroy stops the cluster and takes back what the hosts' manifests say it created, and only that: hosts block, firewall
// rules, units, users, files. Data stays unless asked for.
func Destroy(ctx context.Context, o Options, d DestroyOptions) (*Result, error) {
	return withCluster(ctx, o, func(ctx context.Context, e *engine) error {
		all := e.tasks(func(t *task) bool { return t.unit != "" })
		if err := e.ask(ctx, "destroy", e.tasks(isHost), false); err != nil {
			return err
		}
		for _, kind := range []func(*task) bool{isMaster, isSlave, isNamesrv} {
			var some []*task
			for _, t := range all {
				if kind(t) {
					some = append(some, t)
				}
			}
			if err := e.each(ctx, some, e.stopUnit); err != nil {
				return err
			}
		}
		return e.each(ctx, e.tasks(isHost), func(ctx context.Context, t *task) error { return e.takeBack(ctx, t.host, d) })
	})
}

// takeBack empties one host. Directories come last, deepest first, and only those that are empty by then or wholly ours.
func (e *engine) takeBack(ctx context.Context, h *host, d DestroyOptions) error {
	type undo struct {
		t *task
		r step.Removable
	}
	var dirs []undo
	listed := map[step.Owned]bool{}
	for i := len(h.tasks) - 1; i >= 0; i-- {
		t := h.tasks[i]
		for _, r := range role.Removal(t.steps) {
			o := r.Owned()
			listed[o] = true
			switch {
			case !h.state.owns(o), o.Kind == "data" && !d.Data:
			case o.Kind == "dir" || o.Kind == "data":
				dirs = append(dirs, undo{t, r})
			default:
				if err := e.remove(ctx, t, r.Absent(), o); err != nil {
					return err
				}
			}
		}
	}
	if err := e.orphans(ctx, h, listed); err != nil {
		return err
	}
	slices.SortStableFunc(dirs, func(a, b undo) int {
		return strings.Count(b.r.Owned().Name, "/") - strings.Count(a.r.Owned().Name, "/")
	})
	for _, u := range dirs {
		if err := e.remove(ctx, u.t, u.r.Absent(), u.r.Owned()); err != nil {
			return err
		}
	}
	return e.forget(ctx, h)
}

// remove carries out an opposite step and strikes the thing from the manifest.
func (e *engine) remove(ctx context.Context, t *task, s step.Step, o step.Owned) error {
	h := t.host
	ev := Event{Host: h.name(), Role: t.role, Step: s.Name(), State: OK}
	c, err := s.Check(ctx, onlyReader{h.m.Look(ctx)})
	if err == nil && c != nil {
		if c.Apply == nil {
			err = errors.New(c.Why)
		} else {
			err = c.Apply(ctx, writer{h.m.Agent().Host(ctx), h.m, nil})
		}
		ev.State = Changed
		e.count()
	}
	if err != nil {
		return e.explain(ctx, t, s, err)
	}
	if err := h.state.disown(ctx, o); err != nil {
		return err
	}
	e.emit(ev)
	return nil
}

// orphans takes back what an earlier inventory created and this one does not mention: files and links. Other kinds
// are named, since only their own step knows how to undo them.
func (e *engine) orphans(ctx context.Context, h *host, listed map[step.Owned]bool) error {
	for _, o := range slices.Clone(h.state.m.Owned) {
		if listed[o.Owned] {
			continue
		}
		switch o.Kind {
		case "file", "link":
			if err := h.m.Agent().Host(ctx).Remove(o.Name); err != nil {
				return err
			}
			if err := h.state.disown(ctx, o.Owned); err != nil {
				return err
			}
		case "data", "dir":
		default:
			e.emit(Event{Host: h.name(), Role: o.Role, Step: o.Kind + " " + o.Name, State: Note, Why: "left: the inventory does not mention it any more"})
		}
	}
	return nil
}

// forget removes the cluster's memory on the host, and the directories above it if nobody else uses them.
func (e *engine) forget(ctx context.Context, h *host) error {
	a := h.m.Agent()
	if err := a.RemoveAll(ctx, h.state.dir); err != nil {
		return err
	}
	if err := a.Unlock(ctx, lockPath(e.inv, h.node)); err != nil {
		return err
	}
	h.state = nil
	w := a.Host(ctx)
	for _, p := range []string{lockPath(e.inv, h.node), h.node.Paths.Run, h.node.Paths.State} {
		if p != lockPath(e.inv, h.node) && !emptyDir(w, p) {
			continue
		}
		if err := w.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return e.emptyRoot(ctx, h, a)
}

// emptyRoot removes what is empty of a local node's own directory, and of the place where such directories lie unless the
// inventory names another.
func (e *engine) emptyRoot(ctx context.Context, h *host, a *agent.Client) error {
	if !h.node.Local() {
		return nil
	}
	w := a.Host(ctx)
	common := path.Join(e.inv.Dir, ".rmqctl")
	for _, p := range []string{h.node.Paths.Install, h.node.Paths.Conf, h.node.Paths.Logs, h.node.Paths.Data, h.node.Root, path.Join(common, e.inv.Name), common} {
		if !emptyDir(w, p) {
			continue
		}
		// Another node's agent may be removing the same directory, or be about to fill it.
		if err := w.Remove(p); err != nil && emptyDir(w, p) {
			return err
		}
	}
	return nil
}

func emptyDir(r step.Reader, p string) bool {
	if _, err := r.Stat(p); err != nil {
		return false
	}
	list, err := r.Query(step.AskList(p))
	return err == nil && list == ""
}
