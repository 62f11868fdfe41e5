// Producers and consumers: whatever is sent is received, once.

package compat

import (
	"strings"
	"testing"
	"time"

	"rmqctl/test/peers"
)

func TestEverythingSentIsReceivedOnce(t *testing.T) {
	peers.Need(t, clients...)
	ns, broker := cluster(t, nil)
	for _, version := range clients {
		t.Run(version, func(t *testing.T) {
			sendAndReceive(t, version, "All-"+strings.ReplaceAll(version, ".", "-"), ns.Addr, broker.Addr)
		})
	}
	t.Run("binary headers over the fast port", func(t *testing.T) {
		t.Setenv("ROCKETMQ_SERIALIZE_TYPE", "ROCKETMQ")
		sendAndReceive(t, peers.Clients49, "Binary", ns.Addr, broker.Addr, "vip=true")
	})
}

func sendAndReceive(t *testing.T, version, topic, ns, broker string, extra ...string) {
	extra = append(extra, "namesrv="+ns, "topic="+topic)
	run := func(sub string, args ...string) []peers.Event {
		t.Helper()
		return peers.Run(t, version, sub, append(args, extra...)...)
	}
	consumer := func(args ...string) *peers.Client {
		t.Helper()
		return peers.Start(t, version, "consume", append(append(args, "idle=90000"), extra...)...)
	}

	// A body per message; oneway prints none, so the bodies are what was meant to be sent.
	var want, onlyA []string
	var sent []peers.Event
	for _, how := range []string{"sync", "async", "oneway", "batch"} {
		events := run("produce", "how="+how, "prefix="+how, "n=30", "tags=A,B,C", "keys="+how+"%", "size=200")
		if errs := peers.Of(events, "error"); len(errs) > 0 {
			t.Fatalf("%s: %+v", how, errs[0])
		}
		if got := len(peers.Of(events, "sent")); how != "oneway" && got != 30 {
			t.Fatalf("%s: %d of 30 were acknowledged", how, got)
		}
		sent = append(sent, peers.Of(events, "sent")...)
		for i := range 30 {
			body := padded(how, i)
			want = append(want, body)
			if i%3 == 0 {
				onlyA = append(onlyA, body)
			}
		}
	}
	checkAcknowledgements(t, sent)

	// The lite pull consumer of 5.x may find its queues after 20 s only: it waits beside the others.
	var lite *peers.Client
	if version != peers.GoClient {
		lite = peers.Start(t, version, "litepull", append([]string{"group=lite-" + topic, "n=120", "idle=90000"}, extra...)...)
	}
	same(t, "pull consumer", want, bodies(run("pull", "group=pull-"+topic, "n=120", "idle=60000"), "received"))
	one := consumer("group=all-"+topic, "n=120")
	tagged := consumer("group=tagged-"+topic, "tags=A", "n=40")
	cast1 := consumer("group=cast-"+topic, "model=broadcasting", "n=120", "instance=one")
	cast2 := consumer("group=cast-"+topic, "model=broadcasting", "n=120", "instance=two")
	for _, c := range []struct {
		what string
		c    *peers.Client
		want []string
	}{
		{"push consumer", one, want}, {"push consumer of tag A", tagged, onlyA},
		{"broadcast 1", cast1, want}, {"broadcast 2", cast2, want},
	} {
		c.c.Wait(3 * time.Minute)
		got := peers.Of(c.c.Events(), "received")
		same(t, c.what, c.want, bodies(got, "received"))
		checkMessages(t, c.what, got, broker)
	}
	if lite != nil {
		lite.Wait(3 * time.Minute)
		same(t, "lite pull consumer", want, bodies(lite.Events(), "received"))
	}
}

// padded is what a producer with size=200 makes of a prefix and a number, as far as it is printed.
func padded(prefix string, i int) string {
	body := prefix + "-" + itoa(i)
	for len(body) < 64 {
		body += string(rune('a' + len(body)%26))
	}
	return body
}

// checkAcknowledgements: every queue's offsets are 0, 1, 2… but for the places that one-way messages took; ids are all different.
func checkAcknowledgements(t *testing.T, sent []peers.Event) {
	t.Helper()
	ids, places := map[string]bool{}, map[[2]int64]bool{}
	for _, e := range sent {
		if e.Status != "SEND_OK" {
			t.Fatalf("status %s", e.Status)
		}
		if strings.HasPrefix(e.Body, "batch") {
			continue // one result for the whole batch
		}
		place := [2]int64{int64(e.Queue), e.Offset}
		if ids[e.MsgID] || places[place] || len(e.MsgID) != 32 || len(e.OffsetMsgID) != 32 {
			t.Fatalf("acknowledgement %+v", e)
		}
		ids[e.MsgID], places[place] = true, true
	}
}

// checkMessages: what goes with a message has come through.
func checkMessages(t *testing.T, what string, got []peers.Event, broker string) {
	t.Helper()
	places := map[[2]int64]bool{}
	for _, e := range got {
		how, rest, _ := strings.Cut(e.Body, "-")
		number := strings.TrimRight(rest, "abcdefghijklmnopqrstuvwxyz")
		place := [2]int64{int64(e.Queue), e.Offset}
		if strings.TrimSpace(e.Keys) != how+number || !strings.Contains("ABC", e.Tags) || e.Reconsume != 0 ||
			!strings.Contains(e.StoreHost, broker) || places[place] || e.MsgID == "" {
			t.Fatalf("%s: %+v", what, e)
		}
		places[place] = true
	}
}

// Two members of a group share the queues; what was taken by one is not given to the other.
func TestGroupSharesTheQueues(t *testing.T) {
	peers.Need(t, clients...)
	ns, _ := cluster(t, map[string]string{"defaultTopicQueueNums": "8"})
	peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=Shared", "n=80", "prefix=before")
	members := make([]*peers.Client, len(clients))
	for i, version := range clients {
		members[i] = peers.Start(t, version, "consume-loop", "namesrv="+ns.Addr, "topic=Shared", "group=shared").Ready()
	}
	received := func() (all []peers.Event) {
		for _, m := range members {
			all = append(all, peers.Of(m.Events(), "received")...)
		}
		return all
	}
	// The members have settled when each has received something that was sent after they had joined.
	round := 0
	until(t, "every member has a share", func() bool {
		prefix := "round" + itoa(round)
		round++
		peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=Shared", "n=32", "prefix="+prefix)
		until(t, "the round is received", func() bool { return countPrefix(received(), prefix) >= 32 })
		for _, m := range members {
			if countPrefix(m.Events(), prefix) == 0 {
				return false
			}
		}
		return true
	})
	sent := peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=Shared", "n=400", "prefix=settled")
	until(t, "all is received", func() bool { return countPrefix(received(), "settled") >= 400 })
	time.Sleep(time.Second) // one too many would show now; a member that leaves may hand its last messages over
	var got []string
	for _, b := range bodies(received(), "received") {
		if strings.HasPrefix(b, "settled") {
			got = append(got, b)
		}
	}
	same(t, "a group of three clients", bodies(sent, "sent"), got)
}

func countPrefix(events []peers.Event, prefix string) int {
	n := 0
	for _, e := range events {
		if strings.HasPrefix(e.Body, prefix+"-") && e.Event == "received" {
			n++
		}
	}
	return n
}

// Bodies over 4 KiB are compressed by the client that sends and unpacked by the one that receives, whichever these are.
func TestClientsReadEachOthersCompressedMessages(t *testing.T) {
	t.Parallel()
	peers.Need(t, clients...)
	ns, _ := cluster(t, nil)
	var sent []string
	for _, version := range clients {
		events := peers.Run(t, version, "produce", "namesrv="+ns.Addr, "topic=Big", "n=8", "size=60000", "prefix=from"+version)
		sent = append(sent, bodies(events, "sent")...)
	}
	if len(sent) != 24 {
		t.Fatalf("%d of 24 were acknowledged", len(sent))
	}
	for _, version := range clients {
		got := peers.Run(t, version, "consume", "namesrv="+ns.Addr, "topic=Big", "group=big"+strings.ReplaceAll(version, ".", "-"), "n=24", "idle=90000")
		same(t, version, sent, bodies(got, "received"))
	}
}

// An orderly consumer locks its queues at the broker and receives each in the order of its offsets.
func TestOrderlyConsumerReceivesQueuesInOrder(t *testing.T) {
	t.Parallel()
	peers.Need(t, peers.Clients49, peers.All53, peers.GoClient)
	ns, _ := cluster(t, nil)
	sent := peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=Orderly", "n=200")
	for _, version := range []string{peers.Clients49, peers.All53} {
		got := peers.Of(peers.Run(t, version, "consume", "namesrv="+ns.Addr, "topic=Orderly", "group=o"+strings.ReplaceAll(version, ".", "-"),
			"orderly=true", "n=200", "idle=60000"), "received")
		same(t, version, bodies(sent, "sent"), bodies(got, "received"))
		next := map[int]int64{}
		for _, e := range got {
			if e.Offset != next[e.Queue] {
				t.Fatalf("%s: queue %d gave offset %d, expected %d", version, e.Queue, e.Offset, next[e.Queue])
			}
			next[e.Queue]++
		}
	}
}

func TestRefusedMessagesComeBackAndEndInTheDeadLetterQueue(t *testing.T) {
	t.Parallel()
	peers.Need(t, peers.Clients49, peers.GoClient)
	// Level 1 is a second; so is every retry here.
	ns, _ := cluster(t, map[string]string{"messageDelayLevel": "1s 1s 1s 1s 1s 1s 1s 1s"})
	for _, version := range []string{peers.Clients49, peers.GoClient} {
		t.Run(version, func(t *testing.T) {
			t.Parallel() // client-go looks for its retry topic every 20 s only
			topic := "Retry-" + strings.ReplaceAll(version, ".", "-")
			peers.Run(t, version, "produce", "namesrv="+ns.Addr, "topic="+topic, "n=5")

			// A group that never accepts: twice again, then the dead letter queue.
			never := peers.Start(t, version, "consume", "namesrv="+ns.Addr, "topic="+topic, "group=never-"+topic,
				"fail=-1", "maxreconsume=2", "retrylevel=1", "idle=90000")
			// A group that accepts the third time.
			got := peers.Of(peers.Run(t, version, "consume", "namesrv="+ns.Addr, "topic="+topic, "group=third-"+topic,
				"fail=2", "retrylevel=1", "n=5", "idle=90000"), "received")
			times := map[int]int{}
			for _, e := range got {
				times[e.Reconsume]++
				if e.Topic != topic {
					t.Errorf("the consumer sees topic %s", e.Topic)
				}
			}
			if times[0] != 5 || times[1] != 5 || times[2] != 5 || len(got) != 15 {
				t.Errorf("received by reconsume times: %v", times)
			}
			if n := len(never.AwaitN("received", 15, bootTime)); n != 15 {
				t.Errorf("the group that never accepts received %d", n)
			}
			dlq := "%DLQ%never-" + topic
			until(t, "all five are in "+dlq, func() bool {
				status := peers.Admin(t, peers.Clients49, "topicStatus", "-n", ns.Addr, "-t", dlq)
				return maxOffsets(status) == 5
			})
			never.Kill()
		})
	}
}

func TestDelayedMessageComesLater(t *testing.T) {
	t.Parallel()
	peers.Need(t, peers.GoClient)
	ns, _ := cluster(t, nil)
	start := time.Now()
	peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=Delayed", "n=3", "delay=2") // 5 s
	got := peers.Of(peers.Run(t, peers.GoClient, "consume", "namesrv="+ns.Addr, "topic=Delayed", "group=g", "n=3", "idle=100000"), "received")
	if took := time.Since(start); len(got) != 3 || took < 5*time.Second {
		t.Errorf("%d messages after %v", len(got), took)
	}
}
