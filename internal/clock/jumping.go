// A clock for tests of clocks that are set.

package clock

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// Jumping is the machine's clock, until it is set. Exactly as with the machine's own: what Now says jumps, while the times it
// gave out go on to be subtracted by the monotonic readings they carry, and waits last as long as they were meant to.
type Jumping struct{ seconds atomic.Int64 }

// Jump sets the clock forward or back, by whole seconds.
func (j *Jumping) Jump(d time.Duration) { j.seconds.Add(int64(d / time.Second)) }

// Now is the time the clock shows.
func (j *Jumping) Now() time.Time {
	t := time.Now()
	// package time keeps the seconds of such a time in the 33 bits above the nanoseconds; TestAJumpMovesTheWallAlone watches that.
	*(*uint64)(unsafe.Pointer(&t)) += uint64(j.seconds.Load()) << 30
	return t
}

// After delivers once, after d have passed.
func (j *Jumping) After(d time.Duration) <-chan time.Time { return time.After(d) }

// NewTicker delivers every d that pass.
func (j *Jumping) NewTicker(d time.Duration) *Ticker { return System.NewTicker(d) }
