// Replies to messages that were sent as requests.

package processor

import (
	"context"
	"strconv"

	"rmqctl/broker/group"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// Reply answers SEND_REPLY_MESSAGE: the answer to a request that another client sent as a message. It is pushed to the
// client that waits, which has a connection to this very broker, and stored like any other message.
type Reply struct {
	Send      *Send
	Producers *group.Producers
}

// V1 is the form with long names.
func (p *Reply) V1(x *remoting.Exchange, q *protocol.SendMessageRequest) (*protocol.SendMessageResponse, error) {
	return p.V2(x, (*protocol.SendMessageRequestV2)(q))
}

// V2 is the form with one-letter names.
func (p *Reply) V2(x *remoting.Exchange, q *protocol.SendMessageRequestV2) (*protocol.SendMessageResponse, error) {
	cfg := p.Send.Config.Load()
	d := &delivery{SendMessageRequestV2: q, body: x.Request.Body, from: x.Conn.Remote()}
	if err := p.Send.check(cfg, d, false); err != nil {
		return nil, err
	}
	if err := p.push(d); err != nil {
		return nil, err
	}
	resp := &protocol.SendMessageResponse{MsgID: "0", QueueID: q.QueueID, Region: cfg.RegionID, TraceOn: boolText(cfg.TraceOn)}
	c, err := p.Send.target(d, x.Version())
	if err != nil {
		return resp, nil // the requester has its answer; that no copy can be kept is no failure
	}
	pending := x.Hold()
	if err := p.Send.storeOne(cfg, d, c, &sending{resp: resp, pending: pending, anyway: true}); err != nil {
		pending.Reply(resp, nil)
	}
	return nil, nil
}

// push hands the reply to the client that asked.
func (p *Reply) push(d *delivery) error {
	id, ok := message.Property(d.Properties, message.PropReplyToClient)
	if !ok {
		return protocol.Errorf(protocol.SystemError, "reply message properties[%s] is null", message.PropReplyToClient)
	}
	client, ok := p.Producers.Find(id)
	if !ok {
		return protocol.Errorf(protocol.SystemError, "push reply message fail, channel of <%s> not found.", id)
	}
	now := p.Send.Clock.Now().UnixMilli()
	props := message.SetProperty(d.Properties, "PUSH_REPLY_TIME", strconv.FormatInt(now, 10))
	cmd := protocol.PushReplyMessageToClient.Request(&protocol.PushReplyMessageRequest{
		ProducerGroup: d.ProducerGroup, Topic: d.Topic, DefaultTopic: d.DefaultTopic, DefaultTopicQueueNums: d.DefaultTopicQueueNums,
		QueueID: d.QueueID, SysFlag: d.SysFlag, BornTimestamp: d.BornTimestamp, Flag: d.Flag, Properties: string(props),
		ReconsumeTimes: d.ReconsumeTimes, UnitMode: d.UnitMode, BornHost: d.from.String(), StoreHost: p.Send.Host.String(), StoreTimestamp: now,
	}, d.body)
	ctx, cancel := context.WithTimeout(context.Background(), relayTimeout)
	defer cancel()
	answer, err := client.Conn.Call(ctx, cmd)
	if err != nil || answer.Code != protocol.Success {
		return protocol.Errorf(protocol.SystemError, "push reply message to %sfail.", id)
	}
	return nil
}
