package vfs

// Mem is a file system in memory that knows what a power cut would take (memcut.go).
//
// Every file has two contents: what readers see, and what the disk has. Sync copies the first into the second, sector by
// sector. Every directory has two lists of names in the same way; what lies between them is kept as a journal of changes,
// and SyncDir carries those of one directory out. Pages are sparse: a hole costs nothing.

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const memPage = 4096

// Mem implements FS. Make it with NewMem.
type Mem struct {
	mu      sync.Mutex // guards everything below, file contents included
	root    *memNode
	locks   map[*memNode]bool
	journal []*nameChange // of all directories, in order, not on the disk yet

	// Now gives modification times; nil means time zero. Set it before use.
	Now   func() time.Time
	total int64
	used  int64
}

type memNode struct {
	dir      bool
	perm     fs.FileMode
	mod      time.Time
	children map[string]*memNode // as seen
	durable  map[string]*memNode // as on the disk
	pages    map[int64]*[memPage]byte
	size     int64
	disk     map[int64]*[memPage]byte // synced pages
	diskSize int64
	low      int64           // the smallest size since the last sync
	dirty    map[int64]uint8 // sectors of a page written since the last sync, one bit each
}

// NewMem makes an empty file system of 1 TiB.
func NewMem() *Mem {
	return &Mem{root: newDir(), locks: map[*memNode]bool{}, total: 1 << 40}
}

func newDir() *memNode {
	return &memNode{dir: true, perm: 0o755, children: map[string]*memNode{}, durable: map[string]*memNode{}}
}

func newFile(perm fs.FileMode) *memNode {
	return &memNode{perm: perm, pages: map[int64]*[memPage]byte{}, disk: map[int64]*[memPage]byte{}, dirty: map[int64]uint8{}}
}

func (m *Mem) now() time.Time {
	if m.Now == nil {
		return time.Time{}
	}
	return m.Now()
}

// SetTotal sets the size of the disk that DiskUsage reports; allocated pages count as used. Writes beyond it fail with
// ErrNoSpace.
func (m *Mem) SetTotal(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total = n
}

// SetModTime sets the modification time of name, for tests of retention.
func (m *Mem) SetModTime(name string, t time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.find(name); n != nil {
		n.mod = t
	}
}

func parts(name string) []string {
	return strings.FieldsFunc(filepath.ToSlash(filepath.Clean(name)), func(r rune) bool { return r == '/' })
}

func (m *Mem) find(name string) *memNode {
	n := m.root
	for _, p := range parts(name) {
		if n = n.children[p]; n == nil {
			return nil
		}
	}
	return n
}

func (m *Mem) parent(name string) (*memNode, string) {
	ps := parts(name)
	if len(ps) == 0 {
		return nil, ""
	}
	n := m.root
	for _, p := range ps[:len(ps)-1] {
		if n = n.children[p]; n == nil {
			return nil, ""
		}
	}
	return n, ps[len(ps)-1]
}

func pathErr(op, name string, err error) error { return &os.PathError{Op: op, Path: name, Err: err} }

func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base := m.parent(name)
	if dir == nil || !dir.dir {
		return nil, pathErr("open", name, fs.ErrNotExist)
	}
	n := dir.children[base]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, pathErr("open", name, fs.ErrNotExist)
	case n != nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, pathErr("open", name, fs.ErrExist)
	case n != nil && n.dir:
		return nil, pathErr("open", name, errors.New("is a directory"))
	case n == nil:
		n = newFile(perm)
		n.mod = m.now()
		m.set(dir, base, n)
	case flag&os.O_TRUNC != 0:
		m.truncate(n, 0)
	}
	return &memFile{m: m, n: n, name: name}, nil
}

func (m *Mem) MkdirAll(dir string, perm fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.root
	for _, p := range parts(dir) {
		c := n.children[p]
		if c == nil {
			c = newDir()
			c.mod = m.now()
			m.set(n, p, c)
		}
		if !c.dir {
			return pathErr("mkdir", dir, errors.New("not a directory"))
		}
		n = c
	}
	return nil
}

func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base := m.parent(name)
	if dir == nil || dir.children[base] == nil {
		return pathErr("remove", name, fs.ErrNotExist)
	}
	n := dir.children[base]
	if n.dir && len(n.children) > 0 {
		return pathErr("remove", name, errors.New("directory not empty"))
	}
	m.used -= int64(len(n.pages)) * memPage
	m.set(dir, base, nil)
	return nil
}

func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base := m.parent(name)
	if dir == nil || dir.children[base] == nil {
		return nil
	}
	m.forget(dir.children[base])
	m.set(dir, base, nil)
	return nil
}

// forget gives a file's room back; a directory's files go one by one.
func (m *Mem) forget(n *memNode) {
	m.used -= int64(len(n.pages)) * memPage
	for _, name := range sortedKeys(n.children) {
		m.forget(n.children[name])
		m.set(n, name, nil)
	}
}

func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fd, fb := m.parent(from)
	td, tb := m.parent(to)
	if fd == nil || td == nil || fd.children[fb] == nil {
		return pathErr("rename", from, fs.ErrNotExist)
	}
	n := fd.children[fb]
	if old := td.children[tb]; old != nil && old != n {
		m.forget(old)
	}
	arrival := m.set(td, tb, n)
	m.set(fd, fb, nil).after = arrival
	return nil
}

func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.find(name)
	if n == nil {
		return nil, pathErr("stat", name, fs.ErrNotExist)
	}
	return n.info(filepath.Base(name)), nil
}

func (m *Mem) ReadDir(dir string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.find(dir)
	if n == nil || !n.dir {
		return nil, pathErr("readdir", dir, fs.ErrNotExist)
	}
	out := make([]fs.DirEntry, 0, len(n.children))
	for name, c := range n.children {
		out = append(out, fs.FileInfoToDirEntry(c.info(name)))
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

// SyncDir makes the names in dir durable. The name of dir itself belongs to its parent.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.find(dir)
	if n == nil || !n.dir {
		return pathErr("syncdir", dir, fs.ErrNotExist)
	}
	m.carryOut(func(c *nameChange) bool { return c.dir == n })
	return nil
}

func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := f.(*memFile).n
	if m.locks[n] {
		return nil, pathErr("lock", name, ErrLocked)
	}
	m.locks[n] = true
	return &memLock{m, n}, nil
}

type memLock struct {
	m *Mem
	n *memNode
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locks, l.n)
	return nil
}

func (m *Mem) DiskUsage(string) (total, free int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total, m.total - m.used, nil
}

type memInfo struct {
	name string
	size int64
	mode fs.FileMode
	mod  time.Time
}

func (n *memNode) info(name string) memInfo {
	mode := n.perm
	if n.dir {
		mode |= fs.ModeDir
	}
	return memInfo{name, n.size, mode, n.mod}
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return i.mod }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }
