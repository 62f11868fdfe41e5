package provision

import (
	"context"
	"errors"
	"strings"
	"testing"

	"rmqctl/inventory"
)

const raftOfThree = `
schema = 1
[cluster]
name = "t"
[rollout]
min_healthy_time = "0s"
client_wait = "1s"
[broker]
mappedFileSizeCommitLog = 1048576
mappedFileSizeConsumeQueue = 60000
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
[[node]]
name = "node4"
address = "NET.4"
connection = "local"
[nameserver]
nodes = ["node1", "node4"]
[[group]]
name = "r"
raft = ["node1", "node2", "node3"]
`

// leaderOf asks the cluster, as status does.
func leaderOf(t *testing.T, o Options, group string) *inventory.Broker {
	t.Helper()
	st, err := LookAt(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range st.Groups {
		if g.Name == group {
			if b := byAddr(o.Inventory.Group(group), g.Leader); b != nil {
				return b
			}
			t.Fatalf("%s: %s", g.Name, g.Health)
		}
	}
	t.Fatalf("no group %s", group)
	return nil
}

// stops are the members in the order in which they were stopped.
func (n *news) stops() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, e := range n.all {
		if e.State == Changed && strings.HasPrefix(e.Step, "stop ") {
			out = append(out, e.Role)
		}
	}
	return out
}

func TestRaftGroupIsDeployedRolledLeaderLastAndRenewed(t *testing.T) {
	t.Parallel()
	inv, dir := localCluster(t, raftOfThree)
	o, n := options(t, inv)
	t.Cleanup(func() { Destroy(context.Background(), o, DestroyOptions{Data: true}) })
	if _, err := Deploy(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, n.text())
	}
	if r, err := Deploy(t.Context(), o); err != nil || !r.Nothing {
		t.Fatalf("second deploy: %+v, %v", r, err)
	}

	if _, err := Transfer(t.Context(), o, "r", "node3"); err != nil {
		t.Fatalf("transfer: %v", err)
	}
	if b := leaderOf(t, o, "r"); b.Member != "r-n2" {
		t.Errorf("%s leads", b.Member)
	}
	if _, err := Promote(t.Context(), o, PromoteOptions{Member: "r-n0"}); err == nil || !strings.Contains(err.Error(), "rmqctl transfer") {
		t.Errorf("promote in a raft group: %v", err)
	}

	roll, m := options(t, inv)
	roll.Only = []string{"r"}
	if r, err := Restart(t.Context(), roll); err != nil || r.Restarts != 3 {
		t.Fatalf("roll: %+v, %v\n%s", r, err, m.text())
	}
	if got := m.stops(); len(got) != 3 || got[2] != "r-n2" {
		t.Errorf("stopped in the order %v: the leader r-n2 comes last", got)
	}
	if b := leaderOf(t, o, "r"); b.Member == "r-n2" {
		t.Error("it leads again, and nobody preferred it")
	}

	// A member that is away is a gate for every other one.
	stop := o
	stop.Only = []string{"r-n1"}
	if _, err := Stop(t.Context(), stop); err != nil {
		t.Fatal(err)
	}
	roll.Only = []string{"r-n0"}
	var gate *GateError
	if _, err := Restart(t.Context(), roll); !errors.As(err, &gate) || !strings.Contains(gate.What, "r-n1") {
		t.Errorf("a second member may stop: %v", err)
	}
	if _, err := Start(t.Context(), stop); err != nil {
		t.Fatal(err)
	}

	replacesMember(t, o, dir)
}

// replacesMember: the leader leaves, and a new member under a new id takes its place; deploy does not do that by accident.
func replacesMember(t *testing.T, o Options, dir string) {
	t.Helper()
	old := leaderOf(t, o, "r")
	var named *NotNamedError
	if _, err := MemberReplace(t.Context(), o, "r", old.Node.Name, "node4"); !errors.As(err, &named) || !strings.Contains(err.Error(), "member.node4.raft_id = 3") {
		t.Errorf("a member that the inventory does not name: %v", err)
	}
	prefix := strings.TrimSuffix(o.Inventory.Nodes[0].Address, ".1")
	text := strings.ReplaceAll(raftOfThree, "NET", prefix)
	members := strings.Replace(`raft = ["node1", "node2", "node3"]`, old.Node.Name, "node4", 1)
	text = strings.Replace(text, `raft = ["node1", "node2", "node3"]`, members, 1)
	inv, err := inventory.Parse("inventory.toml", dir, text+"member.node4.raft_id = 3\n")
	if err != nil {
		t.Fatal(err)
	}
	next, n := o, &news{}
	next.Inventory, next.Sink = inv, n.add
	t.Cleanup(func() { Destroy(context.Background(), next, DestroyOptions{Data: true}) })
	var gate *GateError
	if _, err := Deploy(t.Context(), next); !errors.As(err, &gate) || !strings.Contains(gate.Next, "member add") {
		t.Errorf("deploy of a member that the group does not know: %v", err)
	}
	if _, err := MemberReplace(t.Context(), next, "r", old.RaftName(), "node4"); err != nil {
		t.Fatalf("replace: %v\n%s", err, n.text())
	}
	st, err := LookAt(t.Context(), next)
	if err != nil {
		t.Fatal(err)
	}
	if ok, why := st.Healthy(); !ok || len(st.Notes) > 0 || st.Groups[0].Health != "3/3 in sync, tolerates 1 loss" {
		t.Errorf("after the replacement: %v %v %s", why, st.Notes, st.Groups[0].Health)
	}
	if _, err := MemberRemove(t.Context(), next, "r", "n7"); err == nil || !strings.Contains(err.Error(), "n7 is not a member of r") {
		t.Errorf("removal of nobody: %v", err)
	}
}

func TestSlaveIsPromotedAndTheOldMasterFollows(t *testing.T) {
	t.Parallel()
	inv, _ := localCluster(t, twoGroups)
	o, n := options(t, inv)
	t.Cleanup(func() { Destroy(context.Background(), o, DestroyOptions{Data: true}) })
	if _, err := Deploy(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, n.text())
	}
	if _, err := Promote(t.Context(), o, PromoteOptions{Member: "broker-a-s"}); err != nil {
		t.Fatalf("promote: %v\n%s", err, n.text())
	}
	if b := leaderOf(t, o, "broker-a"); b.Member != "broker-a-s" {
		t.Errorf("%s leads", b.Member)
	}
	if p, err := MakePlan(t.Context(), o); err != nil || !p.Empty() {
		t.Errorf("a promotion is something to deploy: %v %v", p.Summary(), err)
	}
	st, err := LookAt(t.Context(), o)
	if err != nil || len(st.Notes) != 1 || !strings.Contains(st.Notes[0], "rmqctl promote INVENTORY broker-a") {
		t.Errorf("notes: %v, %v", st.Notes, err)
	}
	roll, m := options(t, inv)
	roll.Only = []string{"broker-a"}
	if _, err := Restart(t.Context(), roll); err != nil {
		t.Fatalf("roll: %v\n%s", err, m.text())
	}
	if got := m.stops(); strings.Join(got, " ") != "broker-a broker-a-s" {
		t.Errorf("stopped in the order %v: the promoted master comes last", got)
	}

	// The master is killed: its service is seen not to run, so the slave may take over without a word about its host.
	if err := Kill(t.Context(), o, "broker-a-s"); err != nil {
		t.Fatal(err)
	}
	if _, err := Promote(t.Context(), o, PromoteOptions{Member: "broker-a"}); err != nil {
		t.Fatalf("promote after the master's death: %v\n%s", err, n.text())
	}
	if _, err := Start(t.Context(), o); err != nil {
		t.Fatalf("start of the old master: %v", err)
	}
	if b := leaderOf(t, o, "broker-a"); b.Member != "broker-a" {
		t.Errorf("%s leads after the old master has come back", b.Member)
	}
	if err := Verify(t.Context(), o); err != nil {
		t.Errorf("verify: %v", err)
	}
}
