// How fast a number has grown within the last 10, 60 and 600 seconds.

package stats

import (
	"fmt"
	"sync"
	"time"
)

// rateKeep is how many one-second samples the longest rate needs.
const rateKeep = 601

// rate answers how fast a number grew within the last 10, 60 and 600 seconds.
type rate struct {
	mu   sync.Mutex // guards ring and n
	ring [rateKeep]point
	n    int
}

type point struct {
	at time.Time
	n  int64
}

func (r *rate) add(at time.Time, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.n%rateKeep] = point{at, n}
	r.n++
}

func (r *rate) over(samples int) float64 {
	if r.n < 2 {
		return 0
	}
	last := r.ring[(r.n-1)%rateKeep]
	first := r.ring[(r.n-1-min(samples, r.n-1, rateKeep-1))%rateKeep]
	d := last.at.Sub(first.at).Seconds()
	if d <= 0 {
		return 0
	}
	return float64(last.n-first.n) / d
}

// String is the three rates as RocketMQ writes them. A broker younger than a window answers with what it has.
func (r *rate) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%v %v %v", r.over(10), r.over(60), r.over(600))
}

// Rates are the runtime numbers of that name, each three doubles: 10 s, 60 s, 600 s.
type Rates struct{ Put, GetFound, GetMiss, GetTotal, GetTransferred string }

// Rates are the rates now.
func (s *Set) Rates() Rates {
	total := func() string {
		s.found.mu.Lock()
		defer s.found.mu.Unlock()
		s.miss.mu.Lock()
		defer s.miss.mu.Unlock()
		sum := func(n int) float64 { return s.found.over(n) + s.miss.over(n) }
		return fmt.Sprintf("%v %v %v", sum(10), sum(60), sum(600))
	}
	return Rates{Put: s.put.String(), GetFound: s.found.String(), GetMiss: s.miss.String(), GetTotal: total(), GetTransferred: s.moved.String()}
}

// daily remembers the totals of the last two mornings.
type daily struct {
	mu                         sync.Mutex // guards all
	day                        int        // of the year
	putToday, getToday         int64
	putYesterday, getYesterday int64
}

func (d *daily) turn(now time.Time, put, get int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if day := now.YearDay(); day != d.day {
		if d.day != 0 {
			d.putYesterday, d.getYesterday = d.putToday, d.getToday
			d.putToday, d.getToday = put, get
		}
		d.day = day
	}
}

// Mornings are the totals of yesterday's and today's first moment.
type Mornings struct{ PutYesterday, PutToday, GetYesterday, GetToday int64 }

// Mornings are the totals of the last two mornings; zero before the first.
func (s *Set) Mornings() Mornings {
	d := &s.days
	d.mu.Lock()
	defer d.mu.Unlock()
	return Mornings{d.putYesterday, d.putToday, d.getYesterday, d.getToday}
}
