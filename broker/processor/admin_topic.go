// Operators: topics.

package processor

import (
	"slices"

	"rmqctl/broker/config"
	"rmqctl/broker/group"
	"rmqctl/broker/offset"
	"rmqctl/broker/stats"
	"rmqctl/broker/store"
	"rmqctl/broker/topic"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// TopicAdmin answers operators who look at topics and change them.
type TopicAdmin struct {
	Config    *conf.Live[config.Config]
	Clock     clock.Clock
	Store     *store.Store
	Topics    *topic.Table
	Maker     *Maker
	Consumers *group.Consumers
	Offsets   *offset.Table
	Stats     *stats.Set
	System    map[string]bool // names that operators may neither make nor delete
}

const slaveGuard = "Can't modify topic or subscription group from slave broker, please execute it from master broker."

func (p *TopicAdmin) mayChange(name string) error {
	if !p.Maker.Role.Takes() {
		return protocol.Errorf(protocol.SystemError, slaveGuard)
	}
	if why := topic.CheckName(name); why != "" {
		return protocol.Errorf(protocol.SystemError, "%s", why)
	}
	if p.System[name] || message.IsSystemTopic(name) {
		return protocol.Errorf(protocol.SystemError, "The topic[%s] is conflict with system topic.", name)
	}
	return nil
}

// Update answers UPDATE_AND_CREATE_TOPIC. The name servers know the topic before the operator is answered.
func (p *TopicAdmin) Update(_ *remoting.Exchange, q *protocol.UpdateTopicRequest) (*protocol.Empty, error) {
	return nil, p.put(&protocol.TopicConfig{
		TopicName: q.Topic, ReadQueueNums: q.ReadQueueNums, WriteQueueNums: q.WriteQueueNums, Perm: q.Perm,
		TopicFilterType: q.TopicFilterType, TopicSysFlag: q.TopicSysFlag,
	})
}

// UpdateList answers UPDATE_AND_CREATE_TOPIC_LIST of 5.x: all of them or, at the first that may not be, an error.
func (p *TopicAdmin) UpdateList(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	var b protocol.UpdateTopicListBody
	if err := protocol.DecodeJSON(x.Request.Body, &b); err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "topic list: %v", err)
	}
	for _, c := range b.Topics {
		if err := p.mayChange(c.TopicName); err != nil {
			return nil, err
		}
	}
	for _, c := range b.Topics {
		if err := p.put(c); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (p *TopicAdmin) put(c *protocol.TopicConfig) error {
	if err := p.mayChange(c.TopicName); err != nil {
		return err
	}
	if c.ReadQueueNums < 0 || c.WriteQueueNums < 0 {
		return protocol.Errorf(protocol.SystemError, "topic %s: a negative number of queues", c.TopicName)
	}
	if c.TopicFilterType == "" {
		c.TopicFilterType = "SINGLE_TAG"
	}
	return p.Maker.Put(c)
}

// Delete answers DELETE_TOPIC_IN_BROKER: configuration and queue files go, committed offsets stay, as in 4.9.
func (p *TopicAdmin) Delete(_ *remoting.Exchange, q *protocol.TopicRequest) (*protocol.Empty, error) {
	if err := p.mayChange(q.Topic); err != nil {
		return nil, err
	}
	if err := p.Maker.DeleteTopic(q.Topic); err != nil {
		return nil, err
	}
	p.Stats.Forget(q.Topic)
	if p.Store.Gated() { // every member has deleted them when it made the change
		return nil, nil
	}
	return nil, p.Store.DeleteTopic(q.Topic)
}

// All answers GET_ALL_TOPIC_CONFIG, asked by slaves every 10 s and by tools. A 5.x slave takes an answer without a total
// for a whole one.
func (p *TopicAdmin) All(x *remoting.Exchange, _ *protocol.GetAllTopicConfigRequest) (*protocol.GetAllTopicConfigResponse, error) {
	rows, version := p.Topics.All()
	text, err := topic.Encode(rows, version)
	if err != nil {
		return nil, err
	}
	x.ReplyBody(text)
	return nil, nil
}

// Get answers GET_TOPIC_CONFIG of 5.x.
func (p *TopicAdmin) Get(x *remoting.Exchange, q *protocol.GetTopicConfigRequest) (*protocol.Empty, error) {
	c, ok := p.Topics.Get(q.Topic)
	if !ok {
		return nil, protocol.Errorf(protocol.TopicNotExist, "No topic in this broker. topic: %s", q.Topic)
	}
	x.ReplyBody(protocol.Marshal(c))
	return nil, nil
}

// QueueStats answers GET_TOPIC_STATS_INFO: how far each queue reaches.
func (p *TopicAdmin) QueueStats(x *remoting.Exchange, q *protocol.TopicRequest) (*protocol.Empty, error) {
	c, ok := p.Topics.Get(q.Topic)
	if !ok {
		return nil, protocol.Errorf(protocol.TopicNotExist, "topic[%s] not exist", q.Topic)
	}
	table := protocol.TopicStats{OffsetTable: map[protocol.MessageQueue]protocol.TopicOffset{}}
	for queue := range max(c.WriteQueueNums, c.ReadQueueNums) {
		o := protocol.TopicOffset{MinOffset: max(0, p.Store.MinOffset(q.Topic, queue)), MaxOffset: max(0, p.Store.MaxOffset(q.Topic, queue))}
		if o.MaxOffset > 0 {
			o.LastUpdateTimestamp, _ = p.Store.StoreTime(q.Topic, queue, o.MaxOffset-1)
		}
		table.OffsetTable[p.queue(q.Topic, queue)] = o
	}
	x.ReplyBody(protocol.Marshal(&table))
	return nil, nil
}

func (p *TopicAdmin) queue(topic string, queue int32) protocol.MessageQueue {
	return protocol.MessageQueue{BrokerName: p.Config.Load().BrokerName, QueueID: queue, Topic: topic}
}

// ConsumedBy answers QUERY_TOPIC_CONSUME_BY_WHO: who subscribes now and who has consumed before.
func (p *TopicAdmin) ConsumedBy(x *remoting.Exchange, q *protocol.TopicRequest) (*protocol.Empty, error) {
	groups := append(p.Consumers.Groups(q.Topic), p.Offsets.Groups(q.Topic)...)
	slices.Sort(groups)
	groups = slices.Compact(groups)
	if groups == nil {
		groups = []string{}
	}
	x.ReplyBody(protocol.Marshal(&protocol.GroupList{Groups: groups}))
	return nil, nil
}

// SystemList answers GET_SYSTEM_TOPIC_LIST_FROM_BROKER.
func (p *TopicAdmin) SystemList(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	list := protocol.TopicList{}
	for name := range p.System {
		list.Topics = append(list.Topics, name)
	}
	slices.Sort(list.Topics)
	x.ReplyBody(protocol.Marshal(&list))
	return nil, nil
}

// CleanUnused answers CLEAN_UNUSED_TOPIC: queue files of topics that are not configured any more go.
func (p *TopicAdmin) CleanUnused(_ *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	for _, name := range p.Store.Topics() {
		if _, known := p.Topics.Get(name); known || p.System[name] || message.IsSystemTopic(name) || name == message.HalfTopic || name == message.OpHalfTopic {
			continue
		}
		if err := p.Store.DeleteTopic(name); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
