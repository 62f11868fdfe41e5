package index

// One index file. New entries wait in memory, in the order in which they came; save.go finds them their chains and writes
// them. The slot table stays in the file.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"rmqctl/internal/vfs"
)

type file struct {
	ix   *Index
	name string

	mu    sync.RWMutex // guards everything below
	f     vfs.File     // nil while closed; only the newest file stays open
	h     header       // with what waits in memory
	saved int32        // entries below are in the file, and in their chains
	fresh []fresh      // entries [saved, h.next)
	hurt  bool         // header differs from the file
	loose bool         // written since the last sync
}

// fresh is an entry that is in no chain yet.
type fresh struct {
	phys    int64
	hash    int32
	seconds int32
}

func (x *Index) fileSize() int64 {
	return headerSize + int64(x.slots)*slotSize + int64(x.entries)*entrySize
}

func (x *Index) entryAt(i int32) int64 {
	return headerSize + int64(x.slots)*slotSize + int64(i)*entrySize
}

func (x *Index) newFile(name string) *file {
	return &file{ix: x, name: name, h: header{next: 1}, saved: 1}
}

func (x *Index) openFile(name string) (*file, error) {
	f := x.newFile(name)
	if err := f.open(); err != nil {
		return nil, err
	}
	size, err := f.f.Size()
	if err != nil {
		return nil, err
	}
	if size != x.fileSize() {
		f.close()
		return nil, fmt.Errorf("%w: %s has %d bytes, the configured shape has %d", ErrShape, name, size, x.fileSize())
	}
	var b [headerSize]byte
	if _, err := f.f.ReadAt(b[:], 0); err != nil {
		f.close()
		return nil, err
	}
	f.h.decode(b[:])
	f.h.next = min(f.h.next, x.entries)
	f.saved = f.h.next
	return f, nil
}

func (f *file) path() string { return filepath.Join(f.ix.dir, f.name) }

func (f *file) open() error {
	if f.f != nil {
		return nil
	}
	h, err := f.ix.fs.OpenFile(f.path(), os.O_RDWR, 0)
	f.f = h
	return err
}

// making ends the name of a file that is not finished.
const making = ".making"

// create makes the file; it gets its name when its full length is on the disk.
func (f *file) create() error {
	if _, err := f.ix.fs.Stat(f.path()); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fs.ErrExist)
	}
	h, err := f.ix.fs.OpenFile(f.path()+making, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	err = h.Truncate(f.ix.fileSize())
	if err == nil {
		err = h.Sync()
	}
	if err = errors.Join(err, h.Close()); err == nil {
		err = f.ix.fs.Rename(f.path()+making, f.path())
	}
	if err != nil {
		return errors.Join(err, f.ix.fs.Remove(f.path()+making))
	}
	if err := f.ix.fs.SyncDir(f.ix.dir); err != nil {
		return err
	}
	return f.open()
}

func (f *file) close() {
	if f.f != nil {
		f.f.Close()
		f.f = nil
	}
}

func (f *file) full() bool { return f.h.next >= f.ix.entries }

// head is the newest entry of a slot in the file, which must be open; a number that the header does not cover is none.
func (f *file) head(s int32) (int32, error) {
	var b [slotSize]byte
	f.mu.RLock()
	h, next := f.f, f.h.next
	f.mu.RUnlock()
	if _, err := h.ReadAt(b[:], headerSize+int64(s)*slotSize); err != nil {
		return 0, err
	}
	return below(int32(be.Uint32(b[:])), next), nil
}

// below is n if it is the number of an entry below next, else none.
func below(n, next int32) int32 {
	if n <= 0 || n >= next {
		return 0
	}
	return n
}

// put adds one entry. Called with mu held.
func (f *file) put(hash int32, phys, at int64) {
	if f.h.next <= 1 {
		f.h.beginTime, f.h.beginPhys = at, phys
	}
	f.fresh = append(f.fresh, fresh{phys, hash, seconds(f.h.beginTime, at)})
	f.h.next++
	f.h.endTime, f.h.endPhys = at, phys
	f.hurt = true
}

// entry reads an entry of the file, which must be open.
func (f *file) entry(i int32) (entry, error) {
	f.mu.RLock()
	h := f.f
	f.mu.RUnlock()
	var b [entrySize]byte
	if _, err := h.ReadAt(b[:], f.ix.entryAt(i)); err != nil {
		return entry{}, err
	}
	return decodeEntry(b[:]), nil
}

// find visits the entries for hash, newest first, until visit says stop: those that wait in memory, then the chain in the
// file. A save may be under way: the chain then begins with entries that were visited in memory.
func (f *file) find(hash int32, begin, end int64, visit func(int64) bool) (bool, error) {
	f.mu.Lock()
	err := f.open()
	waiting, saved, from := f.fresh, f.saved, f.h.beginTime
	f.mu.Unlock()
	if err != nil {
		return false, err
	}
	within := func(seconds int32) bool {
		at := from + int64(seconds)*1000
		return at+999 >= begin && at <= end
	}
	for i := len(waiting) - 1; i >= 0; i-- {
		if e := &waiting[i]; e.hash == hash && within(e.seconds) && !visit(e.phys) {
			return false, nil
		}
	}
	n, err := f.head(hash % f.ix.slots)
	if err != nil {
		return false, err
	}
	for n > 0 {
		e, err := f.entry(n)
		if err != nil {
			return false, err
		}
		if n < saved && e.hash == hash && within(e.seconds) && !visit(e.phys) {
			return false, nil
		}
		if from+int64(e.seconds)*1000+999 < begin || e.prev >= n {
			break
		}
		n = e.prev
	}
	return true, nil
}
