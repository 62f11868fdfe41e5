// Locks of queues that are consumed in order.

package group

import (
	"sync"
	"time"

	"rmqctl/internal/protocol"
)

// lockLife is how long an order lock outlives its last refresh. Clients refresh every 20 s.
const lockLife = time.Minute

// Locks say which client of a group may consume a queue in order.
type Locks struct {
	mu    sync.Mutex // guards holds
	holds map[string]map[protocol.MessageQueue]hold
}

type hold struct {
	client string
	since  time.Time
}

// NewLocks returns an empty set.
func NewLocks() *Locks { return &Locks{holds: map[string]map[protocol.MessageQueue]hold{}} }

// Lock gives the client those of the queues that are free, expired or its own already, and returns them.
func (l *Locks) Lock(group, client string, queues []protocol.MessageQueue, now time.Time) []protocol.MessageQueue {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.holds[group]
	if held == nil {
		held = map[protocol.MessageQueue]hold{}
		l.holds[group] = held
	}
	granted := []protocol.MessageQueue{}
	for _, q := range queues {
		h, taken := held[q]
		if taken && h.client != client && now.Sub(h.since) <= lockLife {
			continue
		}
		held[q] = hold{client, now}
		granted = append(granted, q)
	}
	return granted
}

// Unlock frees those of the queues that the client holds.
func (l *Locks) Unlock(group, client string, queues []protocol.MessageQueue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range queues {
		if l.holds[group][q].client == client {
			delete(l.holds[group], q)
		}
	}
	if len(l.holds[group]) == 0 {
		delete(l.holds, group)
	}
}
