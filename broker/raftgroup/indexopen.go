// Opening the index: files that belong together, torn ends cut off.

package raftgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"rmqctl/internal/vfs"
)

func openIndex(fsys vfs.FS, dir string, per uint64, b base) (*index, error) {
	ix := &index{fs: fsys, dir: dir, per: per, base: b, last: b.Index}
	if err := vfs.MakeDirs(fsys, dir, 0o755); err != nil {
		return nil, err
	}
	if err := named(fsys, dir); err != nil {
		return nil, err
	}
	numbers, err := ix.list()
	if err != nil {
		return nil, err
	}
	if len(numbers) > 0 { // what it was made with stays
		if h, err := readHeader(fsys, ix.name(numbers[0])); err == nil {
			ix.per = h.per
		}
	}
	for i, n := range numbers {
		if n < ix.fileOf(b.Index+1) { // removing it was cut off
			if err := ix.remove(n); err != nil {
				return nil, err
			}
			continue
		}
		if err := ix.load(n, i == len(numbers)-1); err != nil {
			ix.close()
			return nil, err
		}
	}
	return ix, nil
}

// named makes the name of dir and those within survive a power cut: a killed process may have left them unsynced.
func named(fsys vfs.FS, dir string) error {
	if err := vfs.SyncParent(fsys, dir); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

func readHeader(fsys vfs.FS, name string) (fileHeader, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return fileHeader{}, err
	}
	defer f.Close()
	var b [recordSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return fileHeader{}, err
	}
	return parseHeader(b[:])
}

// committedEnd is the physical end of entry i, or of the last good one before it. It changes nothing.
func committedEnd(fsys vfs.FS, dir string, b base, i uint64) (int64, error) {
	if i <= b.Index {
		return b.Physical, nil
	}
	ix := &index{fs: fsys, dir: dir}
	numbers, err := ix.list()
	if err != nil {
		return 0, err
	}
	for _, n := range slices.Backward(numbers) {
		text, err := vfs.ReadFile(fsys, ix.name(n))
		if err != nil {
			return 0, err
		}
		h, err := parseHeader(text)
		if err != nil || h.first > i {
			continue
		}
		end := int64(-1)
		for k, before := h.first, h.before; k <= i && k/h.per == h.first/h.per; k++ {
			at := int64(k%h.per+1) * recordSize
			if at+recordSize > int64(len(text)) {
				break
			}
			e, err := parseRecord(text[at:], k, before)
			if err != nil {
				break
			}
			if before = e.check; k > b.Index {
				end = e.to()
			}
		}
		if end >= 0 {
			return end, nil
		}
	}
	return b.Physical, nil
}

func (ix *index) fileOf(i uint64) uint64 { return i / ix.per }
func (ix *index) place(i uint64) int64   { return int64(i%ix.per+1) * recordSize }
func (ix *index) name(n uint64) string   { return filepath.Join(ix.dir, fmt.Sprintf("%020d", n)) }
func (ix *index) changeName(i, term uint64) string {
	return filepath.Join(ix.dir, fmt.Sprintf("change-%020d-%d", i, term))
}

func (ix *index) list() ([]uint64, error) {
	names, err := ix.fs.ReadDir(ix.dir)
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, d := range names {
		if n, err := strconv.ParseUint(d.Name(), 10, 64); err == nil && len(d.Name()) == 20 {
			out = append(out, n)
		}
	}
	return out, nil
}

// load opens a file. Only the newest may be torn, for a file is on the disk before the next is made: what does not continue
// the chain is cut off there. Every other must be whole.
func (ix *index) load(n uint64, newest bool) error {
	f, err := ix.fs.OpenFile(ix.name(n), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	file := &indexFile{number: n, f: f}
	b, err := vfs.ReadFile(ix.fs, ix.name(n))
	if err != nil {
		return err
	}
	h, err := parseHeader(b)
	next := max(n*ix.per, ix.base.Index+1)
	fits := err == nil && h.per == ix.per && ix.fileOf(h.first) == n && h.first <= next
	if len(ix.files) > 0 {
		next = ix.last + 1
		fits = fits && ix.fileOf(next) == n && h.first == next && h.before == ix.checkOf(ix.last)
	}
	if !fits {
		_ = f.Close()
		if newest {
			return ix.remove(n) // it was being made
		}
		return fmt.Errorf("raft index: %s does not continue the file before", ix.name(n))
	}
	file.head = h
	good := ix.scan(b, h, next)
	end := ix.place(h.first) + int64(good-h.first)*recordSize
	ix.files = append(ix.files, file)
	if !newest && good != (n+1)*ix.per {
		return fmt.Errorf("raft index: %s is damaged at entry %d", ix.name(n), good)
	}
	if size, err := f.Size(); err != nil || size > end {
		if err == nil {
			err = f.Truncate(end)
		}
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			return err
		}
	}
	ix.dirty = true // what a killed process wrote may not be on the disk
	ix.trim()
	return nil
}

// scan takes the records of a file as far as they are good, and returns the index behind them. Those before next are the
// chain's only.
func (ix *index) scan(b []byte, h fileHeader, next uint64) uint64 {
	before, i := h.before, h.first
	for ; ix.fileOf(i) == ix.fileOf(h.first) && ix.place(i)+recordSize <= int64(len(b)); i++ {
		e, err := parseRecord(b[ix.place(i):], i, before)
		if err != nil || i >= next && !ix.follows(e) {
			break
		}
		before = e.check
		if i >= next {
			ix.tail = append(ix.tail, e)
			ix.last = i
		}
	}
	return max(i, h.first)
}

// follows: entries touch each other and terms never go back.
func (ix *index) follows(e entry) bool {
	return e.from == ix.end() && e.term >= ix.lastTerm()
}
