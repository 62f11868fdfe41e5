// Pulling: one connection that reads some queues in turn, or all of them at once and waiting.
package load

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

// cursor is one queue being read.
type cursor struct {
	topic  string
	queue  int32
	frame  *template
	first  int64 // the oldest offset there is, as far as is known
	next   int64
	sent   int64
	atEnd  bool
	repeat bool
}

// taker is given each message read, in the order of its queue.
type taker interface {
	take(c *cursor, rec *message.Record, now int64)
}

type puller struct {
	run     *run
	conn    *net.TCPConn
	in      *reader
	cursors []*cursor
	waiting []int32 // cursors to be asked for, in turn
	width   int     // pulls under way at most
	under   int
	wait    bool // the broker holds pulls that find nothing; the end of a queue is no end
	taker   taker
	meter   *meter
	hurried atomic.Bool
	out     []byte
	rec     message.Record
}

// pullers shares the queues of every target among its connections.
func (r *run) pullers(wait bool, t taker) (ps []*puller, err error) {
	defer func() {
		if err != nil {
			for _, p := range ps {
				p.conn.Close()
			}
		}
	}()
	for _, t0 := range r.Targets {
		total := int(t0.Queues) * len(r.Topics)
		n := min(r.Connections, total)
		for i := range n {
			c, err := r.dial(t0.Addr)
			if err != nil {
				return ps, err
			}
			p := &puller{run: r, conn: c, in: newReader(c), width: r.InFlight, wait: wait, taker: t}
			if wait {
				p.width = total
			}
			for q := i; q < total; q += n {
				p.add(r.Topics[q/int(t0.Queues)], int32(q%int(t0.Queues)))
			}
			ps = append(ps, p)
		}
	}
	return ps, nil
}

func (p *puller) add(topic string, queue int32) {
	suspend := int64(0)
	if p.wait {
		suspend = 15000
	}
	p.waiting = append(p.waiting, int32(len(p.cursors)))
	p.cursors = append(p.cursors, &cursor{topic: topic, queue: queue, frame: pullTemplate(&p.run.Options, topic, queue, suspend), repeat: p.run.Repeat})
}

func (p *puller) prepare()       { p.meter = newMeter(p.run) }
func (p *puller) close()         { p.conn.Close() }
func (p *puller) meters() *meter { return p.meter }
func (p *puller) hurry() {
	p.hurried.Store(true)
	_ = p.conn.SetReadDeadline(time.Now())
}

func (p *puller) work() {
	now := p.run.now()
	p.ask(now)
	var a answer
	for p.under > 0 {
		if err := p.in.fill(); err != nil {
			if !p.wait || !p.hurried.Load() {
				p.meter.fail(fmt.Errorf("%s: %w", p.conn.RemoteAddr(), err))
			}
			return
		}
		now = p.run.now()
		for {
			ok, err := p.in.next(&a)
			if err != nil {
				p.meter.fail(err)
				return
			}
			if !ok {
				break
			}
			i := a.opaque - opaqueBase
			if i < 0 || int(i) >= len(p.cursors) {
				continue
			}
			p.under--
			if p.answered(p.cursors[i], &a, now) {
				p.waiting = append(p.waiting, i)
			}
		}
		p.ask(now)
	}
}

// ask pulls from the queues whose turn it is.
func (p *puller) ask(now int64) {
	if now >= p.run.end && !p.wait || p.run.ctx.Err() != nil || p.hurried.Load() {
		p.waiting = p.waiting[:0]
		return
	}
	n := 0
	for ; n < len(p.waiting) && p.under < p.width; n++ {
		i := p.waiting[n]
		c := p.cursors[i]
		c.sent = now
		p.out = c.frame.appendPull(p.out, opaqueBase+i, c.next)
		p.under++
	}
	p.waiting = append(p.waiting[:0], p.waiting[n:]...)
	if len(p.out) > 0 {
		_, _ = p.conn.Write(p.out)
		p.out = p.out[:0]
	}
}

// answered is false when the queue need not be asked again.
func (p *puller) answered(c *cursor, a *answer, now int64) bool {
	switch a.code {
	case protocol.Success:
		n, err := p.records(c, a.body, now)
		if err != nil {
			p.meter.fail(err)
			return false
		}
		if !p.wait {
			p.meter.done(now, now-c.sent, n)
		}
		return true
	case protocol.PullNotFound:
		if p.wait {
			return true
		}
		if c.repeat && c.next > c.first {
			c.next = c.first
			return true
		}
		c.atEnd = true
		return false
	case protocol.PullRetryImmediately, protocol.PullOffsetMoved:
		next, ok := a.field("nextBeginOffset")
		if !ok {
			p.meter.fail(protocol.ErrFrame)
			return false
		}
		if next == c.next && !p.wait {
			c.atEnd = true
			return false
		}
		if a.code == protocol.PullOffsetMoved && c.next == c.first {
			c.first = next
		}
		c.next = next
		return true
	}
	p.meter.fail(a.failure())
	return false
}

// records walks the messages of an answer: whole, with the right checksum, and without a gap.
func (p *puller) records(c *cursor, b []byte, now int64) (n int64, err error) {
	for len(b) > 0 {
		size, err := p.rec.Parse(b, message.Options{CheckCRC: true})
		if err != nil {
			return n, fmt.Errorf("%s queue %d offset %d: %w", c.topic, c.queue, c.next, err)
		}
		if p.rec.QueueOffset != c.next {
			return n, fmt.Errorf("%s queue %d: offset %d came where %d was due", c.topic, c.queue, p.rec.QueueOffset, c.next)
		}
		c.next++
		n++
		if p.taker != nil {
			p.taker.take(c, &p.rec, now)
		}
		b = b[size:]
	}
	return n, nil
}

// head is what a body of ours begins with.
type head struct {
	run, conn   uint32
	number, due int64
}

func readHead(body []byte) (h head, ok bool) {
	if len(body) < headLen {
		return h, false
	}
	be := binary.BigEndian
	return head{run: be.Uint32(body), conn: be.Uint32(body[4:]), number: int64(be.Uint64(body[8:])), due: int64(be.Uint64(body[16:]))}, true
}
