package store

// The checkpoint file: 4096 bytes that say what of the store is surely on the disk.
//
//	0           physicMsgTimestamp 8 | logicsMsgTimestamp 8 | indexMsgTimestamp 8         as in RocketMQ
//	1024        mark: magic 8 | the three timestamps again 24 | flushed 8 | crc 4          ours, as all below
//	2048, 3072  slots: magic 8 | the three timestamps again 24 | safe 8 | lastRecord 8 | number 8 | crc 4
//
// RocketMQ's part knows times only, so recovery from it goes back to the start of a segment. A slot knows the exact offset:
// the log, the consume queues and the index are on the disk for every record below safe, and the record before safe starts
// at lastRecord. The mark is written more often and knows the log only: it is on the disk below flushed, so damage there is
// damage, and not the rest of a write that a power cut has stopped.
//
// Slots are written in turns, each before RocketMQ's part and synced before it: a cut leaves the old timestamps with the old
// slot or the new ones with the new slot. A Java broker leaves our parts alone; once it has written the file its timestamps
// differ from our copies and ours no longer count.

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"rmqctl/internal/vfs"
)

const (
	checkpointSize = 4096
	markAt         = 1024
	slotAt         = 2048
	slotStep       = 1024
	partSize       = 60

	markMagic = 0x524D5143544C4D4B // "RMQCTLMK"
	slotMagic = 0x524D5143544C4332 // "RMQCTLC2"
)

type checkpoint struct {
	phys, logics, index int64 // store timestamps
	safe, lastRecord    int64 // valid when exact
	exact               bool
}

// minTime is the time up to which RocketMQ trusts log and queues: three seconds of doubt.
func (c *checkpoint) minTime() int64 { return max(min(c.phys, c.logics)-3000, 0) }

// checkpointFile is the file and what it says now.
type checkpointFile struct {
	fs   vfs.FS
	name string

	mu      sync.Mutex // guards all below, and the file
	last    checkpoint
	number  int64 // of the newest slot
	flushed int64 // of the mark; -1: the file knows nothing of ours
	marked  time.Time
	synced  bool // the name is on the disk, for all this process knows
}

// read loads the file. It returns what the checkpoint is, and up to where the log was surely on the disk (-1: unknown).
func (f *checkpointFile) read() (checkpoint, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushed = -1
	b := make([]byte, checkpointSize)
	file, err := f.fs.OpenFile(f.name, os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return f.last, -1, nil
	}
	if err != nil {
		return f.last, -1, err
	}
	defer file.Close()
	if _, err := file.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return f.last, -1, err
	}
	f.decode(b)
	return f.last, f.flushed, nil
}

// settle puts what was read on the disk: a process that was killed may have written it without.
func (f *checkpointFile) settle() error {
	file, err := f.fs.OpenFile(f.name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = file.Sync()
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return f.fs.SyncDir(filepath.Dir(f.name))
}

func (f *checkpointFile) decode(b []byte) {
	be := binary.BigEndian
	c := &f.last
	c.phys, c.logics, c.index = int64(be.Uint64(b)), int64(be.Uint64(b[8:])), int64(be.Uint64(b[16:]))
	for at := slotAt; at < checkpointSize; at += slotStep {
		p := b[at : at+partSize]
		n := int64(be.Uint64(p[48:]))
		if !sealed(p, slotMagic, b[:24]) || n <= f.number {
			continue
		}
		c.safe, c.lastRecord, f.number = int64(be.Uint64(p[32:])), int64(be.Uint64(p[40:])), n
		c.exact = c.safe >= 0 && c.lastRecord >= 0 && c.lastRecord <= c.safe
	}
	if c.exact {
		f.flushed = c.safe
	}
	if p := b[markAt : markAt+partSize]; sealed(p, markMagic, b[:24]) {
		f.flushed = max(f.flushed, int64(be.Uint64(p[32:])))
	}
}

// sealed tells whether a part is whole and belongs to RocketMQ's timestamps.
func sealed(p []byte, magic uint64, times []byte) bool {
	be := binary.BigEndian
	return be.Uint64(p) == magic && string(p[8:32]) == string(times) &&
		crc32.ChecksumIEEE(p[:partSize-4]) == be.Uint32(p[partSize-4:])
}

func seal(magic uint64, c *checkpoint, words ...int64) []byte {
	be := binary.BigEndian
	p := make([]byte, partSize)
	be.PutUint64(p, magic)
	copy(p[8:], times(c))
	for i, v := range words {
		be.PutUint64(p[32+8*i:], uint64(v))
	}
	be.PutUint32(p[partSize-4:], crc32.ChecksumIEEE(p[:partSize-4]))
	return p
}

func times(c *checkpoint) []byte {
	be := binary.BigEndian
	b := make([]byte, 0, 24)
	for _, v := range []int64{c.phys, c.logics, c.index} {
		b = be.AppendUint64(b, uint64(v))
	}
	return b
}

// write makes c what the file says. A c that is not exact takes back whatever the file has promised.
func (f *checkpointFile) write(c checkpoint) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := vfs.MakeDirs(f.fs, filepath.Dir(f.name), 0o755); err != nil {
		return err
	}
	file, err := f.fs.OpenFile(f.name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	if size, err := file.Size(); err != nil {
		return err
	} else if size != checkpointSize {
		if err := file.Truncate(checkpointSize); err != nil {
			return err
		}
	}
	if err := f.writeParts(file, c); err != nil {
		return err
	}
	if !f.synced {
		if err := f.fs.SyncDir(filepath.Dir(f.name)); err != nil {
			return err
		}
		f.synced = true
	}
	return nil
}

func (f *checkpointFile) writeParts(file vfs.File, c checkpoint) error {
	if !c.exact {
		if err := file.Zero(0, checkpointSize); err != nil {
			return err
		}
		f.last, f.flushed = c, -1
		return file.Sync()
	}
	number := f.number + 1
	slot := seal(slotMagic, &c, c.safe, c.lastRecord, number)
	if _, err := file.WriteAt(slot, slotAt+number%2*slotStep); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if _, err := file.WriteAt(times(&c), 0); err != nil {
		return err
	}
	if _, err := file.WriteAt(seal(markMagic, &c, max(f.flushed, c.safe)), markAt); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	f.last, f.number, f.flushed = c, number, max(f.flushed, c.safe)
	return nil
}

// mark notes that the log is on the disk below flushed: when a segment has become complete, else about once a second.
// A slave's log may end within a record: it is not vouched for. The mark is not synced, for an older one is as true, and an
// error costs nothing but the mark.
func (f *checkpointFile) mark(flushed, segment int64, now time.Time, published func() int64) {
	if !f.mu.TryLock() {
		return
	}
	defer f.mu.Unlock()
	if f.flushed < 0 || flushed <= f.flushed || flushed/segment == f.flushed/segment && now.Sub(f.marked) < time.Second && !now.Before(f.marked) {
		return
	}
	f.marked = now
	if flushed = min(flushed, published()); flushed <= f.flushed {
		return
	}
	file, err := f.fs.OpenFile(f.name, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer file.Close()
	if _, err := file.WriteAt(seal(markMagic, &f.last, flushed), markAt); err == nil {
		f.flushed = flushed
	}
}

// lower is write before the log is cut at off: nothing is promised beyond from here on. c must not promise more either.
func (f *checkpointFile) lower(off int64, c checkpoint) error {
	f.mu.Lock()
	f.flushed = min(f.flushed, off)
	f.mu.Unlock()
	return f.write(c)
}

// replace is write for recovery, which begins at c.safe: neither RocketMQ's times nor the mark change. A c that is not
// exact takes back what our part says.
func (f *checkpointFile) replace(c checkpoint) error {
	if c.exact {
		return f.write(c)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := f.fs.OpenFile(f.name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Zero(markAt, checkpointSize-markAt); err != nil {
		return err
	}
	f.last, f.flushed = c, -1
	return file.Sync()
}

// promises tells whether the file vouches for anything at or behind off.
func (f *checkpointFile) promises(off int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flushed > off || f.last.exact && f.last.safe > off
}

func readCheckpoint(fsys vfs.FS, name string) (checkpoint, error) {
	f := checkpointFile{fs: fsys, name: name}
	c, _, err := f.read()
	return c, err
}
