// Producing.

package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func (p peer) producer() (rocketmq.Producer, error) {
	c, err := rocketmq.NewProducer(
		producer.WithNameServer(p.namesrv()),
		producer.WithGroupName(p.str("group", "peer-producer")),
		producer.WithInstanceName(p.instance()),
		producer.WithRetry(p.num("retries", 2)),
		producer.WithSendMsgTimeout(time.Duration(p.num("timeout", 3000))*time.Millisecond),
	)
	if err != nil {
		return nil, err
	}
	return c, c.Start()
}

func (p peer) message(i int) *primitive.Message { return p.named(p.str("prefix", "m"), i) }

func (p peer) named(prefix string, i int) *primitive.Message {
	body := prefix + "-" + strconv.Itoa(i)
	for size := p.num("size", 0); len(body) < size; {
		body += string(rune('a' + len(body)%26))
	}
	m := primitive.NewMessage(p.str("topic", "PeerTest"), []byte(body))
	if tag := p.pick("tags", i); tag != "" {
		m.WithTag(tag)
	}
	if key := p.pick("keys", i); key != "" {
		m.WithKeys([]string{key})
	}
	if level := p.num("delay", 0); level > 0 {
		m.WithDelayTimeLevel(level)
	}
	return m
}

// produce sends n messages how=sync|async|oneway|batch and ends.
func (p peer) produce() error {
	c, err := p.producer()
	if err != nil {
		return err
	}
	n := p.num("n", 1)
	var answered sync.WaitGroup
	for i := 0; i < n; i++ {
		m, t0 := p.message(i), time.Now()
		switch p.str("how", "sync") {
		case "sync":
			r, err := c.SendSync(context.Background(), m)
			showSent(r, err, m, t0)
		case "async":
			answered.Add(1)
			err := c.SendAsync(context.Background(), func(_ context.Context, r *primitive.SendResult, err error) {
				showSent(r, err, m, t0)
				answered.Done()
			}, m)
			if err != nil {
				showError(err, nameOf(m.Body), t0)
				answered.Done()
			}
		case "oneway":
			if err := c.SendOneWay(context.Background(), m); err != nil {
				showError(err, nameOf(m.Body), t0)
			}
		case "batch":
			batch := []*primitive.Message{m}
			for ; len(batch) < p.num("batch", 10) && i+1 < n; i++ {
				batch = append(batch, p.message(i+1))
			}
			r, err := c.SendSync(context.Background(), batch...)
			for _, b := range batch {
				showSent(r, err, b, t0)
			}
		}
	}
	answered.Wait()
	if p.str("how", "sync") == "oneway" {
		time.Sleep(500 * time.Millisecond) // nothing says when the last one has left
	}
	show("done", fields{"n": n})
	return c.Shutdown()
}

// produceLoop sends one message each `every` ms until stdin closes: the application of the failover tests.
func (p peer) produceLoop() error {
	c, err := p.producer()
	if err != nil {
		return err
	}
	stop := stdinClosed()
	show("ready", nil)
	tick := time.NewTicker(time.Duration(p.num("every", 10)) * time.Millisecond)
	for i := 0; ; i++ {
		select {
		case <-stop:
			show("done", fields{"n": i})
			return c.Shutdown()
		case <-tick.C:
		}
		m, t0 := p.message(i), time.Now()
		r, err := c.SendSync(context.Background(), m)
		showSent(r, err, m, t0)
	}
}

var statusNames = map[primitive.SendStatus]string{
	primitive.SendOK: "SEND_OK", primitive.SendFlushDiskTimeout: "FLUSH_DISK_TIMEOUT",
	primitive.SendFlushSlaveTimeout: "FLUSH_SLAVE_TIMEOUT", primitive.SendSlaveNotAvailable: "SLAVE_NOT_AVAILABLE",
}

func showSent(r *primitive.SendResult, err error, m *primitive.Message, t0 time.Time) {
	if err != nil {
		showError(err, nameOf(m.Body), t0)
		return
	}
	f := fields{
		"status": statusNames[r.Status], "msgId": r.MsgID, "offsetMsgId": r.OffsetMsgID, "offset": r.QueueOffset,
		"body": nameOf(m.Body), "ms": time.Since(t0).Milliseconds(),
	}
	if r.MessageQueue != nil {
		f["broker"], f["queue"] = r.MessageQueue.BrokerName, r.MessageQueue.QueueId
	}
	show("sent", f)
}
