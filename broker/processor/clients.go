// Heartbeats, good-byes, and what consumers are told of their group.

package processor

import (
	"log/slog"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/group"
	"rmqctl/broker/longpoll"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// silence is how long a client may send no heartbeat before it is forgotten. Clients send one every 30 s.
const silence = 2 * time.Minute

// Clients answers what clients say of themselves, and tells consumers when their group changes.
type Clients struct {
	Config    *conf.Live[config.Config]
	Clock     clock.Clock
	Log       *slog.Logger
	Maker     *Maker
	Consumers *group.Consumers
	Producers *group.Producers
	Locks     *group.Locks
	Polls     *longpoll.Table
}

// HeartBeat answers HEART_BEAT: every client, every 30 s, to every broker it knows.
//
// Unlike RocketMQ: a slave makes neither groups nor retry topics; it gets them from its master.
func (p *Clients) HeartBeat(x *remoting.Exchange, _ *protocol.Empty) (*protocol.HeartBeatResponse, error) {
	var h protocol.HeartbeatData
	if err := protocol.DecodeJSON(x.Request.Body, &h); err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "heartbeat: %v", err)
	}
	me := group.Client{Conn: x.Conn, ID: h.ClientID, Language: x.Language(), Version: x.Version(), Seen: p.Clock.Now()}
	for i := range h.Consumers {
		if err := p.consumer(me, &h.Consumers[i]); err != nil {
			return nil, err
		}
	}
	for _, producer := range h.Producers {
		p.Producers.Register(producer.GroupName, me)
	}
	return &protocol.HeartBeatResponse{}, nil
}

func (p *Clients) consumer(me group.Client, d *protocol.ConsumerData) error {
	g := p.Maker.Group(d.GroupName)
	if g != nil && p.Maker.Role.Takes() {
		if _, err := p.Maker.RetryTopic(g, unitSubFlag(d.UnitMode)); err != nil {
			return err
		}
	}
	about := group.About{ConsumeType: d.ConsumeType, MessageModel: d.MessageModel, ConsumeFromWhere: d.ConsumeFromWhere}
	if p.Consumers.Register(d.GroupName, me, about, d.Subscriptions) {
		p.Log.Info("consumer group changed", "group", d.GroupName, "remote", me.Conn.RemoteAddr().String(), "client", me.ID)
		p.notify(d.GroupName)
	}
	return nil
}

// notify tells every member of the group, the one whose heartbeat changed it included.
func (p *Clients) notify(name string) {
	if !p.Config.Load().NotifyConsumerIDsChangedEnable {
		return
	}
	if g, ok := p.Maker.Groups.Get(name); ok && !g.NotifyConsumerIdsChangedEnable {
		return
	}
	for _, m := range p.Consumers.Members(name) {
		if err := m.Conn.WriteOneway(protocol.NotifyConsumerIdsChanged.Request(&protocol.ConsumerGroupRequest{ConsumerGroup: name}, nil)); err != nil {
			p.Log.Debug("notify consumer", "group", name, "remote", m.Conn.RemoteAddr().String(), "err", err)
		}
	}
}

// Unregister answers UNREGISTER_CLIENT, sent once per group by a client that stops.
func (p *Clients) Unregister(x *remoting.Exchange, q *protocol.UnregisterClientRequest) (*protocol.Empty, error) {
	if q.ProducerGroup != "" {
		p.Producers.Unregister(q.ProducerGroup, x.Conn)
	}
	if q.ConsumerGroup != "" && p.Consumers.Unregister(q.ConsumerGroup, x.Conn) {
		p.notify(q.ConsumerGroup)
	}
	return nil, nil
}

// Disconnected forgets the clients of a closed connection and tells those who are left in their groups.
func (p *Clients) Disconnected(c *remoting.Conn) {
	p.Polls.Drop(c)
	p.forget(c)
}

func (p *Clients) forget(c group.Conn) {
	p.Producers.Disconnected(c)
	for _, name := range p.Consumers.Disconnected(c) {
		p.notify(name)
	}
}

// Sweep forgets clients that have gone silent on connections that are still open.
func (p *Clients) Sweep() {
	limit := p.Clock.Now().Add(-silence)
	for _, c := range append(p.Consumers.Silent(limit), p.Producers.Silent(limit)...) {
		p.Log.Info("silent client forgotten", "remote", c.RemoteAddr().String())
		p.forget(c)
	}
}

// List answers GET_CONSUMER_LIST_BY_GROUP, which every rebalance asks. client-go reads a body whatever the code is, so
// an unknown group must not have one.
func (p *Clients) List(x *remoting.Exchange, q *protocol.ConsumerGroupRequest) (*protocol.Empty, error) {
	members := p.Consumers.Members(q.ConsumerGroup)
	if len(members) == 0 {
		return nil, protocol.Errorf(protocol.SystemError, "no consumer for this group, %s", q.ConsumerGroup)
	}
	list := protocol.ConsumerList{}
	for _, m := range members {
		list.IDs = append(list.IDs, m.ID)
	}
	x.ReplyBody(protocol.Marshal(&list))
	return nil, nil
}

// CheckConfig answers CHECK_CLIENT_CONFIG: whether a subscription can be served, asked before consuming starts.
func (p *Clients) CheckConfig(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	var b protocol.CheckClientConfigBody
	if err := protocol.DecodeJSON(x.Request.Body, &b); err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "client config: %v", err)
	}
	if b.Subscription != nil && !isTagType(b.Subscription.ExpressionType) {
		return nil, protocol.Errorf(protocol.SystemError, noSQL)
	}
	return nil, nil
}

// Lock answers LOCK_BATCH_MQ: who consumes in order asks every 20 s.
func (p *Clients) Lock(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	var b protocol.LockBatchBody
	if err := protocol.DecodeJSON(x.Request.Body, &b); err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "lock request: %v", err)
	}
	granted := p.Locks.Lock(b.ConsumerGroup, b.ClientID, b.Queues, p.Clock.Now())
	x.ReplyBody(protocol.Marshal(&protocol.LockBatchResponse{Locked: granted}))
	return nil, nil
}

// Unlock answers UNLOCK_BATCH_MQ.
func (p *Clients) Unlock(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	var b protocol.LockBatchBody
	if err := protocol.DecodeJSON(x.Request.Body, &b); err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "unlock request: %v", err)
	}
	p.Locks.Unlock(b.ConsumerGroup, b.ClientID, b.Queues)
	return nil, nil
}
