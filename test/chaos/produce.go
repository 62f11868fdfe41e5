//go:build linux

package chaos

// Producers: each sends to one queue, one message after the other, and knows exactly what became of each attempt.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"rmqctl/internal/checker"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/test/peers"
)

// sendLimit is how long a producer waits for an answer.
const sendLimit = 3 * time.Second

// produce is the life of one producer. Even ones send a message again until it is acknowledged; odd ones go on with the next.
func (w *Workload) produce(ctx context.Context, i int) {
	set := w.c.Sets[i%len(w.c.Sets)].Name
	queue := int32(i/len(w.c.Sets)) % w.Queues
	rc := newRemoting()
	defer rc.Close()
	name := fmt.Sprintf("producer%d", i)
	for last, failing := time.Now(), false; ctx.Err() == nil; {
		if w.router.leader(set) == "" {
			failing = true
			pause(ctx, 5*time.Millisecond)
			continue
		}
		id := w.rec.Sending(name, w.Topic)
		body := w.rec.Body(id, 100+rand.IntN(600))
		for {
			if w.send(rc, id, set, queue, body, sendLimit) {
				if failing {
					w.outage(time.Since(last))
				}
				last, failing = time.Now(), false
				break
			}
			failing = true
			pause(ctx, 5*time.Millisecond)
			if ctx.Err() != nil || i%2 == 1 {
				break
			}
			w.rec.Again(id)
		}
		if !failing && w.Pause > 0 {
			pause(ctx, rand.N(2*w.Pause))
		}
	}
}

// send makes one attempt at whoever leads now and records its outcome. It is not ended in the middle.
func (w *Workload) send(rc *remoting.Client, id checker.ID, set string, queue int32, body []byte, limit time.Duration) (acked bool) {
	addr := w.router.leader(set)
	if addr == "" {
		w.rec.Failed(id)
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	name := w.rec.Name(id)
	resp, _, err := remoting.Do(ctx, rc, addr, protocol.SendMessageV2, &protocol.SendMessageRequestV2{
		ProducerGroup: "chaos", Topic: w.Topic, DefaultTopic: message.AutoCreateTopic, DefaultTopicQueueNums: w.Queues, QueueID: queue,
		BornTimestamp: time.Now().UnixMilli(),
		Properties:    message.EncodeProperties(map[string]string{message.PropKeys: name, message.PropUniqKey: name, message.PropWait: "true"}),
	}, body)
	w.said.count(addr, err)
	switch {
	case err == nil:
		w.rec.Acked(id, checker.Queue{Broker: set, Topic: w.Topic, ID: resp.QueueID}, resp.QueueOffset)
		w.acks.Add(1)
		return true
	case w.c.layout.Program == peers.Ours && refused(err):
		w.rec.Failed(id)
	default:
		w.rec.Unknown(id)
	}
	return false
}

// refused: the broker's answer says that nothing was stored. Only ours is held to that.
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

// said counts what producers were told.
type said struct {
	mu    sync.Mutex // guards all
	times map[string]int
	texts map[string]string // the first of each kind
}

func (s *said) count(addr string, err error) {
	what := "ok"
	var e *protocol.Error
	switch {
	case errors.As(err, &e):
		what = protocol.StatusName(e.Status)
	case err != nil:
		what = "no answer"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times == nil {
		s.times, s.texts = map[string]int{}, map[string]string{}
	}
	s.times[what]++
	if err != nil && s.texts[what] == "" {
		s.texts[what] = addr + ": " + err.Error()
	}
}

// Said is how often producers were told what; "ok" and "no answer" among the names of statuses.
func (w *Workload) Said(what string) (times int, text string) {
	w.said.mu.Lock()
	defer w.said.mu.Unlock()
	return w.said.times[what], w.said.texts[what]
}
