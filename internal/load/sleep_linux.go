// Sleeping to within a few microseconds: Go's own timers may come a millisecond late.
package load

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// preciseSleep binds the goroutine to its thread until done is called.
func preciseSleep() (sleep func(ns int64), done func()) {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	return func(ns int64) {
			ts := unix.NsecToTimespec(ns)
			_ = unix.Nanosleep(&ts, nil)
		}, func() {
			_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // the thread's default
			runtime.UnlockOSThread()
		}
}
