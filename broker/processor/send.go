// Sends: checked, stored, and answered when flush and replication are as the configuration asks.

package processor

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/delay"
	"rmqctl/broker/ha"
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
}

// Send answers what producers send.
type Send struct {
	Config   *conf.Live[config.Config]
	Clock    clock.Clock
	Store    *store.Store
	Maker    *Maker
	Stats    *stats.Set
	Replicas Replicator // nil unless the broker is a SYNC_MASTER
	Levels   delay.Levels
	Host     netip.AddrPort // what clients call this broker; part of every message's offset id
	Stopping func() bool
	Tasks    *Tasks // answers that are owed: Close waits for them

	buffers sync.Pool // *[]byte: property texts under construction
}

// versionMaxReconsume is the client version (V3_4_9) from which a sender's own limit of retries counts.
const versionMaxReconsume = 121

// delivery is one request to store something, whatever code it came with.
type delivery struct {
	*protocol.SendMessageRequestV2
	body []byte
	from netip.AddrPort
	wait bool // for flush and slave; known once the properties were read
}

// V1 answers SEND_MESSAGE, which client-go and old Java producers send.
func (p *Send) V1(x *remoting.Exchange, q *protocol.SendMessageRequest) (*protocol.SendMessageResponse, error) {
	return p.V2(x, (*protocol.SendMessageRequestV2)(q))
}

// V2 answers SEND_MESSAGE_V2 and SEND_BATCH_MESSAGE. It checks, stores and answers on the goroutine that reads the
// connection; what may take long (making a topic, waiting for a disk or a slave) goes on elsewhere.
//
// Unlike RocketMQ 4.9: no half message is stored, visible or not, because nothing could commit it yet; a broker that
// stops answers 14 and not 1, so that producers turn to another.
func (p *Send) V2(x *remoting.Exchange, q *protocol.SendMessageRequestV2) (*protocol.SendMessageResponse, error) {
	cfg := p.Config.Load()
	d := &delivery{SendMessageRequestV2: q, body: x.Request.Body, from: addrPort(x.Conn.RemoteAddr())}
	if err := p.check(cfg, d); err != nil {
		return nil, err
	}
	c, known := p.Maker.Topics.Get(d.Topic)
	if known && !message.IsRetryTopic(d.Topic) {
		return p.store(x, remoting.Response[protocol.SendMessageResponse](x), cfg, d, c)
	}
	d.Properties, d.body = append([]byte(nil), d.Properties...), append([]byte(nil), d.body...)
	version, pending := x.Version(), x.Hold()
	p.Tasks.Go(func() {
		c, err := p.target(d, version)
		if err != nil {
			pending.Reply(nil, err)
			return
		}
		resp := new(protocol.SendMessageResponse)
		if err := p.put(cfg, d, c, resp, func(status int32) { finish(pending, resp, status) }); err != nil {
			pending.Reply(nil, err)
		}
	})
	return nil, nil
}

// store stores on the reader's goroutine and answers at once when nothing has to be waited for.
func (p *Send) store(x *remoting.Exchange, resp *protocol.SendMessageResponse, cfg *config.Config, d *delivery, c *protocol.TopicConfig) (*protocol.SendMessageResponse, error) {
	next, err := p.append(cfg, d, c, resp)
	if err != nil {
		return nil, err
	}
	w := p.waits(cfg)
	if !w.any() || !d.wait {
		return resp, nil
	}
	pending := x.Hold()
	p.await(cfg, w, next, func(status int32) { finish(pending, resp, status) })
	return nil, nil
}

func finish(pending *remoting.Pending, resp *protocol.SendMessageResponse, status int32) {
	pending.Status(status)
	pending.Reply(resp, nil)
}

// check refuses what no topic could make right.
func (p *Send) check(cfg *config.Config, d *delivery) error {
	if at := cfg.StartAcceptSendRequestAt; at > p.Clock.Now().UnixMilli() {
		return protocol.Errorf(protocol.SystemError, "broker unable to service, until %s", time.UnixMilli(at).Format("2006-01-02 15:04:05.000"))
	}
	if p.Stopping() {
		return unavailable("this broker is stopping")
	}
	if !cfg.IsMaster() {
		return unavailable("this broker is a slave and takes no messages")
	}
	if why := checkTopic(d.Topic); why != nil {
		return why
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

// put stores and calls done when flush and replication are as the configuration asks. An error means that nothing was
// stored and done is not called.
func (p *Send) put(cfg *config.Config, d *delivery, c *protocol.TopicConfig, resp *protocol.SendMessageResponse, done func(int32)) error {
	next, err := p.append(cfg, d, c, resp)
	if err != nil {
		return err
	}
	w := p.waits(cfg)
	if !w.any() || !d.wait {
		done(protocol.Success)
		return nil
	}
	p.await(cfg, w, next, done)
	return nil
}

// append writes the message or the batch into the log.
func (p *Send) append(cfg *config.Config, d *delivery, c *protocol.TopicConfig, resp *protocol.SendMessageResponse) (next int64, err error) {
	if err := p.pickQueue(d, c); err != nil {
		return 0, err
	}
	buf := p.buffer()
	defer p.buffers.Put(buf)
	s := readProps((*buf)[:0], d.Properties, cfg.BrokerClusterName)
	*buf = s.props
	d.wait = s.wait
	if s.transaction {
		return 0, p.noTransactions(cfg)
	}
	if len(s.props) > message.MaxProperties {
		return 0, illegal(cfg)
	}
	m := message.Message{
		Topic: d.Topic, QueueID: d.QueueID, Flag: d.Flag, SysFlag: d.SysFlag &^ (message.SysBornHostV6 | message.SysStoreHostV6 | message.SysTransactionMask),
		BornTimestamp: d.BornTimestamp, BornHost: d.from, StoreHost: p.Host, ReconsumeTimes: d.ReconsumeTimes, Body: d.body, Properties: s.props,
	}
	if c.TopicFilterType == "MULTI_TAG" {
		m.SysFlag |= message.SysMultiTags
	}
	var r store.PutResult
	if d.Batch {
		r, err = p.appendBatch(cfg, &m, s)
	} else {
		stored := &m
		if s.delay > 0 {
			stored = delay.Hide(&m, s.delay, p.Levels)
		}
		r, err = p.Store.Append(stored)
	}
	if err := putError(cfg, p.Store, r, err); err != nil {
		return 0, err
	}
	*resp = protocol.SendMessageResponse{
		MsgID: r.MessageIDs, QueueID: d.QueueID, QueueOffset: r.QueueOffset, Region: cfg.RegionID, TraceOn: boolText(cfg.TraceOn),
	}
	p.Stats.Topic(d.Topic).Add(int64(r.Count), int64(r.Size))
	p.Stats.Put.Add(int64(r.Count), int64(r.Size))
	return r.NextOffset, nil
}

// noTransactions is the answer to a half message, with the reason for it.
func (p *Send) noTransactions(cfg *config.Config) error {
	why := ": it does not serve transactions"
	if cfg.RejectTransactionMessage {
		why = ""
	}
	return protocol.Errorf(protocol.NoPermission, "the broker[%s] sending transaction message is forbidden%s", p.Host.Addr(), why)
}

// appendBatch writes every element of the body as a message of its own. The batch's properties go to each of them.
func (p *Send) appendBatch(cfg *config.Config, m *message.Message, s sent) (store.PutResult, error) {
	if s.delay > 0 {
		return store.PutResult{}, protocol.Errorf(protocol.MessageIllegal, "a batch takes no delay level")
	}
	items, err := message.SplitBatch(m.Body)
	if err != nil || len(items) == 0 {
		return store.PutResult{}, protocol.Errorf(protocol.MessageIllegal, "the batch cannot be taken apart: %v", err)
	}
	for i := range items {
		items[i].Properties = message.AppendProperties(append([]byte(nil), items[i].Properties...), s.props)
		if len(items[i].Properties) > message.MaxProperties {
			return store.PutResult{}, illegal(cfg)
		}
	}
	m.Body, m.Properties = nil, nil
	return p.Store.AppendBatch(m, items)
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

func (p *Send) buffer() *[]byte {
	if b, ok := p.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, 1024)
	return &b
}

// waits says what an acknowledgement waits for.
type waits struct{ flush, slave bool }

func (w waits) any() bool { return w.flush || w.slave }

func (p *Send) waits(cfg *config.Config) waits {
	return waits{flush: cfg.FlushDiskType == config.SyncFlush, slave: cfg.BrokerRole == config.SyncMaster && p.Replicas != nil}
}

// await calls done when the log is flushed and replicated up to next, or has not been in time; the two go on at the
// same time, and if both fail the slave's failure is told.
func (p *Send) await(cfg *config.Config, w waits, next int64, done func(status int32)) {
	var left atomic.Int32
	var flush, slave atomic.Int32
	p.Tasks.Enter()
	one := func() {
		if left.Add(-1) == 0 {
			defer p.Tasks.Leave()
			status := flush.Load()
			if s := slave.Load(); s != protocol.Success {
				status = s
			}
			done(status)
		}
	}
	left.Store(1)
	if w.flush {
		left.Add(1)
		p.Store.AwaitFlushed(next, cfg.SyncFlushTimeout, func(err error) {
			if err != nil {
				flush.Store(protocol.FlushDiskTimeout)
			}
			one()
		})
	}
	if w.slave {
		left.Add(1)
		p.Replicas.Await(next, cfg.SlaveTimeout, func(s ha.Status) {
			slave.Store(replicaStatus(s))
			one()
		})
	}
	one()
}

func replicaStatus(s ha.Status) int32 {
	switch s {
	case ha.Replicated:
		return protocol.Success
	case ha.SlaveNotAvailable:
		return protocol.SlaveNotAvailable
	}
	return protocol.FlushSlaveTimeout
}

// putError says in the peer's words why the store did not take a message.
func putError(cfg *config.Config, st *store.Store, r store.PutResult, err error) error {
	if err != nil {
		return err
	}
	switch r.Status {
	case store.PutOK:
		return nil
	case store.MessageIllegal, store.PropertiesSizeExceeded:
		return illegal(cfg)
	case store.ServiceNotAvailable:
		why := "it is not writeable"
		if err := st.Writable(); err != nil {
			why = err.Error()
		}
		return unavailable(why)
	case store.CreateMappedFileFailed:
		return protocol.Errorf(protocol.SystemError, "create mapped file failed, server is busy or broken.")
	case store.PageCacheBusy:
		return protocol.Errorf(protocol.SystemError, "[PC_SYNCHRONIZED]broker busy, start flow control for a while")
	}
	return protocol.Errorf(protocol.SystemError, "UNKNOWN_ERROR")
}

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

// addrPort is a connection's address as messages carry it.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}
