// Package longpoll holds pulls that found nothing until their queue grows or their time is over.
//
// Waiters hang on their queue. News comes from the store's dispatch, one call per new entry of a queue whose flag says that
// somebody waits; a waiter whose filter refuses the entry stays, the others are answered by who brings the news. Time-outs
// share one goroutine that sleeps until the earliest deadline and does not run at all while nobody waits.
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

// Held is what waits. Wake is called exactly once, on the goroutine that brought the news or found the time over, without
// a lock: it must be quick and must not wait.
type Held interface{ Wake(Reason) }

// Waiter is one held pull.
type Waiter struct {
	Queue    Queue
	Offset   int64                     // the next entry wanted
	Accepts  func(tagsCode int64) bool // nil: any entry
	Deadline time.Time
	Held     Held
	Owner    any           // the connection, for Drop
	Flag     *atomic.Int32 // counts the waiters of the queue, for whoever brings the news; may be nil

	index   int // in the heap; -1 once released
	ofQueue link
	ofOwner link
}

// link is a place in a list without a head.
type link struct{ next, prev *Waiter }

// Table holds the waiters of one broker.
type Table struct {
	clock clock.Clock

	waiting atomic.Int64 // number of waiters, read without the lock by Notify

	mu     sync.Mutex // guards all below
	queues map[Queue]*Waiter
	owners map[any]*Waiter
	times  deadlines
	closed bool
	kick   chan struct{}  // wakes the sleeper when an earlier deadline came in
	wakeAt time.Time      // when the sleeper looks by itself
	done   sync.WaitGroup // the sleeper and wakes under way
	stop   chan struct{}
	runs   bool
}

// New returns an empty table.
func New(c clock.Clock) *Table {
	return &Table{clock: c, queues: map[Queue]*Waiter{}, owners: map[any]*Waiter{}, kick: make(chan struct{}, 1), stop: make(chan struct{})}
}

// Add holds a waiter. The caller must look at the queue once more afterwards and call Notify itself if the queue grew
// meanwhile; otherwise an entry between its pull and Add would go unseen.
func (t *Table) Add(w *Waiter) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		w.index = -1
		w.Held.Wake(Closed)
		return
	}
	if w.Flag != nil {
		w.Flag.Add(1)
	}
	t.linkLocked(w)
	heap.Push(&t.times, w)
	t.waiting.Add(1)
	earlier := t.runs && w.Deadline.Before(t.wakeAt)
	if !t.runs {
		t.runs, t.wakeAt = true, w.Deadline
		t.done.Add(1)
		go t.expire()
	}
	t.mu.Unlock()
	if earlier {
		select {
		case t.kick <- struct{}{}:
		default:
		}
	}
}

func (t *Table) linkLocked(w *Waiter) {
	if head := t.queues[w.Queue]; head != nil {
		w.ofQueue.next, head.ofQueue.prev = head, w
	}
	t.queues[w.Queue] = w
	if head := t.owners[w.Owner]; head != nil {
		w.ofOwner.next, head.ofOwner.prev = head, w
	}
	t.owners[w.Owner] = w
}

func (t *Table) unlinkLocked(w *Waiter) {
	unlink(t.queues, w.Queue, w, func(w *Waiter) *link { return &w.ofQueue })
	unlink(t.owners, w.Owner, w, func(w *Waiter) *link { return &w.ofOwner })
}

func unlink[K comparable](heads map[K]*Waiter, key K, w *Waiter, of func(*Waiter) *link) {
	l := of(w)
	switch {
	case l.prev != nil:
		of(l.prev).next = l.next
	case l.next != nil:
		heads[key] = l.next
	default:
		delete(heads, key)
	}
	if l.next != nil {
		of(l.next).prev = l.prev
	}
	*l = link{}
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
	for w := t.owners[owner]; w != nil; w = w.ofOwner.next {
		out = append(out, w)
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
	var few [4]*Waiter
	out := few[:0]
	t.mu.Lock()
	for w := t.queues[q]; w != nil; w = w.ofQueue.next {
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
		t.wakeAt = t.times[0].Deadline
		sleep := t.wakeAt.Sub(now)
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

// removeLocked takes waiters out; each is to be released, and Close waits for that.
func (t *Table) removeLocked(out []*Waiter) {
	for _, w := range out {
		heap.Remove(&t.times, w.index)
		t.unlinkLocked(w)
		if w.Flag != nil {
			w.Flag.Add(-1)
		}
		t.waiting.Add(-1)
		t.done.Add(1)
	}
}

func (t *Table) release(out []*Waiter, why Reason) {
	for _, w := range out {
		w.Held.Wake(why) // w may be used again from here on
		t.done.Done()
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
