package message

// The record: the one layout of a message on disk and in a pull body.
//
//	| size 4 | magic 4 | bodyCRC 4 | queueId 4 | flag 4 | queueOffset 8 | physicalOffset 8 | sysFlag 4 |
//	| bornTimestamp 8 | bornHost 8 or 20 | storeTimestamp 8 | storeHost 8 or 20 | reconsumeTimes 4 |
//	| preparedTransactionOffset 8 | bodyLength 4 | body | topicLength 1 (v2: 2) | topic | propertiesLength 2 | properties |
//
// All numbers are big-endian. A host is the address (4 or 16 bytes by sysFlag) and the port in 4 bytes.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

var be = binary.BigEndian

// Magic numbers.
const (
	MagicV1    uint32 = 0xDAA320A7
	MagicV2    uint32 = 0xDAA320AB // topic length on two bytes
	MagicBlank uint32 = 0xCBD43194 // the rest of a commit log segment is unused
)

// MinRecord is the size of a record with IPv4 hosts and nothing in it.
const MinRecord = 91

// Positions in a record with an IPv4 born host that others patch or peek at.
const (
	offQueueOffset    = 20
	offPhysicalOffset = 28
	offSysFlag        = 36
	offBornTimestamp  = 40
	offBornHost       = 48
)

// Errors of Decode and Parse.
var (
	ErrShort    = errors.New("message: record is cut short")
	ErrBlank    = errors.New("message: blank at the end of a segment")
	ErrBadMagic = errors.New("message: unknown magic")
	ErrBadSize  = errors.New("message: lengths do not add up")
	ErrBadCRC   = errors.New("message: body does not match its checksum")
)

// Record is a record taken apart without copying: its slices point into the bytes it was parsed from.
type Record struct {
	Size                      int32
	Magic                     uint32
	BodyCRC                   uint32
	QueueID                   int32
	Flag                      int32
	SysFlag                   int32
	ReconsumeTimes            int32
	QueueOffset               int64
	PhysicalOffset            int64
	BornTimestamp             int64
	StoreTimestamp            int64
	PreparedTransactionOffset int64
	BornHost, StoreHost       []byte // address and 4 bytes of port
	Body, Topic, Properties   []byte
}

// Options of Decode and Parse.
type Options struct {
	CheckCRC bool
}

// Parse takes apart the record at the start of b and returns its size. ErrShort means that b ends too early.
func (r *Record) Parse(b []byte, o Options) (int, error) {
	if len(b) < 8 {
		return 0, ErrShort
	}
	size := int(int32(be.Uint32(b)))
	magic := be.Uint32(b[4:])
	if magic == MagicBlank {
		return size, ErrBlank
	}
	if magic != MagicV1 && magic != MagicV2 {
		return 0, fmt.Errorf("%w %#x", ErrBadMagic, magic)
	}
	if size < MinRecord {
		return 0, fmt.Errorf("%w: size %d", ErrBadSize, size)
	}
	if len(b) < size {
		return size, ErrShort
	}
	return size, r.parseBody(b[:size:size], magic, o)
}

func (r *Record) parseBody(b []byte, magic uint32, o Options) error {
	r.Size, r.Magic = int32(len(b)), magic
	r.BodyCRC = be.Uint32(b[8:])
	r.QueueID = int32(be.Uint32(b[12:]))
	r.Flag = int32(be.Uint32(b[16:]))
	r.QueueOffset = int64(be.Uint64(b[offQueueOffset:]))
	r.PhysicalOffset = int64(be.Uint64(b[offPhysicalOffset:]))
	r.SysFlag = int32(be.Uint32(b[offSysFlag:]))
	r.BornTimestamp = int64(be.Uint64(b[offBornTimestamp:]))
	born, store := hostLen(r.SysFlag&SysBornHostV6), hostLen(r.SysFlag&SysStoreHostV6)
	if len(b) < MinRecord-16+born+store {
		return fmt.Errorf("%w: size %d", ErrBadSize, len(b))
	}
	r.BornHost = b[offBornHost : offBornHost+born]
	p := offBornHost + born
	r.StoreTimestamp = int64(be.Uint64(b[p:]))
	r.StoreHost = b[p+8 : p+8+store]
	p += 8 + store
	r.ReconsumeTimes = int32(be.Uint32(b[p:]))
	r.PreparedTransactionOffset = int64(be.Uint64(b[p+4:]))
	return r.parseVariable(b, p+12, magic, o)
}

func (r *Record) parseVariable(b []byte, p int, magic uint32, o Options) error {
	n := int(int32(be.Uint32(b[p:])))
	p += 4
	topicLen := 1
	if magic == MagicV2 {
		topicLen = 2
	}
	if n < 0 || n > len(b)-p-topicLen-2 {
		return fmt.Errorf("%w: body of %d", ErrBadSize, n)
	}
	r.Body = b[p : p+n : p+n]
	p += n
	n = int(int8(b[p]))
	if magic == MagicV2 {
		n = int(int16(be.Uint16(b[p:])))
	}
	p += topicLen
	if n < 0 || n > len(b)-p-2 {
		return fmt.Errorf("%w: topic of %d", ErrBadSize, n)
	}
	r.Topic = b[p : p+n : p+n]
	p += n
	n = int(int16(be.Uint16(b[p:])))
	p += 2
	if n < 0 || p+n != len(b) {
		return fmt.Errorf("%w: properties of %d", ErrBadSize, n)
	}
	r.Properties = b[p : p+n : p+n]
	if o.CheckCRC && BodyCRC(r.Body) != r.BodyCRC {
		return ErrBadCRC
	}
	return nil
}

// Message gives the record as a Message; Body and Properties still point into the parsed bytes.
func (r *Record) Message() Message {
	return Message{
		Topic: string(r.Topic), QueueID: r.QueueID, Flag: r.Flag, SysFlag: r.SysFlag, QueueOffset: r.QueueOffset,
		PhysicalOffset: r.PhysicalOffset, BornTimestamp: r.BornTimestamp, StoreTimestamp: r.StoreTimestamp,
		BornHost: hostOf(r.BornHost), StoreHost: hostOf(r.StoreHost), ReconsumeTimes: r.ReconsumeTimes,
		PreparedTransactionOffset: r.PreparedTransactionOffset, Body: r.Body, Properties: r.Properties,
		BodyCRC: r.BodyCRC, Size: r.Size,
	}
}

// Decode reads the record at the start of b and returns its size. Body and Properties point into b.
func Decode(b []byte, o Options) (Message, int, error) {
	var r Record
	n, err := r.Parse(b, o)
	if err != nil {
		return Message{}, n, err
	}
	return r.Message(), n, nil
}

// RecordSize is how long AppendRecord will make the record of m.
func RecordSize(m *Message) int {
	n := MinRecord - 16 + addrLen(m.BornHost) + addrLen(m.StoreHost) + len(m.Body) + len(m.Topic) + len(m.Properties)
	if len(m.Topic) > MaxTopicV1 {
		n++
	}
	return n
}

// AppendRecord appends the record of m to dst. It sets the host bits of the written sysFlag from the hosts. The caller has
// checked the lengths (MaxProperties, MaxTopicV2).
func AppendRecord(dst []byte, m *Message) []byte {
	magic := MagicV1
	if len(m.Topic) > MaxTopicV1 {
		magic = MagicV2
	}
	crc := m.BodyCRC
	if crc == 0 {
		crc = BodyCRC(m.Body)
	}
	dst = be.AppendUint32(dst, uint32(RecordSize(m)))
	dst = be.AppendUint32(dst, magic)
	dst = be.AppendUint32(dst, crc)
	dst = be.AppendUint32(dst, uint32(m.QueueID))
	dst = be.AppendUint32(dst, uint32(m.Flag))
	dst = be.AppendUint64(dst, uint64(m.QueueOffset))
	dst = be.AppendUint64(dst, uint64(m.PhysicalOffset))
	dst = be.AppendUint32(dst, uint32(SysFlagWithHosts(m.SysFlag, m.BornHost, m.StoreHost)))
	dst = be.AppendUint64(dst, uint64(m.BornTimestamp))
	dst = appendHost(dst, m.BornHost)
	dst = be.AppendUint64(dst, uint64(m.StoreTimestamp))
	dst = appendHost(dst, m.StoreHost)
	dst = be.AppendUint32(dst, uint32(m.ReconsumeTimes))
	dst = be.AppendUint64(dst, uint64(m.PreparedTransactionOffset))
	dst = be.AppendUint32(dst, uint32(len(m.Body)))
	dst = append(dst, m.Body...)
	if magic == MagicV2 {
		dst = be.AppendUint16(dst, uint16(len(m.Topic)))
	} else {
		dst = append(dst, byte(len(m.Topic)))
	}
	dst = append(dst, m.Topic...)
	dst = be.AppendUint16(dst, uint16(len(m.Properties)))
	return append(dst, m.Properties...)
}

// SysFlagWithHosts sets or clears the two IPv6 bits as the hosts demand.
func SysFlagWithHosts(flag int32, born, store netip.AddrPort) int32 {
	flag &^= SysBornHostV6 | SysStoreHostV6
	if addrLen(born) == 20 {
		flag |= SysBornHostV6
	}
	if addrLen(store) == 20 {
		flag |= SysStoreHostV6
	}
	return flag
}

func hostLen(v6 int32) int {
	if v6 != 0 {
		return 20
	}
	return 8
}

func addrLen(h netip.AddrPort) int {
	if a := h.Addr(); a.Is6() && !a.Is4In6() {
		return 20
	}
	return 8
}

// appendHost writes address and port; an unknown host is 0.0.0.0:0.
func appendHost(dst []byte, h netip.AddrPort) []byte {
	if addrLen(h) == 20 {
		a := h.Addr().As16()
		dst = append(dst, a[:]...)
	} else if h.Addr().IsValid() {
		a := h.Addr().Unmap().As4()
		dst = append(dst, a[:]...)
	} else {
		dst = append(dst, 0, 0, 0, 0)
	}
	return be.AppendUint32(dst, uint32(h.Port()))
}

func hostOf(b []byte) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(b[:len(b)-4])
	return netip.AddrPortFrom(addr, uint16(be.Uint32(b[len(b)-4:])))
}
