// Package delay delivers messages that were sent to be seen later. They wait in SCHEDULE_TOPIC_XXXX, one queue for each
// delay level, in the order in which they are due.
package delay

import "time"

// Levels are the delays by level; level 1 is the first.
type Levels []time.Duration

// Max is the highest level; higher ones count as this.
func (l Levels) Max() int { return len(l) }

// Of is the delay of a level; one second for a level that does not exist.
func (l Levels) Of(level int) time.Duration {
	if level < 1 || level > len(l) {
		return time.Second
	}
	return l[level-1]
}

// DeliverTime is when a message of that level is due that was stored at the given time, both in ms.
func (l Levels) DeliverTime(level int, stored int64) int64 {
	return stored + l.Of(min(level, l.Max())).Milliseconds()
}
