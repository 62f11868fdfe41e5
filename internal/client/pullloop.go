// The loop of a group member over one queue: where to begin, what to read, what went wrong.
package client

import (
	"context"
	"errors"
	"strings"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

var errNoBroker = errors.New("no broker of this group is in the route")

func (m *Consumer) pullLoop(ctx context.Context, q protocol.MessageQueue, p *pull) {
	defer close(p.done)
	next, ask := int64(-1), int64(0)
	for ctx.Err() == nil {
		addr := m.addr(q, ask)
		var err error
		if next < 0 {
			next, err = m.start(ctx, addr, q)
		} else {
			next, ask, err = m.pullOnce(ctx, addr, q, p, next)
		}
		if err == nil {
			continue
		}
		m.c.opts.Log.Debug("pull", "topic", q.Topic, "queue", q.QueueID, "remote", addr, "err", err)
		ask = 0
		_ = m.refresh(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
}

// start is the committed offset; without one, the oldest or the newest as the options say. A retry topic starts at its oldest.
func (m *Consumer) start(ctx context.Context, addr string, q protocol.MessageQueue) (int64, error) {
	if addr == "" {
		return -1, errNoBroker
	}
	off, found, err := m.c.ConsumerOffset(ctx, addr, m.o.Group, q)
	switch {
	case err != nil:
		return -1, err
	case found && !(m.o.First && off == 0):
		return off, nil
	case m.o.First || message.IsRetryTopic(q.Topic):
		off, err = m.c.MinOffset(ctx, addr, q)
	default:
		off, err = m.c.MaxOffset(ctx, addr, q)
	}
	if err != nil {
		return -1, err
	}
	return off, nil
}

func (m *Consumer) pullOnce(ctx context.Context, addr string, q protocol.MessageQueue, p *pull, next int64) (int64, int64, error) {
	if addr == "" {
		return next, 0, errNoBroker
	}
	tags := m.o.Tags
	if q.Topic != m.o.Topic {
		tags = "*"
	}
	got, err := m.c.Pull(ctx, addr, PullRequest{Group: m.o.Group, Queue: q, Offset: next, Tags: tags, Wait: pullWait})
	if err != nil {
		return next, 0, err
	}
	for i := range got.Messages {
		msg := &got.Messages[i]
		if q.Topic == m.o.Topic && !wants(tags, msg) {
			continue
		}
		if err := m.o.Handle(q, msg); err != nil {
			if err := m.sendBack(ctx, addr, msg); err != nil {
				return msg.QueueOffset, 0, err
			}
		}
		p.advance(msg.QueueOffset + 1)
		if ctx.Err() != nil {
			return msg.QueueOffset + 1, 0, nil
		}
	}
	p.advance(got.Next)
	return got.Next, got.Suggest, nil
}

func (p *pull) advance(to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.consumed = to
}

// sendBack hands a message that was not handled back for a later delivery.
func (m *Consumer) sendBack(ctx context.Context, addr string, msg *message.Message) error {
	_, _, err := Call(ctx, m.c, addr, protocol.ConsumerSendMsgBack, &protocol.ConsumerSendMsgBackRequest{Offset: msg.PhysicalOffset, Group: m.o.Group, OriginTopic: msg.Topic})
	return err
}

// wants checks the tag itself: the broker compares only hashes.
func wants(tags string, msg *message.Message) bool {
	if tags == "" || tags == "*" {
		return true
	}
	tag, _ := msg.Property(message.PropTags)
	for _, t := range splitTags(tags) {
		if t == tag {
			return true
		}
	}
	return false
}

func splitTags(s string) []string {
	var out []string
	for t := range strings.SplitSeq(s, "||") {
		if t = strings.TrimSpace(t); t != "" && t != "*" {
			out = append(out, t)
		}
	}
	return out
}
