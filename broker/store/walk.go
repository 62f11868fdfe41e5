package store

// Walking over the records of the log, for recovery and for replicated bytes.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/internal/message"
)

// walker reads the log in blocks. read must not cross a segment.
type walker struct {
	read    func(p []byte, off int64) error
	segment int64
	limit   int64 // nothing is read at or beyond
	block   int
	crc     bool

	buf []byte
	off int64 // log offset of buf[0]
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
	k := int(min(int64(max(n, w.block)), most))
	if cap(w.buf) < k {
		w.buf = make([]byte, k)
	}
	w.buf, w.off = w.buf[:k], off
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
	for p := off + 1; p+message.MinRecord <= end; {
		n := int(min(1<<20, end-p))
		b, err := w.bytes(p, n)
		if err != nil {
			return 0, false, err
		}
		b = bytes.Clone(b)
		for at := 4; ; {
			k := nextMagic(b[at:])
			if k < 0 {
				break
			}
			at += k
			var r message.Record
			cand := p + int64(at) - 4
			if _, bad, err := w.record(cand, &r); err == nil && !bad && r.Size > 0 {
				return cand, true, nil
			}
			at++
		}
		if len(bytes.TrimLeft(b, "\x00")) == 0 {
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

// restore publishes a record that was read from the log: to its queue if it has one, and to the index.
func (s *Store) restore(r *message.Record) (Dispatch, error) {
	d := Dispatch{Queue: r.QueueID, MaxOffset: -1, StoreTimestamp: r.StoreTimestamp, PhysicalOffset: r.PhysicalOffset}
	if !validTopic(string(r.Topic)) || r.QueueID < 0 || r.QueueOffset < 0 || r.QueueOffset > maxQueueOffset {
		s.corrupt(fmt.Sprintf("a record for topic %q queue %d offset %d is left out", r.Topic, r.QueueID, r.QueueOffset), r.PhysicalOffset)
		return d, nil
	}
	if hasQueue(r.SysFlag) {
		if err := s.restoreUnit(r, &d); err != nil {
			return d, err
		}
	}
	if s.index != nil {
		var k keyHashes
		s.keysOf(string(r.Topic), r.Properties, r.SysFlag, &k)
		s.indexPut(k.list(), r.PhysicalOffset, r.StoreTimestamp)
	}
	return d, nil
}

func (s *Store) restoreUnit(r *message.Record, d *Dispatch) error {
	u := consumequeue.Unit{Phys: r.PhysicalOffset, Size: r.Size, Tags: s.tagsCode(r)}
	q := s.table.GetBytes(r.Topic, r.QueueID)
	out, err := q.Restore(r.QueueOffset, u)
	if err != nil {
		return fmt.Errorf("queue %s/%d: %w", q.Topic, q.ID, err)
	}
	switch out {
	case consumequeue.Padded:
		s.log.Warn("messages are missing from a queue", "topic", q.Topic, "queue", q.ID, "offset", r.QueueOffset)
	case consumequeue.Refused:
		s.corrupt(fmt.Sprintf("a record claims offset %d of queue %s/%d, which cannot be", r.QueueOffset, q.Topic, q.ID), r.PhysicalOffset)
		return nil
	case consumequeue.Restarted:
		s.log.Info("queue numbered anew", "topic", q.Topic, "queue", q.ID, "offset", r.QueueOffset)
	}
	d.Topic, d.MaxOffset, d.TagsCode = q.Topic, r.QueueOffset+1, u.Tags
	return nil
}

// maxQueueOffset is beyond any queue and small enough to count in bytes.
const maxQueueOffset = 1 << 50

// validTopic: the name becomes a directory.
func validTopic(t string) bool {
	return t != "" && len(t) <= 255 && t != "." && t != ".." && !strings.ContainsAny(t, "/\\\x00")
}

// tagsCode is the third field of a unit: the tag's hash, or for delayed messages the time they are due.
func (s *Store) tagsCode(r *message.Record) int64 {
	if string(r.Topic) == message.ScheduleTopic {
		if level, ok := delayLevel(r.Properties); ok {
			return s.deliverTime(level, r.StoreTimestamp)
		}
	}
	if tags := message.PropertyBytes(r.Properties, message.PropTags); tags != nil {
		return message.TagHash(string(tags))
	}
	return 0
}
