package sim

// One connection of a slave to its master: the handshake of hello.go in its order, then frames and reports.

import (
	"bytes"
	"time"

	"rmqctl/broker/ha/decide"
	"rmqctl/broker/ha/epoch"
	"rmqctl/internal/sim"
)

const (
	masterEnd = 0
	slaveEnd  = 1

	heartbeat = 5 * time.Second
	silence   = 20 * time.Second
	window    = 256 // bytes that a checksum covers
)

type link struct {
	m, s   *node
	mg, sg int // their lives
	pipe   *sim.Pipe
	number int64

	life   uint64 // the mastership that the slave follows
	list   epoch.List
	joined bool // the slave has followed the verdict
	fed    bool // the master has had its first report
	sent   int64
	top    int64
	heard  [2]time.Duration
}

// side is what a broker tells of its log.
func (n *node) side() decide.Side {
	end := n.tape.End()
	if n.role == master {
		end = n.shown()
	}
	return decide.Side{
		Identity: decide.Identity{Cluster: "c", Broker: "b", ID: int64(n.id), Addr: string(rune('a' + n.id))},
		Epoch:    n.epoch, Segment: n.w.seg, Min: n.tape.Base, Max: end, Epochs: n.list(),
	}
}

// sums are the bytes before some places, as far as they lie in one segment: what checksums stand for.
func (n *node) sums(points []int64) map[int64][]byte {
	out := map[int64][]byte{}
	for _, off := range points {
		from := max((off-1)/n.w.seg*n.w.seg, n.tape.Base, off-window)
		if off > from && off <= n.tape.End() {
			out[off] = bytes.Clone(n.tape.Slice(from, off))
		}
	}
	return out
}

// compare is what a master makes of a slave's sums.
func (n *node) compare(sums map[int64][]byte) func(off int64) decide.Sameness {
	return func(off int64) decide.Sameness {
		b, ok := sums[off]
		from := off - int64(len(b))
		switch {
		case !ok || from < n.tape.Base || off > n.shown():
			return decide.Unknown
		case bytes.Equal(b, n.tape.Slice(from, off)):
			return decide.Same
		}
		return decide.Different
	}
}

// connect dials the master, and again until it is there.
func (n *node) connect() {
	if n.role != slave || n.up2 != nil {
		return
	}
	m := n.w.nodes[n.masterID]
	if m == n || !m.up || m.role != master || !n.w.net.Sees(n.id, m.id) {
		n.after(n.w.Between(100*time.Millisecond, time.Second), n.connect)
		return
	}
	l := &link{m: m, s: n, mg: m.gen, sg: n.gen, number: int64(n.w.Tally["connections"])}
	n.w.Tally.Add("connections", 1)
	l.pipe = sim.NewPipe(n.w.net, m.id, n.id, func() { m.run(l.mg, l.leftMaster) }, func() { n.run(l.sg, l.leftSlave) })
	n.up2 = l
	life := m.life
	l.toMaster(func() {
		if m.role != master || m.life != life {
			l.closeMaster()
			return
		}
		m.conns = append(m.conns, l)
		if m.asking {
			l.recall()
		} else {
			l.hello()
		}
	})
	l.watch()
}

// toMaster and toSlave carry what happens at the other end. An end whose process has died answers with a reset once it is up again.
func (l *link) toMaster(f func()) {
	l.pipe.Send(slaveEnd, func() {
		l.heard[masterEnd] = l.m.w.Now()
		if l.m.gen != l.mg && l.m.up {
			l.s.run(l.sg, l.leftSlave)
		}
		l.m.run(l.mg, f)
	})
}

func (l *link) toSlave(f func()) {
	l.pipe.Send(masterEnd, func() {
		l.heard[slaveEnd] = l.m.w.Now()
		if l.s.gen != l.sg && l.s.up {
			l.m.run(l.mg, l.leftMaster)
		}
		l.s.run(l.sg, func() {
			if l.s.up2 == l {
				f()
			}
		})
	})
}

func (l *link) closeMaster() {
	l.pipe.Close(masterEnd)
	l.leftMaster()
}

func (l *link) closeSlave() {
	l.pipe.Close(slaveEnd)
	l.leftSlave()
}

// leftMaster: the master forgets the connection.
func (l *link) leftMaster() {
	for i, c := range l.m.conns {
		if c == l {
			l.m.conns = append(l.m.conns[:i:i], l.m.conns[i+1:]...)
			l.m.acks.Leave(l.number)
		}
	}
	if l.m.giving == l {
		l.m.giving = nil
	}
}

// leftSlave: the slave connects anew.
func (l *link) leftSlave() {
	if l.s.up2 == l {
		l.s.up2 = nil
		l.s.after(l.s.w.Between(50*time.Millisecond, time.Second), l.s.connect)
	}
}

// watch sends heartbeats from both ends, and closes an end that has heard nothing for long.
func (l *link) watch() {
	l.heard = [2]time.Duration{l.m.w.Now(), l.m.w.Now()}
	l.m.run(l.mg, l.masterWatch)
	l.s.run(l.sg, l.slaveWatch)
}

func (l *link) masterWatch() {
	switch {
	case l.pipe.Closed(masterEnd):
	case l.m.w.Now()-l.heard[masterEnd] > silence:
		l.closeMaster()
	default:
		l.toSlave(func() {})
		l.m.after(heartbeat, l.masterWatch)
	}
}

func (l *link) slaveWatch() {
	switch {
	case l.pipe.Closed(slaveEnd) || l.s.up2 != l:
	case l.s.w.Now()-l.heard[slaveEnd] > silence:
		l.closeSlave()
	default:
		if l.top > 0 {
			l.report()
		}
		l.s.after(heartbeat, l.slaveWatch)
	}
}

// hello: the master tells of its log, the slave of its own with the sums, the master decides.
func (l *link) hello() {
	m, s := l.m, l.s
	me, life := m.side(), m.life
	l.toSlave(func() {
		it := s.side()
		sums := s.sums(decide.Points(me, it))
		l.toMaster(func() {
			v := decide.Decide(me, it, m.compare(sums))
			m.say("slave %d of %d to %d, list %v: %v at %d %s", s.id, it.Min, it.Max, it.Epochs, v.Action, v.At, v.Why)
			m.w.Tally.Add("verdict "+v.Action.String(), 1)
			l.toSlave(func() { l.apply(v, me, life) })
			switch {
			case v.Stale:
				m.say("has been replaced by epoch %d", it.Epoch)
				m.setRole(fenced, m.epoch, m.id)
			case v.Action == decide.Refuse:
				l.closeMaster()
			default:
				l.sent = v.At
			}
		})
	})
}

// apply is what a slave does with its log before more comes.
func (l *link) apply(v decide.Verdict, me decide.Side, life uint64) {
	s, w := l.s, l.s.w
	s.why = v.Why
	if v.Action == decide.Refuse {
		l.closeSlave()
		return
	}
	l.life, l.list = life, me.Epochs
	switch {
	case v.Action == decide.Truncate:
		w.cutting(s, v.At, life)
		s.tape.Truncate(v.At)
		s.image = s.image[:v.At]
		w.Tally.Add("truncations", 1)
	case v.Action == decide.Restart || s.tape.End() != v.At:
		w.cutting(s, v.At, life)
		s.tape.Reset(v.At)
		s.image = bytes.Clone(w.lives[life].log[:v.At])
		w.Tally.Add("logs copied anew", 1)
	}
	if s.cutOff() {
		return
	}
	if err := s.list_.Adopt(l.list); err != nil {
		w.Fail("broker %d: adopt: %v", s.id, err)
		return
	}
	s.epoch = max(s.epoch, s.list_.Epoch())
	if s.cutOff() {
		return
	}
	if !s.same(w.lives[life].log, s.tape.End()) {
		w.Fail("broker %d follows broker %d from %d on (%v), and before that their logs differ", s.id, l.m.id, s.tape.End(), v.Action)
		return
	}
	l.joined = true
	if !w.syncFlush || s.tape.Durable() == s.tape.End() {
		l.begin()
		return
	}
	s.after(w.Between(s.flush/2, 2*s.flush), func() { // its first word counts as a report
		s.tape.Sync(s.tape.End())
		if s.up2 == l && !s.cutOff() {
			l.begin()
		}
	})
}

// begin is the slave's first word after the verdict: where it goes on.
func (l *link) begin() {
	at := l.s.tape.End()
	l.top = at
	l.toMaster(func() { l.began(at) })
}

// began: the slave's first report.
func (l *link) began(at int64) {
	m := l.m
	if at != l.sent && at != 0 {
		m.say("slave %d begins at %d, agreed was %d", l.s.id, at, l.sent)
		l.closeMaster()
		return
	}
	l.sent, l.fed = at, true
	m.acks.Join(l.number, l.s.side().Addr, at)
	l.send()
	m.release()
}

// send sends all there is, in frames that never cross a segment.
func (l *link) send() {
	m := l.m
	for l.fed && l.sent < m.shown() && !l.pipe.Closed(masterEnd) {
		n := min(m.shown()-l.sent, m.w.seg-l.sent%m.w.seg, 1+m.w.Rand.Int64N(1024))
		if l.sent < m.tape.Base {
			l.closeMaster()
			return
		}
		off, b := l.sent, bytes.Clone(m.tape.Slice(l.sent, l.sent+n))
		l.sent += n
		l.toSlave(func() { l.take(off, b) })
	}
}

// take is a frame at the slave.
func (l *link) take(off int64, b []byte) {
	s := l.s
	if off != s.tape.End() {
		s.why = "a frame does not continue the log"
		l.closeSlave()
		return
	}
	s.written(b)
	s.w.Mark(uint64(s.id), uint64(s.tape.End()))
	if h := s.w.lives[l.life]; !s.same(h.log, s.tape.End()) {
		s.w.Fail("broker %d, slave of %d: its log is no beginning of its master's", s.id, l.m.id)
		return
	}
	if s.cutOff() {
		return
	}
	if s.w.syncFlush {
		s.flushSoon()
		return
	}
	if s.w.Chance(0.05) {
		s.flushSoon()
	}
	l.report()
}

// report tells the master how far the slave is.
func (l *link) report() {
	l.top = max(l.top, l.s.shown())
	off := l.top
	l.toMaster(func() {
		if off > l.sent {
			l.m.say("slave %d reports %d, %d was sent", l.s.id, off, l.sent)
			l.closeMaster()
			return
		}
		l.m.acks.Report(l.number, off)
		l.m.release()
	})
}

func (n *node) state() string {
	switch {
	case n.up2 == nil:
		return "not connected"
	case n.up2.joined:
		return "following"
	}
	return "connecting"
}
