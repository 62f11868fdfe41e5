// The state of a cluster in one view: what the live view, the rolling restart and scripts look at.
package client

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"rmqctl/internal/protocol"
)

// ClusterStatus is one look at all name servers and brokers.
type ClusterStatus struct {
	At          time.Time          `json:"at"`
	NameServers []NameServerStatus `json:"nameServers"`
	Groups      []GroupStatus      `json:"groups"`
}

// NameServerStatus is one name server as seen from here.
type NameServerStatus struct {
	Addr    string        `json:"addr"`
	Brokers int           `json:"brokers"` // members registered at it
	Took    time.Duration `json:"tookNanos"`
	Err     string        `json:"error,omitempty"`
}

// GroupStatus is one broker name: a master and its slaves, or a raft group.
type GroupStatus struct {
	Cluster string         `json:"cluster"`
	Name    string         `json:"name"`
	Mode    string         `json:"mode,omitempty"`   // raft or ha; "" when no member says (Java, an earlier release)
	Epoch   int64          `json:"epoch,omitempty"`  // raft term, or the epoch of the master
	Leader  string         `json:"leader,omitempty"` // who takes the sends, host:port
	Health  string         `json:"health,omitempty"` // "3/3 in sync, tolerates 1 loss"
	Members []MemberStatus `json:"members"`
}

// MemberStatus is one broker process.
type MemberStatus struct {
	ID           int64         `json:"id"`
	Addr         string        `json:"addr"`
	Role         string        `json:"role"` // what it says of itself, else master or slave by its id
	Version      string        `json:"version"`
	InTPS        float64       `json:"inTps"`  // messages stored per second, last 10 s
	OutTPS       float64       `json:"outTps"` // messages read per second, last 10 s
	MaxOffset    int64         `json:"maxOffset"`
	LagBytes     int64         `json:"lagBytes"`   // behind the master; -1: not known
	ETASeconds   int64         `json:"etaSeconds"` // until it is level; -1: not known
	InSync       bool          `json:"inSync"`
	DiskRatio    float64       `json:"diskRatio"`
	Uptime       time.Duration `json:"uptimeNanos"`
	RegisteredAt int           `json:"registeredAt"`              // name servers that know it
	Refuses      string        `json:"takesNoMessages,omitempty"` // why; the broker answers, and is read from
	Damaged      string        `json:"storeDamaged,omitempty"`    // what the broker found damaged in its files since it was started
	Err          string        `json:"error,omitempty"`
	// Replication is what the member said of its group (GET_REPLICATION_STATE); nil: it does not know the question.
	Replication *protocol.ReplicationState `json:"replication,omitempty"`
	// Runtime is everything the broker said (GET_BROKER_RUNTIME_INFO).
	Runtime map[string]string `json:"-"`
}

// Status looks at every name server and broker at the same time. What does not answer is in the result with its error;
// Status itself fails only when no name server answers.
func (c *Client) Status(ctx context.Context) (*ClusterStatus, error) {
	s := &ClusterStatus{At: time.Now(), NameServers: make([]NameServerStatus, len(c.opts.NameServers))}
	infos := make([]*protocol.ClusterInfo, len(c.opts.NameServers))
	var wg sync.WaitGroup
	for i, addr := range c.opts.NameServers {
		wg.Go(func() {
			begun := time.Now()
			info, err := c.ClusterInfoOf(ctx, addr)
			s.NameServers[i] = NameServerStatus{Addr: addr, Took: time.Since(begun)}
			if err != nil {
				s.NameServers[i].Err = err.Error()
				return
			}
			infos[i] = info
			for _, b := range info.BrokerAddrTable {
				s.NameServers[i].Brokers += len(b.BrokerAddrs)
			}
		})
	}
	wg.Wait()
	if !slices.ContainsFunc(infos, func(i *protocol.ClusterInfo) bool { return i != nil }) {
		return s, fmt.Errorf("no name server answers: %s", s.NameServers[0].Err)
	}
	s.Groups = mergeInfos(infos)
	for g := range s.Groups {
		for m := range s.Groups[g].Members {
			wg.Go(func() { c.look(ctx, &s.Groups[g].Members[m]) })
		}
	}
	wg.Wait()
	for g := range s.Groups {
		lags(s.Groups[g].Members)
		s.Groups[g].Replicate(nil)
	}
	return s, nil
}

// mergeInfos joins what the name servers know and counts how many know each member.
func mergeInfos(infos []*protocol.ClusterInfo) []GroupStatus {
	type key struct {
		cluster, name, addr string
		id                  int64
	}
	seen := map[key]int{}
	for _, info := range infos {
		if info == nil {
			continue
		}
		for name, b := range info.BrokerAddrTable {
			for id, addr := range b.BrokerAddrs {
				seen[key{b.Cluster, name, addr, id}]++
			}
		}
	}
	groups := map[string]*GroupStatus{}
	for k, n := range seen {
		g := groups[k.name]
		if g == nil {
			g = &GroupStatus{Cluster: k.cluster, Name: k.name}
			groups[k.name] = g
		}
		role := "master"
		if k.id != 0 {
			role = "slave"
		}
		g.Members = append(g.Members, MemberStatus{ID: k.id, Addr: k.addr, Role: role, LagBytes: -1, ETASeconds: -1, RegisteredAt: n})
	}
	var out []GroupStatus
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := groups[name]
		slices.SortFunc(g.Members, func(a, b MemberStatus) int { return int(a.ID - b.ID) })
		out = append(out, *g)
	}
	return out
}

// RuntimeInfo is everything a broker says of itself.
func (c *Client) RuntimeInfo(ctx context.Context, addr string) (map[string]string, error) {
	kv, err := CallJSON[protocol.KVTable](ctx, c, addr, protocol.GetBrokerRuntimeInfo, nil)
	if err != nil {
		return nil, err
	}
	return kv.Table, nil
}

func (c *Client) look(ctx context.Context, m *MemberStatus) {
	kv, err := c.RuntimeInfo(ctx, m.Addr)
	if err != nil {
		m.Err = err.Error()
		return
	}
	m.Runtime = kv
	if s, err := CallJSON[protocol.ReplicationState](ctx, c, m.Addr, protocol.GetReplicationState, nil); err == nil {
		m.Replication, m.Role = s, s.Role
	}
	m.Version = kv["brokerVersionDesc"]
	m.InTPS = FirstNumber(kv["putTps"])
	m.OutTPS = FirstNumber(kv["getTransferedTps"])
	if _, old := kv["getTransferedTps"]; !old {
		m.OutTPS = FirstNumber(kv["getTransferredTps"])
	}
	m.MaxOffset, _ = strconv.ParseInt(kv["commitLogMaxOffset"], 10, 64)
	m.Refuses = kv["storeTakesNoMessages"]
	m.Damaged = kv["storeDamaged"]
	m.DiskRatio = FirstNumber(kv["commitLogDiskRatio"])
	if ms, err := strconv.ParseInt(kv["bootTimestamp"], 10, 64); err == nil && ms > 0 {
		m.Uptime = time.Since(time.UnixMilli(ms)).Round(time.Second)
	}
}

func lags(members []MemberStatus) {
	if len(members) == 0 || members[0].ID != 0 || members[0].Err != "" {
		return
	}
	members[0].LagBytes = 0
	for i := range members[1:] {
		if m := &members[i+1]; m.Err == "" {
			m.LagBytes = max(members[0].MaxOffset-m.MaxOffset, 0)
		}
	}
}

// Healthy tells whether every name server and member answers, every member is registered everywhere and every group has
// a master; else why not.
func (s *ClusterStatus) Healthy() (bool, []string) {
	var why []string
	for _, n := range s.NameServers {
		if n.Err != "" {
			why = append(why, fmt.Sprintf("name server %s: %s", n.Addr, n.Err))
		}
	}
	if len(s.Groups) == 0 {
		why = append(why, "no broker is registered")
	}
	for _, g := range s.Groups {
		switch {
		case g.Mode != "" && g.Leader == "":
			why = append(why, fmt.Sprintf("group %s: %s", g.Name, g.Health))
		case g.Members[0].ID != 0:
			why = append(why, fmt.Sprintf("group %s has no master", g.Name))
		}
		for _, m := range g.Members {
			switch {
			case m.Err != "":
				why = append(why, fmt.Sprintf("broker %s[%d] %s: %s", g.Name, m.ID, m.Addr, m.Err))
			case m.Refuses != "":
				why = append(why, fmt.Sprintf("broker %s[%d] %s takes no messages: %s", g.Name, m.ID, m.Addr, m.Refuses))
			case m.RegisteredAt < len(s.NameServers):
				why = append(why, fmt.Sprintf("broker %s[%d] %s is registered at %d of %d name servers", g.Name, m.ID, m.Addr, m.RegisteredAt, len(s.NameServers)))
			case g.Mode == protocol.ModeRaft && g.Leader != "" && !m.InSync:
				why = append(why, fmt.Sprintf("broker %s[%d] %s is not in sync: %s", g.Name, m.ID, m.Addr, m.Behind()))
			}
		}
	}
	return len(why) == 0, why
}

// FirstNumber is the first blank-separated number of a runtime value ("12.3 11.0 9.9"); 0 when there is none.
func FirstNumber(s string) float64 {
	first, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	f, _ := strconv.ParseFloat(first, 64)
	return f
}
