package vfs

// Reading what is in memory only.

import "errors"

// ErrCold: the bytes are not in memory; reading them would wait for the disk.
var ErrCold = errors.New("not in memory")

// CachedReader is a File that can read without waiting for the disk.
type CachedReader interface {
	// ReadCached fills p from off, or fails with ErrCold.
	ReadCached(p []byte, off int64) error
}

// ReadCached fills p from off of f without waiting for a disk, or fails with ErrCold, also where a file cannot tell.
func ReadCached(f File, p []byte, off int64) error {
	if c, ok := f.(CachedReader); ok {
		return c.ReadCached(p, off)
	}
	return ErrCold
}
