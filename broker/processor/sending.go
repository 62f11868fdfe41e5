// Messages on their way: staged by the reader of a burst, told by the store's writer, answered with one write per connection.

package processor

import (
	"sync"
	"unsafe"

	"rmqctl/broker/config"
	"rmqctl/broker/delay"
	"rmqctl/broker/ha"
	"rmqctl/broker/stats"
	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// burst is what one reader gathers: the sends of one read, and what it has learned for one of them and needs for the next.
type burst struct {
	stage *store.Stage
	texts []byte // properties as they are to be stored

	topic   string // the last topic sent to: checked, and with
	config  *protocol.TopicConfig
	counter *stats.Counter
}

// keepTexts bounds what an idle burst keeps.
const keepTexts = 256 << 10

// burst is the connection's, for handlers on its reader's goroutine.
func (p *Send) burst(c *remoting.Conn) *burst {
	if b, ok := c.Burst.(*burst); ok {
		return b
	}
	b := p.newBurst()
	c.Burst = b
	return b
}

func (p *Send) newBurst() *burst {
	b, ok := p.bursts.Get().(*burst)
	if !ok {
		b = new(burst)
	}
	b.stage = p.Store.NewStage()
	return b
}

// EndBurst stores what the reader of c has gathered. It is the servers' OnBurst.
func (p *Send) EndBurst(c *remoting.Conn) {
	b, ok := c.Burst.(*burst)
	if !ok {
		return
	}
	c.Burst = nil
	p.put(b)
}

// put stores what was gathered. The burst is somebody else's then.
func (p *Send) put(b *burst) {
	b.stage.Put() // may lead a round, and then takes as long as the disk does
	if cap(b.texts) > keepTexts {
		b.texts = nil
	}
	*b = burst{texts: b.texts[:0]}
	p.bursts.Put(b)
}

// sending is one message, or batch, that is stored. It is a store.Done.
type sending struct {
	p       *Send
	pending *remoting.Pending
	resp    *protocol.SendMessageResponse
	counter *stats.Counter
	slave   bool     // the answer waits for a slave
	anyway  bool     // the answer is a success whatever happens
	id      [56]byte // what resp.MsgID points to
}

var sendings = sync.Pool{New: func() any { return new(sending) }}

// stage takes a message into b, to be answered on pending with resp. An error means that it was not taken.
func (p *Send) stage(b *burst, cfg *config.Config, d *delivery, c *protocol.TopicConfig, w *sending) error {
	if err := p.pickQueue(d, c); err != nil {
		return err
	}
	at := len(b.texts)
	s := readProps(b.texts, d.Properties, cfg.BrokerClusterName)
	b.texts = s.props
	s.props = s.props[at:len(s.props):len(s.props)]
	if s.transaction {
		return p.noTransactions(cfg)
	}
	if len(s.props) > message.MaxProperties {
		return illegal(cfg)
	}
	m := message.Message{
		Topic: d.Topic, QueueID: d.QueueID, Flag: d.Flag, SysFlag: d.SysFlag &^ (message.SysBornHostV6 | message.SysStoreHostV6 | message.SysTransactionMask),
		BornTimestamp: d.BornTimestamp, BornHost: d.from, StoreHost: p.Host, ReconsumeTimes: d.ReconsumeTimes, Body: d.body, Properties: s.props,
	}
	if c.TopicFilterType == "MULTI_TAG" {
		m.SysFlag |= message.SysMultiTags
	}
	if b.counter == nil || b.topic != d.Topic {
		b.topic, b.config, b.counter = d.Topic, c, p.Stats.Topic(d.Topic)
	}
	w.p, w.counter, w.slave = p, b.counter, s.wait && p.Role.Load().Sync
	resp := w.resp
	resp.QueueID, resp.Region, resp.TraceOn = d.QueueID, cfg.RegionID, boolText(cfg.TraceOn)
	var status store.Status
	var err error
	switch {
	case d.Batch:
		status, err = p.stageBatch(b, cfg, &m, s, w)
	case s.delay > 0:
		status, err = b.stage.Add(delay.Hide(&m, s.delay, p.Levels), w)
	default:
		status, err = b.stage.Add(&m, w)
	}
	return putError(cfg, p.Store, status, err)
}

// stageBatch takes every element of the body as a message of its own. The batch's properties go to each of them.
func (p *Send) stageBatch(b *burst, cfg *config.Config, m *message.Message, s sent, w *sending) (store.Status, error) {
	if s.delay > 0 {
		return 0, protocol.Errorf(protocol.MessageIllegal, "a batch takes no delay level")
	}
	items, err := message.SplitBatch(m.Body)
	if err != nil || len(items) == 0 {
		return 0, protocol.Errorf(protocol.MessageIllegal, "the batch cannot be taken apart: %v", err)
	}
	for i := range items {
		items[i].Properties = message.AppendProperties(append([]byte(nil), items[i].Properties...), s.props)
		if len(items[i].Properties) > message.MaxProperties {
			return 0, illegal(cfg)
		}
	}
	m.Body, m.Properties = nil, nil
	return b.stage.AddBatch(m, items, w)
}

// Stored answers, or has the answer wait for a slave.
func (w *sending) Stored(r store.PutResult, err error) {
	if r.Status != store.PutOK && r.Status != store.FlushDiskTimeout {
		w.refused(r.Status, err)
		return
	}
	p := w.p
	w.resp.QueueOffset, w.resp.MsgID = r.QueueOffset, r.MessageIDs
	if r.Count == 1 && r.MessageIDs == "" {
		id := message.AppendOffsetID(w.id[:0], p.Host, r.PhysicalOffset)
		w.resp.MsgID = unsafe.String(&id[0], len(id)) // until recycle, which comes after the answer was encoded
	}
	if r.Status == store.FlushDiskTimeout { // not told by the writer of a round
		p.count(w.counter, 1, int64(r.Count), int64(r.Size))
		if !w.anyway {
			w.pending.Status(protocol.FlushDiskTimeout)
		}
		w.pending.Reply(w.resp, nil)
		w.recycle()
		return
	}
	t := &p.round
	if t.counter != w.counter {
		p.countRound()
		t.counter = w.counter
	}
	t.times, t.messages, t.bytes = t.times+1, t.messages+int64(r.Count), t.bytes+int64(r.Size)
	if w.slave {
		t.next, t.waiting = r.NextOffset, append(t.waiting, w)
		return
	}
	t.answers.Reply(w.pending, w.resp, nil)
	w.recycle()
}

func (w *sending) refused(status store.Status, err error) {
	if err = putError(w.p.Config.Load(), w.p.Store, status, err); w.anyway {
		err = nil
	}
	w.pending.Reply(w.resp, err)
	w.recycle()
}

// recycle ends w and what it holds of the request. The answer is encoded.
func (w *sending) recycle() {
	pending := w.pending
	*w = sending{}
	sendings.Put(w)
	pending.Recycle()
}

// round is what the writer of one round of the store has told: one goroutine at a time has it.
type round struct {
	answers remoting.Burst
	waiting []*sending
	next    int64 // end of the last of waiting

	counter                *stats.Counter // of the topic of the last messages, not counted yet:
	times, messages, bytes int64
}

// countRound adds up what follows each other with the same topic in one go.
func (p *Send) countRound() {
	t := &p.round
	if t.times > 0 {
		p.count(t.counter, t.times, t.messages, t.bytes)
	}
	t.counter, t.times, t.messages, t.bytes = nil, 0, 0, 0
}

func (p *Send) count(topic *stats.Counter, times, messages, bytes int64) {
	topic.AddMany(times, messages, bytes)
	p.Stats.Put.AddMany(times, messages, bytes)
}

// EndRound is the store's OnRound.
func (p *Send) EndRound() {
	t := &p.round
	p.countRound()
	t.answers.Flush()
	if len(t.waiting) == 0 {
		return
	}
	h, ok := p.held.Get().(*held)
	if !ok {
		h = &held{p: p}
		h.done = h.replicated
	}
	h.list, t.waiting = t.waiting, h.list[:0]
	p.Tasks.Enter()
	p.Replicas.Await(t.next, p.Config.Load().SlaveTimeout, h.done)
}

// held are the answers of one round that wait for a slave.
type held struct {
	p       *Send
	list    []*sending
	answers remoting.Burst
	done    func(ha.Status)
}

func (h *held) replicated(s ha.Status) {
	p := h.p
	defer p.Tasks.Leave()
	status := replicaStatus(s)
	for i, w := range h.list {
		if !w.anyway {
			w.pending.Status(status)
		}
		h.answers.Reply(w.pending, w.resp, nil)
		w.recycle()
		h.list[i] = nil
	}
	h.answers.Flush()
	p.held.Put(h)
}

func replicaStatus(s ha.Status) int32 {
	switch s {
	case ha.Replicated:
		return protocol.Success
	case ha.SlaveNotAvailable:
		return protocol.SlaveNotAvailable
	}
	return protocol.FlushSlaveTimeout
}
