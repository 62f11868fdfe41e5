package provision

import (
	"errors"
	"strings"
	"testing"

	"rmqctl/internal/client"
	"rmqctl/internal/clock"
	"rmqctl/internal/protocol"
	"rmqctl/inventory"
)

// pair is a group of a master and two slaves whose master does not answer.
func pair(t *testing.T, mode string) *replicas {
	t.Helper()
	text := strings.Replace(mixed, "2m-2s-sync", mode, 1)
	text = strings.Replace(text, `slaves = ["node2"]`, `slaves = ["node2", "node3"]`, 1)
	inv, _ := localCluster(t, text)
	g := inv.Group("broker-a")
	return &replicas{group: g, away: map[*inventory.Broker]error{g.Master: errors.New("no answer")}, states: map[*inventory.Broker]*protocol.ReplicationState{
		g.Slaves[0]: {Role: protocol.RoleSlave, End: 100, LeaderAddr: g.Master.Addr()},
		g.Slaves[1]: {Role: protocol.RoleSlave, End: 90},
	}}
}

func TestSlaveThatHasLessIsNotPromoted(t *testing.T) {
	r := pair(t, inventory.Sync)
	if got := r.ahead(r.group.Slaves[1]); got != "broker-a-s has 10 bytes more of the log than it" {
		t.Errorf("%q", got)
	}
	if got := r.ahead(r.group.Slaves[0]); got != "" {
		t.Errorf("the most level slave: %q", got)
	}
}

func TestLossOfAPromotionWithoutTheMasterIsSaid(t *testing.T) {
	for _, c := range []struct {
		mode   string
		silent bool
		want   string
	}{
		{inventory.Sync, false, "everything that was answered SEND_OK is there"},
		{inventory.Sync, true, "1 other slave cannot be asked and may have more"},
		{inventory.Async, false, "what the old master acknowledged and had not sent on is lost"},
	} {
		r := pair(t, c.mode)
		if c.silent {
			delete(r.states, r.group.Slaves[1])
		}
		if got := r.window(r.group.Slaves[0]); !strings.Contains(got, c.want) || !strings.HasPrefix(got, "its log ends at 100") {
			t.Errorf("%s: %q", c.mode, got)
		}
	}
}

func TestOldMasterIsWhomTheSlaveFollowed(t *testing.T) {
	r := pair(t, inventory.Sync)
	g := r.group
	if got := r.lastMaster(g.Slaves[0]); got != g.Master {
		t.Errorf("%v", got)
	}
	r.states[g.Slaves[0]].LeaderAddr = g.Slaves[1].Addr() // promoted before
	if got := r.lastMaster(g.Slaves[0]); got != g.Slaves[1] {
		t.Errorf("%v", got)
	}
	if got := r.lastMaster(g.Master); got == g.Master {
		t.Error("the old master is the one to be promoted")
	}
}

func TestPromotionThatWasCutShortGoesOnFromTheFencedMaster(t *testing.T) {
	r := pair(t, inventory.Sync)
	if r.fenced() != nil {
		t.Error("nobody is fenced")
	}
	r.states[r.group.Master] = &protocol.ReplicationState{Role: protocol.RoleFenced, Epoch: 3}
	if got := r.fenced(); got != r.group.Master || r.epoch != 3 {
		t.Errorf("%v, epoch %d", got, r.epoch)
	}
	m := client.MemberStatus{Addr: r.group.Master.Addr(), Replication: r.states[r.group.Master]}
	got := notes(r.group, &client.GroupStatus{Name: "broker-a", Members: []client.MemberStatus{m}})
	if len(got) != 1 || !strings.Contains(got[0], "broker-a is fenced by a promotion that was cut short") {
		t.Errorf("%v", got)
	}
}

// engineAway is an engine on whose hosts nothing is deployed and of which some are away.
func engineAway(r *replicas, here ...*inventory.Broker) *engine {
	e := &engine{inv: &inventory.Inventory{}}
	for _, b := range here {
		h := &host{node: b.Node, m: &localMachine{}}
		h.tasks = []*task{{host: h, role: b.Member, broker: b, unit: b.Unit()}}
		e.hosts = append(e.hosts, h)
	}
	return e
}

func TestUnreachableMasterIsNotReplacedUnlessSomebodyVouches(t *testing.T) {
	r := pair(t, inventory.Async)
	slave := r.group.Slaves[0]
	e := engineAway(r, slave)
	away := map[string]error{"node1": errors.New("node1: no route to host\nmore")}
	_, err := e.fencing(t.Context(), e.hosts[0].tasks[0], r.group.Master, r, away, PromoteOptions{Member: slave.Member})
	var gate *GateError
	if !errors.As(err, &gate) || ExitCode(err) != 7 || !strings.Contains(gate.Next, "--old-master-is-dead") || !strings.Contains(gate.What, "no route to host") || !strings.Contains(gate.Next, "is lost") {
		t.Fatalf("%v", err)
	}
	how, err := e.fencing(t.Context(), e.hosts[0].tasks[0], r.group.Master, r, away, PromoteOptions{Member: slave.Member, OldMasterIsDead: true})
	if err != nil || !strings.Contains(how, "is dead, you say") {
		t.Errorf("%q %v", how, err)
	}
}

func TestMemberLeavesOnlyIfTheOthersAreAMajorityInSync(t *testing.T) {
	behind, cut := level("n2", 0, 100), level("n2", 0, 0)
	cut.Connected = false
	learner := level("n3", 0, 0)
	learner.Voter = false
	for _, c := range []struct {
		name    string
		members []protocol.ReplicationMember
		id      string
		ok      bool
	}{
		{"three, all level", []protocol.ReplicationMember{level("n0", 1, 0), level("n1", 1, 0), level("n2", 1, 0)}, "n0", true},
		{"of the two that stay one is behind", []protocol.ReplicationMember{level("n0", 1, 0), level("n1", 1, 0), behind}, "n0", false},
		{"the one that is cut off goes", []protocol.ReplicationMember{level("n0", 1, 0), level("n1", 1, 0), cut}, "n2", true},
		{"four, one cut off", []protocol.ReplicationMember{level("n0", 1, 0), level("n1", 1, 0), cut, level("n3", 1, 0)}, "n0", true},
		{"a learner is no voter", []protocol.ReplicationMember{level("n0", 1, 0), level("n1", 1, 0), cut, learner}, "n0", false},
	} {
		if got := mayLeave(c.members, "n1", c.id, 10); (got == "") != c.ok {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestLinesToWriteKeepTheOthersIDs(t *testing.T) {
	inv, _ := localCluster(t, mixed)
	for _, c := range []struct {
		err  NotNamedError
		want string
	}{
		{NotNamedError{Group: inv.Group("r"), Node: "node4", File: "i.toml", Leaves: "n1"}, "node4 is not a member of r in i.toml. Write there\n" +
			"  [[node]]\n  name = \"node4\"\n  address = \"…\"\n  raft = [\"node1\", \"node4\", \"node3\"]        # of [[group]] r\n" +
			"  member.node4.raft_id = 3        # ids are never used again"},
		{NotNamedError{Group: inv.Group("r"), Node: "node4", Known: true, File: "i.toml"}, "node4 is not a member of r in i.toml. Write there\n" +
			"  raft = [\"node1\", \"node2\", \"node3\", \"node4\"]        # of [[group]] r, and one more: an odd number; they are added one after the other"},
		{NotNamedError{Group: inv.Group("broker-a"), Node: "node3", Known: true, File: "i.toml"}, "node3 is not a member of broker-a in i.toml. Write there\n" +
			"  slaves = [\"node2\", \"node3\"]        # of [[group]] broker-a"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
	var said string
	e := &engine{inv: inv, clock: clock.System, sink: &sink{to: func(ev Event) { said = ev.Why }}}
	if e.sayLines(inv.Group("r"), "n0"); !strings.Contains(said, "raft = [\"node2\", \"node3\"]\n  member.node2.raft_id = 1\n  member.node3.raft_id = 2") {
		t.Errorf("%s", said)
	}
}

func TestWhatTheInventoryDoesNotSayIsNoted(t *testing.T) {
	inv, _ := localCluster(t, strings.Replace(mixed, `raft = [`, "preferred_leader = \"node1\"\nraft = [", 1))
	r, a := inv.Group("r"), inv.Group("broker-a")
	lead := client.MemberStatus{Addr: r.Brokers[1].Addr(), Replication: &protocol.ReplicationState{Members: []protocol.ReplicationMember{
		{ID: "n0"}, {ID: "n1"}, {ID: "n9", Addr: "10.0.0.9:40911"}}}}
	got := strings.Join(notes(r, &client.GroupStatus{Name: "r", Leader: lead.Addr, Members: []client.MemberStatus{lead}}), "\n")
	for _, want := range []string{"preferred is r-n0", "n9 at 10.0.0.9:40911 is a member, and the inventory does not name it", "r-n2 on node3 is not a member yet: `rmqctl member add"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	got = strings.Join(notes(a, &client.GroupStatus{Name: "broker-a", Leader: a.Slaves[0].Addr(), Epoch: 4}), "\n")
	if !strings.Contains(got, "broker-a-s is master (promoted, epoch 4)") || !strings.Contains(got, "`rmqctl promote INVENTORY broker-a`") {
		t.Errorf("%s", got)
	}
	if got := notes(a, &client.GroupStatus{Name: "broker-a", Leader: a.Master.Addr()}); got != nil {
		t.Errorf("%v", got)
	}
}
