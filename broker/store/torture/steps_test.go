package torture

// What happens in a world: things that producers, consumers and operators do.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"rmqctl/broker/store"
	"rmqctl/internal/message"
)

// step is one thing somebody does.
func (w *world) step() error {
	switch n := w.rng.IntN(100); {
	case n < 30:
		return w.produce()
	case n < 45:
		return w.crowd()
	case n < 55:
		return w.batch()
	case n < 75:
		return w.consume()
	case n < 78:
		w.say("flush")
		return w.unlessOff("flush", w.s.Flush())
	case n < 81:
		w.say("checkpoint")
		return w.unlessOff("checkpoint", w.s.Checkpoint())
	case n < 94:
		d := time.Duration(1+w.rng.IntN(1500)) * time.Millisecond
		if w.rng.IntN(8) == 0 {
			d *= 15
		}
		w.say("%s pass", d)
		time.Sleep(d)
	case n < 97:
		return w.findKey()
	case n < 98:
		w.say("clean")
		w.s.CleanExpired()
	case n < 99:
		return w.truncate()
	default:
		return w.deleteTopic()
	}
	return nil
}

func (w *world) unlessOff(what string, err error) error {
	if err != nil && !w.p.isOff() {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

var (
	v4 = netip.MustParseAddrPort("10.0.0.1:5000")
	v6 = netip.MustParseAddrPort("[2001:db8::1]:5000")
)

// message makes one for a topic and queue.
func (w *world) message(topic string, queue int32) (*message.Message, *sent) {
	x := &sent{id: len(w.all), topic: topic, queue: queue}
	x.body, x.key = bodyOf(x.id, w.rng), fmt.Sprint("u", x.id)
	m := &message.Message{Topic: topic, QueueID: queue, Body: []byte(x.body), BornHost: v4, StoreHost: v4, BornTimestamp: 1}
	if w.rng.IntN(4) == 0 {
		m.BornHost = v6
	}
	if w.rng.IntN(4) == 0 {
		m.StoreHost = v6
	}
	m.Properties = message.SetProperty(m.Properties, message.PropUniqKey, x.key)
	for range w.rng.IntN(3) {
		m.Properties = message.SetProperty(m.Properties, message.PropKeys, fmt.Sprintf("a%d b%d", w.rng.IntN(3), x.id))
	}
	if w.rng.IntN(2) == 0 {
		m.Properties = message.SetProperty(m.Properties, message.PropTags, fmt.Sprint("tag", w.rng.IntN(3)))
	}
	if topic == message.ScheduleTopic {
		m.Properties = message.SetProperty(m.Properties, message.PropDelay, fmt.Sprint(queue+1))
	}
	w.all = append(w.all, x)
	w.byID[x.id] = x
	return m, x
}

// bodyOf is the body of message id: its number, and a filling that no other message has.
func bodyOf(id int, rng *rand.Rand) string {
	n := rng.IntN(200)
	if rng.IntN(10) == 0 {
		n = rng.IntN(3000)
	}
	return fmt.Sprintf("%d:%s", id, strings.Repeat(string(rune('a'+id%26)), n))
}

func (w *world) place() (string, int32) {
	if w.rng.IntN(8) == 0 {
		return message.ScheduleTopic, int32(w.rng.IntN(3))
	}
	return topics[w.rng.IntN(len(topics))], int32(w.rng.IntN(2))
}

func (w *world) produce() error {
	m, x := w.message(w.place())
	res, err := w.s.Append(m)
	if err == nil && w.await {
		err = w.toDisk(res.NextOffset)
	}
	w.say("append %d to %s/%d: %s at %d, log %d to %d, %v", x.id, x.topic, x.queue, res.Status, res.QueueOffset, res.PhysicalOffset, res.NextOffset, err)
	if w.p.isOff() {
		return nil
	}
	if err != nil || res.Status != store.PutOK {
		return fmt.Errorf("append: %s, %w", res.Status, err)
	}
	return w.ack(x, res.QueueOffset, res.PhysicalOffset, res.NextOffset)
}

// toDisk waits as a caller without SyncFlush does.
func (w *world) toDisk(next int64) error {
	done := make(chan error, 1)
	w.s.AwaitFlushed(next, 5*time.Second, func(err error) { done <- err })
	return <-done
}

// ack notes what a producer was told.
func (w *world) ack(x *sent, at, phys, next int64) error {
	x.at, x.phys, x.next = at, phys, next
	w.cuts.acked++
	if err := w.taken(x); err != nil {
		return err
	}
	x.known = true
	return nil
}

// taken: no two messages at one place of one queue.
func (w *world) taken(x *sent) error {
	for _, y := range w.all {
		if y != x && y.known && !y.gone && y.topic == x.topic && y.queue == x.queue && y.at == x.at {
			return fmt.Errorf("message %d got offset %d of %s/%d, which belongs to %d", x.id, x.at, x.topic, x.queue, y.id)
		}
	}
	return nil
}

func (w *world) batch() error {
	topic, queue := topics[w.rng.IntN(2)], int32(w.rng.IntN(2))
	var items []message.BatchItem
	var xs []*sent
	size := 0
	for range 1 + w.rng.IntN(6) {
		m, x := w.message(topic, queue)
		if size += len(x.body) + 200; size > int(w.o.SegmentSize) {
			x.gone = true
			break
		}
		items = append(items, message.BatchItem{Body: m.Body, Properties: m.Properties})
		xs = append(xs, x)
	}
	m := &message.Message{Topic: topic, QueueID: queue, BornHost: v4, StoreHost: v4, BornTimestamp: 1}
	res, err := w.s.AppendBatch(m, items)
	if err == nil && w.await {
		err = w.toDisk(res.NextOffset)
	}
	w.say("batch %d+%d to %s/%d: %s at %d, log %d to %d, %v", xs[0].id, len(xs), topic, queue, res.Status, res.QueueOffset, res.PhysicalOffset, res.NextOffset, err)
	if w.p.isOff() {
		return nil
	}
	if err != nil || res.Status != store.PutOK {
		return fmt.Errorf("batch: %s, %w", res.Status, err)
	}
	at, phys := res.QueueOffset, res.PhysicalOffset
	for _, x := range xs {
		b, err := w.s.LookMessage(phys)
		if w.p.isOff() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("batch of %d: look at %d: %w", len(xs), phys, err)
		}
		if err := w.ack(x, at, phys, phys+int64(len(b))); err != nil {
			return err
		}
		at, phys = at+1, phys+int64(len(b))
	}
	return nil
}

// consume reads on where the consumer of a queue stands.
func (w *world) consume() error {
	topic, queue := w.place()
	name := fmt.Sprint(topic, "/", queue)
	from := w.readers[name]
	if from == 0 || from > w.s.MaxOffset(topic, queue) {
		from = w.s.MinOffset(topic, queue)
	}
	r, err := w.s.Get(topic, queue, from, store.GetLimit{Messages: 1 + w.rng.IntN(8)}, store.Match{})
	if w.p.isOff() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get %s from %d: %w", name, from, err)
	}
	defer r.Release()
	for _, b := range r.Messages {
		x, rec, err := w.recognise(b)
		if err != nil {
			return fmt.Errorf("get %s from %d: %w", name, from, err)
		}
		if !x.known {
			continue // one whose producer was not answered
		}
		if x.at != rec.QueueOffset || x.phys != rec.PhysicalOffset || x.topic != topic || x.queue != queue {
			return fmt.Errorf("get %s from %d: message %d is at %d (log %d), it was put to %s/%d at %d (log %d)", name, from,
				x.id, rec.QueueOffset, rec.PhysicalOffset, x.topic, x.queue, x.at, x.phys)
		}
		x.reader = true
		w.cuts.read++
	}
	w.readers[name] = r.Next
	return nil
}

var errBack = errors.New("is back, although it was gone")

// recognise says which message a record is, and that it is whole.
func (w *world) recognise(b []byte) (*sent, message.Message, error) {
	m, n, err := message.Decode(b, message.Options{CheckCRC: true})
	if err != nil || n != len(b) {
		return nil, m, fmt.Errorf("damaged message served: %d of %d bytes, %w", n, len(b), errors.Join(err))
	}
	head, _, _ := strings.Cut(string(m.Body), ":")
	id, err := strconv.Atoi(head)
	x := w.byID[id]
	if err != nil || x == nil || x.body != string(m.Body) || x.topic != m.Topic || x.queue != m.QueueID {
		return nil, m, fmt.Errorf("a message nobody sent: %s/%d at %d, body %.30q", m.Topic, m.QueueID, m.QueueOffset, m.Body)
	}
	if key, _ := m.Property(message.PropUniqKey); key != x.key {
		return nil, m, fmt.Errorf("message %d has key %q", id, key)
	}
	if x.gone {
		return nil, m, fmt.Errorf("message %d: %w", id, errBack)
	}
	return x, m, nil
}

func (w *world) findKey() error {
	if len(w.all) == 0 {
		return nil
	}
	return w.find(w.all[w.rng.IntN(len(w.all))])
}

func (w *world) find(x *sent) error {
	if !x.known || x.gone || x.phys < w.s.MinPhysical() {
		return nil
	}
	r, err := w.s.Query(x.topic, x.key, 64, 0, 1<<60)
	if w.p.isOff() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("query %s: %w", x.key, err)
	}
	for _, b := range r.Messages {
		if y, _, err := w.recognise(b); err == nil && y == x {
			return nil
		}
	}
	return fmt.Errorf("message %d of %s at log %d is not found by its key", x.id, x.topic, x.phys)
}

// truncate ends the log before a message, as a slave does that is ahead of its master.
func (w *world) truncate() error {
	var from *sent
	for _, x := range w.all {
		if x.known && !x.gone && x.phys >= max(w.s.MinPhysical(), w.deleted) && w.rng.IntN(8) == 0 {
			from = x
		}
	}
	if from == nil {
		return nil
	}
	return w.truncateAt(from)
}

func (w *world) truncateAt(from *sent) error {
	for _, x := range w.all { // until it is done nobody knows
		if x.phys >= from.phys {
			x.known = x.known && x.gone
		}
	}
	err := w.s.TruncateTo(from.phys)
	w.say("truncate to %d, message %d: %v", from.phys, from.id, err)
	if w.p.isOff() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("truncate: %w", err)
	}
	for _, x := range w.all {
		if x.phys >= from.phys {
			x.gone = true
		}
	}
	w.readers = map[string]int64{}
	w.flushed = w.s.FlushedPhysical()
	return nil
}

func (w *world) deleteTopic() error {
	topic := topics[w.rng.IntN(len(topics))]
	w.say("delete %s", topic)
	w.deleting, w.deleted = topic, w.s.MaxPhysical()
	err := w.s.DeleteTopic(topic)
	if w.p.isOff() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", topic, err)
	}
	w.deleting = ""
	for _, x := range w.all {
		if x.topic == topic {
			x.gone = true
		}
	}
	for q := range int32(4) {
		delete(w.readers, fmt.Sprint(topic, "/", q))
	}
	return nil
}
