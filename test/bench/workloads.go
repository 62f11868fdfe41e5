// The workloads: the rows of the goal table, and the loads that they are.
package main

import (
	"context"
	"fmt"
	"time"

	"rmqctl/internal/load"
	"rmqctl/internal/protocol"
)

// oursAsync is our pair with ASYNC_MASTER, which SYNC_MASTER is compared with.
const oursAsync = "ours-async"

// oursPair is our SYNC_MASTER pair beside our raft group.
const oursPair = "ours-pair"

// group is a set of workloads that the same running brokers serve.
type group struct {
	name      string
	props     map[string]string
	pair      bool
	raft      bool // three members, and a SYNC_MASTER pair of ours beside them
	bare      bool // each run starts its own broker
	workloads []*workload
}

// workload is one load; run makes a run of it on one broker.
type workload struct {
	name   string
	title  string
	only   string // one peer's, unless another's is asked for by name
	async  bool   // our ASYNC_MASTER pair takes part
	awake  bool   // the processors are kept from sleeping
	rounds int    // at most
	alone  bool   // starts and ends its own broker
	before func(ctx context.Context, t *turn, k *broker) error
	run    func(ctx context.Context, t *turn, k *broker) (*line, error)
}

func (w *workload) bare() bool { return w.alone }

// shape is how a producing load looks.
type shape struct {
	conns, under   int
	binary, single bool
	rate           func(b *bench) int
}

func groups() []*group {
	return []*group{
		{name: "async", workloads: []*workload{
			send("async-64x16", "produce, ASYNC_FLUSH, 64 connections x 16 in flight", shape{conns: 64, under: 16}),
			send("async-8x32", "produce, ASYNC_FLUSH, 8 x 32", shape{conns: 8, under: 32}),
			send("async-8x32-binary", "the same, binary header", shape{conns: 8, under: 32, binary: true}),
			send("async-8x32-single", "the same, one write per request", shape{conns: 8, under: 32, single: true}),
			send("async-64x1", "produce, ASYNC_FLUSH, 64 x 1", shape{conns: 64, under: 1}),
			send("async-8x1", "produce, ASYNC_FLUSH, 8 x 1", shape{conns: 8, under: 1}),
			send("async-1x1", "produce, ASYNC_FLUSH, 1 x 1", shape{conns: 1, under: 1}),
			awake(send("async-1x1-awake", "the same, processors kept awake", shape{conns: 1, under: 1})),
			send("async-rate-30k", "produce at 30,000/s, 8 connections", shape{conns: 8, rate: func(*bench) int { return 30000 }}),
			send("async-rate-80", "produce at 80 % of Java's most, 8 connections", shape{conns: 8, rate: mostOfJava}),
			{name: "consume", title: "consume a backlog, 4 pullers", before: backlog, run: consume},
			{name: "e2e-1k", title: "send to receive at 1,000/s", run: endToEnd(1000)},
			{name: "e2e-10k", title: "send to receive at 10,000/s", run: endToEnd(10000)},
		}},
		{name: "sync", props: map[string]string{"flushDiskType": "SYNC_FLUSH"}, workloads: []*workload{
			send("sync-64x16", "produce, SYNC_FLUSH, 64 x 16", shape{conns: 64, under: 16}),
			send("sync-8x32", "produce, SYNC_FLUSH, 8 x 32", shape{conns: 8, under: 32}),
			send("sync-64x1", "produce, SYNC_FLUSH, 64 x 1", shape{conns: 64, under: 1}),
			send("sync-1x1", "produce, SYNC_FLUSH, 1 x 1", shape{conns: 1, under: 1}),
		}},
		{name: "ha", pair: true, props: map[string]string{"brokerRole": "SYNC_MASTER"}, workloads: []*workload{
			both(send("ha-64x16", "produce, SYNC_MASTER with one slave, 64 x 16", shape{conns: 64, under: 16})),
			both(send("ha-8x32", "produce, SYNC_MASTER with one slave, 8 x 32", shape{conns: 8, under: 32})),
			send("ha-1x1", "produce, SYNC_MASTER with one slave, 1 x 1", shape{conns: 1, under: 1}),
		}},
		{name: "raft", raft: true, workloads: []*workload{
			send("raft-64x16", "produce, a raft group of three, 64 x 16", shape{conns: 64, under: 16}),
			send("raft-8x32", "produce, a raft group of three, 8 x 32", shape{conns: 8, under: 32}),
			send("raft-1x1", "produce, a raft group of three, 1 x 1", shape{conns: 1, under: 1}),
		}},
		{name: "life", bare: true, workloads: []*workload{
			{name: "start", title: "start on an empty store to the first acknowledged message", rounds: 5, alone: true, run: firstMessage},
			{name: "idle", title: "processor time without any load", rounds: 1, alone: true, run: idle},
			{name: "conns", title: "idle connections", rounds: 3, alone: true, run: connections},
			{name: "recovery", title: "recovery after kill -9", rounds: 3, alone: true, run: recovery},
			{name: "topics", title: "many topics x 8 queues", only: ours, rounds: 3, alone: true, run: manyTopics},
		}},
	}
}

func awake(w *workload) *workload { w.awake = true; return w }
func both(w *workload) *workload  { w.async = true; return w }

func send(name, title string, s shape) *workload {
	return &workload{name: name, title: title, run: func(ctx context.Context, t *turn, k *broker) (*line, error) {
		o := t.b.options(k, s)
		before, _ := k.numbers(ctx)
		r, l, err := t.b.produce(ctx, k, o)
		if err != nil {
			return nil, err
		}
		after, _ := k.numbers(ctx)
		if err := t.b.verify(ctx, o, r, l); err != nil {
			return nil, err
		}
		out := k.line(r)
		if after > before { // the warm-up is in both
			out.Values["syncsPer1000"] = 1000 * (after - before) / float64(l.Acked())
		}
		return out, nil
	}}
}

// options of a load on k, on a topic that nobody has used.
func (b *bench) options(k *broker, s shape) load.Options {
	b.topics++
	o := load.Options{
		Targets: k.target(), Topics: []string{fmt.Sprintf("load-%05d", b.topics)}, Size: 1024, Connections: s.conns, InFlight: s.under,
		OneWrite: s.single, Warmup: min(time.Second, b.s.Length), Duration: b.s.Length, Record: true, Group: "bench", Pids: b.pids(k),
	}
	if s.binary {
		o.Encoding = protocol.Binary
	}
	if s.rate != nil {
		o.Rate = s.rate(b)
	}
	return o
}

// pids are k's, and, so that they do not count as foreign, those of the spinners and of brokers that cannot be stopped.
func (b *bench) pids(k *broker) []int {
	pids := k.pids()
	for _, other := range b.running {
		if other != k {
			pids = append(pids, other.pids()...)
		}
	}
	for _, p := range b.spinning {
		pids = append(pids, p.pid())
	}
	return pids
}

// line is a load's result, with the cost of k's processes only.
func (k *broker) line(r *load.Result) *line {
	r.Brokers = r.Brokers[:min(len(r.Brokers), len(k.pids()))]
	return &line{Result: r, Values: valuesOf(r)}
}

// produce makes the topics and the load. What the brokers refuse is in the result; a load of which nothing came is an error.
func (b *bench) produce(ctx context.Context, k *broker, o load.Options) (*load.Result, *load.Ledger, error) {
	if err := load.CreateTopics(ctx, o); err != nil {
		return nil, nil, err
	}
	r, l, err := load.Produce(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	if r.Messages == 0 {
		return nil, nil, fmt.Errorf("no message was acknowledged: %s", r.FirstError)
	}
	return r, l, nil
}

func (b *bench) verify(ctx context.Context, o load.Options, r *load.Result, l *load.Ledger) (err error) {
	r.Verify, err = load.Verify(ctx, o, l)
	if err == nil && r.Verify.FirstError != "" {
		err = fmt.Errorf("verify: %s", r.Verify.FirstError)
	}
	return err
}

// mostOfJava is 80 % of the best rate any Java broker had with 8 x 32.
func mostOfJava(b *bench) int {
	most := 50000.0
	lines, _ := readLines(b.s.Results)
	found := 0.0
	for _, l := range lines {
		if l.Workload == "async-8x32" && l.Peer != ours && !l.Discarded {
			found = max(found, l.Values["perSecond"])
		}
	}
	if found > 0 {
		most = found
	}
	return int(most*0.8) / 1000 * 1000
}

// backlog makes the messages that every round of consume reads.
func backlog(ctx context.Context, t *turn, k *broker) error {
	o := t.b.options(k, shape{conns: 8, under: 32})
	o.Count, o.Warmup, o.Duration, o.Record = t.b.s.Backlog, 0, 10*time.Minute, false
	r, _, err := t.b.produce(ctx, k, o)
	if err == nil && r.Failed > 0 {
		err = fmt.Errorf("%d of the backlog failed: %s", r.Failed, r.FirstError)
	}
	t.state[k] = o.Topics
	return err
}

func consume(ctx context.Context, t *turn, k *broker) (*line, error) {
	o := t.b.options(k, shape{conns: 4, under: 1})
	topics, ok := t.state[k].([]string)
	if !ok || dirSize(k.store()) == 0 {
		return nil, fmt.Errorf("there is no backlog")
	}
	o.Topics, o.Repeat = topics, true
	r, err := load.Consume(ctx, o)
	if err != nil {
		return nil, err
	}
	if r.Messages == 0 {
		return nil, fmt.Errorf("nothing was read: %s", r.FirstError)
	}
	return k.line(r), nil
}

func endToEnd(rate int) func(ctx context.Context, t *turn, k *broker) (*line, error) {
	return func(ctx context.Context, t *turn, k *broker) (*line, error) {
		o := t.b.options(k, shape{conns: 2})
		o.Rate = rate
		if err := load.CreateTopics(ctx, o); err != nil {
			return nil, err
		}
		r, err := load.EndToEnd(ctx, o)
		if err != nil {
			return nil, err
		}
		if r.Messages == 0 {
			return nil, fmt.Errorf("nothing came: %s", r.FirstError)
		}
		return k.line(r), nil
	}
}
