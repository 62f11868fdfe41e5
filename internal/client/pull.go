// Reading queues by offset.
package client

import (
	"bytes"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// PullRequest asks one broker for messages of one queue.
type PullRequest struct {
	Group  string
	Queue  protocol.MessageQueue
	Offset int64
	Max    int           // 0: 32
	Tags   string        // "" or "*": all; "A || B"
	Wait   time.Duration // how long the broker may hold the request; 0: answer at once
	Commit int64         // consumed so far, told along when > 0
}

// Pulled is the answer to a PullRequest.
type Pulled struct {
	Status   int32 // Success, PullNotFound, PullRetryImmediately or PullOffsetMoved
	Next     int64 // offset to go on from
	Min, Max int64 // of the queue
	Suggest  int64 // broker id to ask next
	Messages []message.Message
}

// Pull asks the broker at addr. "Nothing there" is a status, not an error.
func (c *Client) Pull(ctx context.Context, addr string, r PullRequest) (*Pulled, error) {
	if r.Max == 0 {
		r.Max = 32
	}
	if r.Tags == "" {
		r.Tags = "*"
	}
	flags := protocol.PullSubscription
	if r.Wait > 0 {
		flags |= protocol.PullSuspend
	}
	if r.Commit > 0 {
		flags |= protocol.PullCommitOffset
	}
	ctx, cancel := context.WithTimeout(ctx, r.Wait+c.opts.Timeout)
	defer cancel()
	resp, body, err := remoting.Do(ctx, c.rc, addr, protocol.PullMessage, &protocol.PullMessageRequest{
		ConsumerGroup: r.Group, Topic: r.Queue.Topic, QueueID: r.Queue.QueueID, QueueOffset: r.Offset, MaxMsgNums: int32(r.Max),
		SysFlag: flags, CommitOffset: r.Commit, SuspendTimeoutMillis: r.Wait.Milliseconds(), Subscription: r.Tags,
		SubVersion: time.Now().UnixMilli(), ExpressionType: protocol.ExpressionTag, BrokerName: r.Queue.BrokerName,
	})
	status := protocol.StatusOf(err)
	switch status {
	case protocol.Success, protocol.PullNotFound, protocol.PullRetryImmediately, protocol.PullOffsetMoved:
	default:
		return nil, err
	}
	p := &Pulled{Status: status, Next: resp.NextBeginOffset, Min: resp.MinOffset, Max: resp.MaxOffset, Suggest: resp.SuggestWhichBrokerID}
	if p.Messages, err = DecodeMessages(body); err != nil {
		return nil, fmt.Errorf("pull %s queue %d at %s: %w", r.Queue.Topic, r.Queue.QueueID, addr, err)
	}
	return p, nil
}

// DecodeMessages takes a body of concatenated records apart and checks each body's checksum.
func DecodeMessages(body []byte) ([]message.Message, error) {
	var out []message.Message
	for len(body) > 0 {
		m, n, err := message.Decode(body, message.Options{CheckCRC: true})
		if err != nil {
			return nil, fmt.Errorf("message %d of the answer: %w", len(out)+1, err)
		}
		out, body = append(out, m), body[n:]
	}
	return out, nil
}

// Plain is the body as the application sent it: unpacked if the client had packed it with zlib, as all 4.x clients do.
func Plain(m *message.Message) ([]byte, error) {
	if m.SysFlag&message.SysCompressed == 0 {
		return m.Body, nil
	}
	if kind := m.SysFlag & 0x700; kind != 0 && kind != 0x300 {
		return nil, fmt.Errorf("message %s: compression type %#x is not zlib", m, kind)
	}
	z, err := zlib.NewReader(bytes.NewReader(m.Body))
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", m, err)
	}
	defer z.Close()
	return io.ReadAll(z)
}

// MaxOffset is the offset the next message of a queue will get.
func (c *Client) MaxOffset(ctx context.Context, addr string, q protocol.MessageQueue) (int64, error) {
	r, _, err := Call(ctx, c, addr, protocol.GetMaxOffset, &protocol.QueueRequest{Topic: q.Topic, QueueID: q.QueueID, BrokerName: q.BrokerName})
	if err != nil {
		return 0, err
	}
	return r.Offset, nil
}

// MinOffset is the offset of the oldest message of a queue.
func (c *Client) MinOffset(ctx context.Context, addr string, q protocol.MessageQueue) (int64, error) {
	r, _, err := Call(ctx, c, addr, protocol.GetMinOffset, &protocol.QueueRequest{Topic: q.Topic, QueueID: q.QueueID, BrokerName: q.BrokerName})
	if err != nil {
		return 0, err
	}
	return r.Offset, nil
}

// ConsumerOffset is where a group stands in a queue; found is false when it never committed.
func (c *Client) ConsumerOffset(ctx context.Context, addr, group string, q protocol.MessageQueue) (off int64, found bool, err error) {
	r, _, err := Call(ctx, c, addr, protocol.QueryConsumerOffset, &protocol.QueryConsumerOffsetRequest{ConsumerGroup: group, Topic: q.Topic, QueueID: q.QueueID, BrokerName: q.BrokerName})
	if protocol.StatusOf(err) == protocol.QueryNotFound {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	return r.Offset, true, nil
}

// Commit stores where a group stands in a queue.
func (c *Client) Commit(ctx context.Context, addr, group string, q protocol.MessageQueue, off int64) error {
	_, _, err := Call(ctx, c, addr, protocol.UpdateConsumerOffset, &protocol.UpdateConsumerOffsetRequest{ConsumerGroup: group, Topic: q.Topic, QueueID: q.QueueID, CommitOffset: off, BrokerName: q.BrokerName})
	return err
}
