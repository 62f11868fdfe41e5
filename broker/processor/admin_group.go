// Operators: groups, their members and their progress.

package processor

import (
	"slices"
	"strings"

	"rmqctl/broker/config"
	"rmqctl/broker/group"
	"rmqctl/broker/offset"
	"rmqctl/broker/stats"
	"rmqctl/broker/store"
	"rmqctl/broker/topic"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// GroupAdmin answers operators who look at groups, their members and their progress, and change them.
type GroupAdmin struct {
	Config    *conf.Live[config.Config]
	Clock     clock.Clock
	Store     *store.Store
	Topics    *topic.Table
	Maker     *Maker
	Consumers *group.Consumers
	Producers *group.Producers
	Offsets   *offset.Table
	Stats     *stats.Set
	Addr      func() string
}

// Update answers UPDATE_AND_CREATE_SUBSCRIPTIONGROUP.
func (p *GroupAdmin) Update(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	g := group.New("")
	if err := protocol.DecodeJSON(x.Request.Body, g); err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "group: %v", err)
	}
	return nil, p.put(g)
}

// UpdateList answers UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST of 5.x.
func (p *GroupAdmin) UpdateList(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	var b protocol.UpdateGroupListBody
	if err := protocol.DecodeJSON(x.Request.Body, &b); err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "group list: %v", err)
	}
	return nil, p.put(b.Groups...)
}

func (p *GroupAdmin) put(groups ...*protocol.SubscriptionGroupConfig) error {
	if !p.Maker.Role.Takes() {
		return protocol.Errorf(protocol.SystemError, slaveGuard)
	}
	for _, g := range groups {
		if why := topic.CheckName(g.GroupName); why != "" {
			return protocol.Errorf(protocol.SystemError, "group %q: %s", g.GroupName, why)
		}
	}
	for _, g := range groups {
		if err := p.Maker.PutGroup(g); err != nil {
			return err
		}
	}
	return p.Maker.SaveGroups()
}

// Delete answers DELETE_SUBSCRIPTIONGROUP. The offsets stay unless the operator, of whichever version, says otherwise.
func (p *GroupAdmin) Delete(_ *remoting.Exchange, q *protocol.DeleteGroupRequest) (*protocol.Empty, error) {
	if !p.Maker.Role.Takes() {
		return nil, protocol.Errorf(protocol.SystemError, slaveGuard)
	}
	forget := q.RemoveOffset || q.CleanOffset
	if err := p.Maker.DeleteGroup(q.GroupName, forget); err != nil {
		return nil, err
	}
	if forget {
		p.Offsets.Forget(func(k offset.Key) bool { return k.Group == q.GroupName })
	}
	return nil, nil
}

// All answers GET_ALL_SUBSCRIPTIONGROUP_CONFIG, asked by slaves every 10 s and by tools.
func (p *GroupAdmin) All(x *remoting.Exchange, _ *protocol.GetAllGroupConfigRequest) (*protocol.GetAllGroupConfigResponse, error) {
	rows, version := p.Maker.Groups.All()
	text, err := group.Encode(rows, version)
	if err != nil {
		return nil, err
	}
	x.ReplyBody(text)
	return nil, nil
}

// Get answers GET_SUBSCRIPTIONGROUP_CONFIG of 5.x.
func (p *GroupAdmin) Get(x *remoting.Exchange, q *protocol.GroupRequest) (*protocol.Empty, error) {
	g := p.Maker.Group(q.Group)
	if g == nil {
		return nil, protocol.Errorf(protocol.SubscriptionGroupNotExist, "No group in this broker")
	}
	x.ReplyBody(protocol.Marshal(g))
	return nil, nil
}

// Consumption answers GET_CONSUME_STATS: how far the group is behind, queue by queue.
func (p *GroupAdmin) Consumption(x *remoting.Exchange, q *protocol.GetConsumeStatsRequest) (*protocol.Empty, error) {
	topics := strings.FieldsFunc(q.TopicList, func(r rune) bool { return r == ';' })
	if q.Topic != "" {
		topics = []string{q.Topic}
	} else if len(topics) == 0 {
		topics = p.Offsets.Topics(q.ConsumerGroup)
	}
	s := protocol.ConsumeStats{OffsetTable: map[protocol.MessageQueue]protocol.OffsetWrapper{}}
	for _, topic := range topics {
		if c, ok := p.counts(q.ConsumerGroup, topic); ok {
			p.progress(&s, q.ConsumerGroup, c)
		}
	}
	x.ReplyBody(protocol.Marshal(&s))
	return nil, nil
}

// counts says whether the topic is to be shown: it exists, and the group, if online, still subscribes to it.
func (p *GroupAdmin) counts(group, topic string) (*protocol.TopicConfig, bool) {
	c, ok := p.Topics.Get(topic)
	if !ok {
		return nil, false
	}
	if s, _, online := p.Consumers.Subscription(group, topic); online && s == nil && len(p.Consumers.Subscriptions(group)) > 0 {
		return nil, false
	}
	return c, true
}

func (p *GroupAdmin) progress(s *protocol.ConsumeStats, group string, c *protocol.TopicConfig) (behind int64) {
	broker := p.Config.Load().BrokerName
	for queue := range c.ReadQueueNums {
		w := protocol.OffsetWrapper{BrokerOffset: max(0, p.Store.MaxOffset(c.TopicName, queue))}
		if n, ok := p.Offsets.Get(group, c.TopicName, queue); ok {
			w.ConsumerOffset = max(0, n)
		}
		if w.ConsumerOffset > 0 {
			w.LastTimestamp, _ = p.Store.StoreTime(c.TopicName, queue, w.ConsumerOffset-1)
		}
		w.LastTimestamp = max(0, w.LastTimestamp)
		w.PullOffset = w.ConsumerOffset
		s.OffsetTable[protocol.MessageQueue{BrokerName: broker, QueueID: queue, Topic: c.TopicName}] = w
		behind += w.BrokerOffset - w.ConsumerOffset
	}
	if w, ok := p.Stats.View("GROUP_GET_NUMS", c.TopicName+"@"+group); ok {
		s.ConsumeTPS += w.Minute.TPS
	}
	return behind
}

// BrokerConsumption answers GET_BROKER_CONSUME_STATS: the same for every group.
func (p *GroupAdmin) BrokerConsumption(x *remoting.Exchange, q *protocol.GetBrokerConsumeStatsRequest) (*protocol.Empty, error) {
	all := protocol.BrokerConsumeStats{BrokerAddr: p.Addr(), ConsumeStatsList: []map[string][]protocol.ConsumeStats{}}
	rows, _ := p.Maker.Groups.All()
	names := make([]string, 0, len(rows))
	for name := range rows {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		list := []protocol.ConsumeStats{}
		for _, topic := range p.Offsets.Topics(name) {
			c, ok := p.counts(name, topic)
			if !ok || q.IsOrder && !c.Order {
				continue
			}
			s := protocol.ConsumeStats{OffsetTable: map[protocol.MessageQueue]protocol.OffsetWrapper{}}
			all.TotalDiff += p.progress(&s, name, c)
			list = append(list, s)
		}
		all.ConsumeStatsList = append(all.ConsumeStatsList, map[string][]protocol.ConsumeStats{name: list})
	}
	x.ReplyBody(protocol.Marshal(&all))
	return nil, nil
}

// ConsumerConnections answers GET_CONSUMER_CONNECTION_LIST.
func (p *GroupAdmin) ConsumerConnections(x *remoting.Exchange, q *protocol.ConsumerGroupRequest) (*protocol.Empty, error) {
	about, online := p.Consumers.About(q.ConsumerGroup)
	if !online {
		return nil, protocol.Errorf(protocol.ConsumerNotOnline, "the consumer group[%s] not online", q.ConsumerGroup)
	}
	b := protocol.ConsumerConnection{
		Connections: connections(p.Consumers.Members(q.ConsumerGroup)), ConsumeFromWhere: about.ConsumeFromWhere,
		ConsumeType: about.ConsumeType, MessageModel: about.MessageModel, Subscriptions: map[string]*protocol.SubscriptionData{},
	}
	for _, s := range p.Consumers.Subscriptions(q.ConsumerGroup) {
		b.Subscriptions[s.Topic] = s
	}
	x.ReplyBody(protocol.Marshal(&b))
	return nil, nil
}

// ProducerConnections answers GET_PRODUCER_CONNECTION_LIST.
func (p *GroupAdmin) ProducerConnections(x *remoting.Exchange, q *protocol.ProducerGroupRequest) (*protocol.Empty, error) {
	members := p.Producers.Members(q.ProducerGroup)
	if len(members) == 0 {
		return nil, protocol.Errorf(protocol.SystemError, "the producer group[%s] not exist", q.ProducerGroup)
	}
	x.ReplyBody(protocol.Marshal(&protocol.ProducerConnection{Connections: connections(members)}))
	return nil, nil
}

func connections(members []group.Client) []protocol.Connection {
	out := make([]protocol.Connection, 0, len(members))
	for _, m := range members {
		out = append(out, protocol.Connection{ClientAddr: m.Conn.RemoteAddr().String(), ClientID: m.ID, Language: m.Language.String(), Version: m.Version})
	}
	return out
}

// AllProducers answers GET_ALL_PRODUCER_INFO.
func (p *GroupAdmin) AllProducers(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	t := protocol.ProducerTable{Data: map[string][]protocol.ProducerInfo{}}
	for name, members := range p.Producers.All() {
		for _, m := range members {
			t.Data[name] = append(t.Data[name], protocol.ProducerInfo{
				ClientID: m.ID, Language: m.Language.String(), LastUpdateTimestamp: m.Seen.UnixMilli(),
				RemoteIP: "/" + m.Conn.RemoteAddr().String(), Version: m.Version,
			})
		}
	}
	x.ReplyBody(protocol.Marshal(&t))
	return nil, nil
}

// TopicsOf answers QUERY_TOPICS_BY_CONSUMER of 5.x.
func (p *GroupAdmin) TopicsOf(x *remoting.Exchange, q *protocol.GroupRequest) (*protocol.Empty, error) {
	list := protocol.TopicList{Topics: p.Offsets.Topics(q.Group)}
	if list.Topics == nil {
		list.Topics = []string{}
	}
	x.ReplyBody(protocol.Marshal(&list))
	return nil, nil
}

// Subscription answers QUERY_SUBSCRIPTION_BY_CONSUMER of 5.x.
func (p *GroupAdmin) Subscription(x *remoting.Exchange, q *protocol.QuerySubscriptionRequest) (*protocol.Empty, error) {
	s, _, _ := p.Consumers.Subscription(q.Group, q.Topic)
	x.ReplyBody(protocol.Marshal(&protocol.SubscriptionOfGroup{Group: q.Group, Topic: q.Topic, Subscription: s}))
	return nil, nil
}
