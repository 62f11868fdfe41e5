// Package message is the RocketMQ message and its one byte layout, which is the same on disk and on the wire.
package message

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Message is one message as the broker keeps it. Byte slices are the caller's; nothing here copies them.
type Message struct {
	Topic                     string
	QueueID                   int32
	Flag                      int32 // the application's own, opaque
	SysFlag                   int32 // Sys... bits below
	QueueOffset               int64
	PhysicalOffset            int64
	BornTimestamp             int64 // ms, the producer's clock
	StoreTimestamp            int64 // ms, the broker's clock
	BornHost                  netip.AddrPort
	StoreHost                 netip.AddrPort
	ReconsumeTimes            int32
	PreparedTransactionOffset int64
	Body                      []byte
	Properties                []byte // name 0x01 value 0x02 ...
	BodyCRC                   uint32 // 0 = AppendRecord computes it
	Size                      int32  // of the whole record, set by Decode
}

// Bits of SysFlag.
const (
	SysCompressed      = 0x1
	SysMultiTags       = 0x2
	SysTransactionMask = 0xC
	SysPrepared        = 0x4
	SysCommit          = 0x8
	SysRollback        = 0xC
	SysBornHostV6      = 0x10
	SysStoreHostV6     = 0x20
	SysCompressionMask = 0x700
)

// Limits of the layout.
const (
	MaxProperties = 32767 // the length is a signed 16-bit number
	MaxTopicV1    = 127   // the length is one signed byte
	MaxTopicV2    = 32767
)

// TransactionType is the transaction part of SysFlag.
func (m *Message) TransactionType() int32 { return m.SysFlag & SysTransactionMask }

// Property is the value of one property.
func (m *Message) Property(name string) (string, bool) { return Property(m.Properties, name) }

// BodyCRC is the checksum a record carries for its body: CRC-32 without the top bit, 0 for no body.
func BodyCRC(body []byte) uint32 {
	if len(body) == 0 {
		return 0
	}
	return crc32.ChecksumIEEE(body) & 0x7FFFFFFF
}

// TagHash is what a consume queue keeps of a tag: Java's String.hashCode over UTF-16 units, sign-extended; 0 for no tag.
func TagHash(tag string) int64 { return int64(JavaHash(tag)) }

// JavaHash is String.hashCode of s.
func JavaHash(s string) int32 {
	h := int32(0)
	for i, r := range s {
		if r < utf8.RuneSelf {
			h = 31*h + r
			continue
		}
		return javaHashWide(h, s[i:])
	}
	return h
}

func javaHashWide(h int32, s string) int32 {
	for _, r := range s {
		if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
			h = 31*(31*h+hi) + lo
		} else {
			h = 31*h + r
		}
	}
	return h
}

// OffsetID is the broker's id of a message: the store host and the physical offset in hex.
func OffsetID(host netip.AddrPort, off int64) string {
	return string(AppendOffsetID(make([]byte, 0, 56), host, off))
}

// AppendOffsetID appends OffsetID to dst.
func AppendOffsetID(dst []byte, host netip.AddrPort, off int64) []byte {
	var raw [28]byte
	b := appendHost(raw[:0], host)
	b = be.AppendUint64(b, uint64(off))
	const digits = "0123456789ABCDEF"
	for _, c := range b {
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return dst
}

// ErrBadID: the text is no offset message id.
var ErrBadID = errors.New("not an offset message id")

// ParseOffsetID is the reverse of OffsetID.
func ParseOffsetID(id string) (netip.AddrPort, int64, error) {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != 16 && len(b) != 28 {
		return netip.AddrPort{}, 0, fmt.Errorf("%w: %q", ErrBadID, id)
	}
	ip := len(b) - 12
	port := be.Uint32(b[ip:])
	if port > 65535 {
		return netip.AddrPort{}, 0, fmt.Errorf("%w: port %d in %q", ErrBadID, port, id)
	}
	addr, _ := netip.AddrFromSlice(b[:ip])
	return netip.AddrPortFrom(addr, uint16(port)), int64(be.Uint64(b[ip+4:])), nil
}

// String names the message for logs: where it is, not what it says.
func (m *Message) String() string {
	return fmt.Sprintf("%s/%d@%d (log %d)", m.Topic, m.QueueID, m.QueueOffset, m.PhysicalOffset)
}

// Keys splits the KEYS property into its keys.
func Keys(keys string) []string { return strings.Fields(keys) }
