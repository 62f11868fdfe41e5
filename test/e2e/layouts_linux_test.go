// The layouts D1 to D4, D6 and D7: plan, deploy, use, deploy again, destroy. D5 is in roll_linux_test.go, D8 to D11 are in
// disasters_linux_test.go.
package e2e

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"rmqctl/test/hosts/bed"
	"rmqctl/test/peers"
)

// Ports of the roles, as the outside world may reach them. HA ports (10912, 11012) are for members only.
var (
	nsPort     = []int{9876}
	brokerPort = []int{10909, 10911}
	secondPort = []int{11009, 11011}
)

// logins are the ways an operator gets to the hosts; every layout uses another one.
func rootByKey(b *bed.Bed) table { return table{"user": "root", "identity": []string{b.KeyFile()}} }
func opsBySudo(b *bed.Bed) table {
	return table{"user": "ops", "identity": []string{b.KeyFile()}, "become": "sudo"}
}
func devByPassword(b *bed.Bed) table {
	return table{"user": "dev", "password": "env:BED_PASSWORD", "become": "sudo", "become_password": "env:BED_PASSWORD"}
}
func sealedKey(b *bed.Bed) table {
	return table{"user": "ops", "identity": []string{b.SealedKeyFile()}, "passphrase": "env:BED_PASSPHRASE", "become": "sudo"}
}
func throughNode1(b *bed.Bed) table {
	return table{"user": "root", "identity": []string{b.KeyFile()}, "jump": []string{"root@" + b.Nodes[0].Addr + ":22"}}
}

func TestLayouts(t *testing.T) {
	bed.Require(t)
	peers.Need(t, peers.GoClient)
	t.Parallel()
	b := bed.New(t, bed.Options{Nodes: 4})
	for _, l := range []struct {
		example, login string
		ssh            func(*bed.Bed) table
		open           map[string][]int // from the operator, after the deployment
		masters        int
		brief          bool // deploy, use, destroy: what the others show need not be shown again
	}{
		{"d1", "root by key", rootByKey, map[string][]int{"node1": slices.Concat(nsPort, brokerPort)}, 1, false},
		{"d2", "ops, sudo without a password", opsBySudo, map[string][]int{"node1": nsPort, "node2": brokerPort, "node3": brokerPort}, 2, false},
		{"d3", "ops by key", opsBySudo, map[string][]int{"node1": slices.Concat(nsPort, brokerPort), "node2": slices.Concat(nsPort, brokerPort)}, 1, true},
		{"d4", "dev by password, sudo with a password", devByPassword,
			map[string][]int{"node1": slices.Concat(nsPort, brokerPort), "node2": brokerPort, "node3": brokerPort, "node4": brokerPort}, 2, false},
		{"d6", "an encrypted key", sealedKey,
			map[string][]int{"node1": slices.Concat(nsPort, brokerPort, secondPort), "node2": slices.Concat(nsPort, brokerPort, secondPort)}, 2, false},
		{"d7", "root by key", rootByKey, map[string][]int{"node1": slices.Concat(nsPort, brokerPort), "node2": slices.Concat(nsPort, brokerPort),
			"node3": slices.Concat(nsPort, brokerPort), "node4": slices.Concat(nsPort, brokerPort)}, 2, true},
	} {
		ok := t.Run(l.example+" as "+l.login, func(t *testing.T) {
			must(t, b.Reset(ctxOf(t)))
			s := layout(t, b, l.example, l.ssh(b))
			before := s.disks()
			defer s.clock()()
			if !l.brief {
				if got := s.reachable("operator"); len(got) > 0 {
					t.Errorf("reachable before the deployment: %v", got)
				}
				s.planTouchesNothing(before)
			}
			s.lap("plan")
			t.Log(s.deploy())
			s.lap("deploy")
			s.opened(l.open)
			s.lap("ports")
			if !l.brief {
				s.secondDeployChangesNothing()
			}
			s.lap("again")
			s.carries(100, l.masters)
			s.lap("messages")
			t.Log(s.destroy())
			same(t, "after destroy", before, s.disks())
			if got := s.reachable("operator"); len(got) > 0 {
				t.Errorf("reachable after destroy: %v", got)
			}
		})
		if !ok {
			consoles(t, b)
		}
	}
}

// planTouchesNothing looks at every disk and firewall before and after a plan.
func (s *site) planTouchesNothing(before map[string]string) {
	s.t.Helper()
	plan := s.rmqctl("", "plan", s.file, "--exit-code")
	if plan.code != 4 || !strings.Contains(plan.out, "+brokerName=") {
		s.t.Errorf("changes pend, wanted exit code 4 and the diff of a broker's file: %s", plan)
	}
	same(s.t, "after plan", before, s.disks())
}

// opened holds what the operator and a member can reach against what was planned.
func (s *site) opened(want map[string][]int) {
	s.t.Helper()
	if got := s.reachable("operator"); !reflect.DeepEqual(got, want) {
		s.t.Errorf("reachable from the operator: %v, planned: %v", got, want)
	}
	for _, g := range s.inv.Groups {
		for _, slave := range g.Slaves {
			from, to := s.host(slave.Node), s.host(g.Master.Node)
			if got := s.reachable(from.Name)[to.Name]; !slices.Contains(got, g.Master.HAPort) {
				s.t.Errorf("%s cannot reach the HA port of %s on %s, only %v", from.Name, g.Master.Member, to.Name, got)
			}
		}
	}
}

func (s *site) secondDeployChangesNothing() {
	s.t.Helper()
	runs, disks := s.runs(), s.disks()
	again := s.deploy()
	if !strings.Contains(again.out, "nothing to do") {
		s.t.Errorf("a second deployment says: %s", again)
	}
	same(s.t, "second deployment", runs, s.runs())
	after := s.disks()
	for _, m := range []map[string]string{disks, after} { // stores and journals of running brokers move by themselves
		maps.DeleteFunc(m, func(path, _ string) bool {
			return strings.Contains(path, ":/data/") || strings.Contains(path, ":/var/lib/rmq")
		})
	}
	same(s.t, "second deployment", disks, after)
}

// carries sends n messages with a client of another make and receives each exactly once; every master takes part.
func (s *site) carries(n, masters int) {
	s.t.Helper()
	s.topic("E2eLayout")
	sent := s.client("produce", "topic=E2eLayout", "n="+itoa(n)).ends()
	brokers := map[string]int{}
	for _, e := range peers.Of(sent, "sent") {
		if e.Status != "SEND_OK" {
			s.t.Errorf("%s: %s", e.Body, e.Status)
		}
		brokers[e.Broker]++
	}
	if errs := peers.Of(sent, "error"); len(errs) > 0 {
		s.t.Errorf("%d sends failed: %+v", len(errs), errs[0])
	}
	if len(brokers) != masters {
		s.t.Errorf("messages went to %v, there are %d masters", brokers, masters)
	}
	got := peers.Of(s.client("consume", "topic=E2eLayout", "group=e2e-layout", "n="+itoa(n), "idle=30000").ends(), "received")
	if bodies := peers.Bodies(got); len(got) != n || len(bodies) != n {
		s.t.Errorf("received %d messages, %d different ones, sent %d", len(got), len(bodies), n)
	}
	table := s.must("", "admin", "clusterList", "-n", s.inv.NameServers[0].Addr())
	for _, b := range s.inv.Brokers() {
		if !strings.Contains(table.out, b.Addr()) {
			s.t.Errorf("%s is not in the cluster table:\n%s", b.Addr(), table.out)
		}
	}
}

func (s *site) topic(name string) {
	s.t.Helper()
	var r result
	eventually(s.t, 30*time.Second, func() bool { // a group may be about to elect
		r = s.rmqctl("", "admin", "updateTopic", "-n", s.inv.NameServers[0].Addr(), "-c", s.inv.Name, "-t", name, "-r", "4", "-w", "4")
		return r.code == 0
	}, "topic %s to be made: %v", name, &r)
}
