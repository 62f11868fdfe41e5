// Pulls, and the long polls among them.

package processor

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"sync"
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
	Readers   *remoting.Pool // for what is not in memory
	Host      netip.AddrPort // what clients call this broker
}

// pull is one request that passed its checks. It belongs to one goroutine at a time and is used again when its answer is
// on its way.
type pull struct {
	*protocol.PullMessageRequest
	tags  filter.Tags
	group *protocol.SubscriptionGroupConfig

	p       *Pull
	got     store.GetResult
	resp    protocol.PullMessageResponse
	pending *remoting.Pending // set while the request is held
	waiter  longpoll.Waiter
}

var pulls = sync.Pool{New: func() any { return new(pull) }}

// keepMessages bounds what an idle pull keeps.
const keepMessages = 64

// Release gives r back when its messages have been copied into the answer.
func (r *pull) Release() {
	r.got.Release()
	if cap(r.got.Messages) > keepMessages {
		r.got = store.GetResult{}
	}
	*r = pull{got: r.got}
	pulls.Put(r)
}

// Pull answers PULL_MESSAGE and LITE_PULL_MESSAGE with stored messages as they lie in the log. What is in memory it answers
// on the goroutine that reads the connection; what lies on the disk a pool of readers answers.
//
// Unlike RocketMQ 4.9: a slave that was asked for an offset it does not have yet holds the pull until it does; upstream
// sends such a client into a loop without a pause. Tag codes are computed here as well as taken from the client.
func (p *Pull) Pull(x *remoting.Exchange, q *protocol.PullMessageRequest) (*protocol.PullMessageResponse, error) {
	cfg := p.Config.Load()
	r := pulls.Get().(*pull)
	r.p, r.PullMessageRequest = p, q
	x.After(r)
	if _, known := p.Maker.Groups.Get(q.ConsumerGroup); !known { // making it waits for the disk
		p.cold(x, r)
		return nil, nil
	}
	if err := p.check(cfg, x.Conn, r); err != nil {
		return nil, err
	}
	p.commit(cfg, r)
	err := p.get(cfg, r, true)
	if errors.Is(err, store.ErrCold) {
		p.cold(x, r)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	status := p.status(cfg, r)
	if p.mayHold(r, status) {
		received := x.Received
		r.pending = x.Hold()
		p.hold(cfg, r, received)
		return nil, nil
	}
	p.fill(r, x.Answer(), status)
	return &r.resp, nil
}

func (p *Pull) mayHold(r *pull, status int32) bool {
	return status == protocol.PullNotFound && r.SysFlag&protocol.PullSuspend != 0
}

// cold goes on where the disk may be waited for.
func (p *Pull) cold(x *remoting.Exchange, r *pull) {
	received := x.Received
	r.pending = x.Hold()
	if !p.Readers.Run(func() { p.fromDisk(r, received) }) {
		p.answer(nil, r, protocol.Errorf(protocol.SystemBusy, "[OVERLOAD]system busy, start flow control for a while"))
	}
}

func (p *Pull) fromDisk(r *pull, received time.Time) {
	cfg := p.Config.Load()
	if r.group == nil {
		if err := p.check(cfg, r.pending.Conn(), r); err != nil {
			p.answer(nil, r, err)
			return
		}
		p.commit(cfg, r)
	}
	if err := p.get(cfg, r, false); err != nil {
		p.answer(nil, r, err)
		return
	}
	status := p.status(cfg, r)
	if p.mayHold(r, status) {
		p.hold(cfg, r, received)
		return
	}
	p.fill(r, r.pending, status)
	p.answer(nil, r, nil)
}

// hold keeps the request until there is something to look at, or its time is over.
func (p *Pull) hold(cfg *config.Config, r *pull, received time.Time) {
	wait := time.Duration(r.SuspendTimeoutMillis) * time.Millisecond
	if !cfg.LongPollingEnable {
		wait = cfg.ShortPollingTime
	}
	r.got.Trim() // ten thousand may be held
	q := longpoll.Queue{Topic: r.Topic, ID: r.QueueID}
	from := r.QueueOffset
	r.waiter = longpoll.Waiter{
		Queue: q, Offset: from, Deadline: received.Add(wait), Owner: r.pending.Conn(), Flag: p.Store.Attention(r.Topic, r.QueueID), Held: r,
	}
	if !r.tags.All() {
		r.waiter.Accepts = r.tags.Accepts
	}
	p.Polls.Add(&r.waiter) // r may be answered from here on
	if end := p.Store.MaxOffset(q.Topic, q.ID); end > from {
		p.Polls.NotifyAny(q, end) // it grew between the look and the hold
	}
}

// Wake answers a held pull: with what came, or with nothing. It runs on the goroutine that wrote the news and does not
// wait for anything.
func (r *pull) Wake(longpoll.Reason) {
	p := r.p
	if r.pending.Gone() {
		p.answer(nil, r, remoting.ErrClosed)
		return
	}
	cfg := p.Config.Load()
	err := p.get(cfg, r, true)
	if errors.Is(err, store.ErrCold) {
		if !p.Readers.Run(func() { p.late(cfg, r, p.get(cfg, r, false)) }) {
			p.answer(nil, r, protocol.Errorf(protocol.SystemBusy, "[OVERLOAD]system busy, start flow control for a while"))
		}
		return
	}
	p.late(cfg, r, err)
}

// late answers a held pull, this time in any case.
func (p *Pull) late(cfg *config.Config, r *pull, err error) {
	if err != nil {
		p.answer(nil, r, err)
		return
	}
	p.fill(r, r.pending, p.status(cfg, r))
	var b remoting.Burst
	p.answer(&b, r, nil)
	b.Flush()
}

// answer answers a held pull: r and its exchange may be somebody else's afterwards.
func (p *Pull) answer(b *remoting.Burst, r *pull, err error) {
	pending, resp := r.pending, &r.resp
	if b != nil {
		b.Reply(pending, resp, err)
	} else {
		pending.Reply(resp, err)
	}
	pending.Recycle()
}

// fill puts what was found into the answer.
func (p *Pull) fill(r *pull, pending *remoting.Pending, status int32) {
	if status == protocol.Success {
		p.protect(r, &r.got)
		n := int64(len(r.got.Messages))
		p.Stats.Group(r.Topic, r.ConsumerGroup).Add(n, int64(r.got.Bytes))
		p.Stats.Get.Add(n, int64(r.got.Bytes))
		p.Stats.Founds.Add(1)
		pending.ReplyBody(r.got.Messages...)
	} else {
		p.Stats.Misses.Add(1)
	}
	pending.Status(status)
	pending.Remark(r.got.Status.String())
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

// get looks for messages; with cached only in memory.
func (p *Pull) get(cfg *config.Config, r *pull, cached bool) error {
	var match store.Match
	if !r.tags.All() {
		match.Unit = r.tags.Accepts
	}
	limit := store.GetLimit{Messages: int(r.MaxMsgNums), Bytes: int(r.MaxMsgBytes), Cached: cached}
	if err := p.Store.Fill(&r.got, r.Topic, r.QueueID, r.QueueOffset, limit, match); err != nil {
		return err
	}
	r.resp = protocol.PullMessageResponse{NextBeginOffset: r.got.Next, MinOffset: r.got.Min, MaxOffset: r.got.Max}
	if cfg.SlaveReadEnable {
		r.resp.SuggestWhichBrokerID = r.group.BrokerID
		if r.got.SuggestSlave {
			r.resp.SuggestWhichBrokerID = r.group.WhichBrokerWhenConsumeSlowly
		}
	}
	return nil
}

// commit takes over the offset that rides on a pull. A slave does not: the client tells its master.
func (p *Pull) commit(cfg *config.Config, r *pull) {
	if r.SysFlag&protocol.PullCommitOffset != 0 && p.Maker.Role.Takes() && r.CommitOffset >= 0 {
		p.Offsets.Commit(r.ConsumerGroup, r.Topic, r.QueueID, r.CommitOffset)
	}
}

// status turns what the store found into a response code, and corrects the next offset on a slave.
func (p *Pull) status(cfg *config.Config, r *pull) int32 {
	status := pullStatus(r.got.Status, r.QueueOffset)
	if p.Maker.Role.Takes() {
		return status
	}
	if !cfg.SlaveReadEnable {
		r.resp.SuggestWhichBrokerID = 0
		r.got.Release()
		return protocol.PullRetryImmediately
	}
	if status == protocol.PullOffsetMoved && !cfg.OffsetCheckInSlave {
		r.resp.NextBeginOffset = r.QueueOffset
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
func (p *Pull) check(cfg *config.Config, c *remoting.Conn, r *pull) error {
	q := r.PullMessageRequest
	if int32(cfg.BrokerPermission)&protocol.PermRead == 0 {
		return protocol.Errorf(protocol.NoPermission, "the broker[%s] pulling message is forbidden", p.Host.Addr())
	}
	g := p.Maker.Group(q.ConsumerGroup)
	if g == nil {
		return protocol.Errorf(protocol.SubscriptionGroupNotExist, "subscription group [%s] does not exist, %s", q.ConsumerGroup, seeURL)
	}
	if !g.ConsumeEnable {
		return protocol.Errorf(protocol.NoPermission, "subscription group no permission, %s", q.ConsumerGroup)
	}
	t, ok := p.Topics.Get(q.Topic)
	if !ok {
		return protocol.Errorf(protocol.TopicNotExist, "topic[%s] not exist, apply first please!%s", q.Topic, seeURL)
	}
	if t.Perm&protocol.PermRead == 0 {
		return protocol.Errorf(protocol.NoPermission, "the topic[%s] pulling message is forbidden", q.Topic)
	}
	if q.QueueID < 0 || q.QueueID >= t.ReadQueueNums {
		return protocol.Errorf(protocol.SystemError, "queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] consumer:[%s]",
			q.QueueID, q.Topic, t.ReadQueueNums, c.RemoteAddr())
	}
	tags, err := p.subscription(q, g)
	r.tags, r.group = tags, g
	return err
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
