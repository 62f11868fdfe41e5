package store

// Stages: how one caller puts much. A connection's reader adds all messages of a burst, prepared outside the lock, and then
// puts them with the lock taken once:
//
//	g := s.NewStage(); g.Add(m1, d1); g.Add(m2, d2) ...; g.Put()
//
// The bytes of body and properties are copied once, by Put, straight into the tail of the log.

import (
	"sync"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/internal/clock"
	"rmqctl/internal/message"
)

// Stage gathers puts of one goroutine. What is added stays where it is until Put: body, topic and properties must not
// change before. After Put the stage belongs to the store again.
type Stage struct {
	s     *Store
	items []staged
	tune  *Tunables
	late  []staged // refused under the lock

	topic string // of the last message
	id    int32
	queue *consumequeue.Queue
}

type staged struct {
	m     message.Message
	rec   rec
	size  int
	batch *batch // the item stands for a batch; m is what its messages have in common
	err   error
}

// batch is several records that stay in one piece.
type batch struct {
	msgs []message.Message
	recs []rec
	size int
}

var stages = sync.Pool{New: func() any { return new(Stage) }}

// keepStaged bounds what an idle stage keeps.
const keepStaged = 256

// NewStage gives an empty stage.
func (s *Store) NewStage() *Stage {
	g := stages.Get().(*Stage)
	g.s, g.tune = s, s.tune.Load()
	return g
}

// Len is the number of puts taken since NewStage.
func (g *Stage) Len() int { return len(g.items) }

// Add takes m, or refuses it with a status other than PutOK; done is not called for what is refused here.
func (g *Stage) Add(m *message.Message, done Done) (Status, error) {
	if status, err := g.s.refuse(g.tune, m, 0); status != PutOK {
		return status, err
	}
	it := g.next()
	it.m = *m
	it.size = message.RecordSize(m)
	g.s.prepare(&it.m, &it.rec)
	it.rec.done, it.rec.queue = done, g.queueFor(m)
	return PutOK, nil
}

// AddBatch is Add for one record per item, with consecutive queue offsets and in one piece.
func (g *Stage) AddBatch(m *message.Message, items []message.BatchItem, done Done) (Status, error) {
	if len(items) == 0 || message.PropertyBytes(m.Properties, message.PropDelay) != nil || message.IsRetryTopic(m.Topic) {
		return MessageIllegal, nil
	}
	b := &batch{msgs: make([]message.Message, len(items)), recs: make([]rec, len(items))}
	for i, it := range items {
		msg := &b.msgs[i]
		*msg = *m
		msg.Flag, msg.Body, msg.BodyCRC = it.Flag, it.Body, 0
		msg.Properties = message.AppendProperties(append([]byte(nil), it.Properties...), m.Properties)
		if status, err := g.s.refuse(g.tune, msg, b.size); status != PutOK {
			return status, err
		}
		g.s.prepare(msg, &b.recs[i])
		b.size += message.RecordSize(msg)
	}
	if b.size > g.tune.MaxMessageSize {
		return MessageIllegal, nil
	}
	it := g.next()
	it.m, it.size, it.batch = *m, b.size, b
	q := g.queueFor(m)
	for i := range b.recs {
		b.recs[i].queue = q
	}
	last := &b.recs[len(b.recs)-1] // told when all of it is there
	last.done, last.batch, it.rec.done, it.rec.queue = done, b, done, q
	return PutOK, nil
}

func (g *Stage) next() *staged {
	if n := len(g.items); n < cap(g.items) {
		g.items = g.items[:n+1]
		it := &g.items[n]
		it.rec, it.batch, it.err = rec{}, nil, nil
		return it
	}
	g.items = append(g.items, staged{})
	return &g.items[len(g.items)-1]
}

func (g *Stage) queueFor(m *message.Message) *consumequeue.Queue {
	if !hasQueue(m.SysFlag) {
		return nil
	}
	if g.queue == nil || g.id != m.QueueID || g.topic != m.Topic {
		g.topic, g.id, g.queue = m.Topic, m.QueueID, g.s.table.Ensure(m.Topic, m.QueueID)
	}
	return g.queue
}

// Put takes everything into the open round, and sees to it that the round is written: by this goroutine when nobody is
// writing. What it leads it has done when it returns; it never waits for what others write.
func (g *Stage) Put() {
	s := g.s
	if len(g.items) > 0 {
		s.mu.Lock()
		s.takeLocked(g)
		lead := s.leadLocked()
		s.mu.Unlock()
		g.tellRefused()
		if lead {
			g.release()
			s.lead()
			return
		}
	}
	g.release()
}

// takeLocked gives all of g its places and offsets, and encodes it.
func (s *Store) takeLocked(g *Stage) {
	clk := s.now()
	now, taken, before := clk.UnixMilli(), clock.MonoOf(clk), s.open.cost
	s.open.puts++
	for i := range g.items {
		it := &g.items[i]
		if it.err = s.enterLocked(it.rec.queue); it.err != nil {
			g.late = append(g.late, *it)
			continue
		}
		if b := it.batch; b != nil {
			s.roomLocked(b.size)
			b.recs[len(b.recs)-1].taken = taken
			for j := range b.msgs {
				s.recordLocked(&b.msgs[j], &b.recs[j], message.RecordSize(&b.msgs[j]), now)
			}
			continue
		}
		it.rec.taken = taken
		s.recordLocked(&it.m, &it.rec, it.size, now)
	}
	s.slow.held.Add(s.open.cost - before)
}

func (g *Stage) tellRefused() {
	for i := range g.late {
		it := &g.late[i]
		it.rec.done.Stored(PutResult{Status: g.s.failedStatus(it.err)}, it.err)
	}
}

func (g *Stage) release() {
	if cap(g.items) > keepStaged {
		g.items = nil
	}
	if len(g.late) > 0 {
		g.late = nil
	}
	for i := range g.items { // bodies belong to somebody else again
		it := &g.items[i]
		it.m.Body, it.m.Properties, it.batch, it.rec.done = nil, nil, nil, nil
	}
	g.items, g.s, g.tune, g.queue, g.topic = g.items[:0], nil, nil, nil, ""
	stages.Put(g)
}
