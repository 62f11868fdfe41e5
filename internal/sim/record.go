package sim

// The messages of simulated logs: each carries its own id, so that any bytes of a log tell what they are.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Unit divides the length of every record.
const Unit = 32

// Record is one message of a simulated log; ID 0 only fills.
//
//	| length 4 | crc of the rest 4 | id 8 | queue 4 | zero 4 | queue offset 8 | padding |
type Record struct {
	ID     uint64
	Queue  uint32
	Offset int64
	End    int // behind it, in the bytes walked over
}

// ErrRecord: bytes that are no whole record.
var ErrRecord = errors.New("no record")

// PutRecord appends a record of size bytes to b.
func PutRecord(b []byte, r Record, size int) []byte {
	at := len(b)
	b = append(b, make([]byte, size)...)
	w := b[at:]
	binary.BigEndian.PutUint32(w, uint32(size))
	binary.BigEndian.PutUint64(w[8:], r.ID)
	binary.BigEndian.PutUint32(w[16:], r.Queue)
	binary.BigEndian.PutUint64(w[24:], uint64(r.Offset))
	for i := Unit; i < size; i++ {
		w[i] = byte(r.ID) + byte(i)
	}
	binary.BigEndian.PutUint32(w[4:], crc32.ChecksumIEEE(w[8:]))
	return b
}

// Records walks over whole records and tells where they end to be such.
func Records(b []byte, each func(Record)) error {
	for at := 0; at < len(b); {
		if len(b)-at < Unit {
			return fmt.Errorf("%w at %d", ErrRecord, at)
		}
		size := int(binary.BigEndian.Uint32(b[at:]))
		if size < Unit || size%Unit != 0 || size > len(b)-at || binary.BigEndian.Uint32(b[at+4:]) != crc32.ChecksumIEEE(b[at+8:at+size]) {
			return fmt.Errorf("%w at %d", ErrRecord, at)
		}
		r := Record{binary.BigEndian.Uint64(b[at+8:]), binary.BigEndian.Uint32(b[at+16:]), int64(binary.BigEndian.Uint64(b[at+24:])), at + size}
		at += size
		each(r)
	}
	return nil
}
