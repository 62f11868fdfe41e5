// Sending, with the retries that RocketMQ's clients make: another broker at once, fresh routes when none is left.
package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// routeAge is how long RocketMQ's clients trust a route.
const routeAge = 30 * time.Second

// Outgoing is a message to send. Zero fields mean "none".
type Outgoing struct {
	Topic      string
	Tags       string
	Keys       string // several are separated by blanks
	DelayLevel int
	Body       []byte
	Properties map[string]string
	// Queue pins the message to one queue; nil lets the producer pick in turn.
	Queue *protocol.MessageQueue
}

// SendResult is what a broker said of a stored message.
type SendResult struct {
	Status      int32 // Success, FlushDiskTimeout, FlushSlaveTimeout or SlaveNotAvailable: stored in all four cases
	MsgID       string
	OffsetMsgID string
	Queue       protocol.MessageQueue
	QueueOffset int64
	Broker      string // address
}

// StatusName is the name users know from Java's SendStatus.
func (r SendResult) StatusName() string {
	if r.Status == protocol.Success {
		return "SEND_OK"
	}
	return protocol.StatusName(r.Status)
}

// Producer sends to topics; safe for many goroutines.
type Producer struct {
	c     *Client
	group string
	turn  atomic.Uint32

	mu     sync.Mutex // guards routes
	routes map[string]*cachedRoute
}

type cachedRoute struct {
	data *protocol.TopicRouteData
	at   time.Time
}

// Producer makes a producer of a group.
func (c *Client) Producer(group string) *Producer {
	return &Producer{c: c, group: group, routes: map[string]*cachedRoute{}}
}

// Send stores one message. It tries up to three brokers; an error names the last refusal.
func (p *Producer) Send(ctx context.Context, m Outgoing) (SendResult, error) {
	var last error
	avoid := ""
	for try := range 3 {
		q, addr, err := p.pick(ctx, m, avoid, try > 0)
		if err != nil {
			return SendResult{}, errors.Join(last, err)
		}
		r, err := p.sendTo(ctx, addr, q, m)
		if err == nil || ctx.Err() != nil || !retryable(err) {
			return r, err
		}
		last, avoid = err, q.BrokerName
	}
	return SendResult{}, fmt.Errorf("not sent after 3 tries: %w", last)
}

// retryable: another broker may take what this one refused, as in Java's retryResponseCodes.
func retryable(err error) bool {
	var refused *protocol.Error
	if !errors.As(err, &refused) {
		return true // no answer at all
	}
	switch refused.Status {
	case protocol.TopicNotExist, protocol.ServiceNotAvailable, protocol.SystemError, protocol.SystemBusy, protocol.NoPermission:
		return true
	}
	return false
}

func (p *Producer) sendTo(ctx context.Context, addr string, q protocol.MessageQueue, m Outgoing) (SendResult, error) {
	id := p.c.ids.Next(time.Now())
	req := protocol.SendMessageRequestV2{
		ProducerGroup: p.group, Topic: m.Topic, DefaultTopic: message.AutoCreateTopic, DefaultTopicQueueNums: 4,
		QueueID: q.QueueID, BornTimestamp: time.Now().UnixMilli(), Properties: properties(m, id), BrokerName: q.BrokerName,
	}
	resp, _, err := Call(ctx, p.c, addr, protocol.SendMessageV2, &req, m.Body)
	status := protocol.StatusOf(err)
	switch status {
	case protocol.Success, protocol.FlushDiskTimeout, protocol.FlushSlaveTimeout, protocol.SlaveNotAvailable:
		q.QueueID = resp.QueueID
		return SendResult{Status: status, MsgID: id, OffsetMsgID: resp.MsgID, Queue: q, QueueOffset: resp.QueueOffset, Broker: addr}, nil
	}
	return SendResult{}, err
}

func properties(m Outgoing, id string) []byte {
	all := map[string]string{message.PropUniqKey: id, message.PropWait: "true"}
	for k, v := range m.Properties {
		all[k] = v
	}
	if m.Tags != "" {
		all[message.PropTags] = m.Tags
	}
	if m.Keys != "" {
		all[message.PropKeys] = m.Keys
	}
	if m.DelayLevel > 0 {
		all[message.PropDelay] = fmt.Sprint(m.DelayLevel)
	}
	return message.EncodeProperties(all)
}

// pick chooses a queue in turn, away from the broker that has just failed if another has one.
func (p *Producer) pick(ctx context.Context, m Outgoing, avoid string, fresh bool) (protocol.MessageQueue, string, error) {
	r, err := p.route(ctx, m.Topic, fresh)
	if err != nil {
		return protocol.MessageQueue{}, "", err
	}
	if m.Queue != nil {
		b := brokerNamed(r, m.Queue.BrokerName)
		if b == nil || Master(b) == "" {
			return *m.Queue, "", fmt.Errorf("broker %s has no master in the route of topic %s", m.Queue.BrokerName, m.Topic)
		}
		return *m.Queue, Master(b), nil
	}
	all := PublishQueues(m.Topic, r)
	if len(all) == 0 {
		return protocol.MessageQueue{}, "", fmt.Errorf("topic %s: no master with write permission: %w", m.Topic, ErrNoRoute)
	}
	var q protocol.MessageQueue
	for range all {
		q = all[p.turn.Add(1)%uint32(len(all))]
		if q.BrokerName != avoid {
			break
		}
	}
	return q, Master(brokerNamed(r, q.BrokerName)), nil
}

// route is the cached route; a topic that does not exist yet gets the route of the auto-create topic, as in all clients.
func (p *Producer) route(ctx context.Context, topic string, fresh bool) (*protocol.TopicRouteData, error) {
	p.mu.Lock()
	cached := p.routes[topic]
	p.mu.Unlock()
	if cached != nil && !fresh && time.Since(cached.at) < routeAge {
		return cached.data, nil
	}
	r, err := p.c.Route(ctx, topic)
	if errors.Is(err, ErrNoRoute) {
		if tmpl, terr := p.c.Route(ctx, message.AutoCreateTopic); terr == nil {
			for _, q := range tmpl.QueueDatas {
				q.ReadQueueNums, q.WriteQueueNums = min(q.ReadQueueNums, 4), min(q.WriteQueueNums, 4)
			}
			r, err = tmpl, nil
		}
	}
	if err != nil {
		if cached != nil && !errors.Is(err, ErrNoRoute) {
			return cached.data, nil // name servers away: the old route still leads somewhere
		}
		return nil, err
	}
	p.mu.Lock()
	p.routes[topic] = &cachedRoute{r, time.Now()}
	p.mu.Unlock()
	return r, nil
}

// Oneway sends without waiting for an answer.
func (p *Producer) Oneway(ctx context.Context, m Outgoing) error {
	q, addr, err := p.pick(ctx, m, "", false)
	if err != nil {
		return err
	}
	req := protocol.SendMessageRequestV2{
		ProducerGroup: p.group, Topic: m.Topic, DefaultTopic: message.AutoCreateTopic, DefaultTopicQueueNums: 4,
		QueueID: q.QueueID, BornTimestamp: time.Now().UnixMilli(), Properties: properties(m, p.c.ids.Next(time.Now())), BrokerName: q.BrokerName,
	}
	return p.c.rc.Oneway(ctx, addr, protocol.SendMessageV2.Request(&req, m.Body))
}

// idsChanged answers a broker's NOTIFY_CONSUMER_IDS_CHANGED: the group's consumer looks at its share again.
func (c *Client) idsChanged(_ *remoting.Exchange, q *protocol.ConsumerGroupRequest) (*protocol.Empty, error) {
	c.mu.Lock()
	ch := c.notified[q.ConsumerGroup]
	c.mu.Unlock()
	if ch != nil {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
	return nil, nil
}
