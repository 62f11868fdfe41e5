package namesrv

// Connections to hosts that have fallen silent: Linux closes them itself, also while an answer is still on its way.

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// giveUpAfter has the system close accepted connections whose peer acknowledges nothing for so long.
func giveUpAfter(limit time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
		})
		if err == nil {
			err = failed
		}
		return err
	}
}
