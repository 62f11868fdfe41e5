//go:build linux

package chaos

// What runs against a cluster while it suffers, and the verdict afterwards.

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/internal/checker"
	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
)

// Load says what is to run: producers, a group, watchers and probers on one topic. The zero values have meanings of their own.
type Load struct {
	Topic     string        // "": Chaos
	Queues    int32         // of each set; 0: 4
	Producers int           // 0: 8
	Pause     time.Duration // of a producer between sends, on average; 0: 2 ms
	Saved     time.Duration // how old a commit of the group may be that is forgotten when service ends; 0: 8 s, the brokers' interval and the slaves'
	MayLose   bool          // acknowledged messages may go with their broker, as under ASYNC_MASTER with a promotion
	ReadAhead bool          // readers may have seen what was not acknowledged and went with its broker, as under SYNC_MASTER with one
}

// Workload is a load that runs.
type Workload struct {
	Load
	c       *Cluster
	rec     *checker.Recorder
	router  *router
	probers map[string]*prober
	group   group
	said    said
	acks    atomic.Int64
	stop    context.CancelFunc
	stopped sync.WaitGroup
	readers context.CancelFunc
	reading sync.WaitGroup

	mu      sync.Mutex // guards outages, wrongs
	outages []time.Duration
	wrongs  []string
}

// Run begins the work on a cluster.
func (c *Cluster) Run(l Load) *Workload {
	c.t.Helper()
	r := &Workload{Load: l}
	if r.Topic == "" {
		r.Topic = "Chaos"
	}
	if r.Queues == 0 {
		r.Queues = 4
	}
	if r.Producers == 0 {
		r.Producers = 8
	}
	if r.Pause == 0 {
		r.Pause = 2 * time.Millisecond
	}
	if r.Saved == 0 {
		r.Saved = 8 * time.Second
	}
	c.Topic(r.Topic, r.Queues)
	r.c, r.rec, r.router, r.probers = c, checker.New(), newRouter(c.namesrvs(), r.Topic), map[string]*prober{}
	r.group.commits = map[protocol.MessageQueue][]commit{}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	reading, readers := context.WithCancel(context.Background())
	r.readers = readers
	for i := range r.Producers {
		r.stopped.Go(func() { r.produce(ctx, i) })
	}
	for _, s := range c.Sets {
		p := &prober{}
		r.probers[s.Name] = p
		r.stopped.Go(func() { r.probe(ctx, s.Name, p) })
		for id := range r.Queues {
			r.reading.Go(func() { r.consume(reading, protocol.MessageQueue{Topic: r.Topic, BrokerName: s.Name, QueueID: id}) })
		}
		for _, m := range s.Members {
			r.reading.Go(func() { r.watch(reading, m) })
		}
	}
	c.t.Cleanup(r.end)
	r.MoreAcks(100, bootTime)
	return r
}

func (w *Workload) end() {
	w.stop()
	w.stopped.Wait()
	w.readers()
	w.reading.Wait()
	w.router.close()
}

// Acks is how many messages were acknowledged so far.
func (w *Workload) Acks() int64 { return w.acks.Load() }

// MoreAcks waits for n more acknowledgements; the test ends if they do not come.
func (w *Workload) MoreAcks(n int64, within time.Duration) {
	w.c.t.Helper()
	was := w.Acks()
	if err := w.c.until(within, func() error {
		if got := w.Acks() - was; got < n {
			return fmt.Errorf("%d of %d messages were acknowledged within %v", got, n, within)
		}
		return nil
	}); err != nil {
		w.c.t.Fatalf("%v; producers are told %s", err, w.told())
	}
}

func (w *Workload) told() string {
	w.said.mu.Lock()
	defer w.said.mu.Unlock()
	return fmt.Sprint(w.said.times, w.said.texts)
}

func (w *Workload) outage(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outages = append(w.outages, d)
}

func (w *Workload) wrong(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrongs = append(w.wrongs, fmt.Sprintf(format, args...))
}

// Verdict is what came of a run.
type Verdict struct {
	checker.Report
	Again     int64 // messages the group was given once more
	AgainMost int64 // at one time, from one queue
	Level     time.Duration
	Outages   []time.Duration // as producers saw them
	Told      string
	Broken    []string // promises that were not kept
}

func (v *Verdict) String() string {
	return fmt.Sprintf("%v\n  level after %v; given again to the group %d, at most %d at once; producers saw %d outages, longest %v, and were told %s", v.Report,
		v.Level.Round(time.Millisecond), v.Again, v.AgainMost, len(v.Outages), Quantile(v.Outages, 1).Round(time.Millisecond), v.Told)
}

// Finish ends the work, waits until all replicas are level, reads each from its first offset on, and judges. An error means that
// no verdict can be given: a replica could not be read. Everybody must be alive and every fault be over.
func (w *Workload) Finish(within time.Duration) (*Verdict, error) {
	w.stop()
	w.stopped.Wait()
	begun := time.Now()
	err := w.level(within)
	v := &Verdict{Level: time.Since(begun), Told: w.told(), Outages: w.outages}
	if err != nil {
		v.Broken, within = append(v.Broken, err.Error()), 0
	}
	for _, s := range w.c.Sets {
		if err := w.c.until(within, func() error { return w.groupReached(s.Members[0]) }); err != nil {
			v.Broken = append(v.Broken, err.Error())
		}
	}
	w.readers()
	w.reading.Wait()
	for _, m := range w.c.Brokers() {
		if err := w.drain(m); err != nil {
			return v, err
		}
	}
	w.judge(v, w.c.Brokers())
	return v, nil
}

// Alone ends the work, reads one replica of the only set and judges by it: what it must hold if all others are lost for ever.
func (w *Workload) Alone(m *Member) (*Verdict, error) {
	w.stop()
	w.stopped.Wait()
	w.readers()
	w.reading.Wait()
	v := &Verdict{Told: w.told(), Outages: w.outages}
	if err := w.drain(m); err != nil {
		return v, err
	}
	w.judge(v, []*Member{m})
	return v, nil
}

func (w *Workload) judge(v *Verdict, replicas []*Member) {
	rules := checker.Rules{LostTail: w.MayLose, ReadAhead: w.ReadAhead, OffsetsMayGoBack: true}
	if len(w.c.Sets) == 1 && !w.MayLose { // of several sets: replicas of one end alike, have no gap and are compared
		for _, m := range replicas {
			rules.Replicas = append(rules.Replicas, m.Name)
		}
	}
	v.Report = w.rec.Check(rules)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.group.mu.Lock()
	defer w.group.mu.Unlock()
	v.Again, v.AgainMost = w.group.again, w.group.most
	v.Broken = append(append(v.Broken, w.wrongs...), w.group.forgot...)
	if err := v.Err(); err != nil {
		v.Broken = append(v.Broken, err.Error())
	}
}

// groupReached: the group has read and committed all that a replica has.
func (w *Workload) groupReached(m *Member) error {
	ends, err := w.ends(m)
	if err != nil {
		return err
	}
	w.group.mu.Lock()
	defer w.group.mu.Unlock()
	for id, end := range ends {
		q := protocol.MessageQueue{Topic: w.Topic, BrokerName: m.Set.Name, QueueID: int32(id)}
		at := int64(0)
		if cs := w.group.commits[q]; len(cs) > 0 {
			at = cs[len(cs)-1].offset
		}
		if at < end {
			return fmt.Errorf("the group has read %v queue %d up to %d of %d that %s has", m.Set.Name, id, at, end, m.Name)
		}
	}
	return nil
}

// ends are the ends of all queues at one replica.
func (w *Workload) ends(m *Member) ([]int64, error) {
	var all []int64
	for id := range w.Queues {
		end, err := w.c.client.MaxOffset(context.Background(), m.Addr, protocol.MessageQueue{Topic: w.Topic, BrokerName: m.Set.Name, QueueID: id})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		all = append(all, end)
	}
	return all, nil
}

// level waits until all replicas of each set end alike, twice in a row.
func (w *Workload) level(within time.Duration) error {
	same, last := 0, ""
	return w.c.until(within, func() error {
		now := ""
		for _, s := range w.c.Sets {
			first := ""
			for _, m := range s.Members {
				ends, err := w.ends(m)
				text := fmt.Sprint(ends)
				if first == "" {
					first = text
				}
				switch {
				case err != nil:
					same = 0
					return fmt.Errorf("not level: %w", err)
				case text != first:
					same = 0
					return fmt.Errorf("not level within %v: %s ends at %s, %s at %s", within, s.Members[0].Name, first, m.Name, text)
				}
			}
			now += first
		}
		if now != last {
			same, last = 0, now
		}
		if same++; same < 3 {
			return fmt.Errorf("not level within %v: the ends still move", within)
		}
		return nil
	})
}

// drain reads everything that one replica has.
func (w *Workload) drain(m *Member) error {
	c, err := client.New(client.Options{NameServers: w.c.namesrvs(), Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, d := context.Background(), w.rec.Drain(m.Name)
	for id := range w.Queues {
		q := protocol.MessageQueue{Topic: w.Topic, BrokerName: m.Set.Name, QueueID: id}
		first, err := c.MinOffset(ctx, m.Addr, q)
		if err != nil {
			return fmt.Errorf("drain %s: %w", m.Name, err)
		}
		end, err := c.MaxOffset(ctx, m.Addr, q)
		if err != nil {
			return fmt.Errorf("drain %s: %w", m.Name, err)
		}
		d.Queue(queueOf(q), first, end)
		for next := first; next < end; {
			var got *client.Pulled
			err := w.c.until(20*time.Second, func() (err error) { // a Java follower gets its topics some seconds late
				got, err = c.Pull(ctx, m.Addr, client.PullRequest{Group: "drain", Queue: q, Offset: next, Max: 400})
				return err
			})
			if err != nil {
				return fmt.Errorf("drain %s: %w", m.Name, err)
			}
			for i := range got.Messages {
				d.Seen(queueOf(q), got.Messages[i].QueueOffset, got.Messages[i].Body, true)
			}
			if got.Next <= next {
				return fmt.Errorf("drain %s queue %d: it has up to %d and gives nothing at %d (%s)", m.Name, id, end, next, protocol.StatusName(got.Status))
			}
			next = got.Next
		}
	}
	d.End()
	return nil
}
