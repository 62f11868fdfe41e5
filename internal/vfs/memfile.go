package vfs

// Open files of Mem.

import (
	"io"
	"os"
)

type memFile struct {
	m      *Mem
	n      *memNode
	name   string
	closed bool
}

func (f *memFile) Name() string { return f.name }

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return 0, pathErr("read", f.name, os.ErrClosed)
	}
	n := 0
	for n < len(p) && off < f.n.size {
		in := int(off % memPage)
		k := min(len(p)-n, memPage-in, int(min(f.n.size-off, memPage)))
		if page := f.n.pages[off/memPage]; page != nil {
			copy(p[n:n+k], page[in:])
		} else {
			clear(p[n : n+k])
		}
		n, off = n+k, off+int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes what fits: a full disk may leave a part of p behind, as a real one does.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return 0, pathErr("write", f.name, os.ErrClosed)
	}
	f.n.mod = f.m.now()
	n := 0
	for n < len(p) {
		i, in := off/memPage, int(off%memPage)
		page := f.n.pages[i]
		if page == nil {
			if f.m.used+memPage > f.m.total {
				return n, pathErr("write", f.name, ErrNoSpace)
			}
			page = new([memPage]byte)
			f.n.pages[i] = page
			f.m.used += memPage
		}
		k := copy(page[in:], p[n:])
		f.n.touch(i, in, in+k)
		n, off = n+k, off+int64(k)
		f.n.size = max(f.n.size, off)
	}
	return n, nil
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return pathErr("close", f.name, os.ErrClosed)
	}
	f.closed = true
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.n.size, nil
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.truncate(f.n, size)
	return nil
}

func (f *memFile) Zero(off, n int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.n.mod = f.m.now()
	end := min(off+n, f.n.size)
	for i, p := range f.n.pages {
		from, to := max(off, i*memPage), min(end, (i+1)*memPage)
		switch {
		case from >= to:
			continue
		case to-from == memPage:
			delete(f.n.pages, i)
			f.m.used -= memPage
		default:
			clear(p[from-i*memPage : to-i*memPage])
		}
		f.n.touch(i, int(from-i*memPage), int(to-i*memPage))
	}
	return nil
}

func (f *memFile) Allocate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if size > f.n.size {
		f.m.truncate(f.n, size)
	}
	return nil
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.n.sync()
	return nil
}

// truncate drops the pages behind size and clears the rest of the last one.
func (m *Mem) truncate(n *memNode, size int64) {
	n.mod = m.now()
	if size < n.size {
		for i, p := range n.pages {
			switch {
			case i*memPage >= size:
				delete(n.pages, i)
				n.touch(i, 0, memPage)
				m.used -= memPage
			case (i+1)*memPage > size:
				clear(p[size-i*memPage:])
				n.touch(i, int(size-i*memPage), memPage)
			}
		}
	}
	n.size = size
	n.low = min(n.low, size)
}
