// Pulls, and the long polls among them.

package processor

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/filter"
	"rmqctl/broker/group"
	"rmqctl/broker/longpoll"
	"rmqctl/broker/offset"
	"rmqctl/broker/stats"
	"rmqctl/broker/store"
	"rmqctl/broker/topic"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// Pull answers consumers that fetch messages, and holds those for whom there is nothing yet.
type Pull struct {
	Config    *conf.Live[config.Config]
	Clock     clock.Clock
	Store     *store.Store
	Topics    *topic.Table
	Maker     *Maker
	Consumers *group.Consumers
	Offsets   *offset.Table
	Polls     *longpoll.Table
	Stats     *stats.Set
	Host      netip.AddrPort // what clients call this broker
}

// pull is one request that passed its checks.
type pull struct {
	*protocol.PullMessageRequest
	tags  filter.Tags
	group *protocol.SubscriptionGroupConfig
}

// Pull answers PULL_MESSAGE and LITE_PULL_MESSAGE with stored messages as they lie in the log.
//
// Unlike RocketMQ 4.9: a slave that was asked for an offset it does not have yet holds the pull until it does; upstream
// sends such a client into a loop without a pause. Tag codes are computed here as well as taken from the client.
func (p *Pull) Pull(x *remoting.Exchange, q *protocol.PullMessageRequest) (*protocol.PullMessageResponse, error) {
	cfg := p.Config.Load()
	r, err := p.check(cfg, x, q)
	if err != nil {
		return nil, err
	}
	resp, got, err := p.get(cfg, r)
	if err != nil {
		return nil, err
	}
	p.commit(cfg, r)
	status := p.status(cfg, r, &got, resp)
	pending := x.Hold()
	if status == protocol.PullNotFound && r.SysFlag&protocol.PullSuspend != 0 {
		p.hold(cfg, x, r, pending)
		return nil, nil
	}
	p.reply(r, pending, status, resp, &got)
	return nil, nil
}

// hold keeps the request until there is something to look at, or its time is over.
func (p *Pull) hold(cfg *config.Config, x *remoting.Exchange, r *pull, pending *remoting.Pending) {
	wait := time.Duration(r.SuspendTimeoutMillis) * time.Millisecond
	if !cfg.LongPollingEnable {
		wait = cfg.ShortPollingTime
	}
	w := &longpoll.Waiter{
		Queue: longpoll.Queue{Topic: r.Topic, ID: r.QueueID}, Offset: r.QueueOffset, Deadline: x.Received.Add(wait), Owner: x.Conn,
		Release: func(longpoll.Reason) { p.again(r, pending) },
	}
	if !r.tags.All() {
		w.Accepts = r.tags.Accepts
	}
	p.Polls.Add(w)
	if end := p.Store.MaxOffset(r.Topic, r.QueueID); end > r.QueueOffset {
		p.Polls.NotifyAny(w.Queue, end) // it grew between the look and the hold
	}
}

// again answers a held pull: with what came, or with nothing.
func (p *Pull) again(r *pull, pending *remoting.Pending) {
	if pending.Gone() {
		return
	}
	cfg := p.Config.Load()
	resp, got, err := p.get(cfg, r)
	if err != nil {
		pending.Reply(nil, err)
		return
	}
	p.reply(r, pending, p.status(cfg, r, &got, resp), resp, &got)
}

func (p *Pull) reply(r *pull, pending *remoting.Pending, status int32, resp *protocol.PullMessageResponse, got *store.GetResult) {
	defer got.Release()
	if status == protocol.Success {
		p.protect(r, got)
		n := int64(len(got.Messages))
		p.Stats.Group(r.Topic, r.ConsumerGroup).Add(n, int64(got.Bytes))
		p.Stats.Get.Add(n, int64(got.Bytes))
		p.Stats.Founds.Add(1)
		pending.ReplyBody(got.Messages...)
	} else {
		p.Stats.Misses.Add(1)
	}
	pending.Status(status)
	pending.Remark(got.Status.String())
	pending.Reply(resp, nil)
}

// protect stops a group that reads too far behind the newest message, where the configuration asks for that: it would
// drag old data through the memory that the others need. An operator lets it consume again by updating the group.
func (p *Pull) protect(r *pull, got *store.GetResult) {
	cfg := p.Config.Load()
	if !cfg.DisableConsumeIfReadSlowly {
		return
	}
	at := int64(binary.BigEndian.Uint64(got.Messages[0][physicalOffsetAt:]))
	if behind := p.Store.MaxPhysical() - at; behind > cfg.ConsumerFallbehindThreshold {
		stopped := *r.group
		stopped.ConsumeEnable = false
		p.Maker.Groups.Put(r.ConsumerGroup, &stopped, p.Clock.Now())
		p.Maker.Log.Warn("group reads too far behind and is stopped", "group", r.ConsumerGroup, "topic", r.Topic, "behind", behind)
	}
}

// physicalOffsetAt is where a stored record tells its place in the log.
const physicalOffsetAt = 28

func (p *Pull) get(cfg *config.Config, r *pull) (*protocol.PullMessageResponse, store.GetResult, error) {
	var match store.Match
	if !r.tags.All() {
		match.Unit = r.tags.Accepts
	}
	got, err := p.Store.Get(r.Topic, r.QueueID, r.QueueOffset, store.GetLimit{Messages: int(r.MaxMsgNums), Bytes: int(r.MaxMsgBytes)}, match)
	if err != nil {
		return nil, got, err
	}
	resp := &protocol.PullMessageResponse{NextBeginOffset: got.Next, MinOffset: got.Min, MaxOffset: got.Max}
	if cfg.SlaveReadEnable {
		resp.SuggestWhichBrokerID = r.group.BrokerID
		if got.SuggestSlave {
			resp.SuggestWhichBrokerID = r.group.WhichBrokerWhenConsumeSlowly
		}
	}
	return resp, got, nil
}

// commit takes over the offset that rides on a pull. A slave does not: the client tells its master.
func (p *Pull) commit(cfg *config.Config, r *pull) {
	if r.SysFlag&protocol.PullCommitOffset != 0 && cfg.IsMaster() && r.CommitOffset >= 0 {
		p.Offsets.Commit(r.ConsumerGroup, r.Topic, r.QueueID, r.CommitOffset)
	}
}

// status turns what the store found into a response code, and corrects the next offset on a slave.
func (p *Pull) status(cfg *config.Config, r *pull, got *store.GetResult, resp *protocol.PullMessageResponse) int32 {
	status := pullStatus(got.Status, r.QueueOffset)
	if cfg.IsMaster() {
		return status
	}
	if !cfg.SlaveReadEnable {
		resp.SuggestWhichBrokerID = 0
		got.Release()
		return protocol.PullRetryImmediately
	}
	if status == protocol.PullOffsetMoved && !cfg.OffsetCheckInSlave {
		resp.NextBeginOffset = r.QueueOffset
		return protocol.PullNotFound
	}
	return status
}

func pullStatus(s store.GetStatus, from int64) int32 {
	switch s {
	case store.Found:
		return protocol.Success
	case store.NoMatchedMessage, store.MessageWasRemoving:
		return protocol.PullRetryImmediately
	case store.NoMatchedLogicQueue, store.NoMessageInQueue:
		if from == 0 {
			return protocol.PullNotFound
		}
		return protocol.PullOffsetMoved
	case store.OffsetFoundNull, store.OffsetOverflowOne:
		return protocol.PullNotFound
	}
	return protocol.PullOffsetMoved
}

// check makes RocketMQ's checks in RocketMQ's order.
func (p *Pull) check(cfg *config.Config, x *remoting.Exchange, q *protocol.PullMessageRequest) (*pull, error) {
	if int32(cfg.BrokerPermission)&protocol.PermRead == 0 {
		return nil, protocol.Errorf(protocol.NoPermission, "the broker[%s] pulling message is forbidden", p.Host.Addr())
	}
	g := p.Maker.Group(q.ConsumerGroup)
	if g == nil {
		return nil, protocol.Errorf(protocol.SubscriptionGroupNotExist, "subscription group [%s] does not exist, %s", q.ConsumerGroup, seeURL)
	}
	if !g.ConsumeEnable {
		return nil, protocol.Errorf(protocol.NoPermission, "subscription group no permission, %s", q.ConsumerGroup)
	}
	c, ok := p.Topics.Get(q.Topic)
	if !ok {
		return nil, protocol.Errorf(protocol.TopicNotExist, "topic[%s] not exist, apply first please!%s", q.Topic, seeURL)
	}
	if c.Perm&protocol.PermRead == 0 {
		return nil, protocol.Errorf(protocol.NoPermission, "the topic[%s] pulling message is forbidden", q.Topic)
	}
	if q.QueueID < 0 || q.QueueID >= c.ReadQueueNums {
		return nil, protocol.Errorf(protocol.SystemError, "queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] consumer:[%s]",
			q.QueueID, q.Topic, c.ReadQueueNums, x.Conn.RemoteAddr())
	}
	tags, err := p.subscription(q, g)
	if err != nil {
		return nil, err
	}
	return &pull{PullMessageRequest: q, tags: tags, group: g}, nil
}

const noSQL = "The broker does not support consumer to filter message by SQL92"

// subscription is what of the queue the group wants: as the request says, or as the group's heartbeats did.
func (p *Pull) subscription(q *protocol.PullMessageRequest, g *protocol.SubscriptionGroupConfig) (filter.Tags, error) {
	if !isTagType(q.ExpressionType) {
		return filter.Tags{}, protocol.Errorf(protocol.SystemError, noSQL)
	}
	if q.SysFlag&protocol.PullSubscription != 0 {
		return p.fromRequest(q)
	}
	s, about, online := p.Consumers.Subscription(q.ConsumerGroup, q.Topic)
	switch {
	case !online:
		return filter.Tags{}, protocol.Errorf(protocol.SubscriptionNotExist, "the consumer's group info not exist%s", seeURL)
	case !g.ConsumeBroadcastEnable && about.Broadcasting():
		return filter.Tags{}, protocol.Errorf(protocol.NoPermission, "the consumer group[%s] can not consume by broadcast way", q.ConsumerGroup)
	case s == nil:
		return filter.Tags{}, protocol.Errorf(protocol.SubscriptionNotExist, "the consumer's subscription not exist%s", seeURL)
	case s.SubVersion < q.SubVersion:
		return filter.Tags{}, protocol.Errorf(protocol.SubscriptionNotLatest, "the consumer's subscription not latest")
	case !isTagType(s.ExpressionType):
		return filter.Tags{}, protocol.Errorf(protocol.SystemError, noSQL)
	}
	return tagsOf(s), nil
}

// fromRequest reads the expression in the request. Beside the codes computed from it those of the group's heartbeat
// count, which clients in other languages compute in their own way.
func (p *Pull) fromRequest(q *protocol.PullMessageRequest) (filter.Tags, error) {
	names, ok := filter.Names(q.Subscription)
	if !ok {
		return filter.Tags{}, protocol.Errorf(protocol.SubscriptionParseFailed, "parse the consumer's subscription failed")
	}
	if len(names) == 0 {
		return filter.Tags{}, nil
	}
	var sent []int32
	if s, _, _ := p.Consumers.Subscription(q.ConsumerGroup, q.Topic); s != nil && s.SubString == q.Subscription {
		sent = s.CodeSet
	}
	return filter.Of(names, sent), nil
}

func tagsOf(s *protocol.SubscriptionData) filter.Tags {
	if s.SubString == "" || s.SubString == "*" {
		return filter.Tags{}
	}
	names := s.TagsSet
	if more, ok := filter.Names(s.SubString); ok {
		names = append(append([]string(nil), names...), more...)
	}
	return filter.Of(names, s.CodeSet)
}

func isTagType(expressionType string) bool {
	return expressionType == "" || strings.EqualFold(expressionType, protocol.ExpressionTag)
}
