// How fast a slave comes nearer, from a few seconds of samples.

package ha

import (
	"sync"
	"time"
)

// progress keeps the newest samples of a log that is copied; the zero value has none.
type progress struct {
	mu   sync.Mutex // guards all below
	ring [8]sample
	n    int // samples taken so far
}

type sample struct {
	at        int64 // by mono
	have, max int64
}

func (p *progress) sample(now, have, max int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ring[p.n%len(p.ring)] = sample{now, have, max}
	p.n++
}

// restart forgets what was before a new connection.
func (p *progress) restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n = 0
}

// rate tells the bytes that arrive in a second, and the time until the copy is level at the rate at which it comes nearer:
// 0 when it is level, negative while it does not come nearer or nothing is known yet.
func (p *progress) rate(now, have, max int64) (bytesPerSecond int64, left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left = -1
	lag := max - have
	if lag <= 0 {
		left = 0
	}
	if p.n == 0 {
		return 0, left
	}
	first := p.ring[0]
	if p.n > len(p.ring) {
		first = p.ring[p.n%len(p.ring)]
	}
	seconds := float64(now-first.at) / float64(time.Second)
	if seconds <= 0 {
		return 0, left
	}
	bytesPerSecond = int64(float64(have-first.have) / seconds)
	if nearer := float64((first.max-first.have)-lag) / seconds; lag > 0 && nearer > 0 {
		left = time.Duration(float64(lag) / nearer * float64(time.Second))
	}
	return bytesPerSecond, left
}

// bucket is a limit of bytes in a second: it may be overdrawn by one write and then says how long to wait.
type bucket struct {
	left float64 // bytes
	at   int64   // by mono
}

// wait tells how long nothing may be sent yet. limit is bytes in a second, 0 is none. What was not used is kept for a tenth
// of a second.
func (b *bucket) wait(now, limit int64) time.Duration {
	if limit <= 0 {
		b.left, b.at = 0, now
		return 0
	}
	b.left = min(b.left+float64(now-b.at)/float64(time.Second)*float64(limit), float64(limit)/10)
	b.at = now
	if b.left > 0 {
		return 0
	}
	return time.Duration(-b.left/float64(limit)*float64(time.Second)) + time.Millisecond
}

func (b *bucket) spend(n int) { b.left -= float64(n) }
