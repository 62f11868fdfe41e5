//go:build linux

package chaos

// The prober asks again and again whether a set takes messages: time without service is what it measures.

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"rmqctl/internal/remoting"
)

const (
	probeEvery = 25 * time.Millisecond
	probeLimit = time.Second
)

// prober sends one small message every probeEvery to whoever leads a set, whatever became of the ones before.
type prober struct {
	mu   sync.Mutex // guards acks, asks
	acks []probe
	asks int
}

type probe struct{ sent, acked time.Time }

func (w *Workload) probe(ctx context.Context, set string, p *prober) {
	rc := newRemoting()
	defer rc.Close()
	var under sync.WaitGroup
	defer under.Wait()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		under.Go(func() { w.probeOnce(rc, set, p) })
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (w *Workload) probeOnce(rc *remoting.Client, set string, p *prober) {
	p.mu.Lock()
	p.asks++
	p.mu.Unlock()
	if w.router.leader(set) == "" {
		return
	}
	sent := time.Now()
	id := w.rec.Sending("prober-"+set, w.Topic)
	if !w.send(rc, id, set, w.Queues-1, w.rec.Body(id, 0), probeLimit) {
		return
	}
	acked := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acks = append(p.acks, probe{sent, acked})
}

// firstAfter is when the first of the messages was acknowledged that were sent after a moment.
func (p *prober) firstAfter(at time.Time) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var first time.Time
	for i := len(p.acks) - 1; i >= 0 && p.acks[i].acked.After(at); i-- {
		if a := p.acks[i]; a.sent.After(at) && (first.IsZero() || a.acked.Before(first)) {
			first = a.acked
		}
	}
	return first, !first.IsZero()
}

// longest is the longest time between two acknowledgements since a moment, until now.
func (p *prober) longest(since time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := []time.Time{since, time.Now()}
	for _, a := range p.acks {
		if a.acked.After(since) {
			at = append(at, a.acked)
		}
	}
	slices.SortFunc(at, func(a, b time.Time) int { return a.Compare(b) })
	most := time.Duration(0)
	for i := 1; i < len(at); i++ {
		most = max(most, at[i].Sub(at[i-1]))
	}
	return most
}

// Outage waits until a set takes a message that was sent after a moment, and returns how long after that moment it was
// acknowledged: the time without a writable leader.
func (w *Workload) Outage(set *Set, since time.Time, within time.Duration) (time.Duration, error) {
	p := w.probers[set.Name]
	for ; ; time.Sleep(2 * time.Millisecond) {
		if at, ok := p.firstAfter(since); ok {
			return at.Sub(since), nil
		}
		if time.Since(since) > within {
			return within, fmt.Errorf("%s takes no message within %v", set.Name, within)
		}
	}
}

// Longest is the longest time without an acknowledgement since a moment.
func (w *Workload) Longest(set *Set, since time.Time) time.Duration {
	return w.probers[set.Name].longest(since)
}

// Quantile is the q-th of durations (0.5 the median, 1 the longest), 0 of none.
func Quantile(ds []time.Duration, q float64) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	s := slices.SortedFunc(slices.Values(ds), cmp.Compare)
	return s[min(int(q*float64(len(s))), len(s)-1)]
}
