// Work on a cluster of which hosts may be dead: what can be reached is, and the rest is known to be away.

package provision

import (
	"context"
	"errors"
	"slices"
)

// withReached opens the hosts and goes on with those that answer; at least one has to. It holds the lock on them around f.
func withReached(ctx context.Context, o Options, f func(ctx context.Context, e *engine, away map[string]error) error) (*Result, error) {
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	defer e.close()
	away := map[string]error{}
	err = e.open(ctx)
	var u *UnreachableError
	if errors.As(err, &u) && len(u.Hosts) < len(e.hosts) {
		for _, h := range u.Hosts {
			away[h.Host] = h.Err
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	all := e.hosts
	defer func() { e.hosts = all }() // close closes every one
	e.hosts = slices.DeleteFunc(slices.Clone(all), func(h *host) bool { return away[h.name()] != nil })
	// A host without an agent is one to which nothing was deployed yet: a member may be about to join there.
	locked := slices.DeleteFunc(slices.Clone(e.hosts), func(h *host) bool { return h.m.Agent() == nil })
	if len(locked) == 0 {
		return nil, errors.New("the cluster is deployed on none of the hosts that answer: run rmqctl deploy")
	}
	if err := e.lockHosts(ctx, locked); err != nil {
		return nil, err
	}
	err = f(ctx, e, away)
	e.finish(ctx, err)
	return e.result(), err
}
