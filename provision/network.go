// The cluster's own protocol, spoken from the hosts: each name server and broker is dialled by the agent of its own
// host, so neither a firewall nor an address that only the hosts know keeps the engine from asking.

package provision

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// network is the connections to the cluster during a run.
type network struct {
	e      *engine
	mu     sync.Mutex // guards rc, client
	rc     *remoting.Client
	client *client.Client
}

func newNetwork(e *engine) *network { return &network{e: e} }

// dial goes through the agent of the host that has the address, or through any agent, or straight.
func (n *network) dial(ctx context.Context, addr string) (net.Conn, error) {
	var any *host
	for _, h := range n.e.hosts {
		if h.m == nil || h.m.Agent() == nil {
			continue
		}
		if any == nil {
			any = h
		}
		if h.serves(addr) {
			return h.m.Agent().DialHost(ctx, addr)
		}
	}
	if any != nil {
		return any.m.Agent().DialHost(ctx, addr)
	}
	return (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "tcp", addr)
}

func (h *host) serves(addr string) bool {
	if ns := h.node.NameServer; ns != nil && ns.Addr() == addr {
		return true
	}
	for _, b := range h.node.Brokers {
		if b.Addr() == addr {
			return true
		}
	}
	return false
}

// cluster is the client of this cluster.
func (n *network) cluster() (*client.Client, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.client != nil {
		return n.client, nil
	}
	n.rc = remoting.NewClient(remoting.ClientOptions{Log: n.e.log, Dial: n.dial, Timeout: 5 * time.Second})
	var addrs []string
	for _, s := range n.e.inv.NameServers {
		addrs = append(addrs, s.Addr())
	}
	c, err := client.New(client.Options{NameServers: addrs, Timeout: 5 * time.Second, Log: n.e.log, Remoting: n.rc})
	n.client = c
	return c, err
}

func (n *network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.client != nil {
		n.client.Close()
	}
	if n.rc != nil {
		n.rc.Close()
	}
}

// ask puts a request to one address.
func ask[Req, Resp any](ctx context.Context, n *network, addr string, call *protocol.Call[Req, Resp], req *Req) (*Resp, []byte, error) {
	c, err := n.cluster()
	if err != nil {
		return nil, nil, err
	}
	return client.Call(ctx, c, addr, call, req)
}

// askJSON is ask for an answer whose body is JSON.
func askJSON[T, Req, Resp any](ctx context.Context, n *network, addr string, call *protocol.Call[Req, Resp]) (*T, error) {
	c, err := n.cluster()
	if err != nil {
		return nil, err
	}
	return client.CallJSON[T](ctx, c, addr, call, nil)
}

// reachable dials, before any service is touched, every planned port from every other host: "refused" by a firewall or
// an address that is another machine's is told now, and not as a slave that never comes into sync. Ports on which
// something answers already are dialled as they are.
func (e *engine) reachable(ctx context.Context) error {
	var all []endpoint
	defer func() {
		for _, h := range e.hosts {
			if err := h.m.Agent().Unlisten(context.WithoutCancel(ctx)); err != nil {
				e.log.Debug("probe ports not closed", "host", h.name(), "err", err)
			}
		}
	}()
	for _, h := range e.hosts {
		eps := h.endpoints()
		var addrs []string
		for _, ep := range eps {
			addrs = append(addrs, ep.addr)
		}
		bad, err := h.m.Agent().Listen(ctx, addrs)
		if err != nil {
			return err
		}
		if bad != "" {
			return &StepError{Host: h.name(), Role: "host", Step: "reachability", Err: fmt.Errorf("cannot listen: %s", bad)}
		}
		all = append(all, eps...)
	}
	if len(e.hosts) < 2 {
		return nil
	}
	var mu sync.Mutex
	var away []string
	tried := 0
	err := e.all(ctx, e.hosts, func(ctx context.Context, from *host) error {
		for _, ep := range all {
			if ep.host == from || !ep.wanted(from) {
				continue
			}
			out, err := from.m.Look(ctx).Query(dialQuery(ep.addr))
			if err != nil {
				return err
			}
			mu.Lock()
			tried++
			if out != "ok" {
				away = append(away, fmt.Sprintf("%s cannot reach %s (%s, %s): %s", from.name(), ep.addr, ep.host.name(), ep.what, meaning(out)))
			}
			mu.Unlock()
		}
		return nil
	})
	if err != nil {
		return err
	}
	ev := Event{Step: "reachability", State: OK, Why: count(tried, "connection") + " between hosts"}
	if away != nil {
		err := &ReachError{away}
		ev.State, ev.Err = Failed, err
		e.emit(ev)
		return err
	}
	e.emit(ev)
	return nil
}

// endpoint is a port that others have to reach.
type endpoint struct {
	host   *host
	addr   string
	what   string
	wanted func(from *host) bool
}

func (h *host) endpoints() []endpoint {
	everyone := func(*host) bool { return true }
	var out []endpoint
	if ns := h.node.NameServer; ns != nil {
		out = append(out, endpoint{h, ns.Addr(), "name server", everyone})
	}
	for _, b := range h.node.Brokers {
		out = append(out, endpoint{h, b.Addr(), b.Member, everyone})
		member := func(from *host) bool { return b.Group.On(from.node.Name) != nil }
		switch {
		case b.Raft():
			out = append(out, endpoint{h, b.RaftAddr(), b.Member + ", raft", member})
		case b.Master() && len(b.Group.Slaves) > 0:
			out = append(out, endpoint{h, net.JoinHostPort(b.Node.Advertise, fmt.Sprint(b.HAPort)), b.Member + ", HA", member})
		}
	}
	return out
}

func meaning(out string) string {
	switch out {
	case "refused":
		return "refused: something on the way sends the packets back"
	case "timeout":
		return "timed out: a firewall drops the packets, or the address is wrong"
	}
	return out
}

// ReachError says who cannot reach whom.
type ReachError struct{ Away []string }

func (e *ReachError) Error() string {
	s := "hosts cannot reach each other:"
	for _, a := range e.Away {
		s += "\n  " + a
	}
	return s
}
