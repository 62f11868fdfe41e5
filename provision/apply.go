// Carrying out a plan: a step is asked again, changed, and asked once more. What is left over is an error.

package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"rmqctl/provision/step"
)

// Deploy makes the hosts what the inventory says. Doing it again changes nothing.
func Deploy(ctx context.Context, o Options) (*Result, error) {
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	defer e.close()
	if err := e.open(ctx); err != nil {
		return nil, err
	}
	p, err := e.plan(ctx)
	if err != nil {
		return nil, err
	}
	if obs := p.Obstacles(); len(obs) > 0 {
		return nil, &ObstacleError{obs}
	}
	if p.Empty() {
		r := e.result()
		r.Nothing, r.Checked = true, p.Checked()
		return r, nil
	}
	if err := e.confirm(ctx, p); err != nil {
		return nil, err
	}
	err = e.deploy(ctx)
	r := e.result()
	r.Checked = p.Checked()
	return r, err
}

func (e *engine) confirm(ctx context.Context, p *Plan) error {
	if e.o.Confirm == nil {
		return nil
	}
	yes, err := e.o.Confirm(ctx, p)
	if err == nil && !yes {
		err = ErrDeclined
	}
	return err
}

func (e *engine) deploy(ctx context.Context) (err error) {
	if err := e.bringAgents(ctx); err != nil {
		return err
	}
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer func() { e.finish(ctx, err) }()
	if err := e.strangers(ctx); err != nil {
		return err
	}
	reach := false
	for _, w := range e.waves() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(w.tasks[0].unit) > 0 && !reach { // all hosts are prepared, no service has been touched
			reach = true
			if err := e.reachable(ctx); err != nil {
				return err
			}
		}
		if w.roll {
			err = e.roll(ctx, w.tasks)
		} else {
			err = e.each(ctx, w.tasks, e.apply)
		}
		if err != nil {
			return err
		}
	}
	if e.o.SkipVerify {
		return nil
	}
	return e.verify(ctx)
}

// bringAgents uploads the binary where it is not, and starts the wanted agent. This comes before the lock, which the
// agent takes: a release lies under its own hash, so bringing it disturbs nobody.
func (e *engine) bringAgents(ctx context.Context) error {
	return e.all(ctx, e.hosts, e.bringAgent)
}

func (e *engine) bringAgent(ctx context.Context, h *host) error {
	for _, s := range h.tasks[0].steps {
		up, ok := s.(step.Upload)
		if !ok || !up.IsSelf {
			continue
		}
		if err := e.bring(ctx, h, up); err != nil {
			return err
		}
		return h.m.StartAgent(ctx, up.To)
	}
	return errors.New("the host's role brings no rmqctl")
}

func (e *engine) bring(ctx context.Context, h *host, up step.Upload) error {
	ev := Event{Host: h.name(), Role: "host", Step: up.Name()}
	c, err := up.Check(ctx, onlyReader{h.m.Look(ctx)})
	if err != nil || c == nil {
		h.stray = err == nil
		return err
	}
	ev.State, ev.Why = Running, c.Why
	e.emit(ev)
	err = h.m.Upload(ctx, up.From, up.To, up.Sum, up.Perm, func(done, total int64) {
		ev := ev
		ev.State, ev.Done, ev.Total = Progress, done, total
		e.emit(ev)
	})
	if err == nil {
		if c, err = up.Check(ctx, onlyReader{h.m.Look(ctx)}); err == nil && c != nil {
			err = errors.New("still " + c.Why)
		}
	}
	if err != nil {
		ev.State, ev.Err = Failed, err
		e.emit(ev)
		return err
	}
	ev.State = Changed
	e.emit(ev)
	e.count()
	return nil
}

func (e *engine) count() {
	e.mu.Lock()
	e.changed++
	e.mu.Unlock()
}

// apply brings one role in line.
func (e *engine) apply(ctx context.Context, t *task) error {
	for _, s := range t.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.applyStep(ctx, t, s); err != nil {
			return e.explain(ctx, t, s, err)
		}
	}
	return nil
}

func (e *engine) applyStep(ctx context.Context, t *task, s step.Step) error {
	h := t.host
	ev := Event{Host: h.name(), Role: t.role, Step: s.Name()}
	c, err := s.Check(ctx, onlyReader{h.m.Look(ctx)})
	if err != nil {
		return err
	}
	if c == nil {
		if err := e.ownBrought(ctx, t, s); err != nil {
			return err
		}
		ev.State = OK
		e.emit(ev)
		return nil
	}
	ev.State, ev.Why = Running, c.Why
	e.emit(ev)
	if c.Apply == nil {
		return errors.New(strings.TrimSpace(c.Why + "; " + c.Hint))
	}
	if r, ok := s.(step.Removable); ok && c.Creates {
		if err := h.state.own(ctx, t.role, r.Owned()); err != nil {
			return fmt.Errorf("note in the manifest: %w", err)
		}
	}
	if err := h.state.journal(ctx, e.clock.Now(), entry{Role: t.role, Step: s.Name(), What: "begin", Why: c.Why}); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := c.Apply(ctx, writer{h.m.Agent().Host(ctx), h.m, nil}); err != nil {
		return err
	}
	again, err := s.Check(ctx, onlyReader{h.m.Look(ctx)})
	if err != nil {
		return err
	}
	if again != nil {
		return fmt.Errorf("changed it, and still: %s", again.Why)
	}
	if err := h.state.journal(ctx, e.clock.Now(), entry{Role: t.role, Step: s.Name(), What: "done"}); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	ev.State = Changed
	e.emit(ev)
	e.count()
	return nil
}

// ownBrought notes what the plan found absent and the upload, or the agent's own lock and journal, has made meanwhile:
// the release and the directories above it. If a run was cut just there, the next one finds them made and nobody's: a
// release under its own hash is ours all the same, and so is a directory that holds nothing but the way to it.
func (e *engine) ownBrought(ctx context.Context, t *task, s step.Step) error {
	r, ok := s.(step.Removable)
	if !ok || t.plan == nil || t.unit != "" {
		return nil
	}
	for _, c := range t.plan.Changes {
		if c.creates && c.Step == s.Name() {
			return t.host.state.own(ctx, t.role, r.Owned())
		}
	}
	if !t.host.stray {
		return nil
	}
	o, rel := r.Owned(), t.host.bin.Release(t.host.node)
	if o.Kind == "dir" && strings.HasPrefix(rel, o.Name+"/") {
		next, _, _ := strings.Cut(strings.TrimPrefix(rel, o.Name+"/"), "/")
		list, err := t.host.m.Look(ctx).Query(step.AskList(o.Name))
		if err != nil || list != next {
			return err
		}
	} else if o.Name != rel {
		return nil
	}
	return t.host.state.own(ctx, t.role, o)
}

// explain turns a failure into what an operator needs: where, what, and the end of the log if a service is concerned.
func (e *engine) explain(ctx context.Context, t *task, s step.Step, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	se := &StepError{Host: t.host.name(), Role: t.role, Step: s.Name(), Err: err}
	if t.unit != "" && touchesService(s) && !strings.Contains(err.Error(), "log ends") {
		if text, lerr := t.host.m.Look(ctx).Query(t.host.sup.Log(t.unit, 12)); lerr == nil {
			se.Log = text
		}
	}
	e.emit(Event{Host: t.host.name(), Role: t.role, Step: s.Name(), State: Failed, Err: err})
	if t.host.state != nil {
		if jerr := t.host.state.journal(ctx, e.clock.Now(), entry{Role: t.role, Step: s.Name(), What: "failed", Why: err.Error()}); jerr != nil {
			e.log.Warn("journal not written", "host", t.host.name(), "err", jerr)
		}
	}
	return se
}

func touchesService(s step.Step) bool {
	if _, ok := s.(step.Running); ok {
		return true
	}
	_, ok := s.(step.Waiter)
	return ok
}
