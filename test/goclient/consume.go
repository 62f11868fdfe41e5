// Consuming.

package main

import (
	"context"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

type progress struct{ accepted, last atomic.Int64 }

// consume receives until n messages came or nothing came for idle ms, and ends.
func (p peer) consume() error {
	var got progress
	got.last.Store(time.Now().UnixMilli())
	c, err := p.pushConsumer(&got)
	if err != nil {
		return err
	}
	n, idle := int64(p.num("n", 1<<30)), int64(p.num("idle", 10000))
	for got.accepted.Load() < n && time.Now().UnixMilli()-got.last.Load() < idle {
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(time.Duration(p.num("linger", 300)) * time.Millisecond) // one too many would show now
	err = c.Shutdown()
	show("done", fields{"n": got.accepted.Load()})
	return err
}

func (p peer) consumeLoop() error {
	var got progress
	stop := stdinClosed()
	c, err := p.pushConsumer(&got)
	if err != nil {
		return err
	}
	<-stop
	err = c.Shutdown()
	show("done", fields{"n": got.accepted.Load()})
	return err
}

func (p peer) pushConsumer(got *progress) (rocketmq.PushConsumer, error) {
	model, from := consumer.Clustering, consumer.ConsumeFromFirstOffset
	if p.str("model", "clustering") == "broadcasting" {
		model = consumer.BroadCasting
	}
	if p.str("from", "first") == "last" {
		from = consumer.ConsumeFromLastOffset
	}
	c, err := rocketmq.NewPushConsumer(
		consumer.WithNameServer(p.namesrv()),
		consumer.WithGroupName(p.str("group", "peer-consumer")),
		consumer.WithInstance(p.instance()),
		consumer.WithConsumerModel(model),
		consumer.WithConsumeFromWhere(from),
		consumer.WithMaxReconsumeTimes(int32(p.num("maxreconsume", -1))),
	)
	if err != nil {
		return nil, err
	}
	work := time.Duration(p.num("work", 0)) * time.Millisecond
	fail, level := p.num("fail", 0), p.num("retrylevel", 0)
	err = c.Subscribe(p.str("topic", "PeerTest"), consumer.MessageSelector{Type: consumer.TAG, Expression: p.str("tags", "*")},
		func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			got.last.Store(time.Now().UnixMilli())
			for _, m := range messages {
				time.Sleep(work)
				accept := fail >= 0 && int(m.ReconsumeTimes) >= fail
				showReceived(m, accept)
				if !accept {
					if cc, ok := primitive.GetConcurrentlyCtx(ctx); ok {
						cc.DelayLevelWhenNextConsume = level
					}
					return consumer.ConsumeRetryLater, nil
				}
			}
			got.accepted.Add(int64(len(messages)))
			return consumer.ConsumeSuccess, nil
		})
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	show("ready", nil)
	return c, nil
}

// pull polls with the pull consumer until n messages came or nothing came for idle ms.
func (p peer) pull() error {
	c, err := rocketmq.NewPullConsumer(
		consumer.WithNameServer(p.namesrv()),
		consumer.WithGroupName(p.str("group", "peer-puller")),
		consumer.WithInstance(p.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	if err != nil {
		return err
	}
	err = c.Subscribe(p.str("topic", "PeerTest"), consumer.MessageSelector{Type: consumer.TAG, Expression: p.str("tags", "*")})
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	got, n, idle := 0, p.num("n", 1<<30), time.Duration(p.num("idle", 10000))*time.Millisecond
	for last := time.Now(); got < n && time.Since(last) < idle; {
		r, err := c.Poll(context.Background(), 500*time.Millisecond)
		if err != nil {
			continue // no new message, or the first rebalance has not been
		}
		for _, m := range r.GetMsgList() {
			showReceived(m, true)
			got++
			last = time.Now()
		}
		c.ACK(context.Background(), r, consumer.ConsumeSuccess)
	}
	show("done", fields{"n": got})
	return c.Shutdown()
}

func showReceived(m *primitive.MessageExt, accepted bool) {
	f := fields{
		"msgId": m.MsgId, "offsetMsgId": m.OffsetMsgId, "topic": m.Topic, "tags": m.GetTags(), "keys": m.GetKeys(),
		"offset": m.QueueOffset, "reconsume": m.ReconsumeTimes, "storeHost": m.StoreHost, "body": nameOf(m.Body), "accepted": accepted,
	}
	if m.Queue != nil {
		f["queue"], f["from"] = m.Queue.QueueId, m.Queue.BrokerName
	}
	show("received", f)
}
