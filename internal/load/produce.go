// Sending as fast as the brokers answer.
package load

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/internal/protocol"
)

// Produce sends until the time or the count is over. The Ledger is nil without Record.
func Produce(ctx context.Context, o Options) (*Result, *Ledger, error) {
	r, err := newRun(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	if o.Size < headLen && (o.Record || o.Rate > 0) {
		return nil, nil, errSize
	}
	ps, err := r.producers()
	if err != nil {
		return nil, nil, err
	}
	work := make([]worker, 0, len(ps))
	if r.Rate > 0 {
		work = append(work, newPacer(r, ps))
	}
	for _, p := range ps {
		work = append(work, p)
	}
	res := r.measure("produce", work)
	if !o.Record {
		return res, nil, nil
	}
	l := &Ledger{Run: r.id}
	for _, p := range ps {
		l.conns = append(l.conns, &p.tally)
	}
	return res, l, nil
}

// producer works one connection.
type producer struct {
	run     *run
	conn    *net.TCPConn
	in      *reader
	frame   *template
	queues  int32
	index   int64 // of all connections of the run
	of      int64
	quota   int64
	paced   bool
	sentAll atomic.Int64 // paced only
	hurried atomic.Bool
	tally   tally
	meter   *meter

	out   []byte
	msg   outgoing
	slots []slot // by opaque, of those under way; paced: a ring by number
}

type slot struct{ sent, number int64 }

func (r *run) producers() (ps []*producer, err error) {
	defer func() {
		if err != nil {
			for _, p := range ps {
				p.conn.Close()
			}
		}
	}()
	of := len(r.Targets) * r.Connections
	for _, t := range r.Targets {
		frame := sendTemplate(&r.Options, t.Queues, r.id, r.fill)
		for range r.Connections {
			c, err := r.dial(t.Addr)
			if err != nil {
				return ps, err
			}
			i := len(ps)
			p := &producer{run: r, conn: c, in: newReader(c), frame: frame, queues: t.Queues, index: int64(i), of: int64(of), paced: r.Rate > 0}
			p.quota = 1 << 62
			if r.Count > 0 {
				p.quota = (r.Count + int64(of-1-i)) / int64(of)
			}
			p.msg.run, p.msg.conn = r.id, uint32(i)
			ps = append(ps, p)
		}
	}
	return ps, nil
}

func (p *producer) prepare() { p.meter = newMeter(p.run); p.slots = make([]slot, p.run.InFlight) }
func (p *producer) close()   { p.conn.Close() }
func (p *producer) hurry() {
	p.hurried.Store(true)
	_ = p.conn.SetReadDeadline(time.Now())
}

func (p *producer) meters() *meter { return p.meter }
func (p *producer) more(n int64) bool {
	return p.tally.sent < p.quota && n < p.run.end && p.run.ctx.Err() == nil
}

// work keeps InFlight requests under way until the time is over, then waits for the last answers.
func (p *producer) work() {
	if p.paced {
		p.receive()
		return
	}
	now := p.run.now()
	p.burst()
	under := 0
	for i := range p.slots {
		if !p.more(now) {
			break
		}
		p.send(i, now)
		under++
	}
	p.flush()
	var a answer
	for under > 0 {
		if err := p.in.fill(); err != nil {
			p.lost(err, under)
			return
		}
		now = p.run.now()
		p.burst()
		for {
			ok, err := p.in.next(&a)
			if err != nil {
				p.lost(err, under)
				return
			}
			if !ok {
				break
			}
			i := int(a.opaque - opaqueBase)
			if i < 0 || i >= len(p.slots) {
				continue
			}
			p.answered(&a, p.slots[i].number, now, now-p.slots[i].sent)
			if p.more(now) {
				p.send(i, now)
			} else {
				under--
			}
		}
		p.flush()
	}
}

// burst reads the wall clock once for all frames of a write.
func (p *producer) burst() { p.msg.setBorn(time.Now().UnixMilli()) }

// send appends message number sent in the given slot. With OneWrite it leaves at once.
func (p *producer) send(i int, now int64) {
	if p.run.OneWrite {
		now = p.run.now()
	}
	p.slots[i] = slot{sent: now, number: p.tally.sent}
	p.render(opaqueBase+int32(i), now)
	if p.run.OneWrite {
		p.flush()
	}
}

func (p *producer) render(opaque int32, due int64) {
	m, n := &p.msg, p.tally.sent
	m.opaque, m.number, m.due = opaque, n, due
	topics := int64(len(p.run.Topics))
	if topics == 1 {
		m.topic, m.queue = p.run.Topics[0], int32((n+p.index)%int64(p.queues))
	} else {
		all := n*p.of + p.index
		m.topic, m.queue = p.run.Topics[all%topics], int32(all/topics%int64(p.queues))
	}
	p.out = p.frame.appendSend(p.out, m)
	p.tally.sent++
}

// flush writes what was rendered. A broken connection shows in the next read.
func (p *producer) flush() {
	if len(p.out) > 0 {
		_, _ = p.conn.Write(p.out)
		p.out = p.out[:0]
	}
}

func (p *producer) answered(a *answer, number, now, took int64) {
	switch a.code {
	case protocol.Success:
		if p.run.Record {
			p.tally.acked.set(number)
		}
		p.meter.done(now, took, 1)
	default:
		p.meter.fail(a.failure())
	}
}

// lost counts the requests that will get no answer.
func (p *producer) lost(err error, under int) {
	for range under {
		p.meter.fail(fmt.Errorf("%s: %w", p.conn.RemoteAddr(), err))
	}
}

// worker is a connection, or the pacer.
type worker interface {
	prepare() // after the clock is set
	work()
	hurry() // the answers have been waited for long enough
	meters() *meter
	close()
}

// measure runs the workers and takes the machine's and the brokers' cost at both ends of what counts.
func (r *run) measure(mode string, work []worker) *Result {
	defer func() {
		for _, w := range work {
			w.close()
		}
	}()
	r.start()
	for _, w := range work {
		w.prepare()
	}
	var all sync.WaitGroup
	for _, w := range work {
		all.Go(w.work)
	}
	over := make(chan struct{})
	go func() { all.Wait(); close(over) }()
	wait(r.ctx, over, r.Warmup)
	from, begun := takeUsage(r.Pids), max(r.now(), 0)
	if r.Warmup == 0 {
		begun = 0
	}
	wait(r.ctx, over, time.Duration(r.end-r.now()))
	to, ended := takeUsage(r.Pids), r.now()
	select {
	case <-over:
	case <-time.After(grace):
		for _, w := range work {
			w.hurry()
		}
		<-over
	case <-r.ctx.Done():
		for _, w := range work {
			w.hurry()
		}
		<-over
	}
	sum := newMeter(r)
	for _, w := range work {
		if m := w.meters(); m != nil {
			sum.add(m)
		}
	}
	if sum.last > 0 && r.Count > 0 || ended < r.end {
		ended = max(sum.last, begun+1)
	}
	return r.result(mode, sum, time.Duration(ended-begun), from, to)
}

// wait returns when the work is over, the time is, or nobody wants to know any more.
func wait(ctx context.Context, over <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-over:
	case <-t.C:
	case <-ctx.Done():
	}
}
