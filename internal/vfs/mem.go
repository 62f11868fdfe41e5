package vfs

// Mem is a file system in memory that knows what a power cut would take.
//
// Every file has two contents: what readers see, and what the disk has. Sync copies the first into the second, page by
// page. Every directory has two lists of names in the same way; SyncDir copies. Pages are sparse: a hole costs nothing.

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"
)

const memPage = 4096

// Mem implements FS. Make it with NewMem.
type Mem struct {
	mu    sync.Mutex // guards everything below, file contents included
	root  *memNode
	locks map[*memNode]bool

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
	dirty    map[int64]bool
}

// NewMem makes an empty file system of 1 TiB.
func NewMem() *Mem {
	return &Mem{root: newDir(), locks: map[*memNode]bool{}, total: 1 << 40}
}

func newDir() *memNode {
	return &memNode{dir: true, perm: 0o755, children: map[string]*memNode{}, durable: map[string]*memNode{}}
}

func newFile(perm fs.FileMode) *memNode {
	return &memNode{perm: perm, pages: map[int64]*[memPage]byte{}, disk: map[int64]*[memPage]byte{}, dirty: map[int64]bool{}}
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
		dir.children[base] = n
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
			n.children[p] = c
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
	delete(dir.children, base)
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
	delete(dir.children, base)
	return nil
}

func (m *Mem) forget(n *memNode) {
	m.used -= int64(len(n.pages)) * memPage
	for _, c := range n.children {
		m.forget(c)
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
	delete(fd.children, fb)
	td.children[tb] = n
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
	sort.Slice(out, func(i, j int) bool { return out[i].Name() < out[j].Name() })
	return out, nil
}

// SyncDir makes the names in dir durable, and dir itself within its parents.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.find(dir)
	if n == nil || !n.dir {
		return pathErr("syncdir", dir, fs.ErrNotExist)
	}
	n.durable = make(map[string]*memNode, len(n.children))
	for name, c := range n.children {
		n.durable[name] = c
	}
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

// Clone is the file system after the process was killed: everything written is there, locks are gone.
func (m *Mem) Clone() *Mem { return m.clone(func(*memNode, int64) bool { return true }, true) }

// CrashClone is the file system after a power cut. Synced pages and synced names are there. Of the rest each dirty page
// survives when keep says so (nil: none do), as a disk may write pages in any order; names are kept or lost by the same
// dice.
func (m *Mem) CrashClone(rng *rand.Rand, chance float64) *Mem {
	if rng == nil {
		return m.clone(func(*memNode, int64) bool { return false }, false)
	}
	return m.clone(func(*memNode, int64) bool { return rng.Float64() < chance }, false)
}

func (m *Mem) clone(keep func(*memNode, int64) bool, all bool) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := NewMem()
	out.Now, out.total = m.Now, m.total
	seen := map[*memNode]*memNode{}
	out.root = out.cloneNode(m.root, keep, all, seen)
	return out
}

func (m *Mem) cloneNode(n *memNode, keep func(*memNode, int64) bool, all bool, seen map[*memNode]*memNode) *memNode {
	if c := seen[n]; c != nil {
		return c
	}
	if n.dir {
		return m.cloneDir(n, keep, all, seen)
	}
	c := newFile(n.perm)
	seen[n] = c
	c.mod, c.size = n.mod, n.diskSize
	for i, p := range n.disk {
		cp := *p
		c.pages[i] = &cp
	}
	if len(n.dirty) > 0 || n.size != n.diskSize {
		if keep(n, -1) {
			c.size = n.size
			for i := range c.pages {
				if n.pages[i] == nil {
					delete(c.pages, i)
				}
			}
		}
		for _, i := range sortedPages(n.dirty) {
			if p := n.pages[i]; p != nil && i*memPage < c.size && keep(n, i) {
				cp := *p
				c.pages[i] = &cp
			}
		}
	}
	c.diskSize = c.size
	for i, p := range c.pages {
		cp := *p
		c.disk[i] = &cp
	}
	m.used += int64(len(c.pages)) * memPage
	return c
}

func (m *Mem) cloneDir(n *memNode, keep func(*memNode, int64) bool, all bool, seen map[*memNode]*memNode) *memNode {
	c := newDir()
	seen[n] = c
	c.mod, c.perm = n.mod, n.perm
	names := map[string]bool{}
	for name := range n.children {
		names[name] = true
	}
	for name := range n.durable {
		names[name] = true
	}
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	sort.Strings(sorted)
	for _, name := range sorted {
		now, disk := n.children[name], n.durable[name]
		child := disk
		// A directory is taken as durable with its parent: real file systems journal it with its first synced entry.
		if all || now != disk && (now != nil && now.dir || keep(n, 0)) {
			child = now
		}
		if child != nil {
			cc := m.cloneNode(child, keep, all, seen)
			c.children[name], c.durable[name] = cc, cc
		}
	}
	return c
}

func sortedPages(set map[int64]bool) []int64 {
	out := make([]int64, 0, len(set))
	for i := range set {
		out = append(out, i)
	}
	sort.Slice(out, func(i, j int) bool { return out[i] < out[j] })
	return out
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
