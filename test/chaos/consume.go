//go:build linux

package chaos

// Consumers: a group that commits, and a watcher at every replica.

import (
	"context"
	"fmt"
	"sync"
	"time"

	"rmqctl/internal/checker"
	"rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

const groupName = "chaos-group"

// group is what is known of the group's offsets.
type group struct {
	mu      sync.Mutex // guards all
	commits map[protocol.MessageQueue][]commit
	again   int64 // messages given to it once more
	most    int64 // at one time, from one queue
	forgot  []string
}

type commit struct {
	at     time.Time
	offset int64
}

// consume reads one queue of a set as a group does: of its leader, or of another replica while there is none. After a failure
// it begins where the broker it reads from now says that the group stands.
func (w *Workload) consume(ctx context.Context, q protocol.MessageQueue) {
	rc := newRemoting()
	defer rc.Close()
	c, _ := client.New(client.Options{NameServers: []string{"none"}, Timeout: time.Second, Remoting: rc})
	next, at, served := int64(0), "", time.Now()
	for ctx.Err() == nil {
		addr := w.router.reader(q.BrokerName)
		if addr == "" || addr != at {
			from, err := w.resume(ctx, c, addr, q, next, served)
			if err != nil {
				pause(ctx, 10*time.Millisecond)
				continue
			}
			next, at = from, addr
		}
		got, err := c.Pull(ctx, addr, client.PullRequest{Group: groupName, Queue: q, Offset: next, Wait: 200 * time.Millisecond})
		switch {
		case err != nil:
			at = ""
			pause(ctx, 10*time.Millisecond)
			continue
		case got.Status == protocol.PullOffsetMoved: // this replica does not have it yet, or no more
			pause(ctx, 20*time.Millisecond)
			continue
		}
		served = time.Now()
		if next = w.saw(addr, q, next, got.Messages); len(got.Messages) > 0 {
			w.commit(ctx, c, addr, q, next)
		}
	}
}

// saw records what a replica gave out.
func (w *Workload) saw(addr string, q protocol.MessageQueue, next int64, messages []message.Message) int64 {
	name := w.c.nameOf(addr)
	for i := range messages {
		m := &messages[i]
		if m.QueueOffset != next {
			w.wrong("%s gave %v queue %d offset %d after %d", name, q.BrokerName, q.QueueID, m.QueueOffset, next-1)
		}
		w.rec.Seen(name, queueOf(q), m.QueueOffset, m.Body, true)
		next = m.QueueOffset + 1
	}
	return next
}

func (w *Workload) commit(ctx context.Context, c *client.Client, addr string, q protocol.MessageQueue, next int64) {
	if c.Commit(ctx, addr, groupName, q, next) != nil {
		return
	}
	g := &w.group
	g.mu.Lock()
	defer g.mu.Unlock()
	g.commits[q] = append(g.commits[q], commit{time.Now(), next})
}

// resume asks where the group stands. No commit may be forgotten that was older than Saved when the queue was last served.
func (w *Workload) resume(ctx context.Context, c *client.Client, addr string, q protocol.MessageQueue, was int64, served time.Time) (int64, error) {
	if addr == "" {
		return 0, fmt.Errorf("nobody to read from")
	}
	at, found, err := c.ConsumerOffset(ctx, addr, groupName, q)
	if err != nil {
		return 0, err
	}
	if !found {
		at = 0
	}
	g := &w.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if at < was {
		g.again += was - at
		g.most = max(g.most, was-at)
	}
	cs := g.commits[q]
	for i := len(cs) - 1; i >= 0; i-- {
		if served.Sub(cs[i].at) < w.Saved {
			continue
		}
		if at < cs[i].offset {
			g.forgot = append(g.forgot, fmt.Sprintf("%v queue %d: %d was committed %v before the end of service, and %s says %d", q.BrokerName, q.QueueID, cs[i].offset,
				served.Sub(cs[i].at).Round(time.Millisecond), w.c.nameOf(addr), at))
		}
		break
	}
	return at, nil
}

// watch reads all queues of one replica, whoever leads. What it was given must stay: readers see only what is durable.
func (w *Workload) watch(ctx context.Context, m *Member) {
	rc := newRemoting()
	defer rc.Close()
	c, _ := client.New(client.Options{NameServers: []string{"none"}, Timeout: time.Second, Remoting: rc})
	next := make([]int64, w.Queues)
	for ctx.Err() == nil {
		for id := range w.Queues {
			q := protocol.MessageQueue{Topic: w.Topic, BrokerName: m.Set.Name, QueueID: id}
			got, err := c.Pull(ctx, m.Addr, client.PullRequest{Group: "watch-" + m.Name, Queue: q, Offset: next[id], Max: 200})
			if err != nil {
				break
			}
			switch {
			case got.Status == protocol.PullOffsetMoved && got.Max < next[id] && got.Max > 0 && !w.MayLose && !w.ReadAhead:
				w.wrong("%s queue %d: read up to %d, and now it ends at %d: it gave out what is gone", m.Name, id, next[id], got.Max)
				next[id] = got.Max
			case got.Status != protocol.PullOffsetMoved:
				next[id] = w.saw(m.Addr, q, next[id], got.Messages)
			case w.MayLose || w.ReadAhead:
				next[id] = min(next[id], got.Max)
			}
		}
		pause(ctx, 40*time.Millisecond)
	}
}

func queueOf(q protocol.MessageQueue) checker.Queue {
	return checker.Queue{Broker: q.BrokerName, Topic: q.Topic, ID: q.QueueID}
}

// nameOf is the member at an address.
func (c *Cluster) nameOf(addr string) string {
	for _, m := range c.Brokers() {
		if m.Addr == addr {
			return m.Name
		}
	}
	return addr
}
