// Package clock is the only door to time. Parts take a Clock, so a test can say what time it is.
package clock

import "time"

// Clock tells the time and waits.
type Clock interface {
	Now() time.Time
	// After delivers the time once, d from now.
	After(d time.Duration) <-chan time.Time
	// NewTicker delivers the time every d; a slow receiver misses ticks, it never gets them in a bunch.
	NewTicker(d time.Duration) *Ticker
}

// Ticker is a repeating wait; Stop ends it and is safe to call twice.
type Ticker struct {
	C    <-chan time.Time
	stop func()
}

// Stop ends the ticker. It does not close C.
func (t *Ticker) Stop() { t.stop() }

// System is the machine's clock.
var System Clock = system{}

type system struct{}

func (system) Now() time.Time                         { return time.Now() }
func (system) After(d time.Duration) <-chan time.Time { return time.After(d) }
func (system) NewTicker(d time.Duration) *Ticker {
	t := time.NewTicker(d)
	return &Ticker{C: t.C, stop: t.Stop}
}

// Millis is t as RocketMQ writes times: milliseconds since 1970.
func Millis(t time.Time) int64 { return t.UnixMilli() }
