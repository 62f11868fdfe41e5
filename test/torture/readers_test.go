package torture

// Consumers: readers that follow the queues, a group that commits, and the complete reading at the end.

import (
	"context"
	"sync"
	"testing"
	"time"

	"rmqctl/internal/checker"
	"rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

// replica is how the one broker is called in reports.
const replica = "broker"

// readers read all queues of a topic while the broker comes and goes.
type readers struct {
	t     *testing.T
	rec   *checker.Recorder
	addr  string
	topic string
	group string        // "": nobody commits
	saved time.Duration // how old the saved offsets of the group may be

	mu      sync.Mutex // guards commits
	commits map[int32][]commit

	stop    context.CancelFunc
	stopped sync.WaitGroup
}

type commit struct {
	at     time.Time
	offset int64
}

func newClient(t *testing.T, timeout time.Duration) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{NameServers: []string{"127.0.0.1:1"}, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// run starts a reader for each queue.
func (r *readers) run() *readers {
	ctx, stop := context.WithCancel(context.Background())
	r.stop, r.commits = stop, map[int32][]commit{}
	c := newClient(r.t, 3*time.Second)
	for q := range int32(topicQueues) {
		r.stopped.Go(func() { r.follow(ctx, c, protocol.MessageQueue{Topic: r.topic, QueueID: q}) })
	}
	return r
}

func (r *readers) end() {
	r.stop()
	r.stopped.Wait()
}

// follow reads one queue from its start and never skips. After a failure a group begins where the broker says it stands.
func (r *readers) follow(ctx context.Context, c *client.Client, q protocol.MessageQueue) {
	next, lost := int64(0), true
	for ctx.Err() == nil {
		if lost && r.group != "" {
			at, err := r.resume(ctx, c, q)
			if err != nil {
				sleep(ctx, 5*time.Millisecond)
				continue
			}
			next = at
		}
		lost = false
		got, err := c.Pull(ctx, r.addr, client.PullRequest{Group: r.name(), Queue: q, Offset: next, Wait: time.Second})
		if err != nil {
			lost = true
			sleep(ctx, 5*time.Millisecond)
			continue
		}
		if got.Status == protocol.PullOffsetMoved && ctx.Err() == nil {
			r.t.Errorf("%s queue %d: after reading up to %d the broker says %d..%d: it served what is gone", r.name(), q.QueueID, next, got.Min, got.Max)
			return
		}
		for i := range got.Messages {
			if m := &got.Messages[i]; m.QueueOffset != next {
				r.t.Errorf("%s queue %d: %d follows %d", r.name(), q.QueueID, m.QueueOffset, next-1)
				return
			}
			next++
			r.rec.Seen(replica, queueOf(q), next-1, got.Messages[i].Body, true)
		}
		if r.group != "" && len(got.Messages) > 0 {
			r.commit(ctx, c, q, next)
		}
	}
}

func (r *readers) name() string {
	if r.group == "" {
		return "reader"
	}
	return r.group
}

func (r *readers) commit(ctx context.Context, c *client.Client, q protocol.MessageQueue, next int64) {
	if c.Commit(ctx, r.addr, r.group, q, next) != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commits[q.QueueID] = append(r.commits[q.QueueID], commit{time.Now(), next})
}

// resume asks where the group stands, and checks that no commit older than saved is forgotten.
func (r *readers) resume(ctx context.Context, c *client.Client, q protocol.MessageQueue) (int64, error) {
	at, found, err := c.ConsumerOffset(ctx, r.addr, r.group, q)
	if err != nil {
		return 0, err
	}
	if !found {
		at = 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	cs := r.commits[q.QueueID]
	for i := len(cs) - 1; i >= 0; i-- {
		if i == len(cs)-1 || time.Since(cs[i].at) < r.saved {
			continue
		}
		if at < cs[i].offset {
			r.t.Errorf("%s queue %d: committed %d, %v ago, the broker says %d", r.group, q.QueueID, cs[i].offset, time.Since(cs[i].at), at)
		}
		break
	}
	r.rec.Committed(r.group, queueOf(q), at)
	return at, nil
}

func queueOf(q protocol.MessageQueue) checker.Queue {
	return checker.Queue{Topic: q.Topic, ID: q.QueueID}
}

// drain reads everything that the broker has of a topic.
func drain(t *testing.T, rec *checker.Recorder, addr, topic string) {
	t.Helper()
	c, ctx := newClient(t, 10*time.Second), context.Background()
	d := rec.Drain(replica)
	for id := range int32(topicQueues) {
		q := protocol.MessageQueue{Topic: topic, QueueID: id}
		first, err := c.MinOffset(ctx, addr, q)
		if err != nil {
			t.Fatal(err)
		}
		end, err := c.MaxOffset(ctx, addr, q)
		if err != nil {
			t.Fatal(err)
		}
		d.Queue(queueOf(q), first, end)
		for next := first; next < end; {
			got, err := c.Pull(ctx, addr, client.PullRequest{Group: "drain", Queue: q, Offset: next})
			if err != nil {
				t.Fatal(err)
			}
			for i := range got.Messages {
				d.Seen(queueOf(q), got.Messages[i].QueueOffset, got.Messages[i].Body, true)
			}
			if got.Next <= next {
				t.Fatalf("queue %d: the broker has up to %d and does not go beyond %d", id, end, next)
			}
			next = got.Next
		}
	}
	d.End()
}

// verdict fails the test when a promise was broken.
func verdict(t *testing.T, rec *checker.Recorder, rules checker.Rules) checker.Report {
	t.Helper()
	rep := rec.Check(rules)
	if err := rep.Err(); err != nil {
		t.Errorf("%v", err)
	}
	return rep
}

// findByKey looks for messages by the key that names them.
func findByKey(t *testing.T, addr, topic string, names []string) {
	t.Helper()
	c := newClient(t, 5*time.Second)
	for _, name := range names {
		_, body, err := client.Call(context.Background(), c, addr, protocol.QueryMessage, &protocol.QueryMessageRequest{
			Topic: topic, Key: name, MaxNum: 32, BeginTimestamp: 0, EndTimestamp: time.Now().Add(time.Hour).UnixMilli(),
		})
		if err != nil {
			t.Errorf("query by key %s: %v", name, err)
			return
		}
		all, err := client.DecodeMessages(body)
		found := false
		for i := range all {
			key, _ := all[i].Property(message.PropKeys)
			found = found || key == name
		}
		if err != nil || !found {
			t.Errorf("%s was acknowledged and is not found by its key among %d (%v)", name, len(all), err)
			return
		}
	}
}

var shared struct {
	sync.Once
	c   *client.Client
	err error
}

// sharedClient is for a test that asks very often.
func sharedClient(t *testing.T) *client.Client {
	t.Helper()
	shared.Do(func() {
		shared.c, shared.err = client.New(client.Options{NameServers: []string{"127.0.0.1:1"}, Timeout: 5 * time.Second})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.c
}

// heartbeat says that a producer is alive.
func heartbeat(ctx context.Context, c *client.Client, addr string) error {
	_, _, err := client.Call(ctx, c, addr, protocol.HeartBeat, nil, protocol.Marshal(&protocol.HeartbeatData{
		ClientID: "torture", Producers: []protocol.ProducerData{{GroupName: "torture"}}, Consumers: []protocol.ConsumerData{},
	}))
	return err
}
