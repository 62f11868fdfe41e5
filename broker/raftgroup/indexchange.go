// What changes of members say: a file each, for the records have no room for it.

package raftgroup

import (
	"path/filepath"
	"strconv"
	"strings"

	"rmqctl/internal/vfs"
)

// putChange keeps what a change of members says, durably, before its record is written.
func (ix *index) putChange(i, term uint64, data []byte) error {
	return vfs.WriteFileAtomic(ix.fs, ix.changeName(i, term), data, 0o644)
}

func (ix *index) change(i, term uint64) ([]byte, error) {
	return vfs.ReadFile(ix.fs, ix.changeName(i, term))
}

// dropChanges removes the data of changes. A file that stays by a crash is harmless: its name holds the term.
func (ix *index) dropChanges(gone func(i uint64) bool) error {
	names, err := ix.fs.ReadDir(ix.dir)
	if err != nil {
		return err
	}
	for _, d := range names {
		rest, ok := strings.CutPrefix(d.Name(), "change-")
		digits, _, _ := strings.Cut(rest, "-")
		if i, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && gone(i) {
			if err := ix.fs.Remove(filepath.Join(ix.dir, d.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
