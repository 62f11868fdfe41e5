//go:build !linux

package vfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks the byte range [0,1) with a POSIX lock, as a Java broker does.
func lockFile(f *os.File) error {
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: 0, Start: 0, Len: 1}
	err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &l)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%s: %w", f.Name(), ErrLocked)
	}
	return err
}

func datasync(f *os.File) error { return f.Sync() }

func allocate(f *os.File, size int64) error {
	st, err := f.Stat()
	if err != nil || st.Size() >= size {
		return err
	}
	return f.Truncate(size)
}

func zero(f *os.File, off, n int64) error { return writeZeros(f, off, n) }

func (osFS) DiskUsage(path string) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	bs := int64(st.Bsize)
	used := (int64(st.Blocks) - int64(st.Bfree)) * bs
	free = int64(st.Bavail) * bs
	return used + free, free, nil
}
