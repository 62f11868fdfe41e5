package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
	"rmqctl/test/peers"
)

// TestAnUnchangedClientLosesNothingByKill is the kill loop as an application on rocketmq-client-go sees it: a producer that
// sends each message once, and a push consumer.
func TestAnUnchangedClientLosesNothingByKill(t *testing.T) {
	peers.Need(t, peers.GoClient)
	const kills = 5
	ns := peers.StartNamesrv(t, peers.Ours)
	b := peers.StartBroker(t, peers.Ours, ns.Addr, nil)
	common := []string{"namesrv=" + ns.Addr, "topic=TortureGo"}
	peers.Run(t, peers.GoClient, "produce", append(common, "n=8", "prefix=first")...)
	consume := peers.Start(t, peers.GoClient, "consume-loop", append(common, "group=torture-go")...).Ready()
	produce := peers.Start(t, peers.GoClient, "produce-loop", append(common, "every=2", "retries=0", "timeout=1000", "prefix=p")...).Ready()
	for range kills {
		had := len(peers.Of(produce.Events(), "sent"))
		time.Sleep(500*time.Millisecond + rand.N(700*time.Millisecond))
		b.Kill()
		b.Start()
		produce.AwaitN("sent", had+50, time.Minute)
	}
	produce.CloseInput()
	sent := peers.Of(produce.Events(), "sent")
	failures := len(peers.Of(produce.Events(), "error"))
	var received map[string]int
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		received = peers.Bodies(peers.Of(consume.Events(), "received"))
		if missing(sent, received) == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("acknowledged, and never received: %s (%d of %d received)", missing(sent, received), len(received), len(sent))
		}
	}
	consume.CloseInput()
	stored := everything(t, b.Addr, "TortureGo")
	twice := 0
	for body, places := range stored {
		if len(places) > 1 {
			twice++
			t.Errorf("%s was sent once and is stored at %v", body, places)
		}
	}
	for _, e := range sent {
		if at := fmt.Sprintf("%d/%d", e.Queue, e.Offset); len(stored[e.Body]) == 0 || stored[e.Body][0] != at {
			t.Fatalf("%s was acknowledged at %s and is at %v", e.Body, at, stored[e.Body])
		}
	}
	table(t, []row{
		{"client", "rocketmq-client-go v2.1.2"},
		{"kills", kills},
		{"acknowledged, failed", fmt.Sprint(len(sent), failures)},
		{"lost", 0},
		{"stored twice", twice},
		{"received more than once", again(received)},
	})
}

func missing(sent []peers.Event, received map[string]int) string {
	for _, e := range sent {
		if e.Status == "SEND_OK" && received[e.Body] == 0 {
			return e.Body
		}
	}
	return ""
}

func again(received map[string]int) (n int) {
	for _, times := range received {
		if times > 1 {
			n++
		}
	}
	return n
}

// everything is where each body of a topic is stored.
func everything(t *testing.T, addr, topic string) map[string][]string {
	t.Helper()
	c, ctx := newClient(t, 10*time.Second), context.Background()
	out := map[string][]string{}
	for id := range int32(topicQueues) {
		q := protocol.MessageQueue{Topic: topic, QueueID: id}
		end, err := c.MaxOffset(ctx, addr, q)
		if err != nil {
			t.Fatal(err)
		}
		for next := int64(0); next < end; {
			got, err := c.Pull(ctx, addr, client.PullRequest{Group: "all", Queue: q, Offset: next})
			if err != nil || got.Next <= next {
				t.Fatalf("queue %d at %d of %d: %v", id, next, end, err)
			}
			for i := range got.Messages {
				m := &got.Messages[i]
				body := string(m.Body[:min(len(m.Body), 64)])
				out[body] = append(out[body], fmt.Sprintf("%d/%d", id, m.QueueOffset))
			}
			next = got.Next
		}
	}
	return out
}
