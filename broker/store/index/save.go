package index

// The way of entries from memory into the file. Java links an entry when it is put: one slot read and written at a random
// place for each. Here the entries of about a second are linked together, ordered by slot, so that every part of the slot
// table is read and written once for many of them:
//
//	order   (slot, number) of every entry, sorted
//	link    per slot: the entry in the file's slot, then each of ours, is the previous one of the next
//	write   entries, then slots, then the header that makes them count
//
// A crash in between leaves slots that point beyond the header; they count as empty, and recovery rebuilds them.

import (
	"slices"

	"rmqctl/internal/vfs"
)

const (
	linkBytes = 64 << 10 // read and written at once
	pageBytes = 4 << 10  // what the system reads and writes in any case
	pageSlots = pageBytes / slotSize
)

// save writes what waits. Only one save of a file runs at a time; puts go on meanwhile.
func (f *file) save(sync bool) error {
	f.mu.Lock()
	from, waiting, h := f.saved, f.fresh, f.h
	hurt, loose := f.hurt, f.loose
	var err error
	if hurt || sync && loose {
		err = f.open()
	}
	file := f.f
	f.hurt = false
	f.mu.Unlock()
	if err == nil && hurt {
		err = f.write(file, from, waiting, &h)
	}
	if err == nil && sync && (hurt || loose) {
		err = file.Sync()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.hurt = f.hurt || hurt
		return err
	}
	if n := len(waiting); n > 0 {
		f.fresh = append(make([]fresh, 0, len(f.fresh)-n), f.fresh[n:]...) // a find may still look at the old ones
		f.saved = from + int32(n)
	}
	f.h.slots = h.slots
	f.loose = !sync && (hurt || loose)
	return nil
}

func (f *file) write(file vfs.File, from int32, waiting []fresh, h *header) error {
	if len(waiting) > 0 {
		order := f.order(waiting)
		prev := make([]int32, len(waiting))
		used, err := f.link(file, order, prev, from)
		if err != nil {
			return err
		}
		if err := f.writeEntries(file, from, waiting, prev); err != nil {
			return err
		}
		if err := f.writeSlots(file, order, from); err != nil {
			return err
		}
		h.slots += used
	}
	_, err := file.WriteAt(h.encode(), 0)
	return err
}

// order is slot<<32 | position for every entry, sorted.
func (f *file) order(waiting []fresh) []uint64 {
	order := make([]uint64, len(waiting))
	for i := range waiting {
		order[i] = uint64(waiting[i].hash%f.ix.slots)<<32 | uint64(i)
	}
	slices.Sort(order)
	return order
}

func slotOf(o uint64) int32 { return int32(o >> 32) }

// parts calls do for the entries of one part of the slot table after the other: the slots from first on, which read was
// filled with.
func (f *file) parts(file vfs.File, order []uint64, do func(first int32, slots []byte, order []uint64) error) error {
	span := int32(linkBytes / slotSize)
	if len(order) < int(f.ix.slots/pageSlots) { // few: what lies between them need not be read
		span = pageSlots
	}
	b := make([]byte, span*slotSize)
	for len(order) > 0 {
		first := slotOf(order[0]) / span * span
		n := len(order)
		if i, _ := slices.BinarySearch(order, uint64(first+span)<<32); i < n {
			n = i
		}
		part := b[:min(span, f.ix.slots-first)*slotSize]
		if _, err := file.ReadAt(part, headerSize+int64(first)*slotSize); err != nil {
			return err
		}
		if err := do(first, part, order[:n]); err != nil {
			return err
		}
		order = order[n:]
	}
	return nil
}

// link finds the previous entry of each, and how many slots were empty.
func (f *file) link(file vfs.File, order []uint64, prev []int32, from int32) (used int32, err error) {
	err = f.parts(file, order, func(first int32, slots []byte, order []uint64) error {
		for i, o := range order {
			at := int32(uint32(o))
			if i > 0 && slotOf(order[i-1]) == slotOf(o) {
				prev[at] = from + int32(uint32(order[i-1]))
				continue
			}
			p, err := f.older(file, int32(be.Uint32(slots[(slotOf(o)-first)*slotSize:])), from)
			if err != nil {
				return err
			}
			if prev[at] = p; p == 0 {
				used++
			}
		}
		return nil
	})
	return used, err
}

// older follows a chain from entry n on to the first one below from. What lies above was written by a save that failed
// before it was done, and is written again.
func (f *file) older(file vfs.File, n, from int32) (int32, error) {
	for n >= from && n < f.ix.entries {
		var b [entrySize]byte
		if _, err := file.ReadAt(b[:], f.ix.entryAt(n)); err != nil {
			return 0, err
		}
		prev := decodeEntry(b[:]).prev
		if prev >= n {
			return 0, nil
		}
		n = prev
	}
	return below(n, from), nil
}

func (f *file) writeEntries(file vfs.File, from int32, waiting []fresh, prev []int32) error {
	b := make([]byte, 0, linkBytes)
	for at := 0; at < len(waiting); {
		n := min(len(waiting)-at, linkBytes/entrySize)
		b = b[:0]
		for i := at; i < at+n; i++ {
			w := &waiting[i]
			b = appendEntry(b, entry{w.hash, w.phys, w.seconds, prev[i]})
		}
		if _, err := file.WriteAt(b, f.ix.entryAt(from+int32(at))); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// writeSlots lets every slot begin with its newest entry.
func (f *file) writeSlots(file vfs.File, order []uint64, from int32) error {
	return f.parts(file, order, func(first int32, slots []byte, order []uint64) error {
		for _, o := range order {
			be.PutUint32(slots[(slotOf(o)-first)*slotSize:], uint32(from+int32(uint32(o))))
		}
		_, err := file.WriteAt(slots, headerSize+int64(first)*slotSize)
		return err
	})
}
