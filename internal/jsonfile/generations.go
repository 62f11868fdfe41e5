// Generations of a file, and how a damaged one is told from one that a Java broker wrote.

package jsonfile

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"rmqctl/internal/vfs"
)

// Endings of the files beside NAME: the previous text (RocketMQ's name for it), the one before, and the checksums.
const (
	bak  = ".bak"
	bak2 = ".bak.2"
	sums = ".sums"
)

// Generation is one of the texts that a file has at this moment, the newest first.
type Generation struct {
	File string
	Text []byte
	Err  error // why the text must not be believed; nil when nothing speaks against it
}

// ErrDamaged: the text is not what was written.
var ErrDamaged = errors.New("damaged: its checksum is not that of what was written")

// Generations reads NAME, NAME.bak and NAME.bak.2, as far as they are there.
//
// NAME.sums knows the checksums of the last texts that we wrote. A text with another one is damaged if NAME has the size and
// the time of our last write; else somebody else has written NAME since, a Java broker or an operator, and then both it and
// NAME.bak are his.
func Generations(fsys vfs.FS, name string) []Generation {
	known := readSums(fsys, name)
	ours := true
	var out []Generation
	for _, file := range []string{name, name + bak, name + bak2} {
		b, err := vfs.ReadFile(fsys, file)
		if errors.Is(err, fs.ErrNotExist) {
			ours = ours && file != name // the window in which RocketMQ has no main file
			continue
		}
		g := Generation{File: file, Text: b}
		switch {
		case err != nil:
			g.Err = err
		case len(b) == 0:
			g.Err = errors.New("empty file")
		case len(known) == 0, known.have(b):
		case file == name && !known.written(fsys, name):
			ours = false
		case ours:
			g.Err = ErrDamaged
		}
		out = append(out, g)
	}
	return out
}

// sum is what is remembered of a text that we wrote.
type sum struct {
	crc  uint32
	size int
	time int64 // of the file's last write, in ns
}

type sumList []sum

// keepSums is how many texts are remembered: the three generations, and the one being written.
const keepSums = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sumOf(text []byte) sum { return sum{crc: crc32.Checksum(text, castagnoli), size: len(text)} }

func (l sumList) have(text []byte) bool {
	s := sumOf(text)
	for _, k := range l {
		if k.crc == s.crc && k.size == s.size {
			return true
		}
	}
	return false
}

// written tells whether name has the time and the size of one of our writes.
func (l sumList) written(fsys vfs.FS, name string) bool {
	info, err := fsys.Stat(name)
	for _, k := range l {
		if err == nil && int64(k.size) == info.Size() && k.time == info.ModTime().UnixNano() {
			return true
		}
	}
	return false
}

// readSums: a list that cannot be read knows nothing.
func readSums(fsys vfs.FS, name string) sumList {
	b, err := vfs.ReadFile(fsys, name+sums)
	if err != nil {
		return nil
	}
	text, own, found := strings.Cut(string(b), "= ")
	if found && own != fmt.Sprintf("%08x\n", crc32.Checksum([]byte(text), castagnoli)) || !found && len(b) > 0 {
		return nil
	}
	var l sumList
	for line := range strings.Lines(text) {
		var s sum
		if _, err := fmt.Sscanf(line, "%x %d %d", &s.crc, &s.size, &s.time); err == nil {
			l = append(l, s)
		}
	}
	return l
}

func (l sumList) text() []byte {
	var out []byte
	for _, s := range l {
		out = fmt.Appendf(out, "%08x %d %d\n", s.crc, s.size, s.time)
	}
	return fmt.Appendf(out, "= %08x\n", crc32.Checksum(out, castagnoli)) // the list itself may be damaged
}

// save replaces name by text. Order, each step safe against a cut:
//
//	NAME.tmp written and synced; NAME.sums knows it; NAME.bak becomes NAME.bak.2; NAME is copied to NAME.bak, unless it is
//	damaged; the directory is synced; NAME.tmp becomes NAME; the directory is synced
//
// There is no moment without a good file called NAME, if there was one before.
func save(fsys vfs.FS, name string, text []byte, perm fs.FileMode) error {
	tmp := name + ".tmp"
	if err := writeSynced(fsys, tmp, text, perm); err != nil {
		return err
	}
	s := sumOf(text)
	if info, err := fsys.Stat(tmp); err == nil {
		s.time = info.ModTime().UnixNano()
	}
	old := Generations(fsys, name)
	list := append(sumList{s}, readSums(fsys, name)...)
	for _, g := range old { // texts that a Java broker wrote are good from now on
		if g.Err == nil && !list.have(g.Text) {
			list = append(list[:1:1], append(sumList{sumOf(g.Text)}, list[1:]...)...)
		}
	}
	if err := replace(fsys, name+sums, list[:min(len(list), keepSums)].text(), perm); err != nil {
		return err
	}
	if len(old) == 0 { // from the first text on there are two: one file may be damaged at any time
		if err := replace(fsys, name+bak, text, perm); err != nil {
			return err
		}
	}
	if err := rotate(fsys, name, old, perm); err != nil {
		return err
	}
	dir := filepath.Dir(name)
	if err := fsys.SyncDir(dir); err != nil { // NAME has never a text that NAME.sums does not know
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	return fsys.SyncDir(dir)
}

// rotate keeps the text that is about to be replaced, if it is worth it.
func rotate(fsys vfs.FS, name string, old []Generation, perm fs.FileMode) error {
	if len(old) == 0 || old[0].File != name || old[0].Err != nil {
		return nil
	}
	if len(old) > 1 && old[1].File == name+bak && old[1].Err == nil {
		if err := fsys.Rename(name+bak, name+bak2); err != nil {
			return fmt.Errorf("keep %s: %w", name+bak, err)
		}
	}
	return replace(fsys, name+bak, old[0].Text, perm)
}

func replace(fsys vfs.FS, name string, text []byte, perm fs.FileMode) error {
	if err := writeSynced(fsys, name+".tmp", text, perm); err != nil {
		return err
	}
	if err := fsys.Rename(name+".tmp", name); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	return nil
}

func writeSynced(fsys vfs.FS, name string, text []byte, perm fs.FileMode) error {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
