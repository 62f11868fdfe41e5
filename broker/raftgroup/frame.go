// What goes over a connection. The one who dials sends a hello and then messages; the other answers the hello, and then now
// and then a byte, after an empty frame at once, so that both notice when the other host has gone silent.
//
//	hello    | "rmqraft1" | version u16 | verdict u8 | stage u8 | from u64 | to u64 | life u64 | n u16 |
//	         | n bytes: group, newline, where the sender can be reached | crc32c u32 of all before |
//	         the answer has the same form; its verdict is ok or why not
//	message  | length u32 of what follows | crc32c u32 of what follows after it | head length u32 |
//	         | head: raftpb.Message, its entries without data | length u32 of each entry's data | the data, one by one |
//	empty    | 0 u32 |
//
// A message's data is neither copied into a frame nor out of it.

package raftgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	pb "go.etcd.io/raft/v3/raftpb"
)

const (
	helloMagic   = "rmqraft1"
	helloVersion = 1
	helloFixed   = 8 + 2 + 1 + 1 + 8 + 8 + 8 + 2
	maxGroup     = 1 << 10
	maxFrame     = 256 << 20
)

var (
	errFrame = errors.New("not a frame of a raft group")
	errAlien = errors.New("speaks another protocol; a broker of Java's DLedger cannot be a member of this group")
)

// verdict answers a hello.
type verdict uint8

const (
	ok verdict = iota
	wrongGroup
	wrongMember
	stranger
	wrongVersion
)

func (v verdict) String() string {
	names := [...]string{"ok", "it is of another group", "another member is at this address", "it does not know this member", "it speaks another version"}
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprint("refused for reason ", uint8(v))
}

// stage is how far a member's group has come, as it knows.
type stage uint8

const (
	blank stage = iota // no state: a new member, or an old one with a new disk
	fresh              // it has begun a group, in which nobody was ever voted for
	lived              // there is a group
)

type hello struct {
	version  uint16
	verdict  verdict
	stage    stage
	from, to uint64
	life     uint64 // a number of this process
	group    string
	addr     string // where others dial it
}

func (h *hello) append(b []byte) []byte {
	start := len(b)
	b = append(b, helloMagic...)
	b = binary.BigEndian.AppendUint16(b, h.version)
	b = append(b, byte(h.verdict), byte(h.stage))
	b = binary.BigEndian.AppendUint64(b, h.from)
	b = binary.BigEndian.AppendUint64(b, h.to)
	b = binary.BigEndian.AppendUint64(b, h.life)
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.group)+1+len(h.addr)))
	b = append(b, h.group...)
	b = append(b, '\n')
	b = append(b, h.addr...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

func readHello(r io.Reader) (hello, error) {
	var h hello
	b := make([]byte, helloFixed, helloFixed+64)
	if _, err := io.ReadFull(r, b[:8]); err != nil {
		return h, err
	}
	if string(b[:8]) != helloMagic {
		return h, errAlien
	}
	if _, err := io.ReadFull(r, b[8:]); err != nil {
		return h, err
	}
	h = hello{version: binary.BigEndian.Uint16(b[8:]), verdict: verdict(b[10]), stage: stage(b[11]),
		from: binary.BigEndian.Uint64(b[12:]), to: binary.BigEndian.Uint64(b[20:]), life: binary.BigEndian.Uint64(b[28:])}
	n := int(binary.BigEndian.Uint16(b[36:]))
	if n > maxGroup {
		return h, errFrame
	}
	b = append(b, make([]byte, n+4)...)
	if _, err := io.ReadFull(r, b[helloFixed:]); err != nil {
		return h, err
	}
	h.group, h.addr, _ = strings.Cut(string(b[helloFixed:helloFixed+n]), "\n")
	if binary.BigEndian.Uint32(b[helloFixed+n:]) != crc32.Checksum(b[:helloFixed+n], castagnoli) {
		return h, errFrame
	}
	return h, nil
}

// frames collects messages for one write.
type frames struct {
	heads []byte   // lengths, checksums and heads of all
	parts []part   // in order
	out   [][]byte // for the write
}

// part is a stretch of heads, or data of an entry.
type part struct {
	from, to int
	data     []byte
}

func (f *frames) reset() {
	clear(f.parts)
	clear(f.out)
	f.heads, f.parts, f.out = f.heads[:0], f.parts[:0], f.out[:0]
}

// add encodes m behind what is there.
func (f *frames) add(m *pb.Message) error {
	bare := *m
	if len(m.Entries) > 0 {
		bare.Entries = make([]pb.Entry, len(m.Entries))
		for i := range m.Entries {
			bare.Entries[i] = pb.Entry{Term: m.Entries[i].Term, Index: m.Entries[i].Index, Type: m.Entries[i].Type}
		}
	}
	head, err := bare.Marshal()
	if err != nil {
		return err
	}
	start := len(f.heads)
	f.heads = append(f.heads, 0, 0, 0, 0, 0, 0, 0, 0)
	f.heads = binary.BigEndian.AppendUint32(f.heads, uint32(len(head)))
	f.heads = append(f.heads, head...)
	data := 0
	for i := range m.Entries {
		f.heads = binary.BigEndian.AppendUint32(f.heads, uint32(len(m.Entries[i].Data)))
		data += len(m.Entries[i].Data)
	}
	if len(f.heads)-start+data > maxFrame {
		f.heads = f.heads[:start]
		return fmt.Errorf("a message of %d bytes", data)
	}
	crc := crc32.Checksum(f.heads[start+8:], castagnoli)
	f.parts = append(f.parts, part{from: start, to: len(f.heads)})
	for i := range m.Entries {
		if d := m.Entries[i].Data; len(d) > 0 {
			crc = crc32.Update(crc, castagnoli, d)
			f.parts = append(f.parts, part{data: d})
		}
	}
	binary.BigEndian.PutUint32(f.heads[start:], uint32(len(f.heads)-start-4+data))
	binary.BigEndian.PutUint32(f.heads[start+4:], crc)
	return nil
}

func (f *frames) ping() {
	start := len(f.heads)
	f.heads = append(f.heads, 0, 0, 0, 0)
	f.parts = append(f.parts, part{from: start, to: start + 4})
}

// buffers are the stretches to be written.
func (f *frames) buffers() [][]byte {
	for _, p := range f.parts {
		if p.data != nil {
			f.out = append(f.out, p.data)
		} else {
			f.out = append(f.out, f.heads[p.from:p.to])
		}
	}
	return f.out
}

// readFrame reads one; nil without an error is an empty one.
func readFrame(r io.Reader) (*pb.Message, int, error) {
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, 0, err
	}
	n := binary.BigEndian.Uint32(b[:])
	if n == 0 {
		return nil, 4, nil
	}
	if n > maxFrame || n < 8 {
		return nil, 0, errFrame
	}
	body, err := readBody(r, int(n))
	if err != nil {
		return nil, 0, err
	}
	m, err := parseFrame(body)
	return m, int(n) + 4, err
}

// readBody does not take a length for granted before bytes have come.
func readBody(r io.Reader, n int) ([]byte, error) {
	const step = 8 << 20
	body := make([]byte, min(n, step))
	for have := 0; ; {
		k, err := io.ReadFull(r, body[have:])
		if have += k; err != nil || have == n {
			return body, err
		}
		body = append(body, make([]byte, min(n-have, have))...)
	}
}

// parseFrame decodes what follows the length. The message's data stays where it is in b.
func parseFrame(b []byte) (*pb.Message, error) {
	if len(b) < 8 || binary.BigEndian.Uint32(b) != crc32.Checksum(b[4:], castagnoli) {
		return nil, errFrame
	}
	n := int(binary.BigEndian.Uint32(b[4:]))
	rest := b[8:]
	if n < 0 || n > len(rest) {
		return nil, errFrame
	}
	m := &pb.Message{}
	if err := m.Unmarshal(rest[:n]); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	lengths := rest[n:]
	if len(lengths) < 4*len(m.Entries) {
		return nil, errFrame
	}
	data := lengths[4*len(m.Entries):]
	for i := range m.Entries {
		k := int(binary.BigEndian.Uint32(lengths[4*i:]))
		if k < 0 || k > len(data) {
			return nil, errFrame
		}
		if m.Entries[i].Data = data[:k]; k == 0 {
			m.Entries[i].Data = nil
		}
		data = data[k:]
	}
	if len(data) > 0 {
		return nil, errFrame
	}
	return m, nil
}
