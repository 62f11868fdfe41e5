package consumequeue

// Restoring units from records that are read back from the log (recovery, replication).

// Outcome of Restore.
type Outcome int

const (
	Known     Outcome = iota // the unit was there
	Added                    // the unit is new and was next
	Padded                   // offsets were missing before it: they hold fillers now
	Restarted                // the queue is numbered anew from 0: its old units are gone
	Refused                  // the offset cannot be right; nothing was changed
)

// smallest is the least a record takes in the log: between two records at most so many others can be missing.
const smallest = 91

// Restore puts the unit of a record that is read back from the log (recovery, replication). A newer record with offset 0
// means that the topic was deleted and made again in between. No checksum covers a record's offset: one that would leave a
// gap wider than the log has room for, or step back elsewhere, is refused.
func (q *Queue) Restore(at int64, u Unit) (Outcome, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.load(); err != nil {
		return Known, err
	}
	if u.Phys < q.last && q.end > q.first() {
		return Known, nil
	}
	out := Added
	switch {
	case q.end == q.first() && len(q.tail) == 0 && at != q.end:
		q.startAt(at)
	case at > q.end && at-q.end > (u.Phys-q.last)/smallest, at < q.end && at > 0:
		return Refused, nil
	case at > q.end:
		out = Padded
		for q.end < at {
			q.publish(lost)
		}
	case at < q.end:
		out = Restarted
		q.mu.Unlock()
		q.t.saveMu.Lock() // a save must not write what is being cut; its lock comes before ours
		q.mu.Lock()
		err := q.restart(at)
		q.t.saveMu.Unlock()
		if err != nil {
			return out, err
		}
	}
	q.publish(u)
	return out, nil
}

func (q *Queue) restart(at int64) error {
	if at > q.first() {
		q.minFor = -1
		return q.cutUnits(at)
	}
	if err := q.resetLocked(); err != nil {
		return err
	}
	q.startAt(at)
	return nil
}

// startAt lets an empty queue begin at unit at: the rest of its segment before it becomes fillers, as Java writes them.
func (q *Queue) startAt(at int64) {
	perFile := q.t.segSize / UnitSize
	from := at - at%perFile
	q.end, q.saved, q.tail, q.files, q.minFor, q.lastOff = from, from, nil, nil, -1, -1
	for q.end < at {
		q.publish(leading)
	}
}
