package consumequeue

// All queues at once, for a member of a raft group that starts anew from another's log: they go, and begin in the middle.

// First is a queue and the offset of its first message in a part of the log.
type First struct {
	Topic string
	ID    int32
	At    int64
}

// Firsts are the offsets that the next messages at and behind phys have, of all queues that do not begin at 0 there.
func (t *Table) Firsts(phys int64) (out []First, err error) {
	for _, q := range t.all() {
		first, _, err := q.Range(phys, false)
		if err != nil {
			return nil, err
		}
		if first > 0 {
			out = append(out, First{q.Topic, q.ID, first})
		}
	}
	return out, nil
}

// Clear removes all queues with their files.
func (t *Table) Clear() error {
	t.known.Store(nil)
	for _, name := range t.Topics() {
		if err := t.Delete(name); err != nil {
			return err
		}
	}
	return nil
}

// Begin lets queues that are not there begin at an offset, and saves what that takes.
func (t *Table) Begin(list []First) error {
	for _, f := range list {
		q := t.Ensure(f.Topic, f.ID)
		q.mu.Lock()
		q.begin(f.At)
		q.mu.Unlock()
		if t.PendingBytes() > beginBytes {
			if err := t.Save(0, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// beginBytes bounds the fillers that are held in memory: there may be as many as a file takes, for each queue.
const beginBytes = 16 << 20

// begin is startAt with at least one filler: a queue is on the disk only if it has units.
func (q *Queue) begin(at int64) {
	if q.end > 0 || at <= 0 {
		return
	}
	if perFile := q.t.segSize / UnitSize; at%perFile == 0 {
		q.startAt(at - perFile)
		for q.end < at {
			q.publish(leading)
		}
		return
	}
	q.startAt(at)
}
