// Reading: a backlog as fast as it comes, each message as soon as it is there, and all that was acknowledged.
package load

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/internal/message"
)

// Consume reads the topics from their first message to their last, again and again with Repeat. Latency is that of a pull.
func Consume(ctx context.Context, o Options) (*Result, error) {
	r, err := newRun(ctx, o)
	if err != nil {
		return nil, err
	}
	ps, err := r.pullers(false, nil)
	if err != nil {
		return nil, err
	}
	return r.measure("consume", workers(ps)), nil
}

func workers(ps []*puller) []worker {
	w := make([]worker, len(ps))
	for i, p := range ps {
		w[i] = p
	}
	return w
}

// EndToEnd sends at Rate and receives at the same time. Latency runs from the moment a message was due to its receipt; that
// of the sends alone is in Result.Send.
func EndToEnd(ctx context.Context, o Options) (*Result, error) {
	if o.Rate < 1 {
		return nil, fmt.Errorf("end to end needs a rate")
	}
	o.Record, o.Repeat = true, false
	if o.Size < headLen {
		return nil, errSize
	}
	r, err := newRun(ctx, o)
	if err != nil {
		return nil, err
	}
	senders, err := r.producers()
	if err != nil {
		return nil, err
	}
	e := &arrivals{run: r}
	ps, err := r.pullers(true, e)
	if err == nil {
		err = r.toEnd(ps)
	}
	if err != nil {
		for _, p := range senders {
			p.close()
		}
		for _, p := range ps {
			p.close()
		}
		return nil, err
	}
	e.senders, e.pullers = senders, ps
	e.sending.Add(len(senders))
	work := append([]worker{newPacer(r, senders), e}, workers(ps)...)
	for _, p := range senders {
		work = append(work, &silent{producer: p, over: &e.sending})
	}
	res := r.measure("e2e", work)
	sends := newMeter(r)
	for _, p := range senders {
		sends.add(p.meter)
	}
	res.Send = quantiles(sends.histo)
	for k, n := range sends.failed {
		res.fail(k, n, sends.first)
	}
	if lost := e.acked() - e.got.Load(); lost > 0 {
		res.fail("NOT_RECEIVED", lost, fmt.Errorf("%d messages were acknowledged and never came", lost))
	}
	return res, nil
}

// silent is a producer whose latencies are not the run's.
type silent struct {
	*producer
	over *sync.WaitGroup
}

func (s *silent) work()          { defer s.over.Done(); s.producer.work() }
func (s *silent) meters() *meter { return nil }

// arrivals takes what the pullers of EndToEnd read, and ends them when all has come.
type arrivals struct {
	run     *run
	senders []*producer
	pullers []*puller
	sending sync.WaitGroup
	got     atomic.Int64
	meter   *meter
	mu      sync.Mutex // guards meter
}

func (e *arrivals) prepare()       { e.meter = newMeter(e.run) }
func (e *arrivals) hurry()         {}
func (e *arrivals) close()         {}
func (e *arrivals) meters() *meter { return e.meter }

func (e *arrivals) take(_ *cursor, rec *message.Record, now int64) {
	h, ok := readHead(rec.Body)
	if !ok || h.run != e.run.id {
		return
	}
	e.got.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.meter.done(now, now-h.due, 1)
}

func (e *arrivals) acked() (n int64) {
	for _, p := range e.senders {
		n += p.tally.acked.count
	}
	return n
}

func (e *arrivals) work() {
	e.sending.Wait()
	for late := time.Now().Add(grace / 2); e.got.Load() < e.acked() && time.Now().Before(late); {
		time.Sleep(5 * time.Millisecond)
	}
	for _, p := range e.pullers {
		p.hurry()
	}
}

// Verified is what Verify found.
type Verified struct {
	Acked      int64  `json:"acked"`
	Read       int64  `json:"read"`
	Missing    int64  `json:"missing"`    // acknowledged, not readable
	Corrupt    int64  `json:"corrupt"`    // not the body that was sent
	Duplicates int64  `json:"duplicates"` // stored more than once
	Unasked    int64  `json:"unacked"`    // readable though the broker had not said so
	FirstError string `json:"firstError,omitempty"`
}

// OK: every acknowledged message is there once, as it was sent.
func (v *Verified) OK() bool {
	return v.Missing == 0 && v.Corrupt == 0 && v.Duplicates == 0 && v.FirstError == ""
}

// Verify reads the topics of o from the start and looks for every message that the ledger says was acknowledged.
func Verify(ctx context.Context, o Options, l *Ledger) (*Verified, error) {
	o.Repeat, o.Duration, o.Warmup, o.Rate = false, time.Hour, 0, 0
	o.Connections, o.InFlight = 4, 1
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	r, err := newRun(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &seen{ledger: l, fill: r.fill, by: make([]bits, len(l.conns))}
	ps, err := r.pullers(false, s)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, p := range ps {
			p.close()
		}
	}()
	r.start()
	for late := time.Now().Add(o.Patience); ; {
		var all sync.WaitGroup
		for _, p := range ps {
			p.prepare()
			all.Go(p.work)
		}
		all.Wait()
		v := s.result(ps)
		if v.OK() || v.FirstError != "" || time.Now().After(late) || ctx.Err() != nil {
			return v, ctx.Err()
		}
		time.Sleep(200 * time.Millisecond)
		for _, p := range ps {
			for i := range p.cursors {
				p.waiting = append(p.waiting, int32(i))
			}
		}
	}
}

// seen is what Verify has read so far.
type seen struct {
	ledger *Ledger
	fill   []byte

	mu sync.Mutex // guards the rest
	by []bits
	v  Verified
}

func (s *seen) take(_ *cursor, rec *message.Record, _ int64) {
	h, ok := readHead(rec.Body)
	if !ok || h.run != s.ledger.Run {
		return // somebody else's
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.v.Read++
	if int(h.conn) >= len(s.by) || h.number < 0 || h.number >= s.ledger.conns[h.conn].sent ||
		len(rec.Body) != len(s.fill) || !bytes.Equal(rec.Body[headLen:], s.fill[headLen:]) {
		s.v.Corrupt++
		return
	}
	if !s.by[h.conn].set(h.number) {
		s.v.Duplicates++
	} else if !s.ledger.conns[h.conn].acked.has(h.number) {
		s.v.Unasked++
	}
}

func (s *seen) result(ps []*puller) *Verified {
	v := s.v
	v.Acked = s.ledger.Acked()
	for i, t := range s.ledger.conns {
		for n := range t.sent {
			if t.acked.has(n) && !s.by[i].has(n) {
				v.Missing++
			}
		}
	}
	for _, p := range ps {
		if p.meter.first != nil && v.FirstError == "" {
			v.FirstError = p.meter.first.Error()
		}
	}
	return &v
}
