// D5, the layout for production: deployed through a jump host and restarted under load.
package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"rmqctl/test/hosts/bed"
	"rmqctl/test/peers"
)

func TestProduction(t *testing.T) {
	bed.Require(t)
	peers.Need(t, peers.GoClient, peers.Clients49)
	t.Parallel()
	b := bed.New(t, bed.Options{Nodes: 4})
	s := layout(t, b, "d5", throughNode1(b))
	before := s.disks()
	if !t.Run("deploy", func(t *testing.T) { s.t = t; productionDeploys(s) }) {
		consoles(t, b)
		t.FailNow()
	}
	if !t.Run("a rolling restart under load loses and refuses nothing", func(t *testing.T) { s.t = t; rollUnderLoad(s) }) {
		consoles(t, b)
	}
	t.Run("destroy", func(t *testing.T) {
		s.t = t
		s.destroy()
		same(t, "after destroy", before, s.disks())
	})
}

func productionDeploys(s *site) {
	s.t.Log(s.deploy())
	each := slices.Concat(nsPort, brokerPort)
	s.opened(map[string][]int{"node1": each, "node2": each, "node3": each, "node4": each})
	s.secondDeployChangesNothing()
	if status := s.must("", "status", s.file, "--output", "json"); !strings.Contains(status.out, s.inv.Groups[0].Name) {
		s.t.Errorf("%s", status)
	}
}

// rollUnderLoad restarts the whole cluster while a Go and a Java application send and receive without pause.
func rollUnderLoad(s *site) {
	applications := []struct{ version, topic string }{{peers.GoClient, "RollGo"}, {peers.Clients49, "RollJava"}}
	var producers, consumers []client
	for _, app := range applications {
		s.topic(app.topic)
		consumers = append(consumers, s.peer(app.version, "consume-loop", "topic="+app.topic, "group=g-"+app.topic))
		producers = append(producers, s.peer(app.version, "produce-loop", "topic="+app.topic, "every=5", "group=p-"+app.topic))
	}
	for i := range applications {
		consumers[i].Ready()
		producers[i].Ready()
		producers[i].AwaitN("sent", 50, 30*time.Second)
	}
	starts := s.starts()
	roll := s.rmqctl("", "restart", s.file, "-y")
	s.t.Log(roll)
	if roll.code != 0 {
		s.t.Errorf("the roll ends with %d", roll.code)
	}
	again := s.starts()
	for u, n := range starts {
		if again[u] != n+1 {
			s.t.Errorf("%s was started %d times by the roll", u, again[u]-n)
		}
	}
	for i, app := range applications {
		producers[i].CloseInput()
		produced := producers[i].Events()
		want := peers.Bodies(peers.Of(produced, "sent"))
		eventually(s.t, 60*time.Second, func() bool {
			got := peers.Bodies(peers.Of(consumers[i].Events(), "received"))
			return len(got) >= len(want)
		}, "the %s consumer to catch up", app.version)
		consumers[i].CloseInput()
		a := settle(produced, consumers[i].Events())
		s.t.Logf("%s during a roll of %v: %v", app.version, roll.took.Round(time.Second), a)
		if a.failed+a.notOK+a.lost > 0 {
			s.t.Errorf("%s: %v; first: %s", app.version, a, a.firstError)
		}
	}
}

func perBroker(produced []peers.Event) map[string]int {
	count := map[string]int{}
	for _, e := range peers.Of(produced, "sent") {
		count[e.Broker]++
	}
	return count
}

// kill ends a service's process with SIGKILL and keeps systemd from starting it again, as a machine would that has lost it.
func kill(s *site, n *bed.Node, unit string) {
	s.t.Helper()
	s.exec(n, "mkdir -p /run/systemd/system/"+unit+".d && printf '[Service]\\nRestart=no\\n' >/run/systemd/system/"+unit+".d/dead.conf && "+
		"systemctl daemon-reload && kill -9 $(systemctl show -P MainPID "+unit+")")
}

// awaitRoute waits until every name server that is up lists the broker, or lists it no more.
func (s *site) awaitRoute(addr string, listed bool) {
	s.t.Helper()
	start := time.Now()
	for _, ns := range s.inv.NameServers {
		if got, _ := s.Probe(ctxOf(s.t), "operator", ns.Addr()); got != bed.Open {
			continue
		}
		eventually(s.t, 4*time.Minute, func() bool {
			r := s.rmqctl("", "admin", "clusterList", "-n", ns.Addr())
			return r.code == 0 && strings.Contains(r.out, addr) == listed
		}, "%s to list %s: %v", ns.Addr(), addr, listed)
	}
	s.t.Logf("every name server agrees on %s (listed: %v) after %v", addr, listed, time.Since(start).Round(time.Second))
}
