package index

// One index file. New entries wait in memory and are written by save; the slot table is read page by page and kept.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"rmqctl/internal/vfs"
)

// slotsPerPage: slots are read and written in pages of 4 KiB.
const slotsPerPage = 1024

type file struct {
	ix   *Index
	name string

	mu    sync.RWMutex // guards everything below
	f     vfs.File     // nil while closed; only the newest file stays open
	h     header
	saved int32             // entries below are in the file
	fresh []entry           // entries [saved, h.next)
	pages map[int32][]int32 // slot pages in memory; all of them authoritative
	dirty map[int32]bool    // pages that differ from the file
	hurt  bool              // header differs from the file
	loose bool              // written since the last sync
}

func (x *Index) fileSize() int64 {
	return headerSize + int64(x.slots)*slotSize + int64(x.entries)*entrySize
}

func (x *Index) entryAt(i int32) int64 {
	return headerSize + int64(x.slots)*slotSize + int64(i)*entrySize
}

func (x *Index) newFile(name string) *file {
	return &file{ix: x, name: name, h: header{next: 1}, saved: 1, pages: map[int32][]int32{}, dirty: map[int32]bool{}}
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

// page gives the slot page that holds slot s. Called with mu held for writing.
func (f *file) page(s int32) ([]int32, error) {
	n := s / slotsPerPage
	if p := f.pages[n]; p != nil {
		return p, nil
	}
	p, err := f.readPage(n)
	if err == nil {
		f.pages[n] = p
	}
	return p, err
}

func (f *file) readPage(n int32) ([]int32, error) {
	count := min(slotsPerPage, f.ix.slots-n*slotsPerPage)
	b := make([]byte, count*slotSize)
	if err := f.open(); err != nil {
		return nil, err
	}
	if _, err := f.f.ReadAt(b, headerSize+int64(n)*slotsPerPage*slotSize); err != nil {
		return nil, err
	}
	p := make([]int32, count)
	for i := range p {
		p[i] = int32(be.Uint32(b[i*slotSize:]))
	}
	return p, nil
}

// head is the newest entry of a slot; a number that the header does not cover is none.
func (f *file) head(s int32) (int32, error) {
	f.mu.RLock()
	p := f.pages[s/slotsPerPage]
	f.mu.RUnlock()
	if p == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		var err error
		if p, err = f.page(s); err != nil {
			return 0, err
		}
		return f.valid(p[s%slotsPerPage]), nil
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.valid(p[s%slotsPerPage]), nil
}

func (f *file) valid(n int32) int32 {
	if n <= 0 || n >= f.h.next {
		return 0
	}
	return n
}

// put adds one entry. Called with mu held.
func (f *file) put(hash int32, phys, at int64) error {
	s := hash % f.ix.slots
	p, err := f.page(s)
	if err != nil {
		return err
	}
	if f.h.next <= 1 {
		f.h.beginTime, f.h.beginPhys = at, phys
	}
	prev := f.valid(p[s%slotsPerPage])
	f.fresh = append(f.fresh, entry{hash, phys, seconds(f.h.beginTime, at), prev})
	if prev == 0 {
		f.h.slots++
	}
	p[s%slotsPerPage] = f.h.next
	f.dirty[s/slotsPerPage] = true
	f.h.next++
	f.h.endTime, f.h.endPhys = at, phys
	f.hurt = true
	return nil
}

func (f *file) entry(i int32) (entry, error) {
	f.mu.RLock()
	if i >= f.saved {
		defer f.mu.RUnlock()
		if int(i-f.saved) >= len(f.fresh) {
			return entry{}, errChain
		}
		return f.fresh[i-f.saved], nil
	}
	h := f.f
	f.mu.RUnlock()
	if h == nil {
		f.mu.Lock()
		err := f.open()
		h = f.f
		f.mu.Unlock()
		if err != nil {
			return entry{}, err
		}
	}
	var b [entrySize]byte
	if _, err := h.ReadAt(b[:], f.ix.entryAt(i)); err != nil {
		return entry{}, err
	}
	return decodeEntry(b[:]), nil
}

// save writes what waits: entries, then slots, then the header that makes them count. A crash in between leaves slots that
// point beyond the header; they count as empty, and recovery rebuilds them.
func (f *file) save(sync bool) error {
	f.mu.Lock()
	if !f.hurt {
		loose := f.loose
		f.mu.Unlock()
		if !sync || !loose {
			return nil
		}
		return f.sync()
	}
	from, fresh, h := f.saved, f.fresh, f.h
	pages := make(map[int32][]byte, len(f.dirty))
	for n := range f.dirty {
		b := make([]byte, 0, slotsPerPage*slotSize)
		for _, v := range f.pages[n] {
			b = be.AppendUint32(b, uint32(v))
		}
		pages[n] = b
	}
	clear(f.dirty)
	f.hurt = false
	err := f.open()
	f.mu.Unlock()
	if err == nil {
		err = f.write(from, fresh, pages, &h, sync)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.hurt = true
		for n := range pages {
			f.dirty[n] = true
		}
		return err
	}
	f.fresh = append([]entry(nil), f.fresh[len(fresh):]...)
	f.saved = from + int32(len(fresh))
	f.loose = !sync
	return nil
}

func (f *file) sync() error {
	f.mu.Lock()
	err := f.open()
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if err := f.f.Sync(); err != nil {
		return err
	}
	f.mu.Lock()
	f.loose = false
	f.mu.Unlock()
	return nil
}

// forget gives the memory of a file back that takes no more entries.
func (f *file) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.hurt && !f.loose {
		clear(f.pages)
	}
}

func (f *file) write(from int32, fresh []entry, pages map[int32][]byte, h *header, sync bool) error {
	b := make([]byte, 0, len(fresh)*entrySize)
	for _, e := range fresh {
		b = appendEntry(b, e)
	}
	if _, err := f.f.WriteAt(b, f.ix.entryAt(from)); err != nil {
		return err
	}
	for n, p := range pages {
		if _, err := f.f.WriteAt(p, headerSize+int64(n)*slotsPerPage*slotSize); err != nil {
			return err
		}
	}
	if _, err := f.f.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	if sync {
		return f.f.Sync()
	}
	return nil
}

// repair keeps the entries that are whole and point below cut, and rebuilds all slots from them. Physical offsets grow from
// entry to entry: where they stop growing, pages were lost.
func (f *file) repair(cut int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries, err := f.wholeEntries(cut)
	if err != nil {
		return err
	}
	old := f.h
	heads := make([]int32, f.ix.slots)
	used := int32(0)
	changed := int32(-1)
	for i := range entries {
		s := entries[i].hash % f.ix.slots
		if entries[i].prev != heads[s] && changed < 0 {
			changed = int32(i)
		}
		if entries[i].prev = heads[s]; heads[s] == 0 {
			used++
		}
		heads[s] = int32(i) + 1
	}
	f.h.next, f.h.slots = int32(len(entries))+1, used
	if n := len(entries); n > 0 {
		last := entries[n-1]
		if f.h.next != old.next {
			f.h.endPhys, f.h.endTime = last.phys, f.h.beginTime+int64(last.seconds)*1000
		}
	} else {
		f.h = header{next: 1}
	}
	if err := f.rewriteSlots(heads); err != nil {
		return err
	}
	f.saved, f.fresh = f.h.next, nil
	if changed >= 0 { // links of entries were wrong as well
		f.saved, f.fresh = changed+1, entries[changed:]
	}
	f.hurt = f.hurt || f.h != old || changed >= 0
	return nil
}

func (f *file) wholeEntries(cut int64) ([]entry, error) {
	if err := f.open(); err != nil {
		return nil, err
	}
	out := make([]entry, 0, f.h.next)
	b := make([]byte, 4096*entrySize)
	last := int64(-1)
	for i := int32(1); i < f.h.next; {
		n := min(f.h.next-i, 4096)
		if _, err := f.f.ReadAt(b[:n*entrySize], f.ix.entryAt(i)); err != nil {
			return nil, err
		}
		for k := range n {
			e := decodeEntry(b[k*entrySize:])
			if e.hash < 0 || e.phys < last || e.phys >= cut || e.phys < f.h.beginPhys || e == (entry{}) {
				return out, nil
			}
			last = e.phys
			out = append(out, e)
		}
		i += n
	}
	return out, nil
}

// rewriteSlots marks the pages that differ from heads.
func (f *file) rewriteSlots(heads []int32) error {
	for n := int32(0); n*slotsPerPage < f.ix.slots; n++ {
		p, err := f.readPage(n)
		if err != nil {
			return err
		}
		want := heads[n*slotsPerPage : n*slotsPerPage+int32(len(p))]
		same := true
		for i := range p {
			if p[i] != want[i] {
				same = false
				p[i] = want[i]
			}
		}
		if !same {
			f.pages[n], f.dirty[n], f.hurt = p, true, true
		} else {
			delete(f.pages, n)
		}
	}
	return nil
}
