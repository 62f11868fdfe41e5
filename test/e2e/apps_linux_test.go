// Applications that live through disasters: a producer and a push consumer of another make, started once and never again.
package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"rmqctl/test/peers"
)

// feed reads what a program prints, each line once.
type feed struct {
	client
	again  func() client
	read   int
	events []peers.Event
}

func (f *feed) all() []peers.Event {
	lines := f.Lines()
	for ; f.read < len(lines); f.read++ {
		var e peers.Event
		if strings.HasPrefix(lines[f.read], "{") && json.Unmarshal([]byte(lines[f.read]), &e) == nil {
			f.events = append(f.events, e)
		}
	}
	return f.events
}

// app is one make of client.
type app struct {
	kind     string // for the table
	topic    string
	word     string // in its messages' names
	producer *feed
	consumer *feed
}

// application is a make of client and how it looks at the routes.
type application struct{ kind, version, poll string }

// makes of clients. How often a Java client looks at the routes is its operator's choice (every 30 s if he makes none); in
// client-go it is a constant, 30 s.
var makes = []application{{"java 4.9.8", peers.Clients49, "poll=1000"}, {"client-go 2.1.2", peers.GoClient, ""}}

// How long a send may take: the clients' default where there is but one place to send to, less where an application wants to go
// on elsewhere.
const (
	patient   = "timeout=3000"
	impatient = "timeout=1000"
)

// applications starts them. Every name server is in their list: nothing has failed yet.
func (s *site) applications(prefix, timeout string, makes []application) []*app {
	s.t.Helper()
	var all []*app
	for i, m := range makes {
		topic := fmt.Sprintf("%s_%d", prefix, i)
		a := &app{kind: m.kind, topic: topic, word: fmt.Sprint("app", i)}
		s.topic(topic)
		s.routed(topic) // a consumer that starts with half a route looks for the other half after 20 s
		a.consumer = s.begin(m.version, "consume-told", "topic="+topic, "group=g_"+topic, m.poll, "heartbeat=2000", "work=10")
		a.producer = s.begin(m.version, "produce-told", "topic="+topic, "group=p_"+topic, m.poll, timeout)
		all = append(all, a)
	}
	for _, a := range all {
		a.consumer.isReady()
		a.producer.isReady()
	}
	return all
}

// begin starts a program that stays; isReady waits for it.
func (s *site) begin(version, subcommand string, args ...string) *feed {
	s.t.Helper()
	start := func() client { return s.peer(version, subcommand, args...) }
	return &feed{client: start(), again: start}
}

// isReady waits until a program has started. Java's client ends when a name server needs 3 s for its first answer, as on a machine
// that boots a dozen hosts at once: that is tried again. Nothing has failed yet, so it is no restart.
func (f *feed) isReady() {
	f.s.t.Helper()
	for range 3 {
		eventually(f.s.t, time.Minute, func() bool { return f.Ended() || count(f.all(), "ready") > 0 }, "%s to start", f.Name)
		if count(f.all(), "ready") > 0 {
			return
		}
		*f = feed{client: f.again(), again: f.again}
	}
	f.s.t.Fatalf("%s does not start", f.Name)
}

// stop ends the applications in order. Until then none may have ended.
func stop(t *testing.T, apps []*app) {
	t.Helper()
	for _, a := range apps {
		for _, f := range []*feed{a.producer, a.consumer} {
			if f.Ended() {
				t.Errorf("%s ended by itself: an application would have to be restarted", f.Name)
			}
			f.CloseInput()
		}
	}
}

// tell gives every consumer an order and waits until it has heard.
func tell(apps []*app, order string) {
	for _, a := range apps {
		heard := count(a.consumer.all(), order)
		a.consumer.Tell(order)
		eventually(a.consumer.s.t, 20*time.Second, func() bool { return count(a.consumer.all(), order) > heard }, "%s to %s", a.consumer.Name, order)
	}
}

func count(events []peers.Event, kind string) int {
	n := 0
	for i := range events {
		if events[i].Event == kind {
			n++
		}
	}
	return n
}

// batch is one order to one producer.
type batch struct {
	app     *app
	prefix  string
	n       int
	threads int
	from    int // events of the producer before it
	seen    int // events of the consumer before it
	start   time.Time
}

// order asks every producer for n messages; tries 0 means: send each again until it is acknowledged.
func order(apps []*app, id string, n, tries, pause, threads int) []*batch {
	var all []*batch
	for _, a := range apps {
		b := &batch{app: a, prefix: id + "." + a.word, n: n, threads: threads, from: len(a.producer.all()), seen: len(a.consumer.all()), start: time.Now()}
		a.producer.Tell(fmt.Sprintf("%d %s %d %d %d", n, b.prefix, tries, pause, threads))
		all = append(all, b)
	}
	return all
}

func (b *batch) events() []peers.Event { return of(b.prefix, b.app.producer.all()[b.from:]) }

// received are the copies that the consumer was given.
func (b *batch) received() []peers.Event {
	return of(b.prefix, peers.Of(b.app.consumer.all()[b.seen:], "received"))
}

func of(prefix string, events []peers.Event) []peers.Event {
	var some []peers.Event
	for _, e := range events {
		if strings.HasPrefix(e.Body, prefix+"-") || e.Event == "ordered" && e.Body == prefix {
			some = append(some, e)
		}
	}
	return some
}

func (b *batch) acked() []peers.Event { return peers.Of(b.events(), "sent") }

// begun waits until the first n messages are acknowledged.
func begun(batches []*batch, n int) {
	for _, b := range batches {
		eventually(b.app.producer.s.t, 2*time.Minute, func() bool { return len(b.acked()) >= n }, "%s to send %d of %s", b.app.kind, n, b.prefix)
	}
}

// ended waits for the end of the orders.
func ended(batches []*batch) {
	for _, b := range batches {
		eventually(b.app.producer.s.t, 3*time.Minute, func() bool { return len(peers.Of(b.events(), "ordered")) > 0 }, "%s to end its order %s", b.app.kind, b.prefix)
	}
}

// consumed waits until everything acknowledged was received at least once; what is then missing is in the figures.
func consumed(batches []*batch, within time.Duration) {
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		missing := 0
		for _, b := range batches {
			missing += len(b.missing())
		}
		if missing == 0 {
			return
		}
	}
}

func (b *batch) missing() []string {
	got := peers.Bodies(b.received())
	var some []string
	for _, e := range b.acked() {
		if got[e.Body] == 0 {
			some = append(some, e.Body)
		}
	}
	return some
}
