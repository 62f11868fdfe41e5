// Package journal makes small changes of a table durable without writing the whole table.
//
// journal.go is the file, one record behind the other; table.go is a jsonfile.Table with such a file beside it.
package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"rmqctl/internal/vfs"
)

// headLen is what stands before every record:
//
//	| length 4 | CRC-32C of the record 4 | record |
//
// The file ends where a record is not whole: what was torn by a crash was not promised to anybody.
const headLen = 8

// maxRecord bounds what a damaged length can ask for.
const maxRecord = 1 << 20

var table = crc32.MakeTable(crc32.Castagnoli)

// File is a journal. Its methods are called by one goroutine at a time.
type File struct {
	fs   vfs.FS
	name string
	f    vfs.File // nil until the first Append
	end  int64
}

// Open hands every whole record to replay. A missing file is an empty one.
func Open(fsys vfs.FS, name string, replay func([]byte) error) (*File, error) {
	b, err := vfs.ReadFile(fsys, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	j := &File{fs: fsys, name: name}
	for {
		rec, rest := next(b)
		if rec == nil {
			return j, nil
		}
		if err := replay(rec); err != nil {
			return nil, fmt.Errorf("%s at %d: %w", name, j.end, err)
		}
		j.end += int64(len(b) - len(rest))
		b = rest
	}
}

// next is the record at the start of b, nil when none is whole there.
func next(b []byte) (rec, rest []byte) {
	if len(b) < headLen {
		return nil, nil
	}
	n := int(binary.BigEndian.Uint32(b))
	if n == 0 || n > maxRecord || n > len(b)-headLen {
		return nil, nil
	}
	rec = b[headLen : headLen+n]
	if crc32.Checksum(rec, table) != binary.BigEndian.Uint32(b[4:]) {
		return nil, nil
	}
	return rec, b[headLen+n:]
}

// Empty tells whether there is no record.
func (j *File) Empty() bool { return j.end == 0 }

// Append writes records in one go and returns when they survive a power cut.
func (j *File) Append(records ...[]byte) error {
	if err := j.open(); err != nil {
		return err
	}
	var b []byte
	for _, rec := range records {
		b = binary.BigEndian.AppendUint32(b, uint32(len(rec)))
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(rec, table))
		b = append(b, rec...)
	}
	_, err := j.f.WriteAt(b, j.end)
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil { // what was written of it must go before the next Append: open sees to that
		return errors.Join(fmt.Errorf("write %s: %w", j.name, err), j.Close())
	}
	j.end += int64(len(b))
	return nil
}

// open makes the file, or cuts off what was torn at its end: the next record must not be followed by it.
func (j *File) open() error {
	if j.f != nil {
		return nil
	}
	f, err := j.fs.OpenFile(j.name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	if err = f.Truncate(j.end); err == nil {
		if err = f.Sync(); err == nil {
			err = j.fs.SyncDir(filepath.Dir(j.name))
		}
	}
	if err != nil {
		f.Close()
		return err
	}
	j.f = f
	return nil
}

// forget lets the next Append begin anew. It is for after Open, before anything was appended.
func (j *File) forget() { j.end = 0 }

// Reset forgets all records. A power cut may bring them back.
func (j *File) Reset() error {
	if j.end == 0 {
		return nil
	}
	if err := j.open(); err != nil {
		return err
	}
	if err := j.f.Truncate(0); err != nil {
		return fmt.Errorf("empty %s: %w", j.name, err)
	}
	j.end = 0
	return nil
}

// Close gives the descriptor back; the next Append opens it again.
func (j *File) Close() error {
	if j.f == nil {
		return nil
	}
	f := j.f
	j.f = nil
	return f.Close()
}
