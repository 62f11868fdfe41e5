// Package segment is one file of fixed length, as the commit log and the consume queues are made of.
//
// A file has its full length from the moment it exists (a hole reads as zeros), because a Java broker refuses to start on
// any other length. Descriptors are opened on demand and bounded by a Cache. All I/O is pread and pwrite: an error comes
// back as an error, and deleting a file under a reader harms nobody.
package segment

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"rmqctl/internal/vfs"
)

// Errors of a File.
var (
	ErrRemoved = errors.New("segment: removed")
	ErrBusy    = errors.New("segment: still being read")
	ErrRange   = errors.New("segment: outside of the file")
)

// Name is the file name of a segment that starts at base.
func Name(base int64) string { return fmt.Sprintf("%020d", base) }

// Cache keeps at most Max files open, closing the least recently used. It belongs to one store.
type Cache struct {
	FS  vfs.FS
	Max int
	// Short, when set, is told of each segment that List has grown although bytes had been in it.
	Short func(path string, had int64)

	mu  sync.Mutex // guards lru
	lru list.List  // of *File, newest first
}

// File is one segment. Its methods may be called from several goroutines.
type File struct {
	cache *Cache
	path  string
	base  int64
	size  int64

	mu     sync.Mutex // guards f, refs, gone; held during open and close, not during reads and writes
	f      vfs.File
	refs   int
	gone   bool
	inList *list.Element // guarded by cache.mu
}

// Known is a segment that lies on the disk already.
func (c *Cache) Known(dir string, base, size int64) *File {
	return &File{cache: c, path: filepath.Join(dir, Name(base)), base: base, size: size}
}

// Create makes a new segment of full length. The caller syncs the directory when the name must survive.
func (c *Cache) Create(dir string, base, size int64) (*File, error) {
	s := c.Known(dir, base, size)
	f, err := c.FS.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		f.Close()
		return nil, err
	}
	s.f = f
	c.touch(s)
	return s, nil
}

// CreateDurable makes a new segment that has its full length whenever it has its name, and survives a power cut: it gets the
// name only when its length is on the disk. Until then it lies beside dir, not in it: a Java broker takes every file in there
// for a segment.
func (c *Cache) CreateDurable(dir string, base, size int64) (*File, error) {
	s := c.Known(dir, base, size)
	tmp := filepath.Clean(dir) + "." + Name(base) + making
	err := c.make(tmp, size)
	if err == nil {
		err = c.FS.Rename(tmp, s.path)
	}
	if errors.Is(err, syscall.EXDEV) { // dir is a disk of its own
		if err = c.make(s.path, size); err == nil {
			err = c.FS.Remove(tmp)
		}
	}
	if err == nil {
		err = c.FS.SyncDir(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("make segment %s: %w", s.path, err)
	}
	return s, nil
}

// make makes a file of that length.
func (c *Cache) make(path string, size int64) error {
	f, err := c.FS.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Base is the logical offset of the first byte; Size the length; Path the file's name.
func (s *File) Base() int64  { return s.base }
func (s *File) Size() int64  { return s.size }
func (s *File) End() int64   { return s.base + s.size }
func (s *File) Path() string { return s.path }

func (s *File) acquire() (vfs.File, error) {
	s.mu.Lock()
	if s.gone {
		s.mu.Unlock()
		return nil, ErrRemoved
	}
	if s.f == nil {
		f, err := s.cache.FS.OpenFile(s.path, os.O_RDWR, 0)
		if err != nil {
			s.mu.Unlock()
			return nil, err
		}
		s.f = f
	}
	s.refs++
	f := s.f
	s.mu.Unlock()
	s.cache.touch(s)
	return f, nil
}

func (s *File) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refs--
	if s.gone && s.refs == 0 && s.f != nil {
		s.f.Close()
		s.f = nil
	}
}

// Hold counts as a reader until release is called: the file is not deleted meanwhile.
func (s *File) Hold() (release func()) {
	if _, err := s.acquire(); err != nil {
		return func() {}
	}
	return s.release
}

// touch marks s as just used and closes what is too much.
func (c *Cache) touch(s *File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.inList != nil {
		c.lru.MoveToFront(s.inList)
		return
	}
	s.inList = c.lru.PushFront(s)
	for e := c.lru.Back(); e != nil && c.lru.Len() > c.Max; {
		prev := e.Prev()
		if old := e.Value.(*File); old != s && old.closeIdle() {
			c.lru.Remove(e)
			old.inList = nil
		}
		e = prev
	}
}

// closeIdle closes the descriptor unless somebody uses it. It does not sync: whoever owes the file a sync opens it again for
// that, and the kernel reports an error of its pages to the first descriptor that asks.
func (s *File) closeIdle() bool {
	if !s.mu.TryLock() {
		return false
	}
	defer s.mu.Unlock()
	if s.refs > 0 {
		return false
	}
	if s.f == nil {
		return true
	}
	s.f.Close()
	s.f = nil
	return true
}

// ReadAt reads p from position off of the file, whole or not at all.
func (s *File) ReadAt(p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > s.size {
		return fmt.Errorf("%w: %d bytes at %d of %s", ErrRange, len(p), off, s.path)
	}
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d of %s: %w", len(p), off, s.path, err)
}

// WriteAt writes p to position off of the file.
func (s *File) WriteAt(p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > s.size {
		return fmt.Errorf("%w: %d bytes at %d of %s", ErrRange, len(p), off, s.path)
	}
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	if _, err := f.WriteAt(p, off); err != nil {
		return fmt.Errorf("write %d bytes at %d of %s: %w", len(p), off, s.path, err)
	}
	return nil
}

// Fill writes zeros, where nothing but zeros is, to position off and waits until the disk has taken them.
func (s *File) Fill(zeros []byte, off int64) error {
	if err := s.WriteAt(zeros, off); err != nil {
		return err
	}
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	return vfs.WriteBack(f, off, int64(len(zeros)))
}

// Sync puts everything written before the call on the disk.
func (s *File) Sync() error {
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.path, err)
	}
	return nil
}

// Cut makes everything from position at read as zeros, after a power cut too. Old bytes behind the end of the log must not be taken for records
// after the next crash.
func (s *File) Cut(at int64) error {
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	if err := f.Zero(at, s.size-at); err != nil {
		return fmt.Errorf("cut %s at %d: %w", s.path, at, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("cut %s at %d: %w", s.path, at, err)
	}
	return nil
}

// CutIfNeeded is Cut unless everything from position at reads as zeros already.
func (s *File) CutIfNeeded(at int64) error {
	data, err := s.hasData(at)
	if err != nil || !data {
		return err
	}
	return s.Cut(at)
}

// EndAt is CutIfNeeded for zeros that may be those of a process that was killed before it had synced them.
func (s *File) EndAt(at int64) error {
	data, err := s.hasData(at)
	if err != nil {
		return err
	}
	if !data {
		return s.Sync()
	}
	return s.Cut(at)
}

func (s *File) hasData(at int64) (bool, error) {
	f, err := s.acquire()
	if err != nil {
		return false, err
	}
	defer s.release()
	data, err := vfs.HasData(f, at, s.size)
	if err != nil {
		return false, fmt.Errorf("look behind %d of %s: %w", at, s.path, err)
	}
	return data, nil
}

// ModTime is when the file was last written.
func (s *File) ModTime() (time.Time, error) {
	st, err := s.cache.FS.Stat(s.path)
	if err != nil {
		return time.Time{}, err
	}
	return st.ModTime(), nil
}

// Remove deletes the file. New readers get ErrRemoved from the first call on; while old ones are inside, ErrBusy is
// answered unless force is set: then they finish on the unlinked file.
func (s *File) Remove(force bool) error {
	s.mu.Lock()
	s.gone = true
	busy := s.refs > 0
	if busy && !force {
		s.mu.Unlock()
		return fmt.Errorf("%s: %w", s.path, ErrBusy)
	}
	if !busy && s.f != nil {
		s.f.Close()
		s.f = nil
	}
	s.mu.Unlock()
	s.forget()
	if err := s.cache.FS.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Rename moves the file out of the log, keeping its bytes.
func (s *File) Rename(to string) error {
	s.Close()
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	return s.cache.FS.Rename(s.path, to)
}

// Close gives the descriptor back; the file stays usable and is opened again when needed.
func (s *File) Close() {
	s.mu.Lock()
	if s.refs == 0 && s.f != nil {
		s.f.Close()
		s.f = nil
	}
	s.mu.Unlock()
	s.forget()
}

func (s *File) forget() {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	if s.inList != nil {
		s.cache.lru.Remove(s.inList)
		s.inList = nil
	}
}
