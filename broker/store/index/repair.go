package index

// After a crash: the entries that are whole stay, and all slots are made from them.

import (
	"bytes"
)

// repair keeps the entries that are whole and point below cut, and rebuilds all slots from them. Physical offsets grow from
// entry to entry: where they stop growing, pages were lost.
func (f *file) repair(cut int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.open(); err != nil {
		return err
	}
	heads := make([]int32, f.ix.slots)
	n, last, err := f.relink(cut, heads)
	if err != nil {
		return err
	}
	old := f.h
	f.h.next, f.h.slots = n+1, 0
	for _, head := range heads {
		if head != 0 {
			f.h.slots++
		}
	}
	switch {
	case n == 0:
		f.h = header{next: 1}
	case f.h.next != old.next:
		f.h.endPhys, f.h.endTime = last.phys, f.h.beginTime+int64(last.seconds)*1000
	}
	f.saved, f.fresh = f.h.next, nil
	f.hurt = f.hurt || f.h != old
	return f.rewriteSlots(heads)
}

// relink walks over the entries that are whole and point below cut, notes the newest of each slot in heads and mends links
// that lead elsewhere than to the one before. It keeps a block of them in memory, whatever the file holds. n is how many
// are good.
func (f *file) relink(cut int64, heads []int32) (n int32, last entry, err error) {
	last.phys = -1
	b := make([]byte, linkBytes/entrySize*entrySize)
	for n+1 < f.h.next {
		block := b[:min(int(f.h.next-n-1)*entrySize, len(b))]
		at := f.ix.entryAt(n + 1)
		if _, err := f.f.ReadAt(block, at); err != nil {
			return n, last, err
		}
		good, mended := 0, false
		for ; good < len(block); good += entrySize {
			e := decodeEntry(block[good:])
			if e.hash < 0 || e.phys < last.phys || e.phys >= cut || e.phys < f.h.beginPhys || e == (entry{}) {
				break
			}
			s := e.hash % f.ix.slots
			if e.prev != heads[s] {
				e.prev, mended = heads[s], true
				appendEntry(block[:good], e)
			}
			n++
			heads[s], last = n, e
		}
		if mended {
			if _, err := f.f.WriteAt(block[:good], at); err != nil {
				return n, last, err
			}
			f.loose = true
		}
		if good < len(block) {
			break
		}
	}
	return n, last, nil
}

// rewriteSlots writes what differs from heads.
func (f *file) rewriteSlots(heads []int32) error {
	const perRead = linkBytes / slotSize
	b, want := make([]byte, linkBytes), make([]byte, 0, linkBytes)
	for n := 0; n < len(heads); n += perRead {
		part := heads[n:min(n+perRead, len(heads))]
		want = want[:0]
		for _, head := range part {
			want = be.AppendUint32(want, uint32(head))
		}
		at := headerSize + int64(n)*slotSize
		if _, err := f.f.ReadAt(b[:len(want)], at); err != nil {
			return err
		}
		for p := 0; p < len(want); p += pageBytes {
			page := want[p:min(p+pageBytes, len(want))]
			if bytes.Equal(page, b[p:p+len(page)]) {
				continue
			}
			if _, err := f.f.WriteAt(page, at+int64(p)); err != nil {
				return err
			}
			f.loose = true
		}
	}
	return nil
}

// Clear removes all files.
func (x *Index) Clear() error {
	x.save.Lock()
	defer x.save.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	for n := len(x.files); n > 0; n-- {
		f := x.files[n-1]
		f.close()
		if err := x.fs.Remove(f.path()); err != nil {
			return err
		}
		x.files = x.files[:n-1]
	}
	return x.fs.SyncDir(x.dir)
}
