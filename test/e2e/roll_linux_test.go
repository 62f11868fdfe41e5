// D5, the layout for production: deployed through a jump host, restarted under load, and then hurt (X1, X3, X4, X5).
package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rmqctl/inventory"
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
	for _, part := range []struct {
		fact string
		run  func(*site)
	}{
		{"a rolling restart under load loses and refuses nothing", rollUnderLoad},
		{"disasters X1 X3 X4 X5", disasters},
	} {
		if !t.Run(part.fact, func(t *testing.T) { s.t = t; part.run(s) }) {
			consoles(t, b)
		}
	}
	t.Run("destroy", func(t *testing.T) {
		s.t = t
		for _, n := range b.Nodes {
			must(t, n.On(ctxOf(t)))
		}
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

// disasters are the experiments X1, X3, X4 and X5 of RocketMQ's operators, with real power cuts and kills. Masters are on
// node1 (broker-a) and node2 (broker-b), their slaves on node3 and node4.
func disasters(s *site) {
	figures := []string{fmt.Sprintf("%-4s %-54s %8s %8s %8s %8s", "", "", "sent", "failed", "received", "twice")}
	row := func(id, what string, a account, received int) {
		figures = append(figures, fmt.Sprintf("%-4s %-54s %8d %8d %8d %8d", id, what, a.sent, a.failed+a.notOK, received, a.twice))
	}
	defer func() { s.t.Log("\n" + strings.Join(figures, "\n")) }()
	a, b := s.inv.Groups[0].Master, s.inv.Groups[1].Master
	nodeA, nodeB := s.host(a.Node), s.host(b.Node)

	for _, topic := range []string{"X1", "X3", "X4"} {
		s.topic(topic)
	}

	// X1: 1,000 messages, nothing failing.
	x1, got := s.thousand("X1", "x1"), s.receive(peers.GoClient, "X1", "x1", 1000)
	done := settle(x1, got)
	row("X1", "1,000 sent and received, nothing failing", done, len(got))
	if done.sent != 1000 || len(got) != 1000 || done.lost > 0 {
		s.t.Errorf("X1: %v, received %d; %s", done, len(got), done.firstError)
	}
	for name, n := range perBroker(x1) {
		if n < 400 || n > 600 {
			s.t.Errorf("X1: %s got %d of 1,000", name, n)
		}
	}

	// Masters write the offsets that consumers commit every five seconds, as RocketMQ's do; what was committed later than that
	// may be consumed again after a power cut.
	eventually(s.t, time.Minute, func() bool { return s.committed(a, "X1@x1")+s.committed(b, "X1@x1") == 1000 }, "the offsets on the disks")

	// X3: one master's power is cut with a backlog on it. What a SYNC_MASTER acknowledged its slave has: nothing is waited for.
	backlog := s.thousand("X3", "x3-backlog")
	unread := s.thousand("X4", "x4")
	must(s.t, nodeA.Cut(ctxOf(s.t)))
	s.awaitRoute(a.Addr(), false)
	more := s.thousand("X3", "x3-after")
	if n := perBroker(more)[a.Name]; n > 0 {
		s.t.Errorf("X3: %d messages went to the dead %s", n, a.Name)
	}
	all := append(backlog, more...)
	got = s.receive(peers.Clients49, "X3", "x3", 2000)
	done = settle(all, got)
	row("X3", "one master dead: backlog from its slave, sends go on", done, len(got))
	if done.sent != 2000 || done.lost > 0 {
		s.t.Errorf("X3: %v, received %d; %s", done, len(got), done.firstError)
	}

	// X4: the other master is killed too, with 1,000 unread messages on both.
	eventually(s.t, time.Minute, func() bool { return s.committed(b, "X3@x3") == perBroker(all)[b.Name] }, "the offsets on the disk")
	kill(s, nodeB, b.Unit())
	s.awaitRoute(b.Addr(), false)
	got = s.receive(peers.Clients49, "X4", "x4", 1000)
	done = settle(unread, got)
	row("X4", "both masters dead: 1,000 unread read from slaves", done, len(got))
	if done.sent != 1000 || done.lost > 0 {
		s.t.Errorf("X4: %v, received %d; %s", done, len(got), done.firstError)
	}
	refused := s.client("produce", "topic=X4", "prefix=x4-refused", "n=3", "retries=0").ends()
	done = settle(refused, nil)
	row("X4", "3 sends without any master", done, 0)
	if done.failed != 3 || done.firstError == "" {
		s.t.Errorf("X4: sends without a master: %v %s", done, done.firstError)
	}
	s.t.Logf("X4: a send without any master says: %s", done.firstError)

	// X5: the masters come back; nothing is consumed again.
	must(s.t, nodeA.On(ctxOf(s.t)))
	s.exec(nodeB, "rm -r /run/systemd/system/"+b.Unit()+".d && systemctl daemon-reload && systemctl start "+b.Unit())
	s.awaitRoute(a.Addr(), true)
	s.awaitRoute(b.Addr(), true)
	var again []peers.Event
	for _, c := range []client{
		s.peer(peers.Clients49, "consume", "topic=X3", "group=x3", "idle=12000"),
		s.peer(peers.Clients49, "consume", "topic=X4", "group=x4", "idle=12000"),
	} {
		again = append(again, peers.Of(c.ends(), "received")...)
	}
	row("X5", "masters back: messages consumed again", account{}, len(again))
	if len(again) > 0 {
		s.t.Errorf("X5: %d messages were consumed again, the first: %+v", len(again), again[0])
	}
	fresh := s.thousand("X1", "x5")
	got = s.receive(peers.GoClient, "X1", "x1", 1000)
	done = settle(fresh, got)
	row("X5", "1,000 more after the return", done, len(got))
	if done.sent != 1000 || done.lost > 0 || len(got) != 1000 {
		s.t.Errorf("X5: %v, received %d; %s", done, len(got), done.firstError)
	}
}

func (s *site) thousand(topic, prefix string) []peers.Event {
	s.t.Helper()
	return s.client("produce", "topic="+topic, "prefix="+prefix, "n=1000").ends()
}

// receive reads n messages as one group. Only Java's client asks a slave for a group's offsets when there is no master: client-go
// 2.1.2 says "broker address not found" and reads nothing.
func (s *site) receive(version, topic, group string, n int) []peers.Event {
	s.t.Helper()
	events := s.peer(version, "consume", "topic="+topic, "group="+group, "n="+itoa(n), "idle=45000", "linger=1500").ends()
	return peers.Of(events, "received")
}

var offsets = regexp.MustCompile(`\d+"?\s*:\s*(\d+)`)

// committed sums up the offsets of a topic@group in a broker's file.
func (s *site) committed(b *inventory.Broker, name string) int {
	text, err := os.ReadFile(filepath.Join(s.host(b.Node).Root(), b.StoreDir, "config/consumerOffset.json"))
	if err != nil {
		return 0
	}
	sum := 0
	_, table, _ := strings.Cut(string(text), `"`+name+`"`)
	table, _, _ = strings.Cut(table, "}")
	for _, m := range offsets.FindAllStringSubmatch(table, -1) {
		n, _ := strconv.Atoi(m[1])
		sum += n
	}
	return sum
}

func perBroker(produced []peers.Event) map[string]int {
	count := map[string]int{}
	for _, e := range peers.Of(produced, "sent") {
		count[e.Broker]++
	}
	return count
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

// kill ends a service's process with SIGKILL and keeps systemd from starting it again, as a machine would that has lost it.
func kill(s *site, n *bed.Node, unit string) {
	s.t.Helper()
	s.exec(n, "mkdir -p /run/systemd/system/"+unit+".d && printf '[Service]\\nRestart=no\\n' >/run/systemd/system/"+unit+".d/dead.conf && "+
		"systemctl daemon-reload && kill -9 $(systemctl show -P MainPID "+unit+")")
}
