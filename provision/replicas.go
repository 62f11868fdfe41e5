// Who leads a group now, and how far the others are: asked of every member, since elections and promotions move what the
// inventory says. Everything that decides on it is a function of one such look.

package provision

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"rmqctl/internal/protocol"
	"rmqctl/inventory"
)

// replicas is one look at a group.
type replicas struct {
	group  *inventory.Group
	leader *inventory.Broker // takes the sends; nil: nobody does, or nobody could be asked
	epoch  int64
	states map[*inventory.Broker]*protocol.ReplicationState
	away   map[*inventory.Broker]error
}

// look asks all members at once.
func (e *engine) replicas(ctx context.Context, g *inventory.Group) *replicas {
	r := &replicas{group: g, states: map[*inventory.Broker]*protocol.ReplicationState{}, away: map[*inventory.Broker]error{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, b := range g.Brokers {
		wg.Go(func() {
			s, err := askJSON[protocol.ReplicationState](ctx, e.net, b.Addr(), protocol.GetReplicationState)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				r.away[b] = err
				return
			}
			r.states[b] = s
		})
	}
	wg.Wait()
	if r.elect(); r.leader == nil && g.Raft {
		e.outsider(ctx, r)
	}
	return r
}

// outsider looks for a leader that the inventory does not name (any more), among those that the name servers name.
func (e *engine) outsider(ctx context.Context, r *replicas) {
	for _, ns := range e.inv.NameServers {
		info, err := e.clusterInfo(ctx, ns.Addr())
		if err != nil || info.BrokerAddrTable[r.group.Name] == nil {
			continue
		}
		addr := info.BrokerAddrTable[r.group.Name].BrokerAddrs[0]
		if addr == "" || byAddr(r.group, addr) != nil {
			continue
		}
		got, err := askJSON[protocol.ReplicationState](ctx, e.net, addr, protocol.GetReplicationState)
		if err != nil || !leads(got) || got.Mode != protocol.ModeRaft || got.Epoch < r.epoch {
			continue
		}
		r.leader, r.epoch = e.unnamed(r.group, got.Self, addr), got.Epoch
		r.states[r.leader] = got
		return
	}
}

// unnamed stands for a member that the inventory does not name.
func (e *engine) unnamed(g *inventory.Group, id, addr string) *inventory.Broker {
	host, port, _ := net.SplitHostPort(addr)
	n := &inventory.Node{Name: host, Address: host, Advertise: host}
	for _, m := range e.inv.Nodes {
		if m.Advertise == host {
			n = m
		}
	}
	b := &inventory.Broker{Cluster: e.inv.Name, Group: g, Name: g.Name, Member: g.Name + "-" + id, Node: n}
	b.ListenPort, _ = strconv.Atoi(port)
	b.RaftID, _ = strconv.Atoi(strings.TrimPrefix(id, "n"))
	b.ID = int64(b.RaftID) + 1
	return b
}

// elect finds the leader: of several that call themselves so, the one of the highest epoch. A broker of an earlier release
// does not know the question: of such a group the inventory's master is taken.
func (r *replicas) elect() {
	for _, b := range r.group.Brokers {
		s := r.states[b]
		if s == nil {
			continue
		}
		if leads(s) && (r.leader == nil || s.Epoch > r.epoch) {
			r.leader, r.epoch = b, s.Epoch
		}
		if r.leader == nil {
			r.epoch = max(r.epoch, s.Epoch)
		}
	}
	if m := r.group.Master; r.leader == nil && m != nil && protocol.StatusOf(r.away[m]) == protocol.RequestCodeNotSupported {
		r.leader = m
	}
}

func leads(s *protocol.ReplicationState) bool {
	return s.Role == protocol.RoleLeader || s.Role == protocol.RoleMaster
}

// replicaID is the name by which the group's members know the broker.
func replicaID(b *inventory.Broker) string {
	if b.Raft() {
		return b.RaftName()
	}
	return strconv.FormatInt(b.ID, 10)
}

// member is what the leader says of a member; nil: nothing.
func (r *replicas) member(b *inventory.Broker) *protocol.ReplicationMember {
	if r.leader == nil || r.states[r.leader] == nil {
		return nil
	}
	s := r.states[r.leader]
	for i, m := range s.Members {
		if b.Raft() && m.ID == b.RaftName() || m.Addr == b.Addr() { // slaves' ids move with promotions
			return &s.Members[i]
		}
	}
	return nil
}

// followers is everybody but the leader.
func (r *replicas) followers() []*inventory.Broker {
	var out []*inventory.Broker
	for _, b := range r.group.Brokers {
		if b != r.leader {
			out = append(out, b)
		}
	}
	return out
}

// lacks says what keeps a group from doing without one of its members; "" = nothing. All members but spared have to be
// connected to a leader, voters, and at most limit bytes behind.
func (r *replicas) lacks(spared *inventory.Broker, limit int64) string {
	if r.leader == nil {
		return r.leaderless()
	}
	for _, b := range r.followers() {
		if b == spared {
			continue
		}
		m := r.member(b)
		switch {
		case m == nil:
			return fmt.Sprintf("%s is no member of %s by what its leader %s says", b.Member, r.group.Name, r.leader.Member)
		case r.away[b] != nil:
			return fmt.Sprintf("%s does not answer: %v", b.Member, r.away[b])
		case !m.Connected:
			return fmt.Sprintf("%s is not connected to the leader %s", b.Member, r.leader.Member)
		case !m.Voter:
			return fmt.Sprintf("%s is still learning (%s behind%s)", b.Member, bytesText(m.LagBytes), eta(m))
		case m.LagBytes > limit:
			return fmt.Sprintf("%s is %s behind%s", b.Member, bytesText(m.LagBytes), eta(m))
		}
	}
	return ""
}

func (r *replicas) leaderless() string {
	why := fmt.Sprintf("%s has no leader", r.group.Name)
	for _, b := range r.group.Brokers {
		if err := r.away[b]; err != nil {
			why += fmt.Sprintf("; %s does not answer: %s", b.Member, firstLine(err.Error()))
		} else if s := r.states[b]; s != nil && s.Why != "" {
			why += fmt.Sprintf("; %s: %s", b.Member, s.Why)
		}
	}
	return why
}

func eta(m *protocol.ReplicationMember) string {
	if m.ETASeconds < 0 {
		return ""
	}
	return fmt.Sprintf(", level in about %d s", m.ETASeconds)
}

// heir is who should lead when the leader stops: the preferred member when it is within limit, else the most level one.
func (r *replicas) heir(limit int64) *inventory.Broker {
	var best *inventory.Broker
	var match int64
	for _, b := range r.followers() {
		m := r.member(b)
		if m == nil || !m.Connected || !m.Voter || r.states[b] == nil {
			continue
		}
		if b == r.group.Preferred && m.LagBytes <= limit {
			return b
		}
		if best == nil || m.Match > match {
			best, match = b, m.Match
		}
	}
	return best
}
