// One record of the index: which bytes of the commit log an entry is.

package raftgroup

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	pb "go.etcd.io/raft/v3/raftpb"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const recordSize = 32

// errRecord: these bytes are no record of this index at this place.
var errRecord = errors.New("raft index: no record")

// entry is what the index knows of an entry. An ordinary one is the log's bytes [from, from+length); one without bytes is a
// new leader's first; one that changes the members has its data in a file of its own and no bytes in the log.
type entry struct {
	term   uint64
	from   int64
	length uint32
	kind   pb.EntryType
	crc    uint32 // of the entry's data
	check  uint32 // of this record and, through it, of all before
}

func (e entry) to() int64 { return e.from + int64(e.length) }

// put writes the record of index after one whose check is before:
//
//	| term u64 | from i64 | length u32 | kind u8 | 0 0 0 | crc u32 | check u32 |
//
// check covers the check before, the index and the record. So a record left over from an entry that was replaced is never
// taken for the successor of the one that replaced its predecessor.
func (e *entry) put(b []byte, index uint64, before uint32) {
	binary.BigEndian.PutUint64(b, e.term)
	binary.BigEndian.PutUint64(b[8:], uint64(e.from))
	binary.BigEndian.PutUint32(b[16:], e.length)
	binary.BigEndian.PutUint32(b[20:], uint32(e.kind)<<24)
	binary.BigEndian.PutUint32(b[24:], e.crc)
	e.check = chain(b[:28], index, before)
	binary.BigEndian.PutUint32(b[28:], e.check)
}

func parseRecord(b []byte, index uint64, before uint32) (entry, error) {
	if len(b) < recordSize {
		return entry{}, errRecord
	}
	e := entry{
		term:   binary.BigEndian.Uint64(b),
		from:   int64(binary.BigEndian.Uint64(b[8:])),
		length: binary.BigEndian.Uint32(b[16:]),
		kind:   pb.EntryType(b[20]),
		crc:    binary.BigEndian.Uint32(b[24:]),
		check:  binary.BigEndian.Uint32(b[28:]),
	}
	if e.check != chain(b[:28], index, before) || e.term == 0 || e.from < 0 || e.kind > pb.EntryConfChange ||
		e.kind == pb.EntryConfChange && e.length != 0 || b[21]|b[22]|b[23] != 0 {
		return entry{}, errRecord
	}
	return e, nil
}

func chain(b []byte, index uint64, before uint32) uint32 {
	var head [12]byte
	binary.BigEndian.PutUint64(head[:], index)
	binary.BigEndian.PutUint32(head[8:], before)
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, b)
}

// fileHeader begins each file of the index, in the place of a record:
//
//	| "RMQRIDX1" | index of the first record u64 | check before it u32 | records per file u64 | crc32c of these 28 bytes u32 |
type fileHeader struct {
	first  uint64
	before uint32
	per    uint64
}

const headerMagic = "RMQRIDX1"

func (h fileHeader) put(b []byte) {
	copy(b, headerMagic)
	binary.BigEndian.PutUint64(b[8:], h.first)
	binary.BigEndian.PutUint32(b[16:], h.before)
	binary.BigEndian.PutUint64(b[20:], h.per)
	binary.BigEndian.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
}

func parseHeader(b []byte) (fileHeader, error) {
	if len(b) < recordSize || string(b[:8]) != headerMagic ||
		binary.BigEndian.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli) {
		return fileHeader{}, errRecord
	}
	h := fileHeader{first: binary.BigEndian.Uint64(b[8:]), before: binary.BigEndian.Uint32(b[16:]), per: binary.BigEndian.Uint64(b[20:])}
	if h.per == 0 || h.per > 1<<32 {
		return fileHeader{}, errRecord
	}
	return h, nil
}
