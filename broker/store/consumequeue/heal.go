package consumequeue

// What a repair does to a queue.

// PadTo makes the queue end at offset end at least: offsets without a message are marked as lost. A queue must never number
// new messages below what its readers have seen.
func (q *Queue) PadTo(end int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.load(); err != nil {
		return err
	}
	if q.end == q.first() && len(q.tail) == 0 && end > q.end { // nothing of it is left
		perFile := q.t.segSize / UnitSize
		q.startAt(end - end%perFile)
	}
	for q.end < end {
		q.publish(lost)
	}
	return nil
}
