package tui

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
	"rmqctl/provision"
)

func sample() *provision.Status {
	return &provision.Status{ClusterStatus: &client.ClusterStatus{
		At:          time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		NameServers: []client.NameServerStatus{{Addr: "10.0.0.1:9876", Brokers: 2, Took: 300 * time.Microsecond}},
		Groups: []client.GroupStatus{{Cluster: "c", Name: "broker-a", Members: []client.MemberStatus{
			{ID: 0, Addr: "10.0.0.1:10911", Role: "master", Version: "V4_9_8", InTPS: 12.34, DiskRatio: 0.31, Uptime: 90 * time.Minute, RegisteredAt: 1, LagBytes: 0},
			{ID: 1, Addr: "10.0.0.2:10911", Role: "slave", Version: "V4_9_8", LagBytes: 50 << 20, DiskRatio: 0.3, Uptime: 72 * time.Hour, RegisteredAt: 1},
		}}, {Cluster: "c", Name: "broker-b", Members: []client.MemberStatus{{ID: 1, Addr: "10.0.0.3:10911", Role: "slave", Err: "connection refused", LagBytes: -1, RegisteredAt: 1}}}},
	}}
}

func TestTableSaysEverythingOfEveryBroker(t *testing.T) {
	got := Table(sample())
	want := `NAME SERVERS
  10.0.0.1:9876           2 brokers   300µs  ok

BROKERS
  group            role       id address                version       in/s     out/s         lag   disk    uptime   ns state
  broker-a         master      0 10.0.0.1:10911         4.9.8         12.3       0.0           -    31%   1h30m0s  1/1 ok
                   slave       1 10.0.0.2:10911         4.9.8          0.0       0.0      50 MiB    30%        3d  1/1 ok
  broker-b         slave       1 10.0.0.3:10911                        0.0       0.0           ?     0%        0s  1/1 DOWN  connection refused
                   NO MASTER: reads only
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func raftGroup() client.GroupStatus {
	lead := &protocol.ReplicationState{Mode: protocol.ModeRaft, Self: "n1", Role: protocol.RoleLeader, Epoch: 7, Writable: true, Members: []protocol.ReplicationMember{
		{ID: "n0", Voter: true, Connected: true, InSync: true}, {ID: "n1", Voter: true, Connected: true, InSync: true},
		{ID: "n2", Voter: true, Connected: true, LagBytes: 50 << 20, ETASeconds: 12},
	}}
	g := client.GroupStatus{Cluster: "c", Name: "broker-r0", Members: []client.MemberStatus{
		{ID: 0, Addr: "10.0.0.2:10911", Role: protocol.RoleLeader, RegisteredAt: 1, Replication: lead},
		{ID: 1, Addr: "10.0.0.1:10911", Role: protocol.RoleFollower, RegisteredAt: 1, Replication: &protocol.ReplicationState{Mode: protocol.ModeRaft, Self: "n0", Epoch: 7}},
		{ID: 3, Addr: "10.0.0.3:10911", Role: protocol.RoleFollower, RegisteredAt: 1, Replication: &protocol.ReplicationState{Mode: protocol.ModeRaft, Self: "n2", Epoch: 6}},
	}}
	g.Replicate(nil)
	return g
}

func TestTableSaysWhoLeadsARaftGroupAndWhoIsInSync(t *testing.T) {
	g := raftGroup()
	led := Table(&provision.Status{ClusterStatus: &client.ClusterStatus{Groups: []client.GroupStatus{g}}, Notes: []string{"broker-r0: something to know"}})
	for _, want := range []string{"raft, term 7, led by 10.0.0.2:10911: 2/3 in sync, tolerates no loss", "50 MiB 12s", "leader      0", "note: broker-r0: something to know"} {
		if !strings.Contains(led, want) {
			t.Errorf("%q is not in\n%s", want, led)
		}
	}
	ok, why := (&client.ClusterStatus{Groups: []client.GroupStatus{g}}).Healthy()
	if ok || len(why) != 1 || !strings.Contains(why[0], "broker-r0[3] 10.0.0.3:10911 is not in sync: 52428800 bytes behind, level in about 12 s") {
		t.Errorf("health: %v", why)
	}
	g.Members[0].Replication.Role, g.Members[0].Replication.Why = protocol.RoleFollower, "no majority answers"
	g.Replicate(nil)
	lost := Table(&provision.Status{ClusterStatus: &client.ClusterStatus{Groups: []client.GroupStatus{g}}})
	if !strings.Contains(lost, "NO LEADER: no majority answers") {
		t.Errorf("%s", lost)
	}
}

func press(t *testing.T, m tea.Model, keys ...string) (tea.Model, bool) {
	t.Helper()
	quit := false
	for _, k := range keys {
		msg := tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)}
		if k == "down" {
			msg = tea.KeyMsg{Type: tea.KeyDown}
		}
		var cmd tea.Cmd
		m, cmd = m.Update(msg)
		if cmd != nil {
			if _, ok := cmd().(tea.QuitMsg); ok {
				quit = true
			}
		}
	}
	return m, quit
}

func newView(canAct bool) tea.Model {
	m := NewStatus("orders", time.Second, canAct, func(context.Context) (*provision.Status, error) { return sample(), nil })
	v, _ := m.Update(m.refresh())
	return v
}

func TestRestartOfTheChosenBrokerIsAskedBeforeItIsChosen(t *testing.T) {
	m, quit := press(t, newView(true), "down", "r")
	if quit || !strings.Contains(m.View(), "Restart broker-a[1] 10.0.0.2:10911") {
		t.Fatalf("not asked:\n%s", m.View())
	}
	m, quit = press(t, m, "n")
	if quit || m.(*StatusModel).Chosen.Kind != "" {
		t.Fatal("a no was taken for a yes")
	}
	m, quit = press(t, m, "r", "y")
	if c := m.(*StatusModel).Chosen; !quit || c.Kind != "restart-node" || c.Addr != "10.0.0.2:10911" {
		t.Fatalf("chosen %+v, quit %v", c, quit)
	}
}

func TestRollingRestartIsConfirmed(t *testing.T) {
	m, quit := press(t, newView(true), "R", "y")
	if c := m.(*StatusModel).Chosen; !quit || c.Kind != "rolling-restart" {
		t.Fatalf("chosen %+v", c)
	}
}

func TestAViewThatMayNotActOffersNoRestart(t *testing.T) {
	m, _ := press(t, newView(false), "R", "y", "r", "y")
	if c := m.(*StatusModel).Chosen; c.Kind != "" {
		t.Fatalf("chosen %+v", c)
	}
}

func TestViewSaysWhyItSeesNothing(t *testing.T) {
	m := NewStatus("orders", time.Second, true, func(context.Context) (*provision.Status, error) { return nil, errors.New("no name server answers") })
	v, _ := m.Update(m.refresh())
	if !strings.Contains(v.View(), "no name server answers") {
		t.Errorf("%s", v.View())
	}
}
