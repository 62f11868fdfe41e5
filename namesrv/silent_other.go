//go:build !linux

package namesrv

// Connections to hosts that have fallen silent, where the system offers nothing better than the keep-alive.

import (
	"syscall"
	"time"
)

// giveUpAfter: other systems keep to the keep-alive alone.
func giveUpAfter(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
