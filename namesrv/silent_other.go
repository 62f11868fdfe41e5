//go:build !linux

package namesrv

import (
	"syscall"
	"time"
)

// giveUpAfter: other systems keep to the keep-alive alone.
func giveUpAfter(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
