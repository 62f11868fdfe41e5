// Taking a group's writes away from producers before its master stops, so that no send fails.
//
// A broker that refuses sends fails every asynchronous one: no client retries those. So the broker goes on accepting, and
// the name servers stop showing it as writable. Clients ask for the route every 30 seconds; after that, and when nothing
// has arrived for five seconds, nobody sends there any more.
//
// The mask carries a lease of a minute and is renewed while the roll lives: a control machine that dies leaves nothing
// read-only (a Java name server knows no lease; there the broker's next registration ends the mask). Taking it off shows
// the topics with their own permissions, so a read-only topic stays read-only.

package provision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rmqctl/internal/protocol"
	"rmqctl/inventory"
)

const (
	drainLease = time.Minute
	drainRenew = 15 * time.Second
	drainQuiet = 5 * time.Second
	undoLimit  = 20 * time.Second
)

// drained is a group whose writes are masked.
type drained struct {
	e      *engine
	group  *inventory.Group
	cancel context.CancelFunc
	done   chan struct{}
}

// mask hides the group from producers at every name server and keeps it hidden.
func (e *engine) mask(ctx context.Context, g *inventory.Group) (*drained, error) {
	hold, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d := &drained{e: e, group: g, cancel: cancel, done: make(chan struct{})}
	err := d.renew(ctx)
	for _, ns := range e.inv.NameServers {
		if err == nil {
			err = e.writable(ctx, ns, g, false)
		}
	}
	go func() {
		defer close(d.done)
		for e.wait(hold, drainRenew) == nil {
			if err := d.renew(hold); err != nil && hold.Err() == nil {
				e.log.Warn("mask not renewed", "broker", g.Name, "err", err)
			}
		}
	}()
	if err != nil {
		return nil, errors.Join(err, d.undo(ctx))
	}
	return d, nil
}

func (d *drained) renew(ctx context.Context) error {
	lease := drainLease.Milliseconds()
	for _, ns := range d.e.inv.NameServers {
		if _, _, err := ask(ctx, d.e.net, ns.Addr(), protocol.WipeWritePermOfBroker, &protocol.WipeWritePermRequest{BrokerName: d.group.Name, LeaseMillis: &lease}); err != nil {
			return fmt.Errorf("mask %s at name server %s: %w", d.group.Name, ns.Addr(), err)
		}
	}
	return nil
}

// undo shows the group again, with its topics' own permissions. It works even when the run has been called off.
func (d *drained) undo(ctx context.Context) error {
	d.cancel()
	<-d.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	var errs []error
	for _, ns := range d.e.inv.NameServers {
		_, _, err := ask(ctx, d.e.net, ns.Addr(), protocol.AddWritePermOfBroker, &protocol.BrokerNameRequest{BrokerName: d.group.Name})
		if err != nil {
			errs = append(errs, fmt.Errorf("show %s again at name server %s (its mask ends by itself within %s): %w", d.group.Name, ns.Addr(), drainLease, err))
		}
	}
	return errors.Join(errs...)
}

// writable asserts how a name server shows the group's own topic.
func (e *engine) writable(ctx context.Context, ns *inventory.NameServer, g *inventory.Group, want bool) error {
	r, err := e.routeAt(ctx, ns, g.Name)
	if err != nil {
		return fmt.Errorf("route of %s at name server %s: %w", g.Name, ns.Addr(), err)
	}
	for _, q := range r.QueueDatas {
		if q.BrokerName == g.Name {
			if got := q.Perm&protocol.PermWrite != 0; got != want {
				return fmt.Errorf("name server %s shows %s with permission %d", ns.Addr(), g.Name, q.Perm)
			}
			return nil
		}
	}
	return fmt.Errorf("name server %s does not show %s", ns.Addr(), g.Name)
}

// quiet waits until the clients have gone: at least as long as they keep a route, and until nothing has arrived for a
// while.
func (e *engine) quiet(ctx context.Context, t *task, r *replicas) error {
	g, master := r.group, r.leader
	must := e.inv.Rollout.ClientWait
	limit := max(e.inv.Rollout.DrainTimeout, must+2*drainQuiet)
	begun := e.clock.Now()
	last, lastAt := int64(-1), begun
	for {
		kv, err := e.runtime(ctx, master)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return refuse(t, "be drained", master.Member+" cannot be asked for its put rate: "+err.Error(), "", "look at its log")
		}
		now := e.clock.Now()
		n, ok := number(kv, "msgPutTotalTodayNow")
		if !ok {
			return refuse(t, "be drained", master.Member+" does not say how many messages it has stored", "", "")
		}
		rate := 0.0
		if last >= 0 && n != last {
			if d := now.Sub(lastAt).Seconds(); d > 0 {
				rate = float64(n-last) / d
			}
		}
		if n != last {
			last, lastAt = n, now
		}
		took := now.Sub(begun)
		if took >= must && now.Sub(lastAt) >= min(drainQuiet, must) {
			return nil
		}
		e.emit(Event{Host: t.host.name(), Role: t.role, Step: "drain " + g.Name, State: Progress, Done: int64(took.Seconds()), Total: int64(must.Seconds()),
			Why: fmt.Sprintf("route masked at %d/%d name servers, put rate %.0f/s", len(e.inv.NameServers), len(e.inv.NameServers), rate)})
		if took >= limit {
			return refuse(t, "stop", fmt.Sprintf("%s still stores %.1f messages/s %s after its route was masked", master.Member, rate, took.Round(time.Second)),
				"0/s for "+drainQuiet.String(), "find the producer that does not refresh its route, or raise rollout.drain_timeout")
		}
		if err := e.wait(ctx, time.Second); err != nil {
			return err
		}
	}
}
