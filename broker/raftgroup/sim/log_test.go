package sim

// The cheap store: a commit log in memory that knows what a kill and what a power cut leave of it. It does what a gated store
// does with bytes and offsets, refuses what a store must never be asked, and knows nothing of consensus.
//
// A record is | length 4 | crc of the rest 4 | id 8 | queue 4 | zero 4 | queue offset 8 | padding |, its length a multiple of
// recordUnit. A record of id 0 fills the rest of a segment.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
)

const (
	recordUnit = 32
	sector     = 512
	queues     = 3
)

var (
	errOff  = errors.New("the power is off")
	errFull = errors.New("no space left on device")
	errIO   = errors.New("input/output error")
)

// cheapLog is one member's commit log. What the disk has for certain is disk; what was written and is still in the page cache
// is b. Both begin at base.
type cheapLog struct {
	base      int64
	b         []byte
	disk      []byte
	committed int64
	seg       int64
	leading   bool
	next      [queues]int64 // queue offsets, while leading

	m *member // told of everything
}

func (l *cheapLog) MinPhysical() int64 { return l.base }
func (l *cheapLog) MaxPhysical() int64 { return l.committed }
func (l *cheapLog) End() int64         { return l.base + int64(len(l.b)) }
func (l *cheapLog) SegmentSize() int64 { return l.seg }

func (l *cheapLog) ReadWritten(off int64, buf []byte) (int, error) {
	if off < l.base || off > l.End() {
		return 0, fmt.Errorf("read at %d of a log of %d to %d", off, l.base, l.End())
	}
	rest := l.b[off-l.base:]
	if room := l.seg - off%l.seg; int64(len(rest)) > room {
		rest = rest[:room]
	}
	return copy(buf, rest), nil
}

func (l *cheapLog) AppendRaw(off int64, b []byte) error {
	if err := l.m.diskOp("append"); err != nil {
		return err
	}
	switch {
	case l.leading:
		l.m.fail("AppendRaw at a leader")
	case off != l.End():
		l.m.fail("AppendRaw at %d, the log ends at %d", off, l.End())
	case off%l.seg+int64(len(b)) > l.seg:
		l.m.fail("AppendRaw of %d bytes at %d crosses a segment of %d", len(b), off, l.seg)
	}
	l.b = append(l.b, b...)
	return nil
}

// TruncateTo is durable when it returns; a power cut in its middle leaves the old log or the new one.
func (l *cheapLog) TruncateTo(off int64) error {
	if err := l.m.diskOp("truncate"); err != nil {
		return err
	}
	if off < l.committed || off > l.End() || off < l.base {
		l.m.fail("TruncateTo %d of a log of %d to %d, committed %d", off, l.base, l.End(), l.committed)
		return errIO
	}
	l.m.truncating(off)
	l.b = l.b[:off-l.base]
	l.disk = l.disk[:min(int64(len(l.disk)), off-l.base)]
	return nil
}

// Reset empties the log: it goes on at from.
func (l *cheapLog) Reset(from int64) error {
	if err := l.m.diskOp("reset"); err != nil {
		return err
	}
	if from < l.committed || l.leading {
		l.m.fail("Reset to %d, committed %d, leading %v", from, l.committed, l.leading)
	}
	l.m.say("reset to %d, had %d to %d", from, l.base, l.End())
	l.m.w.Tally.Add("resets", 1)
	l.m.truncating(l.base)
	l.base, l.b, l.disk, l.committed = from, nil, nil, from
	l.m.visible = from
	return nil
}

func (l *cheapLog) Commit(to int64) error {
	if to < l.committed || to > l.End() {
		l.m.fail("Commit %d of a log of %d to %d, committed %d", to, l.base, l.End(), l.committed)
		return errIO
	}
	from := l.committed
	l.committed = to
	if to > from {
		l.m.published(from, to, l.b[from-l.base:to-l.base])
	}
	return nil
}

func (l *cheapLog) Sync(to int64) error {
	if err := l.m.diskOp("sync"); err != nil {
		return err
	}
	l.m.slow()
	if n := min(to, l.End()) - l.base; n > int64(len(l.disk)) {
		l.disk = append(l.disk, l.b[len(l.disk):n]...)
	}
	return nil
}

// Lead lets appends in. What lies in the log and is not committed yet counts as well: queue offsets go on behind it.
func (l *cheapLog) Lead() error {
	l.leading = true
	l.next = l.m.w.model.nextBefore(l.base)
	return records(l.b, func(r record) {
		if r.id != 0 {
			l.next[r.queue] = r.offset + 1
		}
	})
}

func (l *cheapLog) Follow() (int64, error) {
	l.leading = false
	l.m.refused()
	return l.End(), nil
}

// clean drops the oldest segments, all of which must be visible.
func (l *cheapLog) clean(to int64) {
	n := to - l.base
	l.base, l.b = to, append([]byte(nil), l.b[n:]...)
	l.disk = append([]byte(nil), l.disk[min(n, int64(len(l.disk))):]...)
}

// powerCut leaves what was synced, and of the rest what the disk happened to write: sector by sector, up to some length.
func (l *cheapLog) powerCut(rng *rand.Rand) {
	keep := len(l.disk)
	rest := append([]byte(nil), l.b[keep:]...)
	switch rng.IntN(4) {
	case 0:
		rest = nil
	case 1:
	default:
		rest = rest[:rng.IntN(len(rest)+1)]
		for at := 0; at < len(rest); at += sector {
			if rng.IntN(2) == 0 {
				clear(rest[at:min(at+sector, len(rest))])
			}
		}
	}
	l.b = append(append([]byte(nil), l.disk...), rest...)
}

// opened is what a store does at its start: it takes records as far as they are whole, and cuts the rest off durably.
func (l *cheapLog) opened(committed int64) {
	good := 0
	_ = records(l.b, func(r record) { good = r.end })
	l.b = l.b[:good]
	l.disk = append([]byte(nil), l.b...)
	l.committed = max(l.base, min(committed, l.End()))
	l.leading = false
}

type record struct {
	id     uint64
	queue  uint32
	offset int64
	end    int // behind it
}

func putRecord(b []byte, id uint64, queue uint32, offset int64, size int) []byte {
	at := len(b)
	b = append(b, make([]byte, size)...)
	r := b[at:]
	binary.BigEndian.PutUint32(r, uint32(size))
	binary.BigEndian.PutUint64(r[8:], id)
	binary.BigEndian.PutUint32(r[16:], queue)
	binary.BigEndian.PutUint64(r[24:], uint64(offset))
	for i := 32; i < size; i++ {
		r[i] = byte(id) + byte(i)
	}
	binary.BigEndian.PutUint32(r[4:], crc32.ChecksumIEEE(r[8:]))
	return b
}

var errRecord = errors.New("no record")

// records walks over whole records.
func records(b []byte, each func(record)) error {
	for at := 0; at < len(b); {
		if len(b)-at < recordUnit {
			return fmt.Errorf("%w at %d", errRecord, at)
		}
		size := int(binary.BigEndian.Uint32(b[at:]))
		if size < recordUnit || size%recordUnit != 0 || size > len(b)-at || binary.BigEndian.Uint32(b[at+4:]) != crc32.ChecksumIEEE(b[at+8:at+size]) {
			return fmt.Errorf("%w at %d", errRecord, at)
		}
		r := record{binary.BigEndian.Uint64(b[at+8:]), binary.BigEndian.Uint32(b[at+16:]), int64(binary.BigEndian.Uint64(b[at+24:])), at + size}
		at += size
		each(r)
	}
	return nil
}
