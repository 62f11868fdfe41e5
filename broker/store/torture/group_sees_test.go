package torture

// What readers of a member of a group may see.

import (
	"errors"
	"fmt"

	"rmqctl/broker/store"
)

// hidden: readers see what is committed, whole, and nothing else.
func (p *party) hidden() error {
	s := p.s
	if shown := s.MaxPhysical(); shown > p.committed {
		return fmt.Errorf("visible up to %d, committed %d", shown, p.committed)
	}
	if n, err := s.ReadLog(s.MaxPhysical(), make([]byte, 10)); n != 0 {
		return fmt.Errorf("%d bytes beyond the visible end are served, %w", n, err)
	}
	if p.rng.IntN(6) > 0 {
		return nil
	}
	for _, e := range p.ents { // not by offset, nor by key
		if e.from < s.MaxPhysical() || len(e.b) < 100 {
			continue
		}
		if b, err := s.LookMessage(e.from); err == nil {
			return fmt.Errorf("%d bytes at %d are served, visible is up to %d", len(b), e.from, s.MaxPhysical())
		}
		for _, id := range p.ids(e) {
			x := p.byID[id]
			if r, err := s.Query(x.topic, x.key, 10, 0, 1<<60); err == nil && len(r.Messages) > 0 {
				return fmt.Errorf("message %d is found by its key, it is at %d, visible is up to %d", id, e.from, s.MaxPhysical())
			}
		}
	}
	if wrong := s.Check(); len(wrong) > 0 && !p.p.isOff() {
		return fmt.Errorf("check: %v", wrong)
	}
	return p.drained(s)
}

// drained reads all queues: every message whole, in its place, none that is gone.
func (p *party) drained(s *store.Store) error {
	for _, topic := range s.Topics() {
		for _, queue := range s.Queues(topic) {
			for next, end := s.MinOffset(topic, queue), s.MaxOffset(topic, queue); next < end; {
				r, err := s.Get(topic, queue, next, store.GetLimit{}, store.Match{})
				if err != nil || len(r.Messages) == 0 {
					return fmt.Errorf("%s/%d at %d of %d: %s, %w", topic, queue, next, end, r.Status, err)
				}
				for _, b := range r.Messages {
					x, m, err := p.recognise(b)
					if err != nil {
						return fmt.Errorf("%s/%d: %w", topic, queue, err)
					}
					if m.QueueOffset != next || m.PhysicalOffset+int64(len(b)) > p.committed {
						return fmt.Errorf("%s/%d at %d: message %d says %d, log %d, committed %d", topic, queue, next, x.id, m.QueueOffset, m.PhysicalOffset, p.committed)
					}
					next++
				}
				r.Release()
			}
		}
	}
	return nil
}

// agree: in the end both have the same, and everything that was acknowledged is there.
func (p *party) agree() error {
	if p.s.End() < p.other.s.MinPhysical() {
		if err := p.startAnew(); err != nil {
			return err
		}
	}
	for p.end1() < p.other.end() {
		if err := p.replicate(); err != nil {
			return err
		}
	}
	p.committed = p.other.end()
	if err := errors.Join(p.s.Commit(p.committed), p.other.s.Commit(p.committed)); err != nil {
		return err
	}
	for _, s := range []*store.Store{p.s, p.other.s} {
		if wrong := s.Check(); len(wrong) > 0 {
			return fmt.Errorf("check: %v", wrong)
		}
		if err := p.drained(s); err != nil {
			return err
		}
	}
	for _, topic := range p.other.s.Topics() {
		for _, queue := range p.other.s.Queues(topic) {
			if a, b := p.s.MaxOffset(topic, queue), p.other.s.MaxOffset(topic, queue); a != b {
				return fmt.Errorf("%s/%d ends at %d, at the other one at %d", topic, queue, a, b)
			}
		}
	}
	for _, o := range p.puts {
		if o.n == 1 && o.live && o.res.Status == store.PutOK && o.res.PhysicalOffset >= max(p.s.MinPhysical(), p.other.s.MinPhysical()) {
			b, err := p.s.LookMessage(o.res.PhysicalOffset)
			if err != nil {
				return fmt.Errorf("acknowledged message %d at %d: %w", o.x.id, o.res.PhysicalOffset, err)
			}
			if x, _, err := p.recognise(b); err != nil || x != o.x {
				return fmt.Errorf("in the place of acknowledged message %d lies %v, %w", o.x.id, x, err)
			}
		}
	}
	return p.once()
}
