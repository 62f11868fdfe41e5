// What was read: places of replicas and what they held.

package checker

import "bytes"

// replica is what is known of one replica's content from reading it.
type replica struct {
	name    string
	queues  map[uint32]*places
	marks   [][]mark // by client and counter
	drains  uint32   // complete readings begun
	drained bool     // one has ended
}

// mark is what is known of one message on one replica.
type mark struct {
	gen    uint32 // the last complete reading in which it was found
	found  uint8  // places in that reading
	seen   bool   // ever, by anybody
	absent bool   // seen, and then missing from a complete reading
}

const pageSize = 512

// places says which message was last seen at each offset of a queue.
type places struct {
	pages    map[int64]*[pageSize]ID // ID+1; 0: nothing seen there
	min, max int64                   // of the last complete reading
	top      int64                   // one beyond the last offset seen
}

func (p *places) at(off int64) (ID, bool) {
	pg := p.pages[off/pageSize]
	if pg == nil || pg[off%pageSize] == 0 {
		return 0, false
	}
	return pg[off%pageSize] - 1, true
}

func (p *places) set(off int64, id ID) {
	pg := p.pages[off/pageSize]
	if pg == nil {
		pg = new([pageSize]ID)
		p.pages[off/pageSize] = pg
	}
	pg[off%pageSize] = id + 1
	p.top = max(p.top, off+1)
}

func (p *places) drop(off int64) {
	if pg := p.pages[off/pageSize]; pg != nil {
		pg[off%pageSize] = 0
	}
}

func (r *Recorder) replicaLocked(name string) *replica {
	for _, p := range r.replicas {
		if p.name == name {
			return p
		}
	}
	p := &replica{name: name, queues: map[uint32]*places{}}
	r.replicas = append(r.replicas, p)
	return p
}

func (p *replica) places(q uint32) *places {
	s := p.queues[q]
	if s == nil {
		s = &places{pages: map[int64]*[pageSize]ID{}}
		p.queues[q] = s
	}
	return s
}

func (p *replica) mark(id ID) *mark {
	c, n := id.client(), int(id.counter())
	for len(p.marks) <= c {
		p.marks = append(p.marks, nil)
	}
	for len(p.marks[c]) <= n {
		p.marks[c] = append(p.marks[c], mark{})
	}
	return &p.marks[c][n]
}

func (p *replica) has(id ID) mark {
	c, n := id.client(), int(id.counter())
	if c >= len(p.marks) || n >= len(p.marks[c]) {
		return mark{}
	}
	return p.marks[c][n]
}

// Seen says that a reader of a replica was given this message at this place. crcOK: the stored checksum fits the body.
func (r *Recorder) Seen(replica string, q Queue, offset int64, body []byte, crcOK bool) {
	id, ok := r.examine(replica, q, offset, body, crcOK)
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.replicaLocked(replica)
	if ok {
		r.placeLocked(p, r.queueLocked(q), offset, id)
	}
}

// examine checks the message by itself.
func (r *Recorder) examine(replica string, q Queue, offset int64, body []byte, crcOK bool) (ID, bool) {
	r.mu.Lock()
	r.reads++
	id, kind, why := r.identifyLocked(body)
	if why != "" || !crcOK {
		if !crcOK {
			kind, why = Corrupt, "its checksum is wrong"
		}
		r.found[kind].add("%s %v offset %d: %s", replica, q, offset, why)
		r.mu.Unlock()
		return 0, false
	}
	c, m := r.sentLocked(id)
	size, name, topic := m.size, len(c.name)+1+digits(id.counter()), r.topics[m.topic]
	text := r.nameLocked(id)
	r.mu.Unlock()
	switch {
	case uint32(len(body)) != size || !filled(body[name:], id):
		r.add(Corrupt, "%s %v offset %d: %s has other bytes than were sent", replica, q, offset, text)
		return 0, false
	case topic != q.Topic:
		r.add(Divergent, "%s %v offset %d: %s was sent to topic %s", replica, q, offset, text, topic)
	}
	return id, true
}

func digits(n uint64) int {
	d := 1
	for ; n >= 10; n /= 10 {
		d++
	}
	return d
}

func filled(b []byte, id ID) bool {
	want := make([]byte, len(b))
	fill(want, id)
	return bytes.Equal(b, want)
}

func (r *Recorder) add(k Kind, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found[k].add(format, args...)
}

func (r *Recorder) placeLocked(p *replica, q uint32, offset int64, id ID) *mark {
	s := p.places(q)
	if was, ok := s.at(offset); ok && was != id {
		r.found[NotDurable].add("%s %v offset %d: held %s when it was read, now %s", p.name, r.queues[q], offset, r.nameLocked(was), r.nameLocked(id))
	}
	s.set(offset, id)
	m := p.mark(id)
	if m.absent {
		m.absent = false
		r.found[Resurrected].add("%s %v offset %d: %s was seen, then gone, and is back", p.name, r.queues[q], offset, r.nameLocked(id))
	}
	m.seen = true
	return m
}

// Drain is one complete reading of a replica, with nobody else reading it through the recorder or writing to it. Each
// queue is read in ascending order.
type Drain struct {
	r    *Recorder
	p    *replica
	gen  uint32
	next map[uint32]int64
	mins map[uint32]int64
}

// Drain begins a complete reading of a replica.
func (r *Recorder) Drain(replica string) *Drain {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.replicaLocked(replica)
	p.drains++
	return &Drain{r: r, p: p, gen: p.drains, next: map[uint32]int64{}, mins: map[uint32]int64{}}
}

// Queue says what the replica itself tells of a queue: its first offset and the one behind its last. What is not told is
// taken from what is seen; then a missing start or end of a queue is not a gap.
func (d *Drain) Queue(q Queue, first, end int64) {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	n := d.r.queueLocked(q)
	d.mins[n], d.next[n] = first, first
	s := d.p.places(n)
	s.min, s.max = first, end
}

// Seen is one message of this reading.
func (d *Drain) Seen(q Queue, offset int64, body []byte, crcOK bool) {
	id, ok := d.r.examine(d.p.name, q, offset, body, crcOK)
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	n := d.r.queueLocked(q)
	next, begun := d.next[n]
	if !begun {
		next, d.mins[n] = offset, offset
	}
	if offset > next {
		d.r.found[Gap].addN(offset-next, "%s %v: nothing at %d..%d", d.p.name, q, next, offset-1)
	}
	for s, o := d.p.places(n), next; o < min(offset, s.top); o++ {
		s.drop(o)
	}
	again := begun && offset < next
	d.next[n] = max(next, offset+1)
	if !ok {
		return
	}
	m := d.r.placeLocked(d.p, n, offset, id)
	switch {
	case again:
	case m.gen == d.gen:
		m.found = up(m.found)
	default:
		m.gen, m.found = d.gen, 1
	}
}

// End says that this was all.
func (d *Drain) End() {
	r, p := d.r, d.p
	r.mu.Lock()
	defer r.mu.Unlock()
	p.drained = true
	for n, s := range p.queues {
		next := d.next[n]
		if s.max > next {
			r.found[Gap].addN(s.max-next, "%s %v: nothing at %d..%d", p.name, r.queues[n], next, s.max-1)
		}
		s.min, s.max = d.mins[n], max(next, s.max)
		for o := next; o < s.top; o++ {
			if id, ok := s.at(o); ok {
				r.found[NotDurable].add("%s %v offset %d: held %s when it was read, now nothing", p.name, r.queues[n], o, r.nameLocked(id))
				s.drop(o)
			}
		}
		s.top = max(next, s.max)
	}
	r.missingLocked(p, d.gen)
}

// missingLocked marks what was seen before and is not there now; what retention deleted is not missed.
func (r *Recorder) missingLocked(p *replica, gen uint32) {
	for c := range p.marks {
		for n := range p.marks[c] {
			m := &p.marks[c][n]
			if !m.seen || m.gen == gen {
				continue
			}
			s := &r.clients[c].msgs[n]
			if q := p.queues[s.queue]; s.state == acked && q != nil && s.offset < q.min {
				continue
			}
			m.absent = true
		}
	}
}
