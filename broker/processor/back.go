// Messages that consumers give back: retry and dead-letter topics.

package processor

import (
	"math/rand/v2"

	"rmqctl/broker/config"
	"rmqctl/broker/delay"
	"rmqctl/broker/ha"
	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// Back answers CONSUMER_SEND_MSG_BACK: a consumer gives back a message it could not handle. It comes again later through
// the group's retry topic, and after too many tries it goes to the group's dead-letter topic.
//
// The consumer is answered when the copy is as safe as a message that is sent.
func (p *Send) Back(x *remoting.Exchange, q *protocol.ConsumerSendMsgBackRequest) (*protocol.Empty, error) {
	if p.forward(x) {
		return nil, nil
	}
	cfg := p.Config.Load()
	g := p.Maker.Group(q.Group)
	switch {
	case p.Stopping():
		return nil, unavailable("this broker is stopping")
	case g == nil:
		return nil, protocol.Errorf(protocol.SubscriptionGroupNotExist, "subscription group not exist, %s%s", q.Group, seeURL)
	case int32(cfg.BrokerPermission)&protocol.PermWrite == 0:
		return nil, protocol.Errorf(protocol.NoPermission, "the broker[%s] sending message is forbidden", p.Host.Addr())
	case !p.Role.Takes():
		return nil, unavailable(p.Role.Load().Why)
	case p.Role.Load().Sync && p.Replicas.Admit() != ha.Replicated:
		return nil, errNotInSync
	case g.RetryQueueNums <= 0:
		return nil, nil
	}
	m, err := p.backCopy(cfg, x.Version(), q, g)
	if err != nil {
		return nil, err
	}
	r, err := p.Store.Append(m)
	if err != nil || r.Status != store.PutOK && r.Status != store.FlushDiskTimeout {
		return nil, putError(cfg, p.Store, r.Status, err)
	}
	p.Stats.SendBack(q.OriginTopic, q.Group).Add(1, int64(r.Size))
	p.Stats.Topic(m.Topic).Add(1, int64(r.Size))
	p.Stats.Put.Add(1, int64(r.Size))
	pending := x.Hold()
	p.awaitSlave(cfg, r.NextOffset, func() { pending.Reply(nil, nil) }) // stored: too late for a failure
	return nil, nil
}

// backCopy is the message as it is to be stored: one try more, the rest as it was, body still compressed.
func (p *Send) backCopy(cfg *config.Config, version int32, q *protocol.ConsumerSendMsgBackRequest, g *protocol.SubscriptionGroupConfig) (*message.Message, error) {
	record, err := p.Store.LookMessage(q.Offset)
	if err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "look message by offset failed, %d", q.Offset)
	}
	old, _, err := message.Decode(record, message.Options{})
	if err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "look message by offset failed, %d: %v", q.Offset, err)
	}
	limit := g.RetryMaxTimes
	if version >= versionMaxReconsume && q.MaxReconsumeTimes != nil {
		limit = *q.MaxReconsumeTimes
	}
	m := old
	m.StoreHost, m.PreparedTransactionOffset = p.Host, 0
	m.Properties = message.DeleteProperty(m.Properties, message.PropWait)
	m.Properties = message.DeleteProperty(m.Properties, message.PropDelay)
	if _, ok := old.Property(message.PropRetryTopic); !ok {
		m.Properties = message.SetProperty(m.Properties, message.PropRetryTopic, old.Topic)
	}
	if _, ok := old.Property(message.PropOriginMessageID); !ok {
		m.Properties = message.SetProperty(m.Properties, message.PropOriginMessageID, message.OffsetID(old.StoreHost, old.PhysicalOffset))
	}
	level := int(q.DelayLevel)
	var c *protocol.TopicConfig
	if old.ReconsumeTimes >= limit || level < 0 {
		c, err = p.Maker.Internal(message.DLQTopic(q.Group), 1, protocol.PermRead|protocol.PermWrite, 0)
		level = 0
	} else {
		c, err = p.Maker.RetryTopic(g, unitSubFlag(q.UnitMode))
		if level == 0 {
			level = 3 + int(old.ReconsumeTimes)
		}
	}
	if err != nil {
		return nil, err
	}
	if c.Perm&protocol.PermWrite == 0 {
		return nil, protocol.Errorf(protocol.NoPermission, "the topic[%s] sending message is forbidden", c.TopicName)
	}
	m.Topic, m.QueueID, m.ReconsumeTimes = c.TopicName, rand.Int32N(max(1, c.WriteQueueNums)), old.ReconsumeTimes+1
	if level > 0 {
		return delay.Hide(&m, level, p.Levels), nil
	}
	return &m, nil
}
