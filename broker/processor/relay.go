// Requests that an operator sends through the broker to a client.

package processor

import (
	"context"
	"errors"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/group"
	"rmqctl/broker/offset"
	"rmqctl/broker/store"
	"rmqctl/broker/topic"
	"rmqctl/internal/conf"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// Client versions below which a client does not understand what is relayed to it.
const (
	versionReset = 28 // V3_0_7_SNAPSHOT
	versionRelay = 62 // V3_1_8_SNAPSHOT
)

// relayTimeout is how long a client may take to answer what an operator asks it.
const relayTimeout = 10 * time.Second

// Relay answers operators by asking the clients that are connected here.
type Relay struct {
	Config    *conf.Live[config.Config]
	Store     *store.Store
	Topics    *topic.Table
	Consumers *group.Consumers
	Offsets   *offset.Table
}

// RunningInfo answers GET_CONSUMER_RUNNING_INFO with the client's own bytes.
func (p *Relay) RunningInfo(x *remoting.Exchange, q *protocol.ConsumerRunningInfoRequest) (*protocol.Empty, error) {
	return nil, p.pass(x, q.ConsumerGroup, q.ClientID, protocol.GetConsumerRunningInfo.Request(q, x.Request.Body))
}

// Consume answers CONSUME_MESSAGE_DIRECTLY: one client of the group is made to consume one stored message now.
func (p *Relay) Consume(x *remoting.Exchange, q *protocol.ConsumeDirectlyRequest) (*protocol.Empty, error) {
	ask := *q
	ask.BrokerName = p.Config.Load().BrokerName
	body := x.Request.Body
	if q.MsgID != "" {
		_, at, err := message.ParseOffsetID(q.MsgID)
		if err != nil {
			return nil, protocol.Errorf(protocol.SystemError, "%v", err)
		}
		if body, err = p.Store.LookMessage(at); err != nil {
			return nil, protocol.Errorf(protocol.SystemError, "can not find message by the offset, %d", at)
		}
	}
	client := q.ClientID
	if client == "" {
		if members := p.Consumers.Members(q.ConsumerGroup); len(members) > 0 {
			client = members[0].ID
		}
	}
	return nil, p.pass(x, q.ConsumerGroup, client, protocol.ConsumeMessageDirectly.Request(&ask, body))
}

func (p *Relay) pass(x *remoting.Exchange, group, client string, cmd *protocol.Command) error {
	m, ok := p.Consumers.Member(group, client)
	if !ok {
		return protocol.Errorf(protocol.SystemError, "The Consumer <%s> <%s> not online", group, client)
	}
	if err := tooOld(group, m, versionRelay, "V3_1_8_SNAPSHOT"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), relayTimeout)
	defer cancel()
	answer, err := m.Conn.Call(ctx, cmd)
	if errors.Is(err, remoting.ErrTimeout) {
		return protocol.Errorf(protocol.ConsumeMsgTimeout, "consumer <%s> <%s> Timeout: %v", group, client, err)
	}
	if err != nil {
		return protocol.Errorf(protocol.SystemError, "invoke consumer <%s> <%s> Exception: %v", group, client, err)
	}
	x.Status(answer.Code)
	x.Remark(answer.Remark)
	x.ReplyBody(answer.Body)
	return nil
}

func tooOld(group string, m group.Client, version int32, name string) error {
	if m.Version >= version {
		return nil
	}
	return protocol.Errorf(protocol.SystemError, "The Consumer <%s> %s Version %s too low to finish, please upgrade it to %s",
		m.ID, group, protocol.VersionName(m.Version), name)
}

// Reset answers INVOKE_BROKER_TO_RESET_OFFSET: the group's clients are told to go on elsewhere, and commit that
// themselves. Nothing is changed while a client of the group could commit its old offsets over it.
func (p *Relay) Reset(x *remoting.Exchange, q *protocol.ResetOffsetRequest) (*protocol.Empty, error) {
	c, ok := p.Topics.Get(q.Topic)
	if !ok {
		return nil, protocol.Errorf(protocol.SystemError, "[reset-offset] reset offset failed, no topic in this broker. topic=%s", q.Topic)
	}
	table, err := p.resetTable(c, q)
	if err != nil {
		return nil, err
	}
	members := p.Consumers.Members(q.Group)
	if len(members) == 0 {
		return nil, protocol.Errorf(protocol.ConsumerNotOnline, "Consumer not online, so can not reset offset, Group: %s Topic: %s Timestamp: %d",
			q.Group, q.Topic, q.Timestamp)
	}
	for _, m := range members {
		if m.Version < versionReset {
			return nil, protocol.Errorf(protocol.SystemError, "the client does not support this feature. version=%s", protocol.VersionName(m.Version))
		}
	}
	push := &protocol.ResetOffsetRequest{Topic: q.Topic, Group: q.Group, Timestamp: q.Timestamp}
	for _, m := range members {
		if err := m.Conn.WriteOneway(protocol.ResetConsumerClientOffset.Request(push, resetBody(table, m.Language))); err != nil {
			return nil, protocol.Errorf(protocol.SystemError, "tell client %s: %v", m.ID, err)
		}
	}
	x.ReplyBody(resetBody(table, x.Language()))
	return nil, nil
}

func (p *Relay) resetTable(c *protocol.TopicConfig, q *protocol.ResetOffsetRequest) (map[protocol.MessageQueue]int64, error) {
	table := map[protocol.MessageQueue]int64{}
	for queue := range c.WriteQueueNums {
		if q.QueueID != nil && *q.QueueID >= 0 && *q.QueueID != queue {
			continue
		}
		committed, ok := p.Offsets.Get(q.Group, q.Topic, queue)
		if !ok {
			return nil, protocol.Errorf(protocol.SystemError, "THe consumer group <%s> not exist", q.Group)
		}
		var n int64
		switch {
		case q.Offset != nil && *q.Offset >= 0:
			n = *q.Offset
		case q.Timestamp == -1:
			n = p.Store.MaxOffset(q.Topic, queue)
		default:
			n = max(0, p.Store.OffsetByTime(q.Topic, queue, q.Timestamp))
		}
		if !q.Force && n >= committed {
			n = committed
		}
		table[protocol.MessageQueue{BrokerName: p.Config.Load().BrokerName, QueueID: queue, Topic: q.Topic}] = n
	}
	return table, nil
}

// resetBody writes the table as the reader's language wants it: C++ clients cannot read objects as keys.
func resetBody(table map[protocol.MessageQueue]int64, to protocol.Language) []byte {
	if to != protocol.LanguageCPP {
		return protocol.Marshal(&protocol.ResetOffsetBody{OffsetTable: table})
	}
	b := protocol.ResetOffsetBodyCPP{}
	for q, n := range table {
		b.OffsetTable = append(b.OffsetTable, protocol.QueueOffset{BrokerName: q.BrokerName, Offset: n, QueueID: q.QueueID, Topic: q.Topic})
	}
	return protocol.Marshal(&b)
}

// Status answers INVOKE_BROKER_TO_GET_CONSUMER_STATUS: what the group's clients hold to be their offsets.
func (p *Relay) Status(x *remoting.Exchange, q *protocol.ConsumerStatusRequest) (*protocol.Empty, error) {
	members := p.Consumers.Members(q.Group)
	if len(members) == 0 {
		return nil, protocol.Errorf(protocol.SystemError, "No Any Consumer online in the consumer group: [%s]", q.Group)
	}
	out := protocol.ConsumerStatusBody{
		ConsumerTable: map[string]map[protocol.MessageQueue]int64{}, MessageQueueTable: map[protocol.MessageQueue]int64{},
	}
	ctx, cancel := context.WithTimeout(context.Background(), relayTimeout)
	defer cancel()
	ask := &protocol.ConsumerStatusRequest{Topic: q.Topic, Group: q.Group}
	for _, m := range members {
		if q.ClientAddr != "" && q.ClientAddr != m.ID {
			continue
		}
		if err := tooOld(q.Group, m, versionRelay, "V3_1_8_SNAPSHOT"); err != nil {
			return nil, err
		}
		answer, err := m.Conn.Call(ctx, protocol.GetConsumerStatusOfClient.Request(ask, nil))
		if err != nil || answer.Code != protocol.Success || answer.Body == nil {
			continue
		}
		var b protocol.ConsumerStatusBody
		if protocol.DecodeJSON(answer.Body, &b) == nil {
			out.ConsumerTable[m.ID] = b.MessageQueueTable
		}
	}
	x.ReplyBody(protocol.Marshal(&out))
	return nil, nil
}
