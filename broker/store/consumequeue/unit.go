// Package consumequeue keeps, for every queue of every topic, where in the commit log its messages lie.
//
// unit.go is the format; queue.go one queue, and load.go, restore.go, save.go and cut.go what happens to it; table.go and saveall.go all of
// them.
package consumequeue

import "encoding/binary"

// UnitSize is the length of one unit:
//
//	| commit log offset 8 | record size 4 | tags code 8 |
//
// The queue offset of a message is the byte position of its unit / UnitSize.
const UnitSize = 20

// fillerSize marks units that stand for no message: (0, fillerSize, 0) in front of the first real one of a queue that does
// not start at a segment's start, as Java writes them; (0, fillerSize, 1) where messages are lost.
const fillerSize = 0x7FFFFFFF

var (
	leading = Unit{Size: fillerSize}
	lost    = Unit{Size: fillerSize, Tags: 1}
)

// Unit is one entry of a queue.
type Unit struct {
	Phys int64
	Size int32
	Tags int64
}

// Filler tells whether the unit stands for no message.
func (u Unit) Filler() bool { return u.Size == fillerSize }

// valid: the place was written at all.
func (u Unit) valid() bool { return u.Phys >= 0 && u.Size > 0 }

// At reads unit i of b.
func At(b []byte, i int) Unit {
	b = b[i*UnitSize:]
	return Unit{
		Phys: int64(binary.BigEndian.Uint64(b)),
		Size: int32(binary.BigEndian.Uint32(b[8:])),
		Tags: int64(binary.BigEndian.Uint64(b[12:])),
	}
}

// Append writes u behind dst.
func Append(dst []byte, u Unit) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(u.Phys))
	dst = binary.BigEndian.AppendUint32(dst, uint32(u.Size))
	return binary.BigEndian.AppendUint64(dst, uint64(u.Tags))
}
