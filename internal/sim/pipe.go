package sim

import "time"

// Pipe is one connection: what goes in at one end comes out at the other, in order, or not at all any more. A cut line holds it
// up, a closed end is told to the other when the line lets it.
type Pipe struct {
	net    *Net
	at     [2]int    // the members at the ends
	lanes  [2]lane   // what is under way from each end
	closed [2]bool   // by the member at that end, or known to it
	ended  [2]func() // told once that the other end is closed
}

type lane struct {
	items []item
	going bool // an event will look at the first of them
}

type item struct {
	at      time.Duration
	deliver func()
}

// resend is how long a held up message waits before it tries again.
const resend = 200 * time.Millisecond

// NewPipe connects two members. endedA is called when B's end is closed and A has learned of it, and the other way round.
func NewPipe(n *Net, a, b int, endedA, endedB func()) *Pipe {
	return &Pipe{net: n, at: [2]int{a, b}, ended: [2]func(){endedA, endedB}}
}

// Send carries a message from an end (0 or 1) to the other.
func (p *Pipe) Send(end int, deliver func()) {
	if !p.closed[end] {
		p.net.w.Tally.Add("messages", 1)
		p.carry(end, deliver)
	}
}

// Closed tells whether an end is closed, or knows that the other is.
func (p *Pipe) Closed(end int) bool { return p.closed[end] }

func (p *Pipe) carry(end int, deliver func()) {
	w, l, under := p.net.w, p.net.Line(p.at[end], p.at[1-end]), &p.lanes[end]
	at := w.Now() + w.Between(l.Min, l.Max)
	if n := len(under.items); n > 0 {
		at = max(at, under.items[n-1].at)
	}
	under.items = append(under.items, item{at, deliver})
	p.pump(end, at-w.Now())
}

// pump lets the first message arrive in d.
func (p *Pipe) pump(end int, d time.Duration) {
	under := &p.lanes[end]
	if under.going {
		return
	}
	under.going = true
	p.net.w.After(d, func() {
		under.going = false
		p.arrive(end)
	})
}

func (p *Pipe) arrive(end int) {
	w, l, under := p.net.w, p.net.Line(p.at[end], p.at[1-end]), &p.lanes[end]
	for len(under.items) > 0 {
		first := under.items[0]
		if wait := first.at - w.Now(); wait > 0 {
			p.pump(end, wait)
			return
		}
		if l.Cut || l.Loss > 0 && w.Chance(l.Loss) {
			p.pump(end, resend)
			return
		}
		under.items = under.items[1:]
		if !p.closed[1-end] {
			first.deliver()
		}
	}
}

// Close closes an end. The other one learns of it behind what is under way, or all of that is lost.
func (p *Pipe) Close(end int) {
	if p.closed[end] {
		return
	}
	p.closed[end] = true
	if p.net.w.Chance(0.5) {
		p.lanes[end].items = nil
	}
	p.carry(end, func() {
		p.closed[1-end] = true
		p.ended[1-end]()
	})
}
