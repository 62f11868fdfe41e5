// Workloads that start and end their own broker: start, recovery, idling, connections, topics.
package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"rmqctl/internal/load"
)

// firstMessage measures from the start of the program to the first acknowledged message, on an empty store.
func firstMessage(ctx context.Context, t *turn, k *broker) (*line, error) {
	if err := os.RemoveAll(k.home); err != nil {
		return nil, err
	}
	took, err := k.upTime(ctx)
	if err != nil {
		return nil, err
	}
	return &line{Values: map[string]float64{"millis": millis(took)}}, nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// upTime starts the master and waits for its first acknowledged message.
func (k *broker) upTime(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	var err error
	if k.master, err = k.run("master", k.port, nil); err != nil {
		return 0, err
	}
	if err := k.ready(ctx, 5*time.Minute); err != nil {
		return 0, err
	}
	return time.Since(begun), nil
}

// idle is the share of one processor that a broker takes that nobody uses.
func idle(ctx context.Context, t *turn, k *broker) (*line, error) {
	if err := k.fresh(ctx); err != nil {
		return nil, err
	}
	time.Sleep(min(10*time.Second, t.b.s.Idle))
	from := load.TakeUsage(k.pids()...)
	time.Sleep(t.b.s.Idle)
	costs, m := load.TakeUsage(k.pids()...).Since(from, 0)
	return &line{Values: map[string]float64{
		"idlePercent": 100 * costs[0].CPUSeconds / t.b.s.Idle.Seconds(), "anonMiB": costs[0].AnonMiB, "rssMiB": costs[0].RSSMiB,
		"foreign": m.ForeignPercent, "steal": m.StealPercent,
	}}, nil
}

// connections is the memory that connections take which say nothing.
func connections(ctx context.Context, t *turn, k *broker) (*line, error) {
	if err := k.fresh(ctx); err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	before := load.TakeUsage(k.pids()...).Procs[0]
	done, err := load.Idle(ctx, k.addr(), t.b.s.Conns)
	if err != nil {
		return nil, err
	}
	defer done()
	time.Sleep(3 * time.Second)
	from := load.TakeUsage(k.pids()...)
	after := from.Procs[0]
	time.Sleep(t.b.s.Idle / 6)
	costs, _ := load.TakeUsage(k.pids()...).Since(from, 0)
	return &line{Values: map[string]float64{
		"kibPerConn": float64(after.Anon-before.Anon) / 1024 / float64(t.b.s.Conns), "anonMiB": float64(after.Anon) / (1 << 20),
		"beforeMiB": float64(before.Anon) / (1 << 20), "idlePercent": 100 * costs[0].CPUSeconds / (t.b.s.Idle / 6).Seconds(),
	}}, nil
}

// recovery kills a broker in the middle of its work and starts it again: as it was; with nothing but the commit log, so that all
// of it is scanned; and the same when none of it is in memory. Then it is stopped as it should be, and started.
func recovery(ctx context.Context, t *turn, k *broker) (*line, error) {
	if err := k.fresh(ctx); err != nil {
		return nil, err
	}
	o := t.b.options(k, shape{conns: 8, under: 32})
	o.Count, o.Warmup, o.Duration = t.b.s.Backlog, 0, 10*time.Minute
	r, ledger, err := t.b.produce(ctx, k, o)
	if err != nil {
		return nil, err
	}
	v := map[string]float64{"messages": float64(ledger.Acked()), "failed": float64(r.Failed)}
	_, end := k.numbers(ctx)
	gb := end / 1e9
	v["gigabytes"] = gb
	for _, c := range []struct {
		name          string
		rebuild, cold bool
	}{{"asKilled", false, false}, {"rebuild", true, false}, {"coldRebuild", true, true}} {
		if c.cold && k.java() {
			continue
		}
		k.master.kill()
		if c.rebuild {
			for _, dir := range []string{"consumequeue", "index", "checkpoint"} {
				if err := os.RemoveAll(filepath.Join(k.store(), dir)); err != nil {
					return nil, err
				}
			}
		}
		if t.b.quiet(ctx); c.cold {
			forget(k.store())
		}
		took, err := k.upTime(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		v[c.name+"Millis"] = millis(took)
		if c.rebuild {
			v[c.name+"GBps"] = gb / took.Seconds()
			v[c.name+"PerSecond"] = v["messages"] / took.Seconds()
		}
	}
	k.master.stop()
	took, err := k.upTime(ctx)
	if err != nil {
		return nil, fmt.Errorf("after a clean stop: %w", err)
	}
	v["cleanMillis"] = millis(took)
	v["millis"], v["gbPerSecond"] = v["asKilledMillis"], v["rebuildGBps"]
	if err := t.b.verify(ctx, o, r, ledger); err != nil {
		return nil, err
	}
	v["missing"] = float64(r.Verify.Missing + r.Verify.Corrupt + r.Verify.Duplicates)
	r.Brokers, r.Machine = nil, load.Machine{} // of the filling, which is not what is measured
	return &line{Result: r, Values: v}, nil
}

// manyTopics compares a load over many topics with the same over one, in turns, and times how they are made and opened.
func manyTopics(ctx context.Context, t *turn, k *broker) (*line, error) {
	b := t.b
	if err := k.fresh(ctx); err != nil {
		return nil, err
	}
	names := load.TopicNames("many", b.s.Topics)
	made := b.options(k, shape{conns: 8, under: 1})
	made.Topics, made.Count, made.Warmup, made.Duration = names, int64(len(names)), 0, time.Hour
	r, ledger, err := load.Produce(ctx, made) // not made before: the first message of each does it
	if err != nil {
		return nil, err
	}
	v := map[string]float64{"createSeconds": r.Seconds, "createFailed": float64(r.Failed)}
	var one, many, oneCPU []float64
	var last *load.Result
	for range 2 {
		for _, topics := range [][]string{nil, names} {
			o := b.options(k, shape{conns: 8, under: 32})
			if topics != nil {
				o.Topics = topics
			}
			b.quiet(ctx)
			var r *load.Result
			if topics == nil {
				r, _, err = b.produce(ctx, k, o)
			} else {
				r, ledger, err = load.Produce(ctx, o)
			}
			if err != nil {
				return nil, err
			}
			if topics == nil {
				one, oneCPU = append(one, r.PerSecond), append(oneCPU, r.BrokerCPU())
				continue
			}
			many = append(many, r.PerSecond)
			last = r
			if len(many) == 2 {
				if err := b.verify(ctx, o, r, ledger); err != nil {
					return nil, err
				}
			}
		}
	}
	for name, n := range valuesOf(last) {
		v[name] = n
	}
	v["perSecond"], v["onePerSecond"] = middle(many), middle(one)
	v["oneCPU"] = middle(oneCPU)
	v["ofOneTopic"] = middle(many) / middle(one)
	k.master.stop()
	took, err := k.upTime(ctx)
	if err != nil {
		return nil, err
	}
	v["millis"] = millis(took)
	v["restartAnonMiB"] = float64(load.TakeUsage(k.pids()...).Procs[0].Anon) / (1 << 20)
	k.master.kill()
	if took, err = k.upTime(ctx); err != nil {
		return nil, err
	}
	v["asKilledMillis"] = millis(took)
	return &line{Result: last, Values: v}, nil
}

// middle is the median.
func middle(v []float64) float64 {
	q := sorted(v)
	switch n := len(q); {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return q[n/2]
	default:
		return (q[n/2-1] + q[n/2]) / 2
	}
}
