// A clock for tests.

package clock

import (
	"sync"
	"time"
)

// Fake is a clock that moves only when told to.
type Fake struct {
	mu    sync.Mutex // guards now and waits
	now   time.Time
	waits map[*wait]struct{}
}

// wait is one pending After (every == 0) or one running ticker.
type wait struct {
	at    time.Time
	every time.Duration
	c     chan time.Time
}

// NewFake returns a clock that stands at t.
func NewFake(t time.Time) *Fake { return &Fake{now: t, waits: map[*wait]struct{}{}} }

// Now is the time the clock was last moved to.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// After delivers once the clock has been moved by d or more.
func (f *Fake) After(d time.Duration) <-chan time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan time.Time, 1)
	if d <= 0 {
		c <- f.now
		return c
	}
	f.waits[&wait{at: f.now.Add(d), c: c}] = struct{}{}
	return c
}

// NewTicker delivers at every d the clock is moved over; ticks nobody took are dropped, as with time.Ticker.
func (f *Fake) NewTicker(d time.Duration) *Ticker {
	if d <= 0 {
		panic("clock: ticker period must be positive")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &wait{at: f.now.Add(d), every: d, c: make(chan time.Time, 1)}
	f.waits[w] = struct{}{}
	return &Ticker{C: w.c, stop: func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.waits, w)
	}}
}

// Advance moves the clock by d and fires, in order of time, all that falls due on the way.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	end := f.now.Add(d)
	for {
		w := f.nextLocked(end)
		if w == nil {
			break
		}
		f.now = w.at
		select {
		case w.c <- w.at:
		default:
		}
		if w.every == 0 {
			delete(f.waits, w)
			continue
		}
		w.at = w.at.Add(w.every)
	}
	f.now = end
}

// Waiting is how many Afters and tickers are pending: a test waits for it before it advances.
func (f *Fake) Waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.waits)
}

func (f *Fake) nextLocked(end time.Time) *wait {
	var first *wait
	for w := range f.waits {
		if !w.at.After(end) && (first == nil || w.at.Before(first.at)) {
			first = w
		}
	}
	return first
}
