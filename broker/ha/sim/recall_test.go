package sim

// A master that comes back after a power cut asks its slaves for the end of its log, as ha.Recall does, and only then leads.

import (
	"bytes"
	"math"
	"slices"
	"time"

	"rmqctl/broker/ha/decide"
	"rmqctl/broker/ha/epoch"
)

const (
	recallWait  = 10 * time.Second
	recallGrace = 1200 * time.Millisecond
)

// ask waits for slaves.
func (n *node) ask() {
	n.asking = true
	n.say("asks its slaves for what it may have lost")
	n.w.Tally.Add("recalls", 1)
	n.askFor(recallWait)
}

func (n *node) askFor(d time.Duration) {
	n.over++
	mine := n.over
	n.after(d, func() {
		if n.asking && n.over == mine {
			n.endAsking()
		}
	})
}

// endAsking: it goes on with what it has. What only a slave has that it could not hear is lost then, as is written; and so is what only
// an old master has that was replaced and went on by itself, and what a slave has behind files that it has cleaned.
func (n *node) endAsking() {
	if n.giving != nil {
		n.askFor(100 * time.Millisecond)
		return
	}
	n.asking = false
	for id := range n.w.messages {
		msg := &n.w.messages[id]
		if msg.fate != acknowledged || msg.in(n.image) {
			continue
		}
		for _, s := range n.heard {
			if msg.in(s.image) && s.tape.Base <= n.tape.End() && s.ofLineage(n) {
				n.w.Fail("broker %d leads without message %d, which was acknowledged and which its slave %d has; it was asked", n.id, id, s.id)
				return
			}
		}
		msg.fate = unknown
		n.w.Tally.Add("lost, no slave could be asked", 1)
	}
	n.hangUp()
	n.lead()
}

// recall is the conversation with one slave.
func (l *link) recall() {
	m, s := l.m, l.s
	me := m.side()
	l.toSlave(func() {
		it := s.side()
		sums := s.sums(decide.Points(me, it))
		l.toMaster(func() { l.give(it, sums) })
	})
}

func (l *link) give(it decide.Side, sums map[int64][]byte) {
	m, s := l.m, l.s
	if !m.asking || m.giving != nil {
		l.closeMaster()
		return
	}
	v := decide.Recall(m.side(), it, m.compare(sums))
	m.say("slave %d of %d to %d, list %v: %v at %d %s", s.id, it.Min, it.Max, it.Epochs, v.Action, v.At, v.Why)
	m.w.Tally.Add("recall "+v.Action.String(), 1)
	if v.Stale {
		m.setRole(fenced, m.epoch, m.id)
		return
	}
	if v.Action != decide.Give {
		m.heardFrom(s)
		l.closeMaster()
		return
	}
	if err := m.list_.Adopt(it.Epochs.Cut(it.Max)); err != nil {
		m.w.Fail("broker %d: adopt: %v", m.id, err)
		return
	}
	if m.cutOff() {
		return
	}
	m.giving = l
	l.toSlave(func() { l.pour(v.At, it.Max) })
}

// pour sends what the master has lost.
func (l *link) pour(from, to int64) {
	s := l.s
	if from < s.tape.Base || to > s.tape.End() { // cleaned away since
		l.closeSlave()
		return
	}
	for at := from; at < to; {
		n := min(to-at, s.w.seg-at%s.w.seg, 1+s.w.Rand.Int64N(1024))
		off, b := at, bytes.Clone(s.tape.Slice(at, at+n))
		l.toMaster(func() { l.regain(off, b, to) })
		at += n
	}
}

func (l *link) regain(off int64, b []byte, to int64) {
	m := l.m
	if m.giving != l {
		return
	}
	if off != m.tape.End() {
		m.w.Fail("broker %d is given %d, its log ends at %d", m.id, off, m.tape.End())
		return
	}
	m.written(b)
	m.w.Tally.Add("bytes regained", int64(len(b)))
	if m.cutOff() {
		return
	}
	if m.tape.End() == to {
		m.giving = nil
		m.heardFrom(l.s)
		l.closeMaster()
	}
}

func (n *node) heardFrom(s *node) {
	if !slices.Contains(n.heard, s) {
		n.heard = append(n.heard, s)
		n.askFor(recallGrace)
	}
}

// ofLineage tells whether all of a slave's log is of masterships that a master knows, as far as it knows them.
func (n *node) ofLineage(m *node) bool {
	end := n.tape.End()
	off, _, ok, _ := epoch.Common(m.list(), math.MaxInt64, n.list(), end)
	return ok && off == end
}
