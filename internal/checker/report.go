// What was found, for people.

package checker

import (
	"errors"
	"fmt"
	"strings"
)

// Kind is a kind of broken promise; the package comment defines them.
type Kind int

const (
	Lost Kind = iota
	Phantom
	Corrupt
	Duplicated
	Divergent
	Reordered
	Gap
	Resurrected
	OffsetsBack
	NotDurable
	kinds
)

var kindNames = [kinds]string{"lost", "phantom", "corrupt", "duplicated", "divergent", "reordered", "gap", "resurrected", "offsets back", "not durable"}

func (k Kind) String() string { return kindNames[k] }

// maxExamples of one kind are kept.
const maxExamples = 8

// Found counts the findings of one kind and keeps the first of them.
type Found struct {
	N        int64
	Examples []string
}

func (f *Found) add(format string, args ...any) { f.addN(1, format, args...) }

func (f *Found) addN(n int64, format string, args ...any) {
	f.N += n
	if len(f.Examples) < maxExamples {
		f.Examples = append(f.Examples, fmt.Sprintf(format, args...))
	}
}

// Report is the verdict on a history.
type Report struct {
	Clients  int
	Replicas []string
	Sent     int64
	Acked    int64
	Unknown  int64
	Failed   int64
	Reads    int64 // messages read, counting each reading
	Expired  int64 // acknowledged, and deleted by retention since
	Tail     int64 // acknowledged, and lost where Rules.LostTail allows it
	Found    [kinds]Found
}

// Count is the number of findings of one kind.
func (r *Report) Count(k Kind) int64 { return r.Found[k].N }

// ErrNothingChecked: a history without an acknowledged message, or of which nothing was read, proves nothing.
var ErrNothingChecked = errors.New("nothing was acknowledged or nothing was read: this proves nothing")

// Err is nil when every promise was kept.
func (r Report) Err() error {
	for k := range r.Found {
		if r.Found[k].N > 0 {
			return errors.New(r.String())
		}
	}
	if r.Acked == 0 || r.Reads == 0 {
		return ErrNothingChecked
	}
	return nil
}

// String is one line of counts and, for each broken promise, its first examples.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d sent by %d clients: %d acknowledged, %d unknown, %d refused; %d read", r.Sent, r.Clients, r.Acked, r.Unknown, r.Failed, r.Reads)
	if len(r.Replicas) > 0 {
		fmt.Fprintf(&b, " from %s", strings.Join(r.Replicas, ", "))
	}
	if r.Expired > 0 {
		fmt.Fprintf(&b, "; %d deleted by retention", r.Expired)
	}
	if r.Tail > 0 {
		fmt.Fprintf(&b, "; %d lost at the end, as allowed", r.Tail)
	}
	clean := true
	for k := range r.Found {
		f := &r.Found[k]
		if f.N == 0 {
			continue
		}
		clean = false
		fmt.Fprintf(&b, "\n  %s: %d", Kind(k), f.N)
		for _, e := range f.Examples {
			fmt.Fprintf(&b, "\n    %s", e)
		}
		if more := f.N - int64(len(f.Examples)); more > 0 && len(f.Examples) == maxExamples {
			fmt.Fprintf(&b, "\n    and more")
		}
	}
	if clean {
		b.WriteString("; nothing lost, phantom, corrupt, duplicated, divergent, reordered, missing or resurrected")
	}
	return b.String()
}
