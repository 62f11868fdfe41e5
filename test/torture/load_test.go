package torture

// Producers that know exactly what became of each attempt to send.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/internal/checker"
	"rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

const topicQueues = 4

// load is producers that send one message after the other, each on its own connection.
type load struct {
	rec   *checker.Recorder
	addr  string
	topic string
	limit time.Duration // of one send; 0: 3 s
	pause time.Duration // between sends, on average

	acks     atomic.Int64
	failures []atomic.Int64 // by producer: attempts that were not acknowledged
	mu       sync.Mutex     // guards all below
	outages  []time.Duration
	statuses map[int32]int
	texts    map[int32]string // one refusal of each status

	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// run starts n producers. Even ones send a message again until it is acknowledged; odd ones go on with the next.
func (l *load) run(n int) *load {
	ctx, stop := context.WithCancel(context.Background())
	l.stop, l.statuses, l.texts, l.failures = stop, map[int32]int{}, map[int32]string{}, make([]atomic.Int64, n)
	for i := range n {
		l.stopped.Go(func() { l.produce(ctx, i) })
	}
	return l
}

// end stops the producers; what was under way has an outcome then.
func (l *load) end() {
	l.stop()
	l.stopped.Wait()
}

func (l *load) produce(ctx context.Context, i int) {
	c := remoting.NewClient(remoting.ClientOptions{ConnectTimeout: time.Second})
	defer c.Close()
	name := fmt.Sprintf("producer%d", i)
	last, failing := time.Now(), false
	for n := 0; ctx.Err() == nil; n++ {
		id := l.rec.Sending(name, l.topic)
		body := l.rec.Body(id, 100+rand.IntN(600))
		for try := 0; ; try++ {
			ok := l.send(c, id, int32(n%topicQueues), body)
			if ok {
				if now := time.Now(); failing {
					l.outage(now.Sub(last))
				}
				last, failing = time.Now(), false
				break
			}
			failing = true
			l.failures[i].Add(1)
			if ctx.Err() != nil || i%2 == 1 {
				break
			}
			sleep(ctx, 5*time.Millisecond)
			l.rec.Again(id)
		}
		switch {
		case failing:
			sleep(ctx, 5*time.Millisecond)
		case l.pause > 0:
			sleep(ctx, rand.N(2*l.pause))
		}
	}
}

// send makes one attempt and records its outcome. The producers do not stop in the middle of one.
func (l *load) send(c *remoting.Client, id checker.ID, queue int32, body []byte) (acked bool) {
	limit := l.limit
	if limit == 0 {
		limit = 3 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	name := l.rec.Name(id)
	resp, _, err := remoting.Do(ctx, c, l.addr, protocol.SendMessageV2, &protocol.SendMessageRequestV2{
		ProducerGroup: "torture", Topic: l.topic, DefaultTopic: message.AutoCreateTopic, DefaultTopicQueueNums: topicQueues, QueueID: queue,
		BornTimestamp: time.Now().UnixMilli(),
		Properties:    message.EncodeProperties(map[string]string{message.PropKeys: name, message.PropUniqKey: name, message.PropWait: "true"}),
	}, body)
	status := protocol.StatusOf(err)
	l.count(status, err)
	switch {
	case err == nil:
		l.rec.Acked(id, checker.Queue{Topic: l.topic, ID: resp.QueueID}, resp.QueueOffset)
		l.acks.Add(1)
		return true
	case refused(err):
		l.rec.Failed(id)
	default:
		l.rec.Unknown(id)
	}
	return false
}

// refused: the broker's answer says that nothing was stored. A system error does not: it may have come too late.
func refused(err error) bool {
	var e *protocol.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Status {
	case protocol.ServiceNotAvailable, protocol.TopicNotExist, protocol.NoPermission, protocol.MessageIllegal, protocol.SystemBusy:
		return true
	}
	return false
}

func (l *load) count(status int32, err error) {
	if err != nil && !errors.As(err, new(*protocol.Error)) {
		status = -1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.statuses[status]++
	if err != nil && l.texts[status] == "" {
		l.texts[status] = err.Error()
	}
}

func (l *load) outage(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outages = append(l.outages, d)
}

// said is how often a status was answered, and one text of it; -1 is no answer.
func (l *load) said(status int32) (int, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.statuses[status], l.texts[status]
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// spread is the mean and the largest of some durations.
func spread(ds []time.Duration) (mean, most time.Duration) {
	for _, d := range ds {
		mean += d
		most = max(most, d)
	}
	if len(ds) > 0 {
		mean /= time.Duration(len(ds))
	}
	return mean, most
}

// sendPlain sends one message that the recorder does not know of, and returns the status.
func sendPlain(t *testing.T, addr, topic string, queue int32, level int, body string) int32 {
	t.Helper()
	props := map[string]string{message.PropWait: "true"}
	if level > 0 {
		props[message.PropDelay] = fmt.Sprint(level)
	}
	_, _, err := client.Call(context.Background(), sharedClient(t), addr, protocol.SendMessageV2, &protocol.SendMessageRequestV2{
		ProducerGroup: "torture", Topic: topic, DefaultTopic: message.AutoCreateTopic, DefaultTopicQueueNums: topicQueues, QueueID: queue,
		BornTimestamp: time.Now().UnixMilli(), Properties: message.EncodeProperties(props),
	}, []byte(body))
	if err != nil && !errors.As(err, new(*protocol.Error)) {
		t.Fatal(err)
	}
	return protocol.StatusOf(err)
}
