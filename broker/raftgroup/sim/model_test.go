package sim

// What the world knows better than any member: the one log that has been committed, what became of every message, and who
// voted for whom.

import (
	"bytes"

	"rmqctl/internal/sim"
)

// fate is what the producer of a message has been told.
type fate uint8

const (
	waiting fate = iota
	acknowledged
	refused // surely not stored
	unknown // its leader went down or gave up leading
)

type sent struct {
	fate   fate
	seen   bool // it lies in the committed log
	offset int64
	queue  uint32
}

type ballot struct {
	voter, term uint64
}

// model is the committed log as the first member that published each of its bytes had it.
type model struct {
	w        *world
	log      []byte
	messages []sent // by id; id 0 is nobody
	next     [queues]int64
	leaders  map[uint64]uint64 // who acknowledged in a term
	votes    map[ballot]uint64
}

func newModel(w *world) *model {
	return &model{w: w, messages: make([]sent, 1), leaders: map[uint64]uint64{}, votes: map[ballot]uint64{}}
}

func (md *model) newMessage() uint64 {
	md.messages = append(md.messages, sent{})
	return uint64(len(md.messages) - 1)
}

// end is how far the committed log goes.
func (md *model) end() int64 { return int64(len(md.log)) }

// published is told of each byte that a member makes visible.
func (md *model) published(m *member, from, to int64, b []byte) {
	if from > md.end() {
		m.fail("publishes from %d on, and nobody has published more than %d", from, md.end())
		return
	}
	known := min(to, md.end())
	if from < known && !bytes.Equal(b[:known-from], md.log[from:known]) {
		m.fail("publishes other bytes between %d and %d than have been committed%s", from, known, md.difference(b[:known-from], from))
		return
	}
	if to <= md.end() {
		return
	}
	fresh := b[known-from:]
	if !md.held(m, known, fresh) {
		m.fail("publishes %d to %d, which no majority of %d holds: %s", known, to, m.voters(), md.w.holders(known, fresh))
		return
	}
	md.log = append(md.log, fresh...)
	if err := md.w.records(fresh, func(r sim.Record) { md.visible(m, known, r) }); err != nil {
		m.fail("publishes a torn record: %v", err)
	}
	md.w.Tally.Add("committed bytes", int64(len(fresh)))
}

// difference tells where bytes part from the committed log.
func (md *model) difference(b []byte, from int64) string {
	for i := range b {
		if b[i] != md.log[from+int64(i)] {
			return ", first at " + itoa(from+int64(i))
		}
	}
	return ""
}

// visible is told of each message that is committed, in order.
func (md *model) visible(m *member, from int64, r sim.Record) {
	if r.ID == 0 {
		return
	}
	if r.ID >= uint64(len(md.messages)) || r.Queue >= queues {
		m.fail("publishes message %d, which nobody sent", r.ID)
		return
	}
	msg := &md.messages[r.ID]
	switch {
	case msg.fate == refused:
		m.fail("publishes message %d, which was refused", r.ID)
	case msg.seen:
		m.fail("publishes message %d a second time", r.ID)
	case r.Offset != md.next[r.Queue]:
		m.fail("publishes message %d at %d of queue %d, whose next is %d", r.ID, r.Offset, r.Queue, md.next[r.Queue])
	}
	msg.seen, msg.offset, msg.queue = true, r.Offset, r.Queue
	md.next[r.Queue] = r.Offset + 1
}

// held tells whether a majority of voters, as the publisher or a leader knows them, has these bytes where they survive what this
// flush mode promises to survive. What is committed behind a change of members is so by the voters before the change.
func (md *model) held(m *member, from int64, b []byte) bool {
	for _, o := range md.w.members {
		if o.up && (o == m || o.leads()) {
			now := o.voters()
			if md.majority(now, from, b) || md.majority(o.before, from, b) {
				return true
			}
		}
	}
	return false
}

func (md *model) majority(voters []uint64, from int64, b []byte) bool {
	n := 0
	for _, id := range voters {
		if o := md.w.byID(id); o != nil && o.holds(from, b) {
			n++
		}
	}
	return n > len(voters)/2
}

// acknowledge is told of each message whose producer gets his answer.
func (md *model) acknowledge(m *member, term uint64, id uint64) {
	if was, ok := md.leaders[term]; ok && was != m.id {
		m.fail("acknowledges in term %d, as %d did before", term, was)
	}
	md.leaders[term] = m.id
	msg := &md.messages[id]
	if !msg.seen {
		m.fail("acknowledges message %d, which is not committed", id)
	}
	msg.fate = acknowledged
	md.w.Tally.Add("acknowledged", 1)
}

// voted is told of each vote that leaves a member.
func (md *model) voted(m *member, term, candidate uint64) {
	b := ballot{m.id, term}
	if was, ok := md.votes[b]; ok && was != candidate {
		m.fail("votes for %d in term %d, and has voted for %d", candidate, term, was)
	}
	md.votes[b] = candidate
}

// sameAt tells whether b is what has been committed at off.
func (md *model) sameAt(off int64, b []byte) bool {
	return off+int64(len(b)) <= md.end() && bytes.Equal(md.log[off:off+int64(len(b))], b)
}
