package store

// The checkpoint file: 4096 bytes that say what of the store is surely on the disk.
//
//	0     physicMsgTimestamp 8 | logicsMsgTimestamp 8 | indexMsgTimestamp 8      as in RocketMQ
//	2048  magic 8 | the three timestamps again 24 | safe 8 | lastRecord 8 | crc 4     ours
//
// RocketMQ's part knows times only, so recovery from it goes back to the start of a segment. Ours knows the exact offset:
// the log, the consume queues and the index are on the disk for every record below safe, and the record before safe starts
// at lastRecord. A Java broker leaves our part alone; once it has written the file its timestamps differ from our copy and
// our part no longer counts.

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"rmqctl/internal/vfs"
)

const (
	checkpointSize  = 4096
	ourPart         = 2048
	ourPartSize     = 52
	checkpointMagic = 0x524D5143544C4350 // "RMQCTLCP"
)

type checkpoint struct {
	phys, logics, index int64 // store timestamps
	safe, lastRecord    int64 // valid when exact
	exact               bool
}

// minTime is the time up to which RocketMQ trusts log and queues: three seconds of doubt.
func (c *checkpoint) minTime() int64 { return max(min(c.phys, c.logics)-3000, 0) }

func readCheckpoint(fsys vfs.FS, name string) (checkpoint, error) {
	b := make([]byte, checkpointSize)
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return checkpoint{}, nil
	}
	if err != nil {
		return checkpoint{}, err
	}
	defer f.Close()
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return checkpoint{}, err
	}
	return decodeCheckpoint(b), nil
}

func decodeCheckpoint(b []byte) checkpoint {
	be := binary.BigEndian
	var c checkpoint
	c.phys, c.logics, c.index = int64(be.Uint64(b)), int64(be.Uint64(b[8:])), int64(be.Uint64(b[16:]))
	o := b[ourPart : ourPart+ourPartSize]
	sum := be.Uint32(o[ourPartSize-4:])
	if be.Uint64(o) != checkpointMagic || crc32.ChecksumIEEE(o[:ourPartSize-4]) != sum || string(o[8:32]) != string(b[:24]) {
		return c
	}
	c.safe, c.lastRecord = int64(be.Uint64(o[32:])), int64(be.Uint64(o[40:]))
	c.exact = c.safe >= 0 && c.lastRecord >= 0 && c.lastRecord <= c.safe
	return c
}

func (c *checkpoint) encode() []byte {
	be := binary.BigEndian
	b := make([]byte, checkpointSize)
	be.PutUint64(b, uint64(c.phys))
	be.PutUint64(b[8:], uint64(c.logics))
	be.PutUint64(b[16:], uint64(c.index))
	o := b[ourPart : ourPart+ourPartSize]
	be.PutUint64(o, checkpointMagic)
	copy(o[8:], b[:24])
	be.PutUint64(o[32:], uint64(c.safe))
	be.PutUint64(o[40:], uint64(c.lastRecord))
	be.PutUint32(o[ourPartSize-4:], crc32.ChecksumIEEE(o[:ourPartSize-4]))
	return b
}

// write replaces the file's content in place and syncs it: one disk page, and a torn one fails the checksum of our part.
// Bytes of others between the two parts are kept.
func (c *checkpoint) write(fsys vfs.FS, name string) error {
	if err := fsys.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	_, serr := fsys.Stat(name)
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	b := c.encode()
	if size, err := f.Size(); err != nil {
		return err
	} else if size != checkpointSize {
		if err := f.Truncate(checkpointSize); err != nil {
			return err
		}
	}
	if _, err := f.WriteAt(b[:24], 0); err != nil {
		return err
	}
	if _, err := f.WriteAt(b[ourPart:ourPart+ourPartSize], ourPart); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if serr != nil {
		return fsys.SyncDir(filepath.Dir(name))
	}
	return nil
}
