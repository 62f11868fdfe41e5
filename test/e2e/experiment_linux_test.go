// An experiment: what applications send and receive while something dies, in figures, and judged.
package e2e

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rmqctl/internal/checker"
)

// lab is a deployment with applications on it that live through all its experiments.
type lab struct {
	*site
	layout  string
	apps    []*app
	console *feed
	record  *checker.Recorder
	serial  int    // of its batches
	ready   func() // says that the applications run
}

type experiment struct {
	*lab
	apps     []*app
	id, what string
	batches  []*batch
	struck   time.Time // when the last fault came
	resumed  time.Time // when suspended consumers went on
	unread   int       // acknowledged and not received when the fault came
	rolls    bool      // the faults are the restarts of a roll

	leaderless func() time.Duration // ends the prober, if there is one
}

// experiment runs one as a subtest of its own.
func (l *lab) experiment(t *testing.T, id, what string, run func(*experiment)) {
	t.Run(id+" "+what, func(t *testing.T) {
		l.site.t = t
		start := time.Now()
		x := &experiment{lab: l, apps: l.apps, id: id, what: what}
		run(x)
		x.judge()
		t.Logf("%s took %.1f s", id, time.Since(start).Seconds())
	})
}

// send orders n messages from every application. They come 2 ms apart: a fault meets them on their way.
func (x *experiment) send(n int) []*batch { return x.order(n, 0, 2, 1) }

func (x *experiment) order(n, tries, pause, threads int) []*batch {
	x.serial++
	b := order(x.apps, fmt.Sprintf("%s.%s.%d", x.layout, x.id, x.serial), n, tries, pause, threads)
	x.batches = append(x.batches, b...)
	return b
}

// backlog sends n messages that nobody reads yet, but for the few that pulls already under way bring.
func (x *experiment) backlog(n int) {
	x.t.Helper()
	tell(x.apps, "suspend")
	ended(x.order(n, 0, 0, 4))
}

func (x *experiment) resume() { tell(x.apps, "resume"); x.resumed = time.Now() }

// strike is the fault.
func (x *experiment) strike(fault func() error) {
	x.t.Helper()
	x.unread = 0
	for _, b := range x.batches {
		x.unread += len(b.missing())
	}
	must(x.t, fault())
	x.struck = time.Now()
}

// settle waits for the end of the orders and until everything is read.
func (x *experiment) settle() {
	x.t.Helper()
	ended(x.batches)
	consumed(x.batches, 90*time.Second)
}

// judge makes the figures of an experiment and fails the test if a promise was broken.
func (x *experiment) judge() {
	x.t.Helper()
	time.Sleep(500 * time.Millisecond) // one too many would come now
	var leaderless time.Duration
	if x.leaderless != nil {
		leaderless = x.leaderless()
	}
	for _, a := range x.apps {
		f := figure{id: x.id, layout: x.layout, what: x.what, client: a.kind, unread: x.unread, leaderless: leaderless}
		for _, b := range x.batches {
			if b.app == a {
				x.account(&f, b)
				x.tell(b)
			}
		}
		f.rereadBound += busiest(f.times, commitInterval)
		if a.producer.Ended() || a.consumer.Ended() {
			f.restarts++
			x.t.Errorf("%s: a client has ended by itself", a.kind)
		}
		figures.add(f)
		x.t.Log(f)
		if f.lost > 0 {
			x.t.Errorf("%s: %d acknowledged messages were not received", a.kind, f.lost)
		}
		if f.phantoms > 0 {
			x.t.Errorf("%s: %d messages were received that were never sent", a.kind, f.phantoms)
		}
		if f.reread > f.rereadBound || f.copies > f.copiesBound {
			x.t.Errorf("%s: %d messages consumed again (%d were not committed when the fault came), %d stored again (%d sends had no clear end)",
				a.kind, f.reread, f.rereadBound, f.copies, f.copiesBound)
		}
	}
}

// account adds a batch to a figure.
func (x *experiment) account(f *figure, b *batch) {
	f.sent += b.n
	last := b.start.UnixMilli()
	acked := map[string]bool{}
	for _, e := range b.events() {
		switch e.Event {
		case "error":
			f.refused++
			f.copiesBound += triesPerSend
			if f.whys == nil {
				f.whys = map[string]int{}
			}
			f.whys[digits.ReplaceAllString(e.Error, "N")]++
		case "sent":
			f.acked++
			acked[e.Body] = true
			if e.Status != "SEND_OK" {
				f.alone++
			}
			if e.Ms > 200 {
				f.copiesBound += triesPerSend - 1
			}
			f.quiet = max(f.quiet, time.Duration(e.At-last)*time.Millisecond)
			last = e.At
		}
	}
	places, bodies := map[string]int{}, map[string]int{}
	read := last
	for _, e := range b.received() {
		at := fmt.Sprint(e.From, e.Queue, e.Offset)
		if places[at]++; places[at] > 1 {
			f.reread++
		} else if bodies[e.Body]++; bodies[e.Body] > 1 {
			f.copies++
		}
		read = max(read, e.At)
		if struck := x.struck.UnixMilli(); !x.struck.IsZero() && e.At <= struck && e.At > struck-commitInterval.Milliseconds() {
			f.rereadBound++
		}
		if x.rolls { // each restart is a fault: whenever it came
			f.times = append(f.times, e.At)
		}
	}
	f.received += len(bodies)
	for body := range acked {
		if bodies[body] == 0 {
			f.lost++
		}
	}
	for body := range bodies {
		var i int
		if _, err := fmt.Sscanf(strings.TrimPrefix(body, b.prefix), "-%d", &i); err != nil || i < 0 || i >= b.n || body != fmt.Sprintf("%s-%d", b.prefix, i) {
			f.phantoms++
		}
	}
	since := max(last, x.resumed.UnixMilli(), x.struck.UnixMilli())
	f.read = max(f.read, time.Duration(read-since)*time.Millisecond)
}

// busiest is the largest number of times within any span.
func busiest(times []int64, span time.Duration) int {
	slices.Sort(times)
	most, from := 0, 0
	for i := range times {
		for times[i]-times[from] >= span.Milliseconds() {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// triesPerSend: a client tries a send up to three times before the application hears of it, and each try may have been stored.
// client-go makes the second and third even when the application's time is over: it writes them and does not wait.
const triesPerSend = 3

// commitInterval is how long ago the consumption of a message may be and still be unknown to the server: clients commit every
// five seconds and brokers write what was committed every five.
const commitInterval = 10 * time.Second

// tell tells the checker what happened. A send that came back as an error may have been stored; so may an earlier try within a
// send that took long.
func (x *experiment) tell(b *batch) {
	r, ids := x.record, map[string]checker.ID{}
	next := func() {
		id := r.Sending(b.prefix, b.app.topic)
		ids[string(r.Body(id, 0))] = id
	}
	if b.threads > 1 { // no order among them
		for range b.n {
			next()
		}
	}
	for _, e := range b.events() {
		for _, known := ids[e.Body]; e.Event != "ordered" && !known && len(ids) < b.n; _, known = ids[e.Body] {
			next()
		}
		id := ids[e.Body]
		switch {
		case e.Event == "error":
			r.Unknown(id)
			r.Again(id)
		case e.Event == "sent":
			if e.Ms > 200 {
				r.Unknown(id)
			}
			r.Acked(id, checker.Queue{Broker: e.Broker, Topic: b.app.topic, ID: int32(e.Queue)}, e.Offset)
		}
	}
	for _, e := range b.received() {
		from := e.From
		if m := brokerName.FindStringSubmatch(from); m != nil {
			from = m[1]
		}
		r.Seen("the clients", checker.Queue{Broker: from, Topic: b.app.topic, ID: int32(e.Queue)}, e.Offset, []byte(e.Body), true)
	}
}

// brokerName within what Java prints of a queue.
var brokerName = regexp.MustCompile(`brokerName=([^,\]]+)`)

// figure is a row of the table: one experiment, one make of client.
type figure struct {
	id, layout, what, client string

	sent     int // messages that the application wanted to send
	refused  int // sends that came back to it as an error; it sent those messages again
	whys     map[string]int
	acked    int
	alone    int // of them by a master whose slave was away
	unread   int // of all makes, when the fault came
	received int // distinct messages
	lost     int // acknowledged and never received
	phantoms int
	reread   int // consumed again; at most rereadBound
	copies   int // stored again, by the client's or the application's own repetition; at most copiesBound
	restarts int

	rereadBound, copiesBound int
	times                    []int64       // of everything received, in a roll
	quiet                    time.Duration // the longest time without an acknowledgement while there was something to send
	read                     time.Duration // from the last acknowledgement, fault or resumption until everything was read
	leaderless               time.Duration // measured by a prober of our own; raft groups only
}

func (f figure) String() string {
	return fmt.Sprintf("%-4s %-16s sent %d, refused %d, acknowledged %d (%d by the master alone), received %d, lost %d, consumed again %d (at most %d), stored again %d (at most %d), "+
		"no acknowledgement for %.1f s, all read after %.1f s, restarts %d; leaderless %.1f s%s", f.id, f.client, f.sent, f.refused, f.acked, f.alone, f.received, f.lost,
		f.reread, f.rereadBound, f.copies, f.copiesBound, f.quiet.Seconds(), f.read.Seconds(), f.restarts, f.leaderless.Seconds(), f.why())
}

// why lists what the application was told when sends failed.
func (f figure) why() string {
	var all []string
	for _, w := range slices.Sorted(maps.Keys(f.whys)) {
		all = append(all, fmt.Sprintf("\n  %d times: %s", f.whys[w], w))
	}
	return strings.Join(all, "")
}

var digits = regexp.MustCompile(`\d+`)

// figures are those of all tests of this run.
var figures results

type results struct {
	mu   sync.Mutex // guards rows
	rows []figure
}

func (t *results) add(f figure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, f)
}

func (t *results) sorted() []figure {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := slices.Clone(t.rows)
	slices.SortStableFunc(rows, func(a, b figure) int { return a.number() - b.number() })
	return rows
}

// number orders the table: experiments as operators number them, the same one by deployment, ours without a number behind them.
func (f figure) number() int {
	n, d := 99, 0
	fmt.Sscanf(f.id, "X%d", &n)
	fmt.Sscanf(f.layout, "d%d", &d)
	return 100*n + d
}
