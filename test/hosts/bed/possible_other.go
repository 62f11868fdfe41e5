//go:build !linux

package bed

import (
	"errors"
	"runtime"
)

// Possible says why no bed can be brought up on this machine.
func Possible() error {
	return errors.New("needs Linux with network namespaces and systemd-nspawn, this is " + runtime.GOOS)
}
