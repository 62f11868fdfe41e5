package vfs

import "golang.org/x/sys/unix"

// writeBack hands n dirty bytes from off on to the disk and waits for them. It promises nothing about a power cut; it keeps
// the next Sync of the file from having to carry them.
func (f osFile) writeBack(off, n int64) error {
	return unix.SyncFileRange(int(f.Fd()), off, n,
		unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
}
