// Package index finds messages by key: RocketMQ's index files, chained hash tables of fixed size.
//
//	| header 40 | slots: number 4 each | entries: 20 each |
//
//	header: beginTimestamp 8 | endTimestamp 8 | beginPhyOffset 8 | endPhyOffset 8 | used slots 4 | next entry 4
//	slot:   number of the newest entry with this hash, 0 = none
//	entry:  keyHash 4 | phyOffset 8 | seconds since beginTimestamp 4 | number of the previous entry of the slot 4
//
// Entry 0 is unused, so the next entry of an empty file is 1. Files are named by their creation time.
package index

import (
	"encoding/binary"
	"io/fs"
	"math"
	"time"

	"rmqctl/internal/message"
)

const (
	headerSize = 40
	slotSize   = 4
	entrySize  = 20
)

var be = binary.BigEndian

type header struct {
	beginTime, endTime int64
	beginPhys, endPhys int64
	slots, next        int32
}

func (h *header) decode(b []byte) {
	h.beginTime, h.endTime = int64(be.Uint64(b)), int64(be.Uint64(b[8:]))
	h.beginPhys, h.endPhys = int64(be.Uint64(b[16:])), int64(be.Uint64(b[24:]))
	h.slots, h.next = int32(be.Uint32(b[32:])), max(int32(be.Uint32(b[36:])), 1)
}

func (h *header) encode() []byte {
	b := make([]byte, 0, headerSize)
	for _, v := range []int64{h.beginTime, h.endTime, h.beginPhys, h.endPhys} {
		b = be.AppendUint64(b, uint64(v))
	}
	b = be.AppendUint32(b, uint32(h.slots))
	return be.AppendUint32(b, uint32(h.next))
}

type entry struct {
	hash    int32
	phys    int64
	seconds int32
	prev    int32
}

func decodeEntry(b []byte) entry {
	return entry{int32(be.Uint32(b)), int64(be.Uint64(b[4:])), int32(be.Uint32(b[12:])), int32(be.Uint32(b[16:]))}
}

func appendEntry(dst []byte, e entry) []byte {
	dst = be.AppendUint32(dst, uint32(e.hash))
	dst = be.AppendUint64(dst, uint64(e.phys))
	dst = be.AppendUint32(dst, uint32(e.seconds))
	return be.AppendUint32(dst, uint32(e.prev))
}

// Hash is what the index keeps of a topic and key.
func Hash(topic, key string) int32 {
	h := message.JavaHash(topic)
	h = 31*h + '#'
	h = joinHash(h, key)
	if h < 0 {
		h = -h
	}
	return max(h, 0) // the smallest int32 has no absolute value: Java takes 0
}

// joinHash is the Java hash of a text with hash h followed by s.
func joinHash(h int32, s string) int32 {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return h*pow31(utf16Len(s[i:])) + message.JavaHash(s[i:])
		}
		h = 31*h + int32(s[i])
	}
	return h
}

func pow31(n int) int32 {
	p := int32(1)
	for range n {
		p *= 31
	}
	return p
}

func utf16Len(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xFFFF {
			n++
		}
	}
	return n
}

// fileName is Java's name for a file made at t: local time to the millisecond.
func fileName(t time.Time) string {
	t = t.Local()
	return t.Format("20060102150405") + t.Format(".000")[1:]
}

func seconds(begin, at int64) int32 {
	if begin <= 0 {
		return 0
	}
	return int32(min(max((at-begin)/1000, 0), math.MaxInt32))
}

// nameTime is the time that a file is named after.
func nameTime(name string) (time.Time, error) {
	if len(name) < 4 {
		return time.Time{}, fs.ErrInvalid
	}
	return time.ParseInLocation("20060102150405.000", name[:len(name)-3]+"."+name[len(name)-3:], time.Local)
}
