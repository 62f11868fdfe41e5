// The experiments of RocketMQ's operators (X0 to X15) on the deployments that were made for them (D8 to D11), with a Java and a
// Go application each that live through all of them.
package e2e

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"rmqctl/internal/checker"
	"rmqctl/test/hosts/bed"
	"rmqctl/test/peers"
)

func TestDisasters(t *testing.T) {
	bed.Require(t)
	peers.Need(t, peers.GoClient, peers.Clients49, peers.All53)
	// Alone, and not all at once: each host takes seven of the 128 inotify instances that a kernel gives root by default.
	hosts := semaphore.NewWeighted(13)
	var all sync.WaitGroup // mostly they wait: for a clock of a client's or a server's
	turn := make(chan struct{})
	close(turn) // hosts boot and programs start one deployment after the other
	for _, d := range []struct {
		layout string
		nodes  int
		run    func(*testing.T, *lab)
	}{{"d9", 4, crossed}, {"d10", 3, oneGroup}, {"d11", 6, twoGroups}, {"d8", 4, standby}} {
		before, mine := turn, make(chan struct{})
		turn = mine
		all.Go(func() {
			ready := sync.OnceFunc(func() { close(mine) })
			defer ready() // also when -run leaves this one out
			t.Run(strings.ToUpper(d.layout), func(t *testing.T) {
				<-before
				must(t, hosts.Acquire(t.Context(), int64(d.nodes)))
				t.Cleanup(func() { hosts.Release(int64(d.nodes)) }) // after the bed's own
				b := bed.New(t, bed.Options{Nodes: d.nodes})
				s := layout(t, b, d.layout, rootByKey(b))
				t.Log(s.deploy())
				d.run(t, &lab{site: s, layout: d.layout, record: checker.New(), ready: ready})
				if t.Failed() {
					consoles(t, b)
				}
			})
		})
	}
	all.Wait()
	figures.show(t)
}

// start starts the applications and RocketMQ's console.
func (l *lab) start(timeout string, applications ...application) {
	l.t.Helper()
	l.console = l.begin(peers.Clients49, "console-told")
	l.apps = l.applications(strings.ToUpper(l.layout), timeout, applications)
	l.console.isReady()
	l.ready()
}

// standby: D8, masters in dc1 (node1 broker-a, node2 broker-b), slaves in dc2 (node3 broker-b, node4 broker-a).
func standby(t *testing.T, l *lab) {
	l.start(impatient, makes...)
	l.experiment(t, "X1", "nothing fails", nothingFails)

	l.experiment(t, "X2", "the slaves' data centre dies while 1,000 are being sent", func(x *experiment) {
		begun(x.send(1000), 100)
		x.strike(x.cut("dc2"))
		x.settle()
		x.consoleWorks(2)
		must(x.t, x.on("dc2")())
		for _, f := range x.figures() {
			if f.refused > 0 {
				x.t.Errorf("%s: %d sends were refused: %s", f.client, f.refused, f.why())
			}
		}
	})

	l.experiment(t, "X3", "one master dies with 1,000 unread, 1,000 more are sent", func(x *experiment) {
		x.backlog(1000)
		x.level()
		x.strike(func() error { return x.Node("node1").Cut(ctxOf(x.t)) })
		x.resume()
		x.send(1000)
		x.settle()
		must(x.t, x.Node("node1").On(ctxOf(x.t)))
		x.level()
	})

	var unread *experiment
	l.experiment(t, "X4", "both masters die with 1,000 unread", func(x *experiment) {
		unread = x
		x.backlog(1000)
		x.level()
		x.strike(x.cut("dc1"))
		x.resume()
		x.settle()
		x.consoleWorks(2)
		for i, m := range makes { // one that is started now finds everything as well
			late := x.peer(m.version, "consume", "topic="+x.apps[i].topic, "group=late", "n="+itoa(distinct(x.apps[i])), "idle=30000", m.poll).ends()
			if got, want := len(peers.Bodies(peers.Of(late, "received"))), distinct(x.apps[i]); got != want {
				x.t.Errorf("%s, started while no master was there, received %d of %d", m.kind, got, want)
			}
		}
		refused := x.order(1, 3, 0, 1)
		ended(refused)
		for _, b := range refused {
			errs := peers.Of(b.events(), "error")
			if len(errs) != 3 || errs[0].Error == "" {
				x.t.Errorf("%s: sends without a master: %+v", b.app.kind, b.events())
			}
		}
	})

	l.experiment(t, "X5", "the masters come back after the slaves served the reads, 1,000 more are sent", func(x *experiment) {
		must(x.t, x.on("dc1")())
		before := x.received(unread)
		x.send(1000)
		x.settle()
		time.Sleep(2 * time.Second)
		if again := x.received(unread) - before; again > 0 {
			x.t.Errorf("%d messages were consumed again", again)
		}
	})
	l.finish(t)
}

// crossed: D9, in dc1 node1 (master of broker-a) and node2 (slave of broker-b), in dc2 node3 (master of broker-b) and node4
// (slave of broker-a).
func crossed(t *testing.T, l *lab) {
	l.start(impatient, makes...)
	l.experiment(t, "X1", "nothing fails", nothingFails)

	l.experiment(t, "X6", "data centre 1 dies while 1,000 are being sent", func(x *experiment) {
		begun(x.send(1000), 300)
		x.strike(x.cut("dc1"))
		x.settle()
		x.consoleWorks(2)
	})

	l.experiment(t, "X7", "1,000 more while data centre 1 is dead", func(x *experiment) {
		x.send(1000)
		x.settle()
	})

	l.experiment(t, "X8", "data centre 1 comes back while 1,000 are being sent", func(x *experiment) {
		begun(x.send(1000), 100)
		x.strike(x.on("dc1"))
		x.settle()
		x.level()
	})

	l.experiment(t, "X9", "data centre 2 is cut off and comes back, 1,000 are sent before, meanwhile and after", func(x *experiment) {
		begun(x.send(1000), 300)
		x.strike(x.unplug("dc2"))
		x.settle()
		x.consoleWorks(2)
		must(x.t, x.plug("dc2")())
		x.send(1000)
		x.settle()
		x.level()
	})

	l.experiment(t, "X10", "data centre 1 dies with 1,000 unread", func(x *experiment) {
		x.backlog(1000)
		x.strike(x.cut("dc1"))
		x.resume()
		x.settle()
	})

	l.experiment(t, "X12", "1,000 sent while data centre 1 is dead, read when it is back", func(x *experiment) {
		x.backlog(1000)
		x.strike(x.on("dc1"))
		x.level()
		x.resume()
		x.settle()
	})

	l.experiment(t, "X11", "20,000 unread, data centre 2 dies while they are read", func(x *experiment) {
		x.backlog(20000)
		x.resume()
		for _, b := range x.batches {
			eventually(x.t, time.Minute, func() bool { return len(b.received()) > 2000 }, "%s to begin to read", b.app.kind)
		}
		x.strike(x.cut("dc2"))
		x.settle()
		must(x.t, x.on("dc2")())
	})
	l.finish(t)
}

func nothingFails(x *experiment) {
	sent := x.send(1000)
	x.settle()
	x.level() // mirrored on the slaves
	for _, b := range sent {
		if got := len(b.received()); got != 1000 {
			x.t.Errorf("%s received %d messages", b.app.kind, got)
		}
		for broker, n := range perBroker(b.events()) {
			if want := 1000 / len(x.inv.Groups); n < want-100 || n > want+100 {
				x.t.Errorf("%s sent %d of 1,000 to %s", b.app.kind, n, broker)
			}
		}
	}
}

// distinct counts the messages that an application has received so far.
func distinct(a *app) int { return len(peers.Bodies(peers.Of(a.consumer.all(), "received"))) }

// received counts what the consumers were given of another experiment's messages.
func (l *lab) received(x *experiment) int {
	n := 0
	for _, b := range x.batches {
		n += len(b.received())
	}
	return n
}

// consoleWorks is X0: the console, which lists all name servers and was started before anything failed, shows its pages.
func (x *experiment) consoleWorks(brokers int) {
	x.t.Helper()
	console := x.console
	var last peers.Event
	start := time.Now()
	eventually(x.t, time.Minute, func() bool {
		seen := len(console.all())
		console.Tell(x.apps[0].topic)
		eventually(x.t, time.Minute, func() bool { return len(console.all()) > seen }, "the console to answer")
		last = console.all()[seen]
		return last.Event == "looked" && len(strings.Fields(last.Body)) == brokers
	}, "the console to show %d brokers, its last answer: %+v", brokers, &last)
	x.t.Logf("X0 during %s: the console shows %s, %.1f s after it was asked", x.id, last.Body, time.Since(start).Seconds())
	figures.add(figure{id: "X0", layout: x.layout, what: "the console, a data centre dead (" + x.id + ")", client: "java 4.9.8", read: time.Since(start)})
}

// finish stops the applications and judges everything that was recorded.
func (l *lab) finish(t *testing.T) {
	l.site.t = t
	t.Run("every replica holds every acknowledged message", l.verdict)
	l.site.t = t
	stop(t, l.apps)
	if l.console.Ended() {
		t.Error("the console ended by itself")
	}
	l.console.CloseInput()
}

// figures are those of an experiment so far.
func (x *experiment) figures() []figure {
	var all []figure
	for _, a := range x.apps {
		f := figure{client: a.kind}
		for _, b := range x.batches {
			if b.app == a {
				x.account(&f, b)
			}
		}
		all = append(all, f)
	}
	return slices.Clip(all)
}
