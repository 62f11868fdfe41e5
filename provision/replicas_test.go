package provision

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"rmqctl/internal/protocol"
	"rmqctl/inventory"
)

const mixed = `
schema = 1
[cluster]
name = "t"
mode = "2m-2s-sync"
[[node]]
name = "node1"
address = "NET.1"
connection = "local"
[[node]]
name = "node2"
address = "NET.2"
connection = "local"
[[node]]
name = "node3"
address = "NET.3"
connection = "local"
[nameserver]
nodes = ["node1", "node2"]
[[group]]
name = "broker-a"
master = "node1"
slaves = ["node2"]
[[group]]
name = "r"
raft = ["node1", "node2", "node3"]
`

// seen is a look at the raft group: n1 leads, and the others are where members says.
func seen(t *testing.T, members ...protocol.ReplicationMember) *replicas {
	t.Helper()
	inv, _ := localCluster(t, mixed)
	g := inv.Group("r")
	r := &replicas{group: g, states: map[*inventory.Broker]*protocol.ReplicationState{}, away: map[*inventory.Broker]error{}}
	for _, b := range g.Brokers {
		r.states[b] = &protocol.ReplicationState{Mode: protocol.ModeRaft, Self: b.RaftName(), Role: protocol.RoleFollower, Epoch: 7}
	}
	r.states[g.Brokers[1]] = &protocol.ReplicationState{Mode: protocol.ModeRaft, Self: "n1", Role: protocol.RoleLeader, Epoch: 7, Members: members}
	r.elect()
	return r
}

func level(id string, match, lag int64) protocol.ReplicationMember {
	return protocol.ReplicationMember{ID: id, Match: match, LagBytes: lag, Voter: true, Connected: true, InSync: true, ETASeconds: -1}
}

func TestGroupSparesAMemberOnlyWhileAllOthersAreInSync(t *testing.T) {
	n0, n1, n2 := level("n0", 100, 0), level("n1", 100, 0), level("n2", 40, 60)
	n2.ETASeconds = 4
	cut, learner := n2, n2
	cut.Connected, learner.Voter = false, false
	for _, c := range []struct {
		name    string
		members []protocol.ReplicationMember
		spared  int
		limit   int64
		want    string
	}{
		{"level", []protocol.ReplicationMember{n0, n1, level("n2", 100, 0)}, 0, 0, ""},
		{"within the limit", []protocol.ReplicationMember{n0, n1, n2}, 0, 60, ""},
		{"behind", []protocol.ReplicationMember{n0, n1, n2}, 0, 59, "r-n2 is 60 bytes behind, level in about 4 s"},
		{"the one that is behind is spared", []protocol.ReplicationMember{n0, n1, n2}, 2, 0, ""},
		{"nobody is spared", []protocol.ReplicationMember{n0, n1, n2}, -1, 0, "r-n2 is 60 bytes behind"},
		{"not connected", []protocol.ReplicationMember{n0, n1, cut}, 0, 100, "r-n2 is not connected to the leader r-n1"},
		{"a learner", []protocol.ReplicationMember{n0, n1, learner}, 0, 100, "r-n2 is still learning"},
		{"unknown to the leader", []protocol.ReplicationMember{n0, n1}, 0, 100, "r-n2 is no member of r"},
	} {
		r := seen(t, c.members...)
		var spared *inventory.Broker
		if c.spared >= 0 {
			spared = r.group.Brokers[c.spared]
		}
		if got := r.lacks(spared, c.limit); !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	r := seen(t, n0, n1, n2)
	r.away[r.group.Brokers[2]] = errors.New("no answer")
	if got := r.lacks(r.group.Brokers[0], 100); got != "r-n2 does not answer: no answer" {
		t.Errorf("away: %q", got)
	}
	r.leader = nil
	if got := r.lacks(nil, 100); !strings.HasPrefix(got, "r has no leader; r-n2 does not answer") {
		t.Errorf("no leader: %q", got)
	}
}

func TestHighestEpochLeads(t *testing.T) {
	r := seen(t, level("n0", 1, 0), level("n1", 1, 0), level("n2", 1, 0))
	old := r.group.Brokers[0]
	r.states[old] = &protocol.ReplicationState{Role: protocol.RoleLeader, Epoch: 6}
	r.leader, r.epoch = nil, 0
	if r.elect(); r.leader != r.group.Brokers[1] || r.epoch != 7 {
		t.Errorf("%v leads with epoch %d", r.leader, r.epoch)
	}
}

func TestBrokerOfAnEarlierReleaseIsWhatTheInventorySays(t *testing.T) {
	inv, _ := localCluster(t, mixed)
	g := inv.Group("broker-a")
	r := &replicas{group: g, states: map[*inventory.Broker]*protocol.ReplicationState{}, away: map[*inventory.Broker]error{
		g.Master: &protocol.Error{Status: protocol.RequestCodeNotSupported}, g.Slaves[0]: errors.New("no answer")}}
	if r.elect(); r.leader != g.Master {
		t.Errorf("leader %v", r.leader)
	}
	r.leader, r.away[g.Master] = nil, errors.New("no answer")
	if r.elect(); r.leader != nil {
		t.Error("a master that does not answer leads")
	}
}

func TestHeirIsThePreferredOneElseTheMostLevel(t *testing.T) {
	r := seen(t, level("n0", 90, 10), level("n1", 100, 0), level("n2", 95, 5))
	g := r.group
	if got := r.heir(0); got != g.Brokers[2] {
		t.Errorf("%v", got.Member)
	}
	g.Preferred = g.Brokers[0]
	if got := r.heir(10); got != g.Brokers[0] {
		t.Errorf("%v", got.Member)
	}
	if got := r.heir(9); got != g.Brokers[2] {
		t.Errorf("%v", got.Member)
	}
	cut := level("n2", 95, 5)
	cut.Connected = false
	if got := seen(t, level("n1", 100, 0), cut).heir(0); got != nil {
		t.Errorf("%v", got.Member)
	}
}

func TestRollTakesFollowersBeforeLeaders(t *testing.T) {
	r := seen(t, level("n0", 1, 0), level("n1", 1, 0), level("n2", 1, 0))
	inv, _ := localCluster(t, mixed)
	pair := inv.Group("broker-a")
	promoted := &replicas{group: pair, leader: pair.Slaves[0]}
	unknown := &replicas{group: pair}
	var got []int
	for _, b := range r.group.Brokers {
		got = append(got, rollRank(r, b))
	}
	got = append(got, rollRank(promoted, pair.Master), rollRank(promoted, pair.Slaves[0]), rollRank(unknown, pair.Master), rollRank(unknown, pair.Slaves[0]))
	if want := []int{2, 3, 2, 1, 4, 4, 1}; !slices.Equal(got, want) {
		t.Errorf("ranks %v, want %v", got, want)
	}
}
