// The state of a deployed cluster: what its own protocol says, and what the hosts' supervisors say.

package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
	"rmqctl/inventory"
)

// Status is one look at a cluster.
type Status struct {
	*client.ClusterStatus
	Services []Service `json:"services"`
	// Notes are what works and is not what the inventory says: a promoted slave, a leader that is not the preferred one.
	Notes []string `json:"notes,omitempty"`
}

// Service is a unit on a host.
type Service struct {
	Host   string    `json:"host"`
	Role   string    `json:"role"` // namesrv, or the broker's member name
	Group  string    `json:"group,omitempty"`
	ID     int64     `json:"id"`
	Unit   string    `json:"unit"`
	Addr   string    `json:"addr"`
	Active string    `json:"active"` // active, activating, inactive, failed, absent, unreachable
	PID    int       `json:"pid,omitempty"`
	Since  time.Time `json:"since"`
	Err    string    `json:"error,omitempty"`
}

// Session is a set of open connections, for a view that looks again and again.
type Session struct {
	e     *engine
	away  map[string]error
	tried time.Time // when connections were last made anew
}

// Open connects to the hosts. A host that cannot be reached is shown as such by Status; Open fails only when none can.
func Open(ctx context.Context, o Options) (*Session, error) {
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	s := &Session{e: e, away: map[string]error{}}
	err = e.open(ctx)
	s.tried = e.clock.Now()
	var u *UnreachableError
	if errors.As(err, &u) && len(u.Hosts) < len(e.hosts) {
		for _, h := range u.Hosts {
			s.away[h.Host] = h.Err
		}
		for _, h := range e.hosts { // reached, but of no use
			if s.away[h.name()] != nil && h.m != nil {
				h.m.Close()
				h.m = nil
			}
		}
		err = nil
	}
	if err != nil {
		e.close()
		return nil, err
	}
	return s, nil
}

// Close closes the connections.
func (s *Session) Close() { s.e.close() }

// Client talks to the cluster through the hosts' agents.
func (s *Session) Client() (*client.Client, error) { return s.e.net.cluster() }

// Status looks once. What the inventory wants and nobody knows is in the result too, with the reason. The error says only that no name server answers; what is known is in the result all the same.
func (s *Session) Status(ctx context.Context) (*Status, error) {
	s.reconnect(ctx)
	st := &Status{ClusterStatus: &client.ClusterStatus{At: s.e.clock.Now()}}
	c, err := s.e.net.cluster()
	if err != nil {
		return nil, err
	}
	cs, cerr := c.Status(ctx)
	if cs != nil {
		st.ClusterStatus = cs
	}
	for _, h := range s.e.hosts {
		st.Services = append(st.Services, s.services(ctx, h)...)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s.addMissing(st)
	return st, cerr
}

const (
	reconnectEvery = 5 * time.Second
	reconnectLimit = 3 * time.Second
)

// reconnect tries the hosts that are away, or have gone since: a node comes back from its power cut in the view.
func (s *Session) reconnect(ctx context.Context) {
	now := s.e.clock.Now()
	if now.Sub(s.tried) < reconnectEvery {
		return
	}
	s.tried = now
	var hosts []*host
	for _, h := range s.e.hosts {
		if h.m != nil && h.m.Agent() != nil && h.m.Agent().Gone() {
			h.m.Close()
			h.m = nil
			s.away[h.name()] = errors.New("the connection was lost")
		}
		if s.away[h.name()] != nil {
			hosts = append(hosts, h)
		}
	}
	if len(hosts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reconnectLimit)
	defer cancel()
	var mu sync.Mutex
	_ = s.e.all(ctx, hosts, func(ctx context.Context, h *host) error {
		m, err := s.e.connect(ctx, h.node)
		if err == nil {
			h.m = m
			err = s.e.facts(ctx, h)
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			if h.m != nil {
				h.m.Close()
				h.m = nil
			}
			s.away[h.name()] = err
			return nil
		}
		delete(s.away, h.name())
		return nil
	})
}

func (s *Session) services(ctx context.Context, h *host) []Service {
	var out []Service
	if ns := h.node.NameServer; ns != nil {
		out = append(out, Service{Host: h.name(), Role: "namesrv", Unit: ns.Unit(), Addr: ns.Addr()})
	}
	for _, b := range h.node.Brokers {
		out = append(out, Service{Host: h.name(), Role: b.Member, Group: b.Name, ID: b.ID, Unit: b.Unit(), Addr: b.Addr()})
	}
	for i := range out {
		sv := &out[i]
		if err := s.away[h.name()]; err != nil {
			sv.Active, sv.Err = "unreachable", err.Error()
			continue
		}
		u, err := s.e.unitState(ctx, &task{host: h, unit: sv.Unit})
		if err != nil {
			sv.Active, sv.Err = "unreachable", err.Error()
			continue
		}
		sv.Active, sv.PID, sv.Since = u.Active, u.PID, u.Since
	}
	return out
}

// Healthy tells whether the cluster is as the inventory wants it; else why not.
func (s *Status) Healthy() (bool, []string) {
	_, why := s.ClusterStatus.Healthy()
	for _, sv := range s.Services {
		if sv.Active != "active" {
			w := sv.Role + " on " + sv.Host + " is " + sv.Active
			if sv.Err != "" {
				w += ": " + strings.SplitN(sv.Err, "\n", 2)[0]
			}
			why = append(why, w)
		}
	}
	return len(why) == 0, why
}

// LookAt is Open, Status and Close.
func LookAt(ctx context.Context, o Options) (*Status, error) {
	s, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Status(ctx)
}

// addMissing adds the brokers that no name server knows.
func (s *Session) addMissing(st *Status) {
	for _, g := range s.e.inv.Groups {
		i := slices.IndexFunc(st.Groups, func(x client.GroupStatus) bool { return x.Name == g.Name })
		if i < 0 {
			st.Groups = append(st.Groups, client.GroupStatus{Cluster: s.e.inv.Name, Name: g.Name})
			i = len(st.Groups) - 1
		}
		x := &st.Groups[i]
		for _, b := range g.Brokers {
			if slices.ContainsFunc(x.Members, func(m client.MemberStatus) bool { return m.Addr == b.Addr() }) {
				continue
			}
			role := "slave"
			switch {
			case b.Raft():
				role = "follower"
			case b.Master():
				role = "master"
			}
			x.Members = append(x.Members, client.MemberStatus{ID: b.ID, Addr: b.Addr(), Role: role, LagBytes: -1, ETASeconds: -1, Err: s.missing(st, b)})
		}
		slices.SortFunc(x.Members, func(a, b client.MemberStatus) int { return int(a.ID - b.ID) })
		x.Replicate(func(m *client.MemberStatus) string {
			if b := byAddr(g, m.Addr); b != nil {
				return replicaID(b)
			}
			return ""
		})
		st.Notes = append(st.Notes, notes(g, x)...)
	}
}

func byAddr(g *inventory.Group, addr string) *inventory.Broker {
	for _, b := range g.Brokers {
		if b.Addr() == addr {
			return b
		}
	}
	return nil
}

// notes are what of a group works and is not what the inventory says.
func notes(g *inventory.Group, x *client.GroupStatus) []string {
	var out []string
	lead := byAddr(g, x.Leader)
	for _, m := range x.Members {
		if b := byAddr(g, m.Addr); b != nil && lead == nil && m.Replication != nil && m.Replication.Role == protocol.RoleFenced {
			out = append(out, fmt.Sprintf("%s: %s is fenced by a promotion that was cut short: `rmqctl promote INVENTORY` goes on with a slave's name, or ends the fence with %s",
				g.Name, b.Member, b.Member))
		}
	}
	switch {
	case lead == nil:
	case g.Raft && g.Preferred != nil && lead != g.Preferred:
		out = append(out, fmt.Sprintf("%s: %s leads; preferred is %s: it takes the lead by itself when it has been level for a while, or `rmqctl transfer INVENTORY %s %s`",
			g.Name, lead.Member, g.Preferred.Member, g.Name, g.Preferred.Node.Name))
	case !g.Raft && lead != g.Master:
		out = append(out, fmt.Sprintf("%s: %s is master (promoted, epoch %d), the inventory's master %s is not. It stays so over restarts and deploys; "+
			"back again with `rmqctl promote INVENTORY %s`", g.Name, lead.Member, x.Epoch, g.Master.Member, g.Master.Member))
	}
	if !g.Raft {
		return out
	}
	for _, m := range x.Members {
		if m.Addr != x.Leader || m.Replication == nil {
			continue
		}
		for _, r := range m.Replication.Members {
			if !slices.ContainsFunc(g.Brokers, func(b *inventory.Broker) bool { return b.RaftName() == r.ID }) {
				out = append(out, fmt.Sprintf("%s: %s at %s is a member, and the inventory does not name it: `rmqctl member remove INVENTORY %s %s`", g.Name, r.ID, r.Addr, g.Name, r.ID))
			}
		}
		for _, b := range g.Brokers {
			if !slices.ContainsFunc(m.Replication.Members, func(r protocol.ReplicationMember) bool { return r.ID == b.RaftName() }) {
				out = append(out, fmt.Sprintf("%s: %s on %s is not a member yet: `rmqctl member add INVENTORY %s %s`", g.Name, b.Member, b.Node.Name, g.Name, b.Node.Name))
			}
		}
	}
	return out
}

func (s *Session) missing(st *Status, b *inventory.Broker) string {
	for _, sv := range st.Services {
		if sv.Role == b.Member && sv.Host == b.Node.Name {
			if sv.Err != "" {
				return sv.Err
			}
			return "not registered; its service is " + sv.Active
		}
	}
	return "not registered"
}
