package route

// This file takes a broker out of the producers' sight: the way to drain it before a restart. Its topics are shown
// without the write permission while the broker itself goes on accepting, so that a producer with an old route loses
// nothing.
//
// In RocketMQ the permission is cleared in the stored queues. It comes back as soon as the broker registers a changed
// topic, be it the retry topic of some group, and the broker is written to in the middle of its drain; adding the
// permission again sets 6, on topics that were read-only before, too. Here the mask is kept apart and laid over the
// stored permissions whenever somebody asks. It ends
//   - when the permission is added again,
//   - when its lease is over: whoever drains with a lease has to renew it, and may die,
//   - without a lease, when the master comes back after it was gone, as in RocketMQ: it has been restarted.
//     With a lease it stays masked then, until the one who restarted it has seen that it is level.
//
// Masks live in memory, like all routes: a restarted name server shows every broker as it is.

import (
	"time"

	"rmqctl/internal/protocol"
)

// mask without until has no lease.
type mask struct{ until time.Time }

func (m mask) over(now time.Time) bool { return !m.until.IsZero() && !now.Before(m.until) }

// Mask hides the write permission of all topics of a broker name, for the length of the lease or, with lease 0, until
// Unmask or a restart. Masking again renews the lease. It counts the broker's topics.
func (t *Table) Mask(broker string, lease time.Duration, now time.Time) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	var m mask
	if lease > 0 {
		m.until = now.Add(lease)
	}
	if t.groups[broker] != nil || lease > 0 {
		t.masks[broker] = m
	}
	return t.countLocked(broker)
}

// Unmask shows the broker's topics with their own permissions again. It counts them.
func (t *Table) Unmask(broker string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.masks, broker)
	return t.countLocked(broker)
}

func (t *Table) countLocked(broker string) int {
	n := 0
	for _, queues := range t.queues {
		if queues[broker] != nil {
			n++
		}
	}
	return n
}

// endPlainMaskLocked ends a mask without a lease: the master registers and was not there before, or all are gone.
func (t *Table) endPlainMaskLocked(broker string) {
	if m, ok := t.masks[broker]; ok && m.until.IsZero() {
		delete(t.masks, broker)
	}
}

// shownLocked is a queue as it is shown.
func (t *Table) shownLocked(q *protocol.QueueData, now time.Time) *protocol.QueueData {
	m, ok := t.masks[q.BrokerName]
	if !ok || m.over(now) {
		return q
	}
	shown := *q
	shown.Perm &^= protocol.PermWrite
	return &shown
}
