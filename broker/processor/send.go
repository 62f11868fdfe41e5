// Sends: checked, stored, and answered when flush and replication are as the configuration asks.

package processor

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/delay"
	"rmqctl/broker/ha"
	"rmqctl/broker/role"
	"rmqctl/broker/stats"
	"rmqctl/broker/store"
	"rmqctl/broker/topic"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// Replicator says when bytes of the log have reached the slaves; broker/ha is one. done is called once, at once or
// later, with what became of it.
type Replicator interface {
	Await(next int64, timeout time.Duration, done func(ha.Status))
	Admit() ha.Status // before an append: whether it may be stored
}

// Send answers what producers send.
type Send struct {
	Config   *conf.Live[config.Config]
	Clock    clock.Clock
	Store    *store.Store
	Maker    *Maker
	Stats    *stats.Set
	Role     *role.Holder
	Replicas Replicator // of a master that waits for slaves
	Levels   delay.Levels
	Host     netip.AddrPort // what clients call this broker; part of every message's offset id
	Stopping func() bool
	Tasks    *Tasks // answers that are owed: Close waits for them
	// Elsewhere hands a request on to who takes messages instead of this broker; nil: nobody does.
	Elsewhere func(ctx context.Context, cmd *protocol.Command) (*protocol.Command, error)

	forwarded atomic.Int64
	bursts    sync.Pool // *burst
	held      sync.Pool // *held
	round     round
}

// versionMaxReconsume is the client version (V3_4_9) from which a sender's own limit of retries counts.
const versionMaxReconsume = 121

// delivery is one request to store something, whatever code it came with.
type delivery struct {
	*protocol.SendMessageRequestV2
	body []byte
	from netip.AddrPort
}

// V1 answers SEND_MESSAGE, which client-go and old Java producers send.
func (p *Send) V1(x *remoting.Exchange, q *protocol.SendMessageRequest) (*protocol.SendMessageResponse, error) {
	return p.V2(x, (*protocol.SendMessageRequestV2)(q))
}

// V2 answers SEND_MESSAGE_V2 and SEND_BATCH_MESSAGE. It checks on the goroutine that reads the connection; what one read
// has brought is stored together (EndBurst), and answered by the store's writer. Making a topic goes on elsewhere.
//
// Unlike RocketMQ 4.9: no half message is stored, visible or not, because nothing could commit it yet; a broker that
// stops answers 14 and not 1, so that producers turn to another.
func (p *Send) V2(x *remoting.Exchange, q *protocol.SendMessageRequestV2) (*protocol.SendMessageResponse, error) {
	if p.forward(x) {
		return nil, nil
	}
	cfg, b := p.Config.Load(), p.burst(x.Conn)
	d := delivery{SendMessageRequestV2: q, body: x.Request.Body, from: x.Conn.Remote()}
	c := b.config
	if b.topic != d.Topic {
		c = nil
	}
	if err := p.check(cfg, &d, c != nil); err != nil {
		return nil, err
	}
	resp := remoting.Response[protocol.SendMessageResponse](x)
	if c == nil && !message.IsRetryTopic(d.Topic) {
		c, _ = p.Maker.Topics.Get(d.Topic)
	}
	if c == nil {
		version := x.Version()
		p.makeAndStore(cfg, d, version, x.Hold(), resp)
		return nil, nil
	}
	w := sendings.Get().(*sending)
	w.resp = resp
	if err := p.stage(b, cfg, &d, c, w); err != nil {
		*w = sending{}
		sendings.Put(w)
		return nil, err
	}
	w.pending = x.Hold()
	return nil, nil
}

// makeAndStore is for messages whose topic may have to be made.
func (p *Send) makeAndStore(cfg *config.Config, d delivery, version int32, pending *remoting.Pending, resp *protocol.SendMessageResponse) {
	d.Properties, d.body = append([]byte(nil), d.Properties...), append([]byte(nil), d.body...)
	p.Tasks.Go(func() {
		c, err := p.target(&d, version)
		if err == nil {
			err = p.storeOne(cfg, &d, c, &sending{resp: resp, pending: pending})
		}
		if err != nil {
			pending.Reply(nil, err)
		}
	})
}

// storeOne stores on a goroutine of its own. An error means that nothing was stored, and nobody answered.
func (p *Send) storeOne(cfg *config.Config, d *delivery, c *protocol.TopicConfig, w *sending) error {
	b := p.newBurst()
	err := p.stage(b, cfg, d, c, w)
	p.put(b)
	return err
}

// check refuses what no topic could make right.
func (p *Send) check(cfg *config.Config, d *delivery, knownTopic bool) error {
	if at := cfg.StartAcceptSendRequestAt; at > 0 && at > p.Clock.Now().UnixMilli() {
		return protocol.Errorf(protocol.SystemError, "broker unable to service, until %s", time.UnixMilli(at).Format("2006-01-02 15:04:05.000"))
	}
	if p.Stopping() {
		return unavailable("this broker is stopping")
	}
	if st := p.Role.Load(); !st.Takes() {
		return unavailable(st.Why)
	} else if st.Sync && p.Replicas.Admit() != ha.Replicated {
		return errNotInSync
	}
	if !knownTopic {
		if why := checkTopic(d.Topic); why != nil {
			return why
		}
	}
	if len(d.Properties) > message.MaxProperties || len(d.body) > cfg.MaxMessageSize {
		return illegal(cfg)
	}
	return nil
}

func checkTopic(name string) error {
	if why := topic.CheckName(name); why != "" {
		return protocol.Errorf(protocol.SystemError, "%s", why)
	}
	switch name {
	case message.ScheduleTopic, message.HalfTopic, message.OpHalfTopic, message.CheckMaxTimeTopic, message.SelfTestTopic, message.OffsetMovedTopic:
		return protocol.Errorf(protocol.NoPermission, "Sending message to topic[%s] is forbidden.", name)
	}
	return nil
}

// target finds or makes the topic, and turns a message that was tried too often away from its retry topic.
func (p *Send) target(d *delivery, version int32) (*protocol.TopicConfig, error) {
	if group, isRetry := strings.CutPrefix(d.Topic, message.RetryPrefix); isRetry {
		return p.retryTarget(d, group, version)
	}
	c, err := p.Maker.ForSend(d.Topic, d.DefaultTopic, d.DefaultTopicQueueNums, unitFlag(d.UnitMode))
	if err == nil && c == nil {
		err = protocol.Errorf(protocol.TopicNotExist, "topic[%s] not exist, apply first please!%s", d.Topic, seeURL)
	}
	return c, err
}

func (p *Send) retryTarget(d *delivery, group string, version int32) (*protocol.TopicConfig, error) {
	g := p.Maker.Group(group)
	if g == nil {
		return nil, protocol.Errorf(protocol.SubscriptionGroupNotExist, "subscription group not exist, %s%s", group, seeURL)
	}
	limit := g.RetryMaxTimes
	if version >= versionMaxReconsume && d.MaxReconsumeTimes != nil {
		limit = *d.MaxReconsumeTimes
	}
	if d.ReconsumeTimes >= limit {
		d.Topic, d.QueueID = message.DLQTopic(group), 0
		d.Properties = message.DeleteProperty(d.Properties, message.PropDelay)
		return p.Maker.Internal(d.Topic, 1, protocol.PermRead|protocol.PermWrite, 0)
	}
	return p.Maker.RetryTopic(g, unitSubFlag(d.UnitMode))
}

// noTransactions is the answer to a half message, with the reason for it.
func (p *Send) noTransactions(cfg *config.Config) error {
	why := ": it does not serve transactions"
	if cfg.RejectTransactionMessage {
		why = ""
	}
	return protocol.Errorf(protocol.NoPermission, "the broker[%s] sending transaction message is forbidden%s", p.Host.Addr(), why)
}

func (p *Send) pickQueue(d *delivery, c *protocol.TopicConfig) error {
	if d.QueueID >= max(c.ReadQueueNums, c.WriteQueueNums) {
		return protocol.Errorf(protocol.SystemError, "request queueId[%d] is illegal, topic %s has %d read and %d write queues, Producer: %s",
			d.QueueID, c.TopicName, c.ReadQueueNums, c.WriteQueueNums, d.from)
	}
	if d.QueueID < 0 {
		d.QueueID = rand.Int32N(max(c.WriteQueueNums, 1))
	}
	return nil
}

// awaitSlave calls done when a slave has everything before next, or has not had it in time. Without SYNC_MASTER that is now.
func (p *Send) awaitSlave(cfg *config.Config, next int64, done func()) {
	if !p.Role.Load().Sync {
		done()
		return
	}
	p.Tasks.Enter()
	p.Replicas.Await(next, cfg.SlaveTimeout, func(ha.Status) {
		defer p.Tasks.Leave()
		done()
	})
}

// putError says in the peer's words why the store did not take a message.
func putError(cfg *config.Config, st *store.Store, status store.Status, err error) error {
	switch status {
	case store.PutOK:
		return err
	case store.MessageIllegal, store.PropertiesSizeExceeded:
		return illegal(cfg)
	case store.ServiceNotAvailable:
		why := "it is not writeable"
		if failed := st.Writable(); failed != nil {
			why = failed.Error()
		} else if err != nil {
			why = err.Error()
		}
		return unavailable(why)
	case store.CreateMappedFileFailed:
		return protocol.Errorf(protocol.SystemError, "create mapped file failed, server is busy or broken.")
	case store.PageCacheBusy:
		return protocol.Errorf(protocol.SystemBusy, "[PCBUSY_CLEAN_QUEUE]broker busy, start flow control for a while")
	}
	if err != nil {
		return err
	}
	return protocol.Errorf(protocol.SystemError, "UNKNOWN_ERROR")
}

// errNotInSync is 5.x's IN_SYNC_REPLICAS_NOT_ENOUGH: minInSyncReplicas asks for more than there are. Nothing is stored.
var errNotInSync = protocol.Errorf(protocol.SystemError, "in-sync replicas not enough")

func illegal(cfg *config.Config) error {
	return protocol.Errorf(protocol.MessageIllegal,
		"the message is illegal, maybe msg body or properties length not matched. msg body length limit %dB, msg properties length limit 32KB.", cfg.MaxMessageSize)
}

func unavailable(why string) error {
	return protocol.Errorf(protocol.ServiceNotAvailable, "service not available now. %s", why)
}

const seeURL = "\nSee http://rocketmq.apache.org/docs/faq/ for further details."

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
