// Time that nobody can set.

package clock

import "time"

var begin = time.Now()

// Mono is how much time has passed, in a count that setting the clock does not move. Durations that are kept as numbers are
// differences of it; subtracting two Now() of System is as good, comparing their UnixNano is not.
func Mono(c Clock) time.Duration { return MonoOf(c.Now()) }

// MonoOf is Mono at the moment at which a clock gave out t.
func MonoOf(t time.Time) time.Duration { return t.Sub(begin) }

// Steady is a clock that began with another one's time and has since counted the time that passes, whatever the other one
// was set to.
type Steady struct {
	Clock
	begun time.Time // with the machine's monotonic reading
	at    time.Time // what Steady said then
}

// NewSteady begins with what c says now.
func NewSteady(c Clock) *Steady {
	now := c.Now()
	return &Steady{Clock: c, begun: now, at: now.Round(0)}
}

// NewSteadyAt begins at another time than c's.
func NewSteadyAt(c Clock, at time.Time) *Steady {
	return &Steady{Clock: c, begun: c.Now(), at: at.Round(0)}
}

// Now is the time that has passed since the beginning, after it.
func (s *Steady) Now() time.Time { return s.at.Add(s.Clock.Now().Sub(s.begun)) }

// Skew is how far ahead the other clock is.
func (s *Steady) Skew() time.Duration {
	now := s.Clock.Now()
	return now.Round(0).Sub(s.at.Add(now.Sub(s.begun)))
}
