// A member of a consumer group: heartbeats, its share of the queues, pulls with long polling, offsets.
package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

const (
	heartbeatEvery = 30 * time.Second
	rebalanceEvery = 20 * time.Second
	commitEvery    = 5 * time.Second
	pullWait       = 15 * time.Second
	retryPause     = 500 * time.Millisecond
)

// ConsumerOptions of a group member.
type ConsumerOptions struct {
	Group string
	Topic string
	Tags  string // "" or "*": all
	First bool   // a new group starts with the oldest message; else with what comes next
	// Handle is called for each message, one at a time per queue, several queues at once. An error sends the message back to
	// the broker, which delivers it again later.
	Handle func(q protocol.MessageQueue, m *message.Message) error
}

// Consumer is one running member of a group. Make it with Consume.
type Consumer struct {
	c    *Client
	o    ConsumerOptions
	wake chan struct{}

	mu     sync.Mutex // guards route, pulls
	route  map[string]*protocol.TopicRouteData
	pulls  map[protocol.MessageQueue]*pull
	closed bool
}

// pull is the loop over one queue.
type pull struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu        sync.Mutex // guards consumed, committed
	consumed  int64
	committed int64
}

// Consume joins the group and calls Handle until ctx ends; then it commits, leaves the group and returns.
func (c *Client) Consume(ctx context.Context, o ConsumerOptions) error {
	m := &Consumer{c: c, o: o, wake: make(chan struct{}, 1), route: map[string]*protocol.TopicRouteData{}, pulls: map[protocol.MessageQueue]*pull{}}
	c.mu.Lock()
	if _, taken := c.notified[o.Group]; taken {
		c.mu.Unlock()
		return fmt.Errorf("this client is already a member of group %s", o.Group)
	}
	c.notified[o.Group] = m.wake
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.notified, o.Group)
		c.mu.Unlock()
	}()
	if err := m.refresh(ctx); err != nil {
		return err
	}
	m.run(ctx)
	return nil
}

// topics are the group's own topic and its retry topic.
func (m *Consumer) topics() []string { return []string{m.o.Topic, message.RetryTopic(m.o.Group)} }

func (m *Consumer) run(ctx context.Context) {
	heartbeat, rebalance, commit := time.NewTicker(heartbeatEvery), time.NewTicker(rebalanceEvery), time.NewTicker(commitEvery)
	defer heartbeat.Stop()
	defer rebalance.Stop()
	defer commit.Stop()
	m.heartbeat(ctx)
	m.rebalance(ctx)
	for {
		select {
		case <-ctx.Done():
			m.leave()
			return
		case <-heartbeat.C:
			_ = m.refresh(ctx)
			m.heartbeat(ctx)
		case <-rebalance.C:
			_ = m.refresh(ctx)
			m.heartbeat(ctx) // also reaches brokers that have come back
			m.rebalance(ctx)
		case <-m.wake:
			m.rebalance(ctx)
		case <-commit.C:
			m.commitAll(ctx)
		}
	}
}

func (m *Consumer) refresh(ctx context.Context) error {
	for _, t := range m.topics() {
		r, err := m.c.Route(ctx, t)
		if err != nil {
			if t != m.o.Topic && errors.Is(err, ErrNoRoute) {
				continue // the retry topic comes into being with the first heartbeat
			}
			return err
		}
		m.mu.Lock()
		m.route[t] = r
		m.mu.Unlock()
	}
	return nil
}

func (m *Consumer) addresses() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, r := range m.route {
		for _, b := range r.BrokerDatas {
			for _, a := range b.BrokerAddrs {
				out = append(out, a)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (m *Consumer) heartbeat(ctx context.Context) {
	tags := m.o.Tags
	if tags == "" {
		tags = "*"
	}
	subs := []*protocol.SubscriptionData{subscription(m.o.Topic, tags), subscription(message.RetryTopic(m.o.Group), "*")}
	from := protocol.FromLastOffset
	if m.o.First {
		from = protocol.FromFirstOffset
	}
	body := protocol.Marshal(&protocol.HeartbeatData{ClientID: m.c.opts.ClientID, Producers: []protocol.ProducerData{}, Consumers: []protocol.ConsumerData{{
		GroupName: m.o.Group, ConsumeType: protocol.ConsumePassively, MessageModel: protocol.ModelClustering, ConsumeFromWhere: from, Subscriptions: subs,
	}}})
	for _, a := range m.addresses() {
		if _, _, err := Call(ctx, m.c, a, protocol.HeartBeat, nil, body); err != nil && ctx.Err() == nil {
			m.c.opts.Log.Debug("heartbeat", "remote", a, "err", err)
		}
	}
}

func subscription(topic, tags string) *protocol.SubscriptionData {
	s := &protocol.SubscriptionData{Topic: topic, SubString: tags, SubVersion: time.Now().UnixMilli(), ExpressionType: protocol.ExpressionTag, CodeSet: []int32{}, TagsSet: []string{}}
	for _, t := range splitTags(tags) {
		s.TagsSet = append(s.TagsSet, t)
		s.CodeSet = append(s.CodeSet, int32(message.TagHash(t)))
	}
	return s
}

func (m *Consumer) rebalance(ctx context.Context) {
	for _, t := range m.topics() {
		m.mu.Lock()
		r := m.route[t]
		m.mu.Unlock()
		if r == nil {
			continue
		}
		ids, err := m.members(ctx, r)
		if err != nil {
			m.c.opts.Log.Debug("rebalance", "topic", t, "err", err)
			continue
		}
		all := SubscribeQueues(t, r)
		m.take(ctx, t, Allocate(all, ids, m.c.opts.ClientID))
	}
}

func (m *Consumer) members(ctx context.Context, r *protocol.TopicRouteData) ([]string, error) {
	var last error
	for _, b := range r.BrokerDatas {
		l, err := CallJSON[protocol.ConsumerList](ctx, m.c, AnyReplica(b), protocol.GetConsumerListByGroup, &protocol.ConsumerGroupRequest{ConsumerGroup: m.o.Group})
		if err == nil {
			slices.Sort(l.IDs)
			return l.IDs, nil
		}
		last = err
	}
	return nil, last
}

// Allocate is RocketMQ's AllocateMessageQueueAveragely: neighbouring queues for each member, by sorted id.
func Allocate(queues []protocol.MessageQueue, ids []string, self string) []protocol.MessageQueue {
	i := slices.Index(ids, self)
	if i < 0 {
		return nil
	}
	n, members := len(queues), len(ids)
	mod := n % members
	size := 1
	if n > members {
		size = n / members
		if i < mod {
			size++
		}
	}
	start := i * size
	if i >= mod && mod > 0 {
		start += mod
	}
	end := min(start+size, n)
	if start >= end {
		return nil
	}
	return queues[start:end]
}

// take starts loops for new queues of a topic and ends those that went to others.
func (m *Consumer) take(ctx context.Context, topic string, mine []protocol.MessageQueue) {
	m.mu.Lock()
	var gone []*pull
	for q, p := range m.pulls {
		if q.Topic == topic && !slices.Contains(mine, q) {
			delete(m.pulls, q)
			gone = append(gone, p)
			p.cancel()
		}
	}
	m.mu.Unlock()
	for _, p := range gone {
		<-p.done
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range mine {
		if m.pulls[q] == nil && !m.closed {
			pctx, cancel := context.WithCancel(ctx)
			p := &pull{cancel: cancel, done: make(chan struct{}), consumed: -1, committed: -1}
			m.pulls[q] = p
			go m.pullLoop(pctx, q, p)
		}
	}
}

func (m *Consumer) commitAll(ctx context.Context) {
	m.mu.Lock()
	pulls := make(map[protocol.MessageQueue]*pull, len(m.pulls))
	for q, p := range m.pulls {
		pulls[q] = p
	}
	m.mu.Unlock()
	for q, p := range pulls {
		m.commit(ctx, q, p)
	}
}

// commit tells the offset to the master, or to the slave while the master is away, as Java's consumers do.
func (m *Consumer) commit(ctx context.Context, q protocol.MessageQueue, p *pull) {
	p.mu.Lock()
	off, done := p.consumed, p.committed
	p.mu.Unlock()
	if off < 0 || off == done {
		return
	}
	addr := m.addr(q, 0)
	if err := m.c.Commit(ctx, addr, m.o.Group, q, off); err != nil {
		m.c.opts.Log.Debug("commit", "queue", q, "offset", off, "err", err)
		return
	}
	p.mu.Lock()
	p.committed = off
	p.mu.Unlock()
}

// leave commits and says good-bye to every broker, within two seconds.
func (m *Consumer) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	m.mu.Lock()
	m.closed = true
	pulls := m.pulls
	m.mu.Unlock()
	for q, p := range pulls {
		p.cancel()
		<-p.done
		m.commit(ctx, q, p)
	}
	for _, a := range m.addresses() {
		_, _, _ = Call(ctx, m.c, a, protocol.UnregisterClient, &protocol.UnregisterClientRequest{ClientID: m.c.opts.ClientID, ConsumerGroup: m.o.Group})
	}
}

// addr is the member with the wanted broker id, else the master, else anyone.
func (m *Consumer) addr(q protocol.MessageQueue, id int64) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.route[q.Topic]
	if r == nil {
		return ""
	}
	b := brokerNamed(r, q.BrokerName)
	if b == nil {
		return ""
	}
	if a := b.BrokerAddrs[id]; a != "" {
		return a
	}
	return AnyReplica(b)
}
