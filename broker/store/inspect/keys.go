package inspect

// The index files: whether each is whole in itself, and whether every message with a key is found.

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"rmqctl/broker/store/index"
	"rmqctl/internal/vfs"
)

// indexFile is one file of the index.
type indexFile struct {
	path           string
	len            int64
	h              index.Header
	slots, entries int32 // the shape
	bad            bool  // in itself
}

func (f *indexFile) entryAt(i int32) int64 {
	return index.HeaderSize + int64(f.slots)*index.SlotSize + int64(i)*index.EntrySize
}

// indexCheck is the index and where the pass over the log stands in it.
type indexCheck struct {
	files          []*indexFile
	here           bool  // there is an index folder
	slots, entries int32 // the shape of the files

	at    int   // file
	next  int32 // entry of it
	buf   []byte
	first int32 // number of the first entry in buf
	f     vfs.File
}

func (x *indexCheck) any() bool { return x != nil && x.here }

// keyGap is a stretch of the log whose messages are not found by key.
type keyGap struct {
	from, to, n int64
}

// listIndex finds the index files and their shape.
func (d *Dir) listIndex() (*indexCheck, error) {
	x := &indexCheck{next: 1}
	if d.o.NoIndex {
		return x, nil
	}
	if info, err := d.fs.Stat(d.o.IndexDir); err != nil || !info.IsDir() {
		return x, nil
	}
	x.here = true
	entries, err := d.fs.ReadDir(d.o.IndexDir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() || len(e.Name()) != 17 {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		f := &indexFile{path: filepath.Join(d.o.IndexDir, e.Name()), len: info.Size()}
		var b [index.HeaderSize]byte
		if _, err := d.readAt(f.path, b[:], 0); err != nil {
			return nil, err
		}
		f.h = index.ReadHeader(b[:])
		x.files = append(x.files, f)
	}
	d.shapes(x)
	return x, nil
}

// shapes finds slots and entries of the files: as configured, as RocketMQ's default, or so that a newest entry is where its
// slot says.
func (d *Dir) shapes(x *indexCheck) {
	slots, entries := d.o.IndexSlots, d.o.IndexEntries
	size := func(s, e int32) int64 { return index.HeaderSize + int64(s)*index.SlotSize + int64(e)*index.EntrySize }
	if slots == 0 || entries == 0 {
		slots, entries = 5000000, 20000000
		for _, f := range x.files {
			if f.len == size(slots, entries) {
				break
			}
			if s, e := d.guess(f); s > 0 {
				slots, entries = s, e
				break
			}
		}
	}
	x.slots, x.entries = slots, entries
	for _, f := range x.files {
		f.slots, f.entries = slots, entries
	}
}

func (d *Dir) guess(f *indexFile) (slots, entries int32) {
	n := f.h.Next - 1
	rest := f.len - index.HeaderSize
	if n < 1 || rest%4 != 0 || f.len > 1<<30 {
		return 0, 0
	}
	b, err := vfs.ReadFile(d.fs, f.path)
	if err != nil {
		return 0, 0
	}
	for e := max(rest/24, 1); e > int64(n); e-- { // the more slots the likelier; at least one slot for an entry is rare
		s := (rest - e*index.EntrySize) / 4
		if s > 0 && d.fits(b, int32(s), n, f.h) {
			return int32(s), int32(e)
		}
	}
	for e := rest/24 + 1; e*index.EntrySize < rest; e++ {
		s := (rest - e*index.EntrySize) / 4
		if s > 0 && e > int64(n) && d.fits(b, int32(s), n, f.h) {
			return int32(s), int32(e)
		}
	}
	return 0, 0
}

// fits: with so many slots, the newest entries are the heads of their slots and speak of the offset that the header names.
func (d *Dir) fits(b []byte, slots, newest int32, h index.Header) bool {
	at := index.HeaderSize + int64(slots)*index.SlotSize
	if at+int64(newest+1)*index.EntrySize > int64(len(b)) {
		return false
	}
	e := index.ReadEntry(b[at+int64(newest)*index.EntrySize:], 0)
	first := index.ReadEntry(b[at+index.EntrySize:], 0)
	return e.Phys == h.EndPhys && first.Phys == h.BeginPhys && e.Hash >= 0 && slotOf(b, e.Hash%slots) == newest
}

func slotOf(b []byte, s int32) int32 {
	b = b[index.HeaderSize+int64(s)*index.SlotSize:]
	return int32(uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]))
}

func (c *checker) checkIndexFiles(ctx context.Context) error {
	var err error
	if c.index, err = c.d.listIndex(); err != nil {
		return err
	}
	for i, f := range c.index.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.checkIndexFile(f, i == len(c.index.files)-1); err != nil {
			return err
		}
		c.r.IndexFiles++
		if !f.bad {
			c.r.IndexEntries += int64(f.h.Next) - 1
		}
	}
	return nil
}

// checkIndexFile walks over the entries in order and rebuilds the slots on the way: each entry must point to the one that
// was the head of its slot before.
func (c *checker) checkIndexFile(f *indexFile, newest bool) error {
	bad := func(off int64, what string, a ...any) error {
		f.bad = true
		sev, means, repair := Derived, "messages of this time are not found by key", "made again from the log"
		if newest && c.d.crashed {
			sev, means, repair = Note, "the next start mends it", ""
		}
		c.r.add(Finding{Severity: sev, File: c.d.rel(f.path), Offset: off, What: fmt.Sprintf(what, a...), Means: means, Repair: repair})
		return nil
	}
	want := index.HeaderSize + int64(f.slots)*index.SlotSize + int64(f.entries)*index.EntrySize
	if f.len != want {
		return bad(min(f.len, want), "the file has %d bytes, %d slots and %d entries take %d (another shape? give -c)", f.len, f.slots, f.entries, want)
	}
	if f.h.Next > f.entries || f.h.Next < 0 || f.h.Next > 1 && (f.h.BeginPhys < 0 || f.h.EndPhys < f.h.BeginPhys) {
		return bad(0, "the header cannot be: entries %d of %d, log offsets %d to %d", f.h.Next, f.entries, f.h.BeginPhys, f.h.EndPhys)
	}
	h, err := c.d.fs.OpenFile(f.path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer h.Close()
	heads := make([]int32, f.slots)
	last := int64(-1)
	buf := make([]byte, 8192*index.EntrySize)
	for i := int32(1); i < f.h.Next; {
		n := min(f.h.Next-i, 8192)
		if _, err := readFull(h, buf[:n*index.EntrySize], f.entryAt(i)); err != nil {
			return bad(f.entryAt(i), "%v", err)
		}
		for k := range n {
			e := index.ReadEntry(buf, int(k))
			if e.Hash < 0 || e.Phys < last || e.Seconds < 0 || i+k == 1 && e.Phys != f.h.BeginPhys {
				return bad(f.entryAt(i+k), "entry %d cannot be: log offset %d behind %d", i+k, e.Phys, last)
			}
			s := e.Hash % f.slots
			if e.Prev != heads[s] && !(e.Prev < 0 || e.Prev >= i+k) {
				return bad(f.entryAt(i+k), "the chain is broken: entry %d names %d before it, the slot had %d", i+k, e.Prev, heads[s])
			}
			heads[s], last = i+k, e.Phys
		}
		i += n
	}
	if f.h.Next > 1 && last != f.h.EndPhys {
		return bad(24, "the header ends at log offset %d, its last entry at %d", f.h.EndPhys, last)
	}
	return c.checkSlots(f, h, heads, bad)
}

func (c *checker) checkSlots(f *indexFile, h vfs.File, heads []int32, bad func(int64, string, ...any) error) error {
	buf := make([]byte, 1<<20)
	for s := int32(0); s < f.slots; {
		n := min(f.slots-s, int32(len(buf)/index.SlotSize))
		off := index.HeaderSize + int64(s)*index.SlotSize
		if _, err := readFull(h, buf[:n*index.SlotSize], off); err != nil {
			return bad(off, "%v", err)
		}
		for k := range n {
			b := buf[k*index.SlotSize:]
			v := int32(uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]))
			if v <= 0 || v >= f.h.Next {
				v = 0 // counts as empty
			}
			if v != heads[s+k] {
				return bad(off+int64(k)*index.SlotSize, "slot %d points to entry %d, its newest is %d", s+k, v, heads[s+k])
			}
		}
		s += n
	}
	return nil
}

// findKeys moves on in the index to the record and looks for each of its keys.
func (c *checker) findKeys(it *item) error {
	var found []int32
	for {
		e, ok, err := c.entry()
		if err != nil {
			return err
		}
		if !ok || e.Phys > it.PhysicalOffset {
			break
		}
		c.index.next++
		if e.Phys == it.PhysicalOffset {
			found = append(found, e.Hash)
		} else if e.Phys >= c.from {
			c.surplus++
			c.surplusAt = e.Phys
		}
	}
	missing := false
	for _, h := range it.hashes {
		has := false
		for _, f := range found {
			has = has || f == h
		}
		missing = missing || !has
	}
	if !missing {
		return nil
	}
	at := it.PhysicalOffset
	if n := len(c.keyGaps); n > 0 && c.keyGaps[n-1].n == c.keyed-c.keyGapStart-1 {
		c.keyGaps[n-1].n++
		c.keyGaps[n-1].to = at
		return nil
	}
	c.keyGapStart = c.keyed - 1
	c.keyGaps = append(c.keyGaps, keyGap{at, at, 1})
	return nil
}

// entry is the next entry of the good files.
func (c *checker) entry() (index.Entry, bool, error) {
	x := c.index
	for x.at < len(x.files) {
		f := x.files[x.at]
		if f.bad || x.next >= f.h.Next {
			if x.f != nil {
				x.f.Close()
			}
			x.f, x.buf, x.at, x.next = nil, nil, x.at+1, 1
			continue
		}
		if n := int(x.next - x.first); x.buf != nil && n >= 0 && n < len(x.buf)/index.EntrySize {
			return index.ReadEntry(x.buf, n), true, nil
		}
		if x.f == nil {
			var err error
			if x.f, err = c.d.fs.OpenFile(f.path, os.O_RDONLY, 0); err != nil {
				return index.Entry{}, false, err
			}
		}
		x.first = x.next
		x.buf = append(x.buf[:0], make([]byte, min(f.h.Next-x.next, 8192)*index.EntrySize)...)
		if _, err := readFull(x.f, x.buf, f.entryAt(x.next)); err != nil {
			return index.Entry{}, false, fmt.Errorf("%s: %w", c.d.rel(f.path), err)
		}
	}
	return index.Entry{}, false, nil
}

// judgeKeys reports what is not found by key.
func (c *checker) judgeKeys() {
	if c.index.f != nil {
		c.index.f.Close()
		c.index.f = nil
	}
	dir := c.d.rel(c.d.o.IndexDir)
	if !c.index.here && !c.d.o.NoIndex {
		c.note(dir, 0, "there is no index", "queries by key find nothing")
	}
	for _, g := range c.keyGaps {
		f := Finding{Severity: Derived, File: dir, What: fmt.Sprintf("%d messages between log offsets %d and %d are not in the index", g.n, g.from, g.to),
			Means: "they are not found by key", Repair: "made again from the log"}
		if g.from >= c.remade() {
			f.Severity, f.Means, f.Repair = Note, "the next start adds them", ""
		}
		c.r.add(f)
	}
	if c.surplus > 0 {
		c.note(dir, 0, fmt.Sprintf("%d entries speak of messages that the log does not have, the last at log offset %d", c.surplus, c.surplusAt), "queries skip them")
	}
}
