// Package sim is the frame of the deterministic simulations: a world of one goroutine with a clock that jumps from event to
// event, a network that loses, doubles, delays, reorders and cuts, and what tests need to play ten thousand seeds and to repeat
// one of them byte for byte.
//
// Everything a world does follows from its seed: nothing in it may look at a clock, start a goroutine or range over a map.
package sim

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// World is the time, the chance and the memory of one seed.
type World struct {
	Rand  *rand.Rand
	Tally Tally
	trace func(string)
	// Pass, if not nil, is told before time passes: a simulation that runs goroutines in a bubble lets the bubble's time pass too.
	Pass func(d time.Duration)

	now    time.Duration
	queue  []event // a heap, the earliest first
	seq    uint64
	hash   uint64
	failed error
	stop   bool
	still  int // events since time passed
}

// standstill is more than ever happens at one moment.
const standstill = 100000

type event struct {
	at  time.Duration
	seq uint64 // events of one moment happen in the order in which they were made
	do  func()
}

const fnvStart, fnvPrime = 14695981039346656037, 1099511628211

// New makes the world of a seed. trace, if not nil, is told everything that Say says.
func New(seed uint64, trace func(string)) *World {
	return &World{Rand: rand.New(rand.NewPCG(seed, 0x73696d)), Tally: Tally{}, trace: trace, hash: fnvStart}
}

// Now is the virtual time since the world began.
func (w *World) Now() time.Duration { return w.now }

// After lets do happen in d.
func (w *World) After(d time.Duration, do func()) {
	w.seq++
	w.queue = append(w.queue, event{w.now + max(d, 0), w.seq, do})
	for i := len(w.queue) - 1; i > 0; {
		up := (i - 1) / 2
		if !w.queue[i].before(&w.queue[up]) {
			break
		}
		w.queue[i], w.queue[up] = w.queue[up], w.queue[i]
		i = up
	}
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

func (w *World) pop() event {
	first, last := w.queue[0], len(w.queue)-1
	w.queue[0] = w.queue[last]
	w.queue[last] = event{}
	w.queue = w.queue[:last]
	for i := 0; ; {
		least := i
		for _, c := range [2]int{2*i + 1, 2*i + 2} {
			if c < last && w.queue[c].before(&w.queue[least]) {
				least = c
			}
		}
		if least == i {
			return first
		}
		w.queue[i], w.queue[least] = w.queue[least], w.queue[i]
		i = least
	}
}

// Run lets d of virtual time pass, until something fails or Stop is called.
func (w *World) Run(d time.Duration) error {
	end := w.now + d
	w.stop = false
	for w.failed == nil && !w.stop && len(w.queue) > 0 && w.queue[0].at <= end {
		e := w.pop()
		if w.still++; e.at > w.now {
			w.still = 0
		}
		if w.still > standstill {
			w.Fail("time stands still: %d things happened at this moment, and always one more", w.still)
			break
		}
		w.pass(e.at)
		e.do()
	}
	if w.failed == nil && !w.stop {
		w.pass(end)
	}
	return w.failed
}

func (w *World) pass(to time.Duration) {
	if w.Pass != nil && to > w.now {
		w.Pass(to - w.now)
	}
	w.now = to
}

// RunUntil lets time pass until done is true, asked every step, or d is over; it tells which.
func (w *World) RunUntil(d, step time.Duration, done func() bool) bool {
	for end := w.now + d; w.now < end; {
		if done() {
			return true
		}
		if w.Run(min(step, end-w.now)) != nil {
			return false
		}
	}
	return done()
}

// Stop ends the present Run after this event.
func (w *World) Stop() { w.stop = true }

// Fail keeps the first failure; nothing happens in this world after it.
func (w *World) Fail(format string, a ...any) {
	if w.failed == nil {
		w.failed = fmt.Errorf("at %v: %w", w.now, fmt.Errorf(format, a...))
		w.Say("FAILED: %v", w.failed)
	}
}

// Failed is the first failure.
func (w *World) Failed() error { return w.failed }

// Say tells the story to whoever listens. Formatting costs time: without a listener nothing is done.
func (w *World) Say(format string, a ...any) {
	if w.trace != nil {
		w.trace(fmt.Sprintf("%12.6f ", w.now.Seconds()) + fmt.Sprintf(format, a...))
	}
}

// Traced tells whether somebody listens.
func (w *World) Traced() bool { return w.trace != nil }

// Mark puts numbers into the hash of the story: two plays of a seed must come to the same hash.
func (w *World) Mark(what ...uint64) {
	w.hash = (w.hash ^ uint64(w.now)) * fnvPrime
	for _, v := range what {
		w.hash = (w.hash ^ v) * fnvPrime
		w.hash ^= w.hash >> 29
	}
}

// Hash is the hash of the story so far.
func (w *World) Hash() uint64 { return w.hash }

// Chance is true in p of all cases.
func (w *World) Chance(p float64) bool { return w.Rand.Float64() < p }

// Between draws a duration from [least, most).
func (w *World) Between(least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(w.Rand.Int64N(int64(most-least)))
}
