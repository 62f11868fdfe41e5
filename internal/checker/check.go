// The verdict.

package checker

// Rules say what a history may contain.
type Rules struct {
	// Replicas that must each hold every acknowledged message. None: it is enough that any replica holds it.
	Replicas []string
	// LostTail: a power cut without SYNC_FLUSH may take the end of a queue, never a message before one that stayed, and
	// nothing acknowledged before the last Barrier. Readers may then have seen what is gone.
	LostTail bool
	// ReadAhead: readers may have been given what nobody acknowledged and what is gone since, as by a master that has a message
	// before its slave has it. What was acknowledged must stay all the same.
	ReadAhead bool
	// OffsetsMayGoBack: groups may be sent back, as after a kill with offsets saved every five seconds.
	OffsetsMayGoBack bool
}

// Check judges what was recorded so far. It may be called more than once.
func (r *Recorder) Check(rules Rules) Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := Report{Reads: r.reads, Clients: len(r.clients), Found: r.found}
	for k := range rep.Found {
		rep.Found[k].Examples = append([]string(nil), r.found[k].Examples...)
	}
	if rules.OffsetsMayGoBack {
		rep.Found[OffsetsBack] = Found{}
	}
	if rules.LostTail || rules.ReadAhead {
		rep.Found[NotDurable], rep.Found[Resurrected] = Found{}, Found{}
	}
	for _, p := range r.replicas {
		rep.Replicas = append(rep.Replicas, p.name)
	}
	c := check{r, rules, &rep, r.named(rules.Replicas)}
	for n, cl := range r.clients {
		for i := range cl.msgs {
			c.message(ID(n)<<counterBits|ID(i), &cl.msgs[i])
		}
	}
	c.replicas()
	if !rules.LostTail && !rules.ReadAhead {
		c.committed()
	}
	return rep
}

type check struct {
	r     *Recorder
	rules Rules
	rep   *Report
	all   []*replica // each must hold everything
}

// named are the replicas asked for; one nobody has read holds nothing.
func (r *Recorder) named(names []string) []*replica {
	var out []*replica
	for _, n := range names {
		out = append(out, r.replicaLocked(n))
	}
	return out
}

func (c *check) message(id ID, m *sent) {
	c.rep.Sent++
	switch m.state {
	case acked:
		c.rep.Acked++
		c.keeps(id, m)
	case failed:
		c.rep.Failed++
	default:
		c.rep.Unknown++
	}
	allowed := m.copies
	if m.state == open {
		allowed = up(allowed)
	}
	for _, p := range c.r.replicas {
		k := p.has(id)
		if k.seen && allowed == 0 {
			c.rep.Found[Phantom].add("%s: %s was refused, yet it is there", p.name, c.r.nameLocked(id))
			continue
		}
		if k.gen != 0 && k.gen == p.drains && k.found > allowed {
			c.rep.Found[Duplicated].add("%s: %s is at %d places, sent %d times", p.name, c.r.nameLocked(id), k.found, allowed)
		}
	}
}

// keeps: an acknowledged message must be where the acknowledgement says.
func (c *check) keeps(id ID, m *sent) {
	name := func() string { return c.r.nameLocked(id) }
	q := c.r.queues[m.queue]
	at := make([]string, 0, 1)
	here, expired, tail := 0, 0, 0
	for _, p := range c.r.replicas {
		s := p.queues[m.queue]
		switch {
		case s == nil:
		case s.holds(m.offset, id):
			here++
			continue
		case s.min > m.offset:
			expired++
			continue
		case c.rules.LostTail && m.seq > c.r.barrier && c.cutOff(s, m):
			tail++
			continue
		}
		if k := p.has(id); p.drained && k.gen == p.drains && k.gen != 0 {
			c.rep.Found[Divergent].add("%s: %s was acknowledged at %v offset %d, and is elsewhere", p.name, name(), q, m.offset)
			here++
			continue
		}
		if s != nil {
			if other, ok := s.at(m.offset); ok && other != id {
				c.rep.Found[Divergent].add("%s %v offset %d: acknowledged for %s, holds %s", p.name, q, m.offset, name(), c.r.nameLocked(other))
			}
		}
		for _, want := range c.all {
			if want == p {
				at = append(at, p.name)
			}
		}
	}
	switch {
	case len(at) > 0:
		c.rep.Found[Lost].add("%s, acknowledged at %v offset %d, is not on %v", name(), q, m.offset, at)
	case here > 0:
	case expired > 0:
		c.rep.Expired++
	case tail > 0:
		c.rep.Tail++
	default:
		c.rep.Found[Lost].add("%s, acknowledged at %v offset %d", name(), q, m.offset)
	}
}

func (s *places) holds(off int64, id ID) bool {
	got, ok := s.at(off)
	return ok && got == id
}

// cutOff: the place was at the end when the cut came, so it is behind the end now, or a later send took it.
func (c *check) cutOff(s *places, m *sent) bool {
	other, ok := s.at(m.offset)
	if !ok {
		return m.offset >= s.max
	}
	_, o := c.r.sentLocked(other)
	return o.seq > m.seq
}

// replicas compares all with the first one that has something at a place.
func (c *check) replicas() {
	for i, a := range c.r.replicas {
		for _, b := range c.r.replicas[i+1:] {
			for q, pa := range a.queues {
				if pb := b.queues[q]; pb != nil {
					c.differ(a, b, q, pa, pb)
				}
			}
		}
	}
}

func (c *check) differ(a, b *replica, q uint32, pa, pb *places) {
	for n, page := range pa.pages {
		other := pb.pages[n]
		if other == nil {
			continue
		}
		for i := range page {
			if x, y := page[i], other[i]; x != 0 && y != 0 && x != y {
				c.rep.Found[Divergent].add("%v offset %d: %s holds %s, %s holds %s", c.r.queues[q], n*pageSize+int64(i),
					a.name, c.r.nameLocked(x-1), b.name, c.r.nameLocked(y-1))
			}
		}
	}
}

// committed: no group's offset may lie beyond what a complete reading of every replica found.
func (c *check) committed() {
	for k, off := range c.r.groups {
		end, known := int64(0), false
		for _, p := range c.r.replicas {
			if s := p.queues[k.queue]; p.drained && s != nil {
				end, known = max(end, s.max), true
			}
		}
		if known && off > end {
			c.rep.Found[NotDurable].add("group %s committed %d at %v, which ends at %d", k.group, off, c.r.queues[k.queue], end)
		}
	}
}
