// Sending on a schedule, whatever the brokers answer (open loop).
package load

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// pacer is the one thread that sends; the producers only receive. The message with number n of all is due at
// n x interval, and is sent late rather than never.
type pacer struct {
	run  *run
	ps   []*producer
	late *meter // how late the pacer itself was
}

func newPacer(r *run, ps []*producer) *pacer { return &pacer{run: r, ps: ps} }

func (c *pacer) prepare()       { c.late = newMeter(c.run); c.run.late = c.late }
func (c *pacer) close()         {}
func (c *pacer) hurry()         {}
func (c *pacer) meters() *meter { return nil }

// due is when message n of all must leave.
func (r *run) due(n int64) int64 {
	rate := int64(r.Rate)
	return n/rate*1e9 + n%rate*1e9/rate
}

func (c *pacer) work() {
	sleep, done := preciseSleep()
	defer done()
	r := c.run
	quota := int64(1 << 62)
	if r.Count > 0 {
		quota = r.Count
	}
	for n := int64(0); n < quota && r.ctx.Err() == nil; {
		due := r.due(n)
		if due >= r.end {
			break
		}
		now := r.now()
		if due > now {
			sleep(due - now)
			now = r.now()
		}
		first := n
		for ; n < quota && due <= now && due < r.end && n-first < 1024; n++ {
			p := c.ps[n%int64(len(c.ps))]
			if len(p.out) == 0 {
				p.burst()
			}
			p.render(opaqueBase+int32(p.tally.sent%(1<<30)), due)
			if r.OneWrite {
				p.flush()
			}
			if c.late.counts(now) {
				c.late.latency(now - due)
			}
			due = r.due(n + 1)
		}
		for i := first; i < n && i < first+int64(len(c.ps)); i++ {
			c.ps[i%int64(len(c.ps))].flush()
		}
	}
	for _, p := range c.ps {
		p.sentAll.Store(p.tally.sent + 1)
		_ = p.conn.SetReadDeadline(time.Now()) // so that it looks
	}
}

// receive takes the answers of a paced connection until all have come. sentAll is one more than were sent, once that is known.
func (p *producer) receive() {
	var a answer
	for got := int64(0); ; {
		if all := p.sentAll.Load(); all > 0 && got >= all-1 {
			return
		}
		if err := p.in.fill(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && !p.hurried.Load() {
				_ = p.conn.SetReadDeadline(time.Time{})
				continue
			}
			p.meter.fail(fmt.Errorf("%s: %w", p.conn.RemoteAddr(), err))
			return
		}
		now := p.run.now()
		for {
			ok, err := p.in.next(&a)
			if err != nil {
				p.meter.fail(err)
				return
			}
			if !ok {
				break
			}
			got++
			number := int64(a.opaque - opaqueBase)
			p.answered(&a, number, now, now-p.run.due(number*p.of+p.index))
		}
	}
}
