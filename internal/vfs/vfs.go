// Package vfs is the only door through which the broker and the name server touch their files.
//
// OS is the real file system. Mem keeps everything in memory and knows what would survive a kill (Clone) and a power cut
// (PowerCut). Fault wraps any FS and lets a test see, fail or cut short chosen operations.
package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FS is what the daemons need of a file system. Paths are the operating system's.
type FS interface {
	// OpenFile opens name with the flags of package os (O_RDONLY, O_RDWR, O_CREATE, O_EXCL, O_TRUNC).
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	MkdirAll(dir string, perm fs.FileMode) error
	Remove(name string) error
	RemoveAll(name string) error
	Rename(from, to string) error
	Stat(name string) (fs.FileInfo, error)
	// ReadDir lists dir sorted by name.
	ReadDir(dir string) ([]fs.DirEntry, error)
	// SyncDir makes the entries of dir (creations, renames, removals) survive a power cut.
	SyncDir(dir string) error
	// Lock takes an exclusive lock on name, creating it, or fails at once with ErrLocked. The lock excludes a Java broker too.
	Lock(name string) (io.Closer, error)
	// DiskUsage tells the size and the space left to us of the file system that holds path, in bytes.
	DiskUsage(path string) (total, free int64, err error)
}

// File is an open file. All reading and writing is by position; several goroutines may use one File.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Name() string
	Size() (int64, error)
	// Truncate sets the length. Growing makes a hole that reads as zeros.
	Truncate(size int64) error
	// Zero makes n bytes from off read as zeros, giving their blocks back where that is possible. The length stays.
	Zero(off, n int64) error
	// Allocate reserves disk blocks for the first size bytes, growing the file if it is shorter.
	Allocate(size int64) error
	// Sync makes data and length survive a power cut (fdatasync where there is one).
	Sync() error
}

// ErrLocked: another process, or another part of this one, holds the lock.
var ErrLocked = errors.New("locked by another process")

// ErrNoSpace is what a full Mem answers.
var ErrNoSpace = errors.New("no space left on device")

// IsNoSpace tells whether err means a full disk or an exhausted quota.
func IsNoSpace(err error) bool {
	return errors.Is(err, ErrNoSpace) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// ReadFile reads the whole of name.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b[:n], nil
}

// MakeDirs is MkdirAll that survives a power cut: it syncs the parent of each directory it makes.
func MakeDirs(fsys FS, dir string, perm fs.FileMode) error {
	if info, err := fsys.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return nil
	}
	if err := MakeDirs(fsys, parent, perm); err != nil {
		return err
	}
	if err := fsys.MkdirAll(dir, perm); err != nil {
		return err
	}
	return SyncParent(fsys, dir)
}

// SyncParent makes the name of dir survive a power cut. A parent that we may not read is somebody else's care.
func SyncParent(fsys FS, dir string) error {
	if err := fsys.SyncDir(filepath.Dir(dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// HasData tells whether any byte of [from, to) is not zero. Holes are skipped where the file system knows them.
func HasData(f File, from, to int64) (bool, error) {
	holes, _ := f.(interface {
		NextData(off int64) (int64, error)
	})
	b := make([]byte, min(64<<10, max(to-from, 0)))
	step := int64(4 << 10) // grows: reading a hole fills memory with zeros
	for from < to {
		if holes != nil {
			at, err := holes.NextData(from)
			if err != nil {
				return false, err
			}
			if from = max(from, at); from >= to {
				break
			}
		}
		n, err := f.ReadAt(b[:min(int64(len(b)), to-from, step-from%step)], from)
		step = min(2*step, int64(len(b)))
		if len(bytes.TrimLeft(b[:n], "\x00")) > 0 {
			return true, nil
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read %s: %w", f.Name(), err)
		}
		from += int64(n)
	}
	return false, nil
}

// WriteFileAtomic replaces name by data so that a crash at any moment leaves either the old or the new content.
// The previous content stays as name+".bak", where RocketMQ looks too. The directory must exist.
//
// Order: write and sync name+".tmp"; make name+".bak" from the old file; rename the new one over name; sync the directory.
// There is no moment without a file called name.
func WriteFileAtomic(fsys FS, name string, data []byte, perm fs.FileMode) error {
	tmp := name + ".tmp"
	if err := writeSynced(fsys, tmp, data, perm); err != nil {
		return err
	}
	if old, err := ReadFile(fsys, name); err == nil && len(old) > 0 {
		if err := writeSynced(fsys, name+".bak.tmp", old, perm); err != nil {
			return err
		}
		if err := fsys.Rename(name+".bak.tmp", name+".bak"); err != nil {
			return fmt.Errorf("keep the previous %s: %w", name, err)
		}
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	return fsys.SyncDir(filepath.Dir(name))
}

func writeSynced(fsys FS, name string, data []byte, perm fs.FileMode) error {
	// An old one is removed, not emptied: a crash in a rename may have left it as a second name of the file to be replaced.
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write %s: %w", name, err)
	}
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
