// Package longpoll holds pulls that found nothing until their queue grows or their time is over.
//
// Waiters hang on their queue. News comes from the store's dispatch, one call per new entry; a waiter whose filter
// refuses the entry stays. Time-outs share one goroutine that sleeps until the earliest deadline and does not run at all
// while nobody waits.
package longpoll

import (
	"container/heap"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/internal/clock"
)

// Reason says why a waiter was released.
type Reason int

// The three ends of waiting.
const (
	Arrived Reason = iota // the queue has an entry the waiter may want
	Expired               // nothing came in time
	Closed                // the table is closing, or the waiter was dropped
)

// Queue names one message queue.
type Queue struct {
	Topic string
	ID    int32
}

// Waiter is one held pull.
type Waiter struct {
	Queue    Queue
	Offset   int64                     // the next entry wanted
	Accepts  func(tagsCode int64) bool // nil: any entry
	Deadline time.Time
	Release  func(Reason) // called exactly once, on a goroutine of its own
	Owner    any          // the connection, for Drop

	index int // in the heap; -1 once released
}

// Table holds the waiters of one broker.
type Table struct {
	clock clock.Clock

	waiting atomic.Int64 // number of waiters, read without the lock by Notify

	mu     sync.Mutex // guards all below
	queues map[Queue]map[*Waiter]struct{}
	times  deadlines
	closed bool
	kick   chan struct{}  // wakes the sleeper when an earlier deadline came in
	done   sync.WaitGroup // the sleeper and releases under way
	stop   chan struct{}
	runs   bool
}

// New returns an empty table.
func New(c clock.Clock) *Table {
	return &Table{clock: c, queues: map[Queue]map[*Waiter]struct{}{}, kick: make(chan struct{}, 1), stop: make(chan struct{})}
}

// Add holds a waiter. The caller must look at the queue once more afterwards and call Notify itself if the queue grew
// meanwhile; otherwise an entry between its pull and Add would go unseen.
func (t *Table) Add(w *Waiter) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		w.index = -1
		go w.Release(Closed)
		return
	}
	set := t.queues[w.Queue]
	if set == nil {
		set = map[*Waiter]struct{}{}
		t.queues[w.Queue] = set
	}
	set[w] = struct{}{}
	heap.Push(&t.times, w)
	t.waiting.Add(1)
	earliest := t.times[0] == w
	if !t.runs {
		t.runs = true
		t.done.Add(1)
		go t.expire()
	}
	t.mu.Unlock()
	if earliest {
		select {
		case t.kick <- struct{}{}:
		default:
		}
	}
}

// Notify tells that the queue now ends at max and that its newest entry carries tagsCode.
func (t *Table) Notify(q Queue, max, tagsCode int64) {
	if t.waiting.Load() == 0 {
		return
	}
	t.wake(q, func(w *Waiter) bool { return max > w.Offset && (w.Accepts == nil || w.Accepts(tagsCode)) })
}

// NotifyAny wakes whoever waits below max, whatever its filter: used when the tag codes of the news are unknown.
func (t *Table) NotifyAny(q Queue, max int64) {
	if t.waiting.Load() == 0 {
		return
	}
	t.wake(q, func(w *Waiter) bool { return max > w.Offset })
}

// Drop releases the waiters of an owner that is gone.
func (t *Table) Drop(owner any) {
	t.mu.Lock()
	var out []*Waiter
	for _, set := range t.queues {
		for w := range set {
			if w.Owner == owner {
				out = append(out, w)
			}
		}
	}
	t.removeLocked(out)
	t.mu.Unlock()
	t.release(out, Closed)
}

// Len is the number of held pulls.
func (t *Table) Len() int { return int(t.waiting.Load()) }

// Close releases every waiter, stops the sleeper, and waits until what was released has returned.
func (t *Table) Close() {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	t.closed = true
	out := append([]*Waiter(nil), t.times...)
	t.removeLocked(out)
	t.mu.Unlock()
	close(t.stop)
	t.release(out, Closed)
	t.done.Wait()
}

func (t *Table) wake(q Queue, wanted func(*Waiter) bool) {
	t.mu.Lock()
	var out []*Waiter
	for w := range t.queues[q] {
		if wanted(w) {
			out = append(out, w)
		}
	}
	t.removeLocked(out)
	t.mu.Unlock()
	t.release(out, Arrived)
}

// expire sleeps until the earliest deadline, releases what is due, and ends when nobody waits.
func (t *Table) expire() {
	defer t.done.Done()
	for {
		t.mu.Lock()
		now := t.clock.Now()
		var out []*Waiter
		for len(t.times) > 0 && !t.times[0].Deadline.After(now) {
			out = append(out, t.times[0])
			t.removeLocked(out[len(out)-1:])
		}
		if len(t.times) == 0 {
			t.runs = false
			t.mu.Unlock()
			t.release(out, Expired)
			return
		}
		sleep := t.times[0].Deadline.Sub(now)
		t.mu.Unlock()
		t.release(out, Expired)
		select {
		case <-t.clock.After(sleep):
		case <-t.kick:
		case <-t.stop:
			return
		}
	}
}

func (t *Table) removeLocked(out []*Waiter) {
	for _, w := range out {
		if w.index < 0 {
			continue
		}
		heap.Remove(&t.times, w.index)
		set := t.queues[w.Queue]
		delete(set, w)
		if len(set) == 0 {
			delete(t.queues, w.Queue)
		}
		t.waiting.Add(-1)
	}
}

func (t *Table) release(out []*Waiter, why Reason) {
	for _, w := range out {
		t.done.Go(func() { w.Release(why) })
	}
}

// deadlines is a heap of waiters, the earliest first.
type deadlines []*Waiter

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].Deadline.Before(d[j].Deadline) }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i]; d[i].index, d[j].index = i, j }

// Push is for container/heap.
func (d *deadlines) Push(x any) { w := x.(*Waiter); w.index = len(*d); *d = append(*d, w) }

// Pop is for container/heap.
func (d *deadlines) Pop() any {
	old := *d
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	w.index = -1
	return w
}
