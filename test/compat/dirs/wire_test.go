// A broker's requests by hand: records come back as the bytes that are stored.

package dirs

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

// spot is one queue.
type spot struct {
	topic string
	queue int32
}

func (s spot) String() string { return fmt.Sprintf("%s/%d", s.topic, s.queue) }

// wire asks one broker.
type wire struct {
	c    *client.Client
	addr string
	name string // of the broker
}

func newWire(t *testing.T, ns, addr, name string) *wire {
	t.Helper()
	c, err := client.New(client.Options{NameServers: []string{ns}, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &wire{c: c, addr: addr, name: name}
}

func call[Req, Resp any](w *wire, what *protocol.Call[Req, Resp], req *Req, body ...[]byte) (*Resp, []byte, error) {
	return client.Call(context.Background(), w.c, w.addr, what, req, body...)
}

// send sends one letter, or several as one batch.
func (w *wire) send(group ...*letter) (*protocol.SendMessageResponse, error) {
	l := group[0]
	req := &protocol.SendMessageRequestV2{
		ProducerGroup: "writer", Topic: l.topic, DefaultTopic: message.AutoCreateTopic, DefaultTopicQueueNums: 4, QueueID: l.queue,
		SysFlag: l.sysFlag, BornTimestamp: l.born, Flag: l.flag, Properties: l.props, BrokerName: w.name,
	}
	if len(group) == 1 && !l.batch {
		resp, _, err := call(w, protocol.SendMessageV2, req, l.body)
		return resp, err
	}
	var body []byte
	for _, l := range group {
		body = message.AppendBatchItem(body, message.BatchItem{Flag: l.flag, Body: l.body, Properties: l.props})
	}
	req.Batch, req.Properties, req.Flag = true, nil, 0
	resp, _, err := call(w, protocol.SendBatchMessage, req, body)
	return resp, err
}

// sendBack is what a consumer does with a message it could not use.
func (w *wire) sendBack(group string, level int32, r *message.Record) error {
	_, _, err := call(w, protocol.ConsumerSendMsgBack, &protocol.ConsumerSendMsgBackRequest{
		Offset: r.PhysicalOffset, Group: group, DelayLevel: level, OriginTopic: string(r.Topic), BrokerName: w.name,
	})
	return err
}

// bounds are the first offset kept and the next one to come.
func (w *wire) bounds(s spot) (first, next int64, err error) {
	q := &protocol.QueueRequest{Topic: s.topic, QueueID: s.queue, BrokerName: w.name}
	r, _, err := call(w, protocol.GetMinOffset, q)
	if err != nil {
		return 0, 0, err
	}
	first = max(r.Offset, 0) // Java: -1 for a queue that nothing was written to
	if r, _, err = call(w, protocol.GetMaxOffset, q); err != nil {
		return 0, 0, err
	}
	return first, max(r.Offset, 0), nil
}

// pull reads one answer's worth of records.
func (w *wire) pull(group string, s spot, from int64, tags string) (records [][]byte, next int64, status int32, err error) {
	resp, body, err := call(w, protocol.PullMessage, &protocol.PullMessageRequest{
		ConsumerGroup: group, Topic: s.topic, QueueID: s.queue, QueueOffset: from, MaxMsgNums: 32, SysFlag: protocol.PullSubscription,
		Subscription: tags, SubVersion: time.Now().UnixMilli(), ExpressionType: protocol.ExpressionTag, BrokerName: w.name,
	})
	status = protocol.StatusOf(err)
	switch status {
	case protocol.Success, protocol.PullNotFound, protocol.PullRetryImmediately, protocol.PullOffsetMoved:
	default:
		return nil, 0, status, err
	}
	records, err = split(body)
	return records, resp.NextBeginOffset, status, err
}

// read reads a queue from an offset up to another.
func (w *wire) read(s spot, from, to int64, tags string) ([][]byte, error) {
	var all [][]byte
	for from < to {
		records, next, status, err := w.pull("reader", s, from, tags)
		if err != nil {
			return nil, err
		}
		if next <= from {
			return nil, fmt.Errorf("%v: a pull at %d answers %s and goes on at %d", s, from, protocol.StatusName(status), next)
		}
		all, from = append(all, records...), next
	}
	for n := len(all); n > 0 && parse(all[n-1]).QueueOffset >= to; n-- { // came meanwhile
		all = all[:n-1]
	}
	return all, nil
}

// split takes concatenated records apart.
func split(body []byte) ([][]byte, error) {
	var all [][]byte
	for len(body) > 0 {
		var r message.Record
		n, err := r.Parse(body, message.Options{CheckCRC: true})
		if err != nil {
			return nil, err
		}
		all, body = append(all, body[:n:n]), body[n:]
	}
	return all, nil
}

// query asks the index.
func (w *wire) query(topic, key string, unique bool) ([][]byte, error) {
	req := &protocol.QueryMessageRequest{Topic: topic, Key: key, MaxNum: 64, EndTimestamp: math.MaxInt64, BrokerName: w.name}
	if unique {
		req.UniqueKey = "true"
	}
	_, body, err := call(w, protocol.QueryMessage, req)
	if protocol.StatusOf(err) == protocol.QueryNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return split(body)
}

// view asks for the record at a place in the log.
func (w *wire) view(topic string, phys int64) ([]byte, error) {
	_, body, err := call(w, protocol.ViewMessageByID, &protocol.ViewMessageRequest{Topic: topic, Offset: phys, BrokerName: w.name})
	return body, err
}

func (w *wire) queue(s spot) protocol.MessageQueue {
	return protocol.MessageQueue{Topic: s.topic, BrokerName: w.name, QueueID: s.queue}
}

func (w *wire) offset(group string, s spot) (int64, bool, error) {
	return w.c.ConsumerOffset(context.Background(), w.addr, group, w.queue(s))
}

func (w *wire) commit(group string, s spot, n int64) error {
	return w.c.Commit(context.Background(), w.addr, group, w.queue(s), n)
}
