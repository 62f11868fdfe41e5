package sim

import (
	"bytes"
	"math/rand/v2"
)

// Tape is a log on a disk: what was written, and what of it the disk has for certain. A kill takes nothing of it; a power cut
// leaves what was synced, and of the rest what the disk happened to write.
type Tape struct {
	Base int64  // offset of the first byte
	B    []byte // as read
	Disk []byte // as synced, a beginning of B
}

// sector is the smallest piece that a disk writes whole.
const sector = 512

// End is the offset behind the last byte.
func (t *Tape) End() int64 { return t.Base + int64(len(t.B)) }

// Durable is the offset behind the last byte that was synced.
func (t *Tape) Durable() int64 { return t.Base + int64(len(t.Disk)) }

// Append writes at the end.
func (t *Tape) Append(b []byte) { t.B = append(t.B, b...) }

// Sync puts what lies before to on the disk.
func (t *Tape) Sync(to int64) {
	if n := min(to, t.End()) - t.Base; n > int64(len(t.Disk)) {
		t.Disk = append(t.Disk, t.B[len(t.Disk):n]...)
	}
}

// Truncate ends the tape at off, durably.
func (t *Tape) Truncate(off int64) {
	n := off - t.Base
	t.B, t.Disk = t.B[:n], t.Disk[:min(int64(len(t.Disk)), n)]
}

// Reset empties the tape: it goes on at from.
func (t *Tape) Reset(from int64) { *t = Tape{Base: from} }

// Clean drops everything before to.
func (t *Tape) Clean(to int64) {
	n := to - t.Base
	t.Base, t.B = to, bytes.Clone(t.B[n:])
	t.Disk = bytes.Clone(t.Disk[min(n, int64(len(t.Disk))):])
}

// PowerCut leaves what was synced and, of the rest, nothing, all, or some sectors up to some length.
func (t *Tape) PowerCut(rng *rand.Rand) {
	keep := len(t.Disk)
	rest := bytes.Clone(t.B[keep:])
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
	t.B = append(bytes.Clone(t.Disk), rest...)
}

// Recover is what a store does at its start: it keeps whole records, cuts the rest off and makes that durable.
func (t *Tape) Recover() {
	good := 0
	_ = Records(t.B, func(r Record) { good = r.End })
	t.B = t.B[:good]
	t.Disk = bytes.Clone(t.B)
}

// Has tells whether the tape holds b at off, as far as it reaches back; what was cleaned away it had. durably asks the disk.
func (t *Tape) Has(off int64, b []byte, durably bool) bool {
	have := t.B
	if durably {
		have = t.Disk
	}
	if off < t.Base {
		if off+int64(len(b)) <= t.Base {
			return true
		}
		b, off = b[t.Base-off:], t.Base
	}
	at := off - t.Base
	return at+int64(len(b)) <= int64(len(have)) && bytes.Equal(have[at:at+int64(len(b))], b)
}

// Slice is the bytes from off to to.
func (t *Tape) Slice(off, to int64) []byte { return t.B[off-t.Base : to-t.Base] }
