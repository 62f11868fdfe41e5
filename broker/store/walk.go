package store

// Walking over the records of the log, for recovery and for replicated bytes. restore.go is the way back of what is found.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"rmqctl/internal/message"
)

// walker reads the log in blocks. read must not cross a segment.
type walker struct {
	read    func(p []byte, off int64) error
	segment int64
	limit   int64 // nothing is read at or beyond
	block   int
	crc     bool

	ahead *ahead // nil: every block is read when it is needed

	buf []byte
	off int64  // log offset of buf[0]
	own []byte // memory for blocks that the walker reads itself
}

// fresh is a walker over the same log that shares no buffer with w.
func (w *walker) fresh() *walker {
	return &walker{read: w.read, segment: w.segment, limit: w.limit, block: w.block, crc: w.crc}
}

// errEnd: the walk has reached the limit, or a record that is not complete below it.
var errEnd = errors.New("end of what is there")

// errNothing: nothing was ever written here.
var errNothing = errors.New("nothing written")

// bytes gives n bytes at off, reading ahead.
func (w *walker) bytes(off int64, n int) ([]byte, error) {
	if off >= w.off && off+int64(n) <= w.off+int64(len(w.buf)) {
		return w.buf[off-w.off:][:n], nil
	}
	most := min(w.limit, off-off%w.segment+w.segment) - off
	if int64(n) > most {
		return nil, errEnd
	}
	if w.ahead != nil && w.ahead.fill(w, off) && n <= len(w.buf) {
		return w.buf[:n], nil
	}
	k := int(min(int64(max(n, w.block)), most))
	if w.ahead != nil {
		k = n
	}
	if cap(w.own) < k {
		w.own = make([]byte, k)
	}
	w.buf, w.off = w.own[:k], off
	if err := w.read(w.buf, off); err != nil {
		w.buf = w.buf[:0]
		return nil, err
	}
	return w.buf[:n], nil
}

// record parses the record at off. size is how far to go on: over the record, or over a blank (then r.Size is 0). Errors:
// errEnd, errNothing, an I/O error, or what is wrong with the bytes (bad is true).
func (w *walker) record(off int64, r *message.Record) (size int64, bad bool, err error) {
	left := w.segment - off%w.segment
	head, err := w.bytes(off, int(min(8, left)))
	if err != nil {
		return 0, false, err
	}
	if len(head) < 8 {
		return 0, true, fmt.Errorf("%w: %d bytes before the end of a segment", message.ErrShort, len(head))
	}
	n := int64(int32(binary.BigEndian.Uint32(head)))
	magic := binary.BigEndian.Uint32(head[4:])
	switch {
	case n == 0 && magic == 0:
		return 0, false, errNothing
	case magic == message.MagicBlank && n == left:
		r.Size = 0
		return left, false, nil
	case magic != message.MagicV1 && magic != message.MagicV2:
		return 0, true, fmt.Errorf("%w %#x", message.ErrBadMagic, magic)
	case n < message.MinRecord || n > left:
		return 0, true, fmt.Errorf("%w: size %d with %d left in the segment", message.ErrBadSize, n, left)
	}
	b, err := w.bytes(off, int(n))
	if err != nil {
		return 0, false, err
	}
	if _, err := r.Parse(b, message.Options{CheckCRC: w.crc}); err != nil {
		return 0, true, err
	}
	if w.crc && torn(r) {
		return 0, true, errTorn
	}
	if r.PhysicalOffset != off {
		return 0, true, fmt.Errorf("%w: record says it lies at %d", message.ErrBadSize, r.PhysicalOffset)
	}
	return n, false, nil
}

var errTorn = errors.New("the end of the record was not written")

// torn: the checksum of a record covers its body only. A topic or properties that end in a zero byte show that the write
// stopped in them; no client sends such.
func torn(r *message.Record) bool {
	return len(r.Topic) == 0 || r.Topic[len(r.Topic)-1] == 0 ||
		len(r.Properties) > 0 && r.Properties[len(r.Properties)-1] == 0
}

// zeroRun: so many zeros in a row are taken for the unwritten rest of a segment.
const zeroRun = 16 << 20

// resync looks for the next good record behind off in the same segment. It gives up after patience zeros in a row.
func (w *walker) resync(off, patience int64) (int64, bool, error) {
	end := min(w.limit, off-off%w.segment+w.segment)
	zeros := int64(0)
	look := w.fresh()
	for p := off + 1; p+message.MinRecord <= end; {
		n := int(min(1<<20, end-p))
		b, err := w.bytes(p, n)
		if err != nil {
			return 0, false, err
		}
		for at := 4; ; {
			k := nextMagic(b[at:])
			if k < 0 {
				break
			}
			at += k
			var r message.Record
			cand := p + int64(at) - 4
			if _, bad, err := look.record(cand, &r); err == nil && !bad && r.Size > 0 {
				return cand, true, nil
			}
			at++
		}
		if allZero(b) {
			if zeros += int64(n); zeros >= patience {
				return 0, false, nil
			}
		} else {
			zeros = 0
		}
		if n <= 8 {
			break
		}
		p += int64(n) - 7
	}
	return 0, false, nil
}

var magicPrefix = []byte{0xDA, 0xA3, 0x20}

func nextMagic(b []byte) int {
	for at := 0; ; {
		k := bytes.Index(b[at:], magicPrefix)
		if k < 0 || at+k+4 > len(b) {
			return -1
		}
		if m := binary.BigEndian.Uint32(b[at+k:]); m == message.MagicV1 || m == message.MagicV2 {
			return at + k
		}
		at += k + 1
	}
}
