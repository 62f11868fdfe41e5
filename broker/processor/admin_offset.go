// Operators: offsets compared, copied, and queues looked into.

package processor

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"rmqctl/broker/config"
	"rmqctl/broker/filter"
	"rmqctl/broker/group"
	"rmqctl/broker/offset"
	"rmqctl/broker/store"
	"rmqctl/broker/topic"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// OffsetAdmin answers operators who compare, copy and look into queues and offsets.
type OffsetAdmin struct {
	Config    *conf.Live[config.Config]
	Clock     clock.Clock
	Store     *store.Store
	Topics    *topic.Table
	Consumers *group.Consumers
	Offsets   *offset.Table
}

// Correction answers QUERY_CORRECTION_OFFSET: per queue the smallest offset of the other groups, and the largest number
// there is where the compared group is behind it.
func (p *OffsetAdmin) Correction(x *remoting.Exchange, q *protocol.QueryCorrectionOffsetRequest) (*protocol.Empty, error) {
	out := map[int32]int64{}
	left := strings.Split(q.FilterGroups, ",")
	for _, g := range p.Offsets.Groups(q.Topic) {
		if slices.Contains(left, g) {
			continue
		}
		for queue, n := range p.Offsets.Queues(g, q.Topic) {
			if n < p.Store.MinOffset(q.Topic, queue) {
				continue
			}
			if old, ok := out[queue]; !ok || n < old {
				out[queue] = n
			}
		}
	}
	for queue, n := range p.Offsets.Queues(q.CompareGroup, q.Topic) {
		if out[queue] > n {
			out[queue] = math.MaxInt64
		}
	}
	x.ReplyBody(protocol.Marshal(&protocol.CorrectionOffsets{Offsets: out}))
	return nil, nil
}

// Clone answers CLONE_GROUP_OFFSET. Unless the operator says that the group is offline, only topics that it subscribes
// to now are copied.
func (p *OffsetAdmin) Clone(_ *remoting.Exchange, q *protocol.CloneGroupOffsetRequest) (*protocol.Empty, error) {
	topics := p.Offsets.Topics(q.SrcGroup)
	if q.Topic != "" {
		topics = []string{q.Topic}
	}
	for _, name := range topics {
		if _, ok := p.Topics.Get(name); !ok {
			continue
		}
		if s, _, online := p.Consumers.Subscription(q.SrcGroup, name); !q.Offline && online && s == nil {
			continue
		}
		p.Offsets.Clone(q.SrcGroup, q.DestGroup, name)
	}
	return nil, nil
}

// TimeSpan answers QUERY_CONSUME_TIME_SPAN: when the queues' messages were stored, and how old the next one to consume is.
func (p *OffsetAdmin) TimeSpan(x *remoting.Exchange, q *protocol.QueryConsumeTimeSpanRequest) (*protocol.Empty, error) {
	c, ok := p.Topics.Get(q.Topic)
	if !ok {
		return nil, protocol.Errorf(protocol.TopicNotExist, "topic[%s] not exist", q.Topic)
	}
	spans := protocol.ConsumeTimeSpans{Spans: []protocol.ConsumeTimeSpan{}}
	for queue := range c.WriteQueueNums {
		span := protocol.ConsumeTimeSpan{
			MessageQueue: protocol.MessageQueue{BrokerName: p.Config.Load().BrokerName, QueueID: queue, Topic: q.Topic},
			MinTimestamp: p.Store.EarliestStoreTime(q.Topic, queue),
		}
		end := p.Store.MaxOffset(q.Topic, queue)
		span.MaxTimestamp, _ = p.Store.StoreTime(q.Topic, queue, end-1)
		span.ConsumeTimestamp = span.MinTimestamp
		at, _ := p.Offsets.Get(q.Group, q.Topic, queue)
		if at > 0 {
			span.ConsumeTimestamp, _ = p.Store.StoreTime(q.Topic, queue, at-1)
		}
		if next, ok := p.Store.StoreTime(q.Topic, queue, at); ok && at < end {
			span.DelayTime = p.Clock.Now().UnixMilli() - next
		}
		spans.Spans = append(spans.Spans, span)
	}
	x.ReplyBody(protocol.Marshal(&spans))
	return nil, nil
}

// Queue answers QUERY_CONSUME_QUEUE: some entries of a queue, and whether the group's subscription wants them.
func (p *OffsetAdmin) Queue(x *remoting.Exchange, q *protocol.QueryConsumeQueueRequest) (*protocol.Empty, error) {
	out := protocol.ConsumeQueueData{
		MinQueueIndex: p.Store.MinOffset(q.Topic, q.QueueID), MaxQueueIndex: p.Store.MaxOffset(q.Topic, q.QueueID),
		QueueData: []protocol.ConsumeQueueUnit{},
	}
	if out.MaxQueueIndex <= 0 {
		return nil, protocol.Errorf(protocol.SystemError, "%d@%s is not exist!", q.QueueID, q.Topic)
	}
	tags := filter.Tags{}
	if s, _, _ := p.Consumers.Subscription(q.ConsumerGroup, q.Topic); s != nil {
		tags, out.SubscriptionData = tagsOf(s), s
	}
	for at := max(q.Index, out.MinQueueIndex); at < out.MaxQueueIndex && len(out.QueueData) < int(q.Count); {
		next, err := p.units(&out, q, at, tags)
		if err != nil {
			return nil, err
		}
		if next <= at {
			break
		}
		at = next
	}
	x.ReplyBody(protocol.Marshal(&out))
	return nil, nil
}

func (p *OffsetAdmin) units(out *protocol.ConsumeQueueData, q *protocol.QueryConsumeQueueRequest, at int64, tags filter.Tags) (int64, error) {
	got, err := p.Store.Get(q.Topic, q.QueueID, at, store.GetLimit{Messages: int(q.Count) - len(out.QueueData)}, store.Match{})
	if err != nil {
		return 0, err
	}
	defer got.Release()
	for _, record := range got.Messages {
		m, _, err := message.Decode(record, message.Options{})
		if err != nil {
			return 0, fmt.Errorf("entry %d: %w", at, err)
		}
		tag, _ := m.Property(message.PropTags)
		unit := protocol.ConsumeQueueUnit{PhysicOffset: m.PhysicalOffset, PhysicSize: m.Size, TagsCode: message.TagHash(tag)}
		unit.Eval = tags.Accepts(unit.TagsCode)
		out.QueueData = append(out.QueueData, unit)
	}
	return got.Next, nil
}
