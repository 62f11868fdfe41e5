//go:build !linux

// Sleeping, as well as Go does it.
package load

import "time"

func preciseSleep() (sleep func(ns int64), done func()) {
	return func(ns int64) { time.Sleep(time.Duration(ns)) }, func() {}
}
