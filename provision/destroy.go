// Destroy: the roles' lists backwards, each step as its opposite, and only what the host's manifest says is ours.

package provision

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"rmqctl/provision/agent"
	"rmqctl/provision/role"
	"rmqctl/provision/step"
)

// DestroyOptions say how much goes.
type DestroyOptions struct {
	Data bool // stores too
}

// Destroy stops the cluster and takes back what the hosts' manifests say it created, and only that: hosts block, firewall
// rules, units, users, files. Data stays unless asked for; the manifest then goes on knowing it, so that a later Destroy
// with Data finds it.
func Destroy(ctx context.Context, o Options, d DestroyOptions) (*Result, error) {
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	defer e.close()
	if err := e.open(ctx); err != nil {
		return nil, err
	}
	if err := e.ask(ctx, "destroy", e.tasks(isHost), false); err != nil {
		return nil, err
	}
	if err := e.agentsForDestroy(ctx); err != nil {
		return nil, err
	}
	if err := e.lock(ctx); err != nil {
		return nil, err
	}
	err = e.destroy(ctx, d)
	e.finish(ctx, err)
	return e.result(), err
}

// agentsForDestroy brings the binary once more to hosts that have none: of what an earlier destroy kept there.
func (e *engine) agentsForDestroy(ctx context.Context) error {
	return e.all(ctx, e.hosts, func(ctx context.Context, h *host) error {
		if h.m.Agent() != nil {
			return nil
		}
		if err := e.planTask(ctx, h.tasks[0]); err != nil { // what is absent now, this run makes
			return err
		}
		return e.bringAgent(ctx, h)
	})
}

func (e *engine) destroy(ctx context.Context, d DestroyOptions) error {
	for _, kind := range []func(*task) bool{isRaft, isMaster, isSlave, isNamesrv} {
		if err := e.each(ctx, e.tasks(kind), e.stopUnit); err != nil {
			return err
		}
	}
	return e.each(ctx, e.tasks(isHost), func(ctx context.Context, t *task) error {
		for _, s := range t.steps {
			if c, err := s.Check(ctx, onlyReader{t.host.m.Look(ctx)}); err == nil && c == nil {
				if err := e.ownBrought(ctx, t, s); err != nil {
					return err
				}
			}
		}
		return e.takeBack(ctx, t.host, d)
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
	if o.Kind == "dir" || o.Kind == "data" {
		if _, err := h.m.Look(ctx).Stat(o.Name); !errors.Is(err, fs.ErrNotExist) {
			return err // something is still in it: kept data, or what is not ours
		}
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
	if err := e.forgetState(ctx, h); err != nil {
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

// forgetState removes journal, inventory and manifest; the manifest stays while data does, with that and nothing else.
func (e *engine) forgetState(ctx context.Context, h *host) error {
	kept := slices.ContainsFunc(h.state.m.Owned, func(o owned) bool { return o.Kind == "data" })
	if !kept {
		return h.m.Agent().RemoveAll(ctx, h.state.dir)
	}
	w := h.m.Agent().Host(ctx)
	for _, name := range []string{"journal.jsonl", "inventory.toml"} {
		if err := w.Remove(h.state.path(name)); err != nil {
			return err
		}
	}
	return nil
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
