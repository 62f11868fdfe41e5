// Appends that wait for a slave, released by offset.

package ha

import (
	"container/heap"
	"time"
)

// waiter is one append: done is called once, when a slave has everything before next or at deadline.
type waiter struct {
	next     int64
	deadline time.Time
	done     func(Status)
}

// waiters is a heap by next: one acknowledgement releases all that it covers, however they were ordered.
type waiters []waiter

func (w waiters) Len() int           { return len(w) }
func (w waiters) Less(i, j int) bool { return w[i].next < w[j].next }
func (w waiters) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *waiters) Push(x any)        { *w = append(*w, x.(waiter)) }
func (w *waiters) Pop() any {
	old := *w
	last := old[len(old)-1]
	old[len(old)-1] = waiter{} // let done go
	*w = old[:len(old)-1]
	return last
}

func (w *waiters) add(x waiter) { heap.Push(w, x) }

// covered takes out all that an acknowledgement up to ack releases.
func (w *waiters) covered(ack int64) []waiter {
	var out []waiter
	for len(*w) > 0 && (*w)[0].next <= ack {
		out = append(out, heap.Pop(w).(waiter))
	}
	return out
}

// late takes out all whose deadline has come.
func (w *waiters) late(now time.Time) []waiter {
	var out []waiter
	keep := (*w)[:0]
	for _, x := range *w {
		if now.Before(x.deadline) {
			keep = append(keep, x)
		} else {
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		return nil
	}
	clear((*w)[len(keep):])
	*w = keep
	heap.Init(w)
	return out
}

func tell(ws []waiter, s Status) {
	for _, w := range ws {
		w.done(s)
	}
}
