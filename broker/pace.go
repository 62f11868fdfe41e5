// How fast the members of a raft group take the log, as far as that shows between two looks at them.

package broker

import (
	"sync"
	"time"
)

// pace remembers the last looks.
type pace struct {
	mu   sync.Mutex // guards seen
	seen map[string]look
}

// look is where a member was, and how fast it has come there.
type look struct {
	match int64
	at    time.Duration
	rate  int64
}

// of is a member's bytes per second since the look before, and the seconds until it has what it lacks: -1 while that cannot be
// told. Looks within a second of each other count as one.
func (p *pace) of(name string, match, lag int64, now time.Duration) (rate, eta int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, known := p.seen[name]
	switch passed := now - was.at; {
	case !known || match < was.match:
		was = look{match: match, at: now}
	case passed >= time.Second:
		was = look{match, now, int64(float64(match-was.match) / passed.Seconds())}
	}
	if p.seen == nil {
		p.seen = map[string]look{}
	}
	p.seen[name] = was
	switch {
	case lag == 0:
		return was.rate, 0
	case was.rate <= 0:
		return was.rate, -1
	}
	return was.rate, (lag + was.rate - 1) / was.rate
}
