//go:build !linux

package inspect

// What looking without a trace cannot do elsewhere.

import (
	"io"

	"rmqctl/internal/vfs"
)

const noAtime = 0

func sharedLock(name string) (io.Closer, error) { return vfs.OS.Lock(name) }
