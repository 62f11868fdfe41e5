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
	f.saved, f.fresh = f.h.next, nil
	f.hurt = f.hurt || f.h != old
	if changed >= 0 { // links of entries were wrong as well
		if err := f.rewriteEntries(entries[changed:], changed+1); err != nil {
			return err
		}
	}
	return f.rewriteSlots(heads)
}

func (f *file) rewriteEntries(entries []entry, from int32) error {
	b := make([]byte, 0, linkBytes)
	for len(entries) > 0 {
		n := min(len(entries), linkBytes/entrySize)
		b = b[:0]
		for _, e := range entries[:n] {
			b = appendEntry(b, e)
		}
		if _, err := f.f.WriteAt(b, f.ix.entryAt(from)); err != nil {
			return err
		}
		entries, from = entries[n:], from+int32(n)
	}
	f.loose = true
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
