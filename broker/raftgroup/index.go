// The index: one record per entry, in files of equal length, addressed by the entry's index.
//
//	index/00000000000000000000   header, records of entries 1 to n-1     (n = records per file, place 0 is the header's)
//	index/00000000000000000001   header, records of entries n to 2n-1 ... place i mod n + 1
//	index/change-INDEX-TERM      what a change of members says

package raftgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sort"
	"sync"

	"rmqctl/internal/vfs"
)

// base is where the log begins: the last entry that is no longer there, and the physical offset behind it.
type base struct {
	Index    uint64 `json:"index"`
	Term     uint64 `json:"term"`
	Physical int64  `json:"physical"`
}

// index is used by one goroutine, but for sync.
type index struct {
	fs    vfs.FS
	dir   string
	per   uint64 // records per file
	base  base
	files []*indexFile // ascending, without gaps
	tail  []entry      // the newest: of index last-len+1 to last
	last  uint64
	buf   []byte

	mu    sync.Mutex // guards files' handles against sync
	cold  *indexFile // the one older file that is kept open
	dirty bool       // guarded by mu
}

type indexFile struct {
	number uint64
	head   fileHeader
	f      vfs.File
}

// keepRecords is how many records stay in memory at least.
const keepRecords = 1 << 16

// end is the physical end of the last entry.
func (ix *index) end() int64 {
	if n := len(ix.tail); n > 0 {
		return ix.tail[n-1].to()
	}
	return ix.base.Physical
}

func (ix *index) lastTerm() uint64 {
	if n := len(ix.tail); n > 0 {
		return ix.tail[n-1].term
	}
	return ix.base.Term
}

func (ix *index) checkOf(i uint64) uint32 {
	if n := len(ix.tail); n > 0 && i == ix.last {
		return ix.tail[n-1].check
	}
	return 0
}

// get is the record of entry i, from memory or from its file.
func (ix *index) get(i uint64) (entry, error) {
	if i <= ix.base.Index || i > ix.last {
		return entry{}, fmt.Errorf("raft index: entry %d is not within %d to %d", i, ix.base.Index+1, ix.last)
	}
	if in := ix.last - i; in < uint64(len(ix.tail)) {
		return ix.tail[uint64(len(ix.tail))-1-in], nil
	}
	file, err := ix.open(ix.fileOf(i))
	if err != nil {
		return entry{}, err
	}
	var b [2 * recordSize]byte // the record before, or the header, has the check that this one continues
	if _, err := file.f.ReadAt(b[:], ix.place(i)-recordSize); err != nil {
		return entry{}, fmt.Errorf("raft index: read entry %d: %w", i, err)
	}
	before := file.head.before
	if i != file.head.first {
		before = uint32(b[28])<<24 | uint32(b[29])<<16 | uint32(b[30])<<8 | uint32(b[31])
	}
	e, err := parseRecord(b[recordSize:], i, before)
	if err != nil {
		return entry{}, fmt.Errorf("raft index: entry %d in %s is damaged", i, ix.name(file.number))
	}
	return e, nil
}

func (ix *index) open(n uint64) (*indexFile, error) {
	file := ix.files[n-ix.files[0].number]
	if file.f != nil {
		return file, nil
	}
	f, err := ix.fs.OpenFile(ix.name(n), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if c := ix.cold; c != nil && c.f != nil && c != ix.files[len(ix.files)-1] {
		_ = c.f.Close()
		c.f = nil
	}
	file.f, ix.cold = f, file
	return file, nil
}

// append writes the records of entries that follow the last one. They are in the file when it returns; on the disk after sync.
func (ix *index) append(es []entry) error {
	for len(es) > 0 {
		first := ix.last + 1
		file, err := ix.writable(first)
		if err != nil {
			return err
		}
		n := min(uint64(len(es)), (file.number+1)*ix.per-first)
		if uint64(cap(ix.buf)) < n*recordSize {
			ix.buf = make([]byte, n*recordSize)
		}
		b := ix.buf[:n*recordSize]
		before := file.head.before
		if first != file.head.first {
			before = ix.checkOf(ix.last)
		}
		end, term := ix.end(), ix.lastTerm()
		for k := range es[:n] {
			e := &es[k]
			if e.from != end || e.term < term {
				return fmt.Errorf("raft index: entry %d of term %d at %d does not follow term %d at %d", first+uint64(k), e.term, e.from, term, end)
			}
			e.put(b[k*recordSize:], first+uint64(k), before)
			before, end, term = e.check, e.to(), e.term
		}
		if _, err := file.f.WriteAt(b, ix.place(first)); err != nil {
			return fmt.Errorf("raft index: write entries from %d: %w", first, err)
		}
		ix.mu.Lock()
		ix.dirty = true
		ix.mu.Unlock()
		ix.tail = append(ix.tail, es[:n]...)
		ix.last += n
		es = es[n:]
	}
	ix.trim()
	return nil
}

func (ix *index) trim() {
	if len(ix.tail) > 4*keepRecords {
		ix.tail = append(ix.tail[:0], ix.tail[len(ix.tail)-keepRecords:]...)
	}
}

// writable is the file for entry i, the next one; made when it is the first of its file.
func (ix *index) writable(i uint64) (*indexFile, error) {
	n := ix.fileOf(i)
	if k := len(ix.files); k > 0 {
		if ix.files[k-1].number == n {
			return ix.open(n)
		}
		if err := ix.sync(); err != nil { // a start must find every file but the newest whole
			return nil, err
		}
	}
	f, err := ix.fs.OpenFile(ix.name(n), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	file := &indexFile{number: n, f: f, head: fileHeader{first: i, before: ix.checkOf(ix.last), per: ix.per}}
	var b [recordSize]byte
	file.head.put(b[:])
	if _, err = f.WriteAt(b[:], 0); err == nil {
		if err = f.Sync(); err == nil {
			err = ix.fs.SyncDir(ix.dir)
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("raft index: make %s: %w", ix.name(n), err)
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if k := len(ix.files); k > 0 && ix.files[k-1].f != nil && ix.files[k-1] != ix.cold {
		_ = ix.files[k-1].f.Close()
		ix.files[k-1].f = nil
	}
	ix.files = append(ix.files, file)
	return file, nil
}

// sync puts what was appended on the disk. It may be called beside everything else.
func (ix *index) sync() error {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if !ix.dirty || len(ix.files) == 0 {
		return nil
	}
	if f := ix.files[len(ix.files)-1].f; f != nil {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("raft index: sync: %w", err)
		}
	}
	ix.dirty = false
	return nil
}

// truncate drops entry i and all behind it, durably: newer files first, so that a crash in between leaves a chain with a
// shorter end.
func (ix *index) truncate(i uint64) error {
	if i > ix.last {
		return nil
	}
	if i <= ix.base.Index {
		return fmt.Errorf("raft index: entry %d is gone, the log begins behind %d", i, ix.base.Index)
	}
	if err := ix.refill(i); err != nil {
		return err
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for k := len(ix.files) - 1; k >= 0 && ix.files[k].head.first >= i; k-- {
		if err := ix.drop(k); err != nil {
			return err
		}
	}
	if n := len(ix.files); n > 0 && ix.files[n-1].number == ix.fileOf(i) { // else the newest ends just there
		file := ix.files[n-1]
		if err := file.f.Truncate(ix.place(i)); err != nil {
			return err
		}
		if err := file.f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// refill prepares truncate: the file that will be the newest is open, and the record that will be the last is in memory.
func (ix *index) refill(i uint64) error {
	if cut := ix.last - i + 1; cut < uint64(len(ix.tail)) {
		ix.tail = ix.tail[:uint64(len(ix.tail))-cut]
	} else if i-1 > ix.base.Index {
		e, err := ix.get(i - 1)
		if err != nil {
			return err
		}
		ix.tail = append(ix.tail[:0], e)
	} else {
		ix.tail = ix.tail[:0]
	}
	ix.last = i - 1
	for k := len(ix.files) - 1; k >= 0; k-- {
		if ix.files[k].head.first < i {
			_, err := ix.open(ix.files[k].number)
			return err
		}
	}
	return nil
}

func (ix *index) drop(k int) error {
	file := ix.files[k]
	if file.f != nil {
		_ = file.f.Close()
		file.f = nil
	}
	if err := ix.remove(file.number); err != nil {
		return err
	}
	ix.files = slices.Delete(ix.files, k, k+1)
	return nil
}

func (ix *index) remove(n uint64) error {
	if err := ix.fs.Remove(ix.name(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return ix.fs.SyncDir(ix.dir)
}

// begin moves the base up; the caller has written it down. Files wholly below it go.
func (ix *index) begin(b base) error {
	if keep := ix.last - b.Index; keep < uint64(len(ix.tail)) {
		ix.tail = append(ix.tail[:0], ix.tail[uint64(len(ix.tail))-keep:]...)
	}
	ix.base = b
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for len(ix.files) > 1 && ix.files[0].number < ix.fileOf(b.Index+1) && ix.files[0].number < ix.files[len(ix.files)-1].number {
		if ix.cold == ix.files[0] {
			ix.cold = nil
		}
		if err := ix.drop(0); err != nil {
			return err
		}
	}
	return ix.dropChanges(func(i uint64) bool { return i <= b.Index })
}

// reset empties the index; the caller has written down that the log begins at b.
func (ix *index) reset(b base) error {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for k := len(ix.files) - 1; k >= 0; k-- {
		if err := ix.drop(k); err != nil {
			return err
		}
	}
	ix.cold, ix.tail, ix.base, ix.last, ix.dirty = nil, ix.tail[:0], b, b.Index, false
	return ix.dropChanges(func(uint64) bool { return true })
}

// find is the first entry that begins at or behind physical offset off; last+1 if none does.
func (ix *index) find(off int64) (uint64, error) {
	n := int(ix.last - ix.base.Index)
	var bad error
	k := sort.Search(n, func(k int) bool {
		e, err := ix.get(ix.base.Index + 1 + uint64(k))
		if err != nil {
			bad = err
		}
		return err == nil && e.from >= off
	})
	return ix.base.Index + 1 + uint64(k), bad
}

func (ix *index) close() {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for _, file := range ix.files {
		if file.f != nil {
			_ = file.f.Close()
			file.f = nil
		}
	}
}
