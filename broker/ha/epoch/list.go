// Package epoch remembers who wrote which stretch of a log, so that two logs can be held against each other without
// reading them.
//
// A mastership is one life of one master: from the moment it begins to take messages until its process ends or its role
// changes. Within it the log only grows, so two logs that both hold bytes of it agree in them and in everything before.
// A master that lost its tail in a power cut begins another life where it ends, and its slaves see that theirs goes on
// differently.
package epoch

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Entry is one mastership. Its stretch ends where the next entry starts, or with the log.
type Entry struct {
	Epoch int64  // counts promotions; a restart of the same master keeps it
	Life  uint64 // names the mastership; 0: the bytes came from who does not tell (a Java broker, an earlier version)
	Start int64  // the log's end when it began
}

// List is a log's history, oldest first: starts ascend, epochs never fall. The list of a slave may run ahead of its log: it
// is its master's, taken before the bytes.
type List []Entry

// MaxEntries bounds a list; what is older is forgotten, and checksums stand in for it.
const MaxEntries = 1000

// ErrList: a list that cannot be one.
var ErrList = errors.New("not an epoch list")

// NewLife draws a name for a mastership.
func NewLife() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if life := binary.BigEndian.Uint64(b[:]); life != 0 {
			return life
		}
	}
}

// Check says what is wrong with a list that somebody else made.
func (l List) Check() error {
	if len(l) > MaxEntries {
		return fmt.Errorf("%w: %d entries", ErrList, len(l))
	}
	for i, e := range l {
		if e.Epoch < 0 || e.Start < 0 || i > 0 && (e.Start <= l[i-1].Start || e.Epoch < l[i-1].Epoch) {
			return fmt.Errorf("%w: entry %d is %+v", ErrList, i, e)
		}
	}
	return nil
}

// Last is the newest entry, or the zero entry: a log without a history is from who does not tell.
func (l List) Last() Entry {
	if len(l) == 0 {
		return Entry{}
	}
	return l[len(l)-1]
}

// Cut is the list of the log's first off bytes: what starts at off or behind it is gone.
func (l List) Cut(off int64) List {
	n := len(l)
	for n > 0 && l[n-1].Start >= off {
		n--
	}
	return l[:n:n]
}

// Lead is the list after a mastership has begun at the log's end.
func (l List) Lead(epoch int64, life uint64, end int64) List {
	out := append(slices.Clone(l.Cut(end)), Entry{epoch, life, end})
	return out[max(0, len(out)-MaxEntries):]
}

// whole is the list with an entry for what came before its first: a log from the beginning on has no gap.
func (l List) whole() List {
	if len(l) > 0 && l[0].Start == 0 {
		return l
	}
	return append(List{{}}, l...)
}

// ends tells where the stretch of entry i ends in a log of that end.
func (l List) ends(i int, end int64) int64 {
	if i+1 < len(l) {
		return min(l[i+1].Start, end)
	}
	return end
}

// Common tells up to where two logs of these histories and ends agree: the end of the newest mastership that both hold
// bytes of, or began to. It is sure unless that stretch is from who does not tell: then the bytes must be compared. ok is
// false when they have no entry in common. below are the starts of the entries in common, newest first: lower places up to
// which they agree, for the case that the bytes say otherwise.
func Common(a List, aEnd int64, b List, bEnd int64) (off int64, sure, ok bool, below []int64) {
	a, b = a.whole(), b.whole()
	for i := len(a) - 1; i >= 0; i-- {
		j := slices.Index(b, a[i])
		if j < 0 || a[i].Start > aEnd || a[i].Start > bEnd {
			continue
		}
		if !ok {
			off, sure, ok = min(a.ends(i, aEnd), b.ends(j, bEnd)), a[i].Life != 0, true
		}
		if a[i].Start < off {
			below = append(below, a[i].Start)
		}
	}
	return off, sure, ok, below
}
