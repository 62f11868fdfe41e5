package store

// A unit that does not lead to a message: either the unit is damaged, and the log between its neighbours has the message, or
// the message is. The first is put right on the spot, the second told once and skipped.

import (
	"fmt"
	"strings"
	"sync"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/segment"
	"rmqctl/internal/message"
)

const (
	healFar   = 4096      // units looked at on each side for a good neighbour
	healBytes = 256 << 20 // of the log, read to put units right, at a time
	healMost  = 100000    // lost units remembered
)

// healer remembers what cannot be put right, so that readers pass it at once.
type healer struct {
	search sync.Mutex // one search at a time

	mu   sync.RWMutex // guards lost
	lost map[lostUnit]bool
}

// gave tells whether message at of q was looked for before, in vain.
func (h *healer) gave(q *consumequeue.Queue, at int64) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.lost[lostUnit{q, at}]
}

func (h *healer) giveUp(q *consumequeue.Queue, at int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost == nil {
		h.lost = map[lostUnit]bool{}
	}
	if len(h.lost) < healMost {
		h.lost[lostUnit{q, at}] = true
	}
}

type lostUnit struct {
	q  *consumequeue.Queue
	at int64
}

// heal finds the unit of offset at of q, whose present one u leads nowhere. ok is false when the message is lost.
func (s *Store) heal(q *consumequeue.Queue, at int64, u consumequeue.Unit) (consumequeue.Unit, bool) {
	s.healer.search.Lock()
	defer s.healer.search.Unlock()
	if s.healer.gave(q, at) {
		return u, false
	}
	if now, ok := s.unit(q, at); ok && now != u && s.leads(q, at, now) { // put right since u was read
		return now, true
	}
	before, from := s.neighbour(q, at, -1)
	after, to := s.neighbour(q, at, 1)
	if to-from > healBytes {
		s.lose(q, at, fmt.Sprintf("unit %d of queue %s/%d is damaged and too far from good ones to be put right now: `rmqctl store repair` does it", at, q.Topic, q.ID), u.Phys)
		return u, false
	}
	found := map[int64]consumequeue.Unit{}
	err := s.eachRecord(from, to, func(r *message.Record) error {
		if r.QueueID == q.ID && r.QueueOffset > before && r.QueueOffset < after && string(r.Topic) == q.Topic && hasQueue(r.SysFlag) {
			found[r.QueueOffset] = consumequeue.Unit{Phys: r.PhysicalOffset, Size: r.Size, Tags: s.tagsCode(r, propsOf(r.Properties))}
		}
		return nil
	})
	if err != nil {
		s.log.Warn("looking for a message behind a damaged unit", "topic", q.Topic, "queue", q.ID, "offset", at, "err", err)
		return u, false
	}
	good, ok := found[at]
	if ok && good != u {
		s.patch(q, found)
		return good, true
	}
	s.lose(q, at, fmt.Sprintf("message %d of queue %s/%d is damaged and is not served (%s)", at, q.Topic, q.ID, s.placeOf(u.Phys)), u.Phys)
	return u, false
}

// patch writes the units that differ from those in the files.
func (s *Store) patch(q *consumequeue.Queue, found map[int64]consumequeue.Unit) {
	n, first := 0, int64(-1)
	for at, good := range found {
		if u, _ := s.unit(q, at); u == good {
			continue
		}
		if err := q.Patch(at, good); err != nil {
			s.log.Warn("put a damaged unit right", "topic", q.Topic, "queue", q.ID, "offset", at, "err", err)
		}
		if n++; first < 0 || at < first {
			first = at
		}
	}
	pos := first * consumequeue.UnitSize
	base := pos - pos%s.o.QueueSegmentSize
	s.corrupt(fmt.Sprintf("%d damaged units of queue %s/%d from offset %d on were put right from the log (%s/%s at %d)", n, q.Topic, q.ID, first, q.Dir(), segment.Name(base), pos-base), found[first].Phys)
}

func (s *Store) lose(q *consumequeue.Queue, at int64, what string, phys int64) {
	s.healer.giveUp(q, at)
	if s.count.firstDamage(phys) {
		s.corrupt(what, phys)
	}
}

// placeOf names the file and the position in it of a log offset.
func (s *Store) placeOf(phys int64) string {
	if phys < 0 {
		return "nowhere"
	}
	return fmt.Sprintf("%s/%s at %d", s.o.CommitLogDir, segment.Name(s.clog.Base(phys)), phys-s.clog.Base(phys))
}

// neighbour is the nearest good unit on one side of at, and where the log is to be searched from, or to.
func (s *Store) neighbour(q *consumequeue.Queue, at int64, step int64) (offset, phys int64) {
	end, err := q.End()
	if err != nil {
		end = at + 1
	}
	i := at + step
	for range healFar {
		if i < 0 || i >= end {
			break
		}
		if u, ok := s.unit(q, i); ok && s.leads(q, i, u) {
			if step < 0 {
				return i, u.Phys + int64(u.Size)
			}
			return i, u.Phys
		}
		i += step
	}
	if step < 0 {
		return -1, s.clog.Min()
	}
	return end, s.clog.Written()
}

// leads tells whether u leads to message at of q.
func (s *Store) leads(q *consumequeue.Queue, at int64, u consumequeue.Unit) bool {
	if u.Phys < s.clog.Min() || u.Size < message.MinRecord {
		return false
	}
	b, err := s.LookMessage(u.Phys)
	if err != nil {
		return false
	}
	var r message.Record
	_, err = r.Parse(b, message.Options{CheckCRC: true})
	return err == nil && r.Size == u.Size && isOf(&r, q, at) && (light(q) || q.Topic == message.ScheduleTopic || s.tagsCode(&r, propsOf(r.Properties)) == u.Tags)
}

// isOf tells whether a record is message at of q.
func isOf(r *message.Record, q *consumequeue.Queue, at int64) bool {
	return r.QueueOffset == at && r.QueueID == q.ID && string(r.Topic) == q.Topic || light(q)
}

// light queues hold messages of other topics.
func light(q *consumequeue.Queue) bool { return strings.HasPrefix(q.Topic, "%LMQ%") }

// forget: the log is another one now.
func (h *healer) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost = nil
}
