// The lead of a raft group, moved on request.

package provision

import (
	"context"
	"fmt"
)

// Transfer makes the group's member on a node its leader.
func Transfer(ctx context.Context, o Options, group, node string) (*Result, error) {
	return withReached(ctx, o, func(ctx context.Context, e *engine, away map[string]error) error {
		g, to, err := e.memberOn(group, node)
		if err != nil {
			return err
		}
		if !g.Raft {
			return fmt.Errorf("%s is no raft group: rmqctl promote INVENTORY %s", g.Name, to.Member)
		}
		t := e.taskOf(to)
		if t == nil {
			return fmt.Errorf("the host of %s cannot be reached: %w", to.Member, away[to.Node.Name])
		}
		r := e.replicas(ctx, g)
		switch {
		case r.leader == nil:
			return refuse(t, "lead", r.leaderless(), "", "rmqctl status")
		case r.leader == to:
			e.emit(Event{Host: t.host.name(), Role: t.role, Step: "hand over", State: OK, Why: fmt.Sprintf("it leads already, term %d", r.epoch)})
			return nil
		}
		err = e.until(ctx, t, mayStand, func() (bool, string, error) {
			r = e.replicas(ctx, g)
			what := r.behind(to, e.inv.Rollout.MaxLagBytes)
			return what == "", what, nil
		}, func(what string) error {
			return refuse(t, "lead", what, bytesText(e.inv.Rollout.MaxLagBytes), "wait until it has caught up (rmqctl status)")
		})
		if err != nil {
			return err
		}
		if err := e.askFor(ctx, "hand over the lead", fmt.Sprintf("%s: %s on %s → %s on %s", g.Name, r.leader.Member, r.leader.Node.Name, to.Member, to.Node.Name)); err != nil {
			return err
		}
		if err := e.transfer(ctx, t, r, to); err != nil {
			return err
		}
		if p := g.Preferred; p != nil && p != to {
			e.emit(Event{Host: t.host.name(), Role: t.role, Step: "hand over", State: Note,
				Why: fmt.Sprintf("preferred_leader of %s is %s: it takes the lead back when it is level; change the line in %s", g.Name, p.Node.Name, e.inv.File)})
		}
		e.count()
		return nil
	})
}
