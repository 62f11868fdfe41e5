package inspect

// The log's word on one queue, record by record: what its units should say, and whether its offsets run on.

import (
	"fmt"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/internal/message"
)

// place is what a record says about its place in a queue.
type place struct {
	off  int64
	phys int64
	size int32
	tags int64
}

// seen is what the pass over the log has learned about a queue.
type seen struct {
	have        bool
	first, last int64 // queue offsets of the records that count: those since the topic was made
	lastEnd     int64 // log offset behind the newest
	held        *place
	matched     int64
	wrong       []unitRange // units that are not what the log says, ascending
	jumps       []unitRange // offsets that no record has, ascending
	delayed     int         // units of delayed messages whose time is not what it should be
	shift       int64       // by how much the first one
	shifts      bool        // not all by that much

	window   []byte // units read from the files
	windowAt int64
}

// unitRange is a stretch of queue offsets with the same trouble.
type unitRange struct {
	from, to int64 // inclusive
	what     string
	phys     int64 // log offset of the first message concerned
}

// place takes the next record of q. One whose offset does not follow is held back until its successor says who is right:
// a record with a damaged header, or the queue (messages lost in between; a topic made anew starts again at 0).
func (c *checker) place(q *queue, p place) error {
	s := &q.seen
	if !s.have || p.off == s.last+1 && s.held == nil {
		return c.accept(q, p)
	}
	if h := s.held; h != nil {
		switch {
		case p.off == h.off+1:
			c.jump(s, *h)
			if err := c.accept(q, *h); err != nil {
				return err
			}
			s.held = nil
			return c.accept(q, p)
		case p.off == s.last+2, p.off == s.last+1:
			c.bent(q, *h)
			s.held = nil
			if p.off == s.last+2 {
				c.jump(s, p)
			}
			return c.accept(q, p)
		}
		c.jump(s, *h)
		if err := c.accept(q, *h); err != nil {
			return err
		}
		if s.held = nil; p.off == s.last+1 {
			return c.accept(q, p)
		}
	}
	s.held = &p
	return nil
}

// settle decides about a record that is still held back at the end of the log.
func (c *checker) settle(q *queue) {
	h := q.seen.held
	if h == nil {
		return
	}
	q.seen.held = nil
	if u, ok := c.unit(q, q.seen.last+1); ok && u.Phys == h.phys { // its queue knows better
		c.bent(q, *h)
		return
	}
	c.jump(&q.seen, *h)
	_ = c.accept(q, *h)
}

// bent: the header of a record is damaged; no checksum covers it, but its neighbours do not fit.
func (c *checker) bent(q *queue, h place) {
	c.r.Records--
	c.gaps = append(c.gaps, gap{from: h.phys, to: h.phys + int64(h.size), why: fmt.Sprintf("the record claims offset %d of %s/%d, where %d is next", h.off, q.topic, q.id, q.seen.last+1)})
}

// jump: offsets do not run on to p. Forwards, messages are missing; backwards, the topic was made anew.
func (c *checker) jump(s *seen, p place) {
	if p.off <= s.last {
		*s = seen{window: s.window, windowAt: s.windowAt}
		return
	}
	s.jumps = append(s.jumps, unitRange{from: s.last + 1, to: p.off - 1, phys: s.lastEnd})
}

// accept compares a record with its unit.
func (c *checker) accept(q *queue, p place) error {
	s := &q.seen
	if !s.have {
		s.have, s.first = true, p.off
	}
	s.last, s.lastEnd = p.off, p.phys+int64(p.size)
	u, ok := c.unit(q, p.off)
	want := consumequeue.Unit{Phys: p.phys, Size: p.size, Tags: p.tags}
	what := ""
	switch {
	case ok && (u == want || u.Phys == want.Phys && u.Size == want.Size && extAddress(u.Tags)):
		s.matched++
		return nil
	case !ok || u == consumequeue.Unit{}:
		what = "is not written"
	case u.Filler():
		what = "is marked as lost although the log has the message"
	case u.Phys == want.Phys && u.Size == want.Size && q.topic == message.ScheduleTopic:
		what = wrongDelivery
		if off := u.Tags - want.Tags; s.delayed == 0 {
			s.shift = off
		} else if off != s.shift {
			s.shifts = true
		}
		s.delayed++
	case u.Phys == want.Phys && u.Size == want.Size:
		what = "has a wrong tag hash"
	default:
		what = "points elsewhere"
	}
	if n := len(s.wrong); n > 0 && s.wrong[n-1].what == what && s.wrong[n-1].to == p.off-1 {
		s.wrong[n-1].to = p.off
		return nil
	}
	s.wrong = append(s.wrong, unitRange{p.off, p.off, what, p.phys})
	return nil
}

// wrongDelivery is said of a unit of a delayed message.
const wrongDelivery = "has a wrong delivery time (or messageDelayLevel was changed: give -c)"

// otherLevels: all units of the queue, three at least, are off by the same time: the broker's levels are not the ones we know.
func (s *seen) otherLevels() bool {
	return s.delayed > 2 && !s.shifts && s.matched == 0
}

// extAddress: with ConsumeQueueExt the tags field may point into another file.
func extAddress(tags int64) bool { return tags <= -2147483649 }

// unit reads one unit of q. ok is false where no file reaches.
func (c *checker) unit(q *queue, i int64) (consumequeue.Unit, bool) {
	s := &q.seen
	if i < s.windowAt || i >= s.windowAt+int64(len(s.window)/consumequeue.UnitSize) {
		if !c.fill(q, i) {
			return consumequeue.Unit{}, false
		}
	}
	return consumequeue.At(s.window, int(i-s.windowAt)), true
}

// fill reads units from i on.
func (c *checker) fill(q *queue, i int64) bool {
	s := &q.seen
	pos := i * consumequeue.UnitSize
	for _, f := range q.files {
		end := f.base + min(f.len, c.d.unitLen)/consumequeue.UnitSize*consumequeue.UnitSize
		if pos < f.base || pos >= end {
			continue
		}
		n := min(c.window*consumequeue.UnitSize, end-pos)
		if int64(cap(s.window)) < n {
			s.window = make([]byte, n)
		}
		s.window, s.windowAt = s.window[:n], i
		if _, err := c.d.readAt(f.path, s.window, pos-f.base); err != nil {
			s.window = s.window[:0]
			c.unreadable(f, pos-f.base, err)
			return false
		}
		return true
	}
	return false
}

// unreadable: the disk itself does not give the bytes.
func (c *checker) unreadable(f seg, off int64, err error) {
	c.r.add(Finding{Severity: Derived, File: c.d.rel(f.path), Offset: off, What: err.Error(), Means: "the disk does not give these bytes", Repair: "made again from the log"})
}

// skips tells whether the log has no record for offset i of the queue although it has later ones.
func within(list []unitRange, i int64) bool {
	lo, hi := 0, len(list)
	for lo < hi {
		mid := (lo + hi) / 2
		if list[mid].to < i {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(list) && list[lo].from <= i
}
