// Package decide is what master and slave decide, without a clock, a goroutine or a network: where a slave's log goes on,
// and which appends the slaves have. Package ha moves the bytes.
package decide

import (
	"fmt"
	"math"
	"slices"

	"rmqctl/broker/ha/epoch"
)

// Identity names a broker of a group. Addr and ID together are one slave, on however many connections.
type Identity struct {
	Cluster string
	Broker  string
	ID      int64  // brokerId
	Addr    string // where clients reach it
}

func (i Identity) String() string { return fmt.Sprintf("%s/%d %s", i.Broker, i.ID, i.Addr) }

// Side is what one end tells of its log. Epochs is the list as it is kept, Epoch the highest one seen.
type Side struct {
	Identity
	Epoch   int64
	Segment int64 // length of a file of the log
	Min     int64
	Max     int64
	Epochs  epoch.List
}

// Sameness is how the last bytes before a place compare.
type Sameness uint8

const (
	Unknown   Sameness = iota // one of the two has not got them
	Same                      // the checksums are equal
	Different                 // the logs have parted before it
)

// Action is what a slave does with its log before it is sent more.
type Action uint8

const (
	Refuse   Action = iota // nothing is sent: an operator decides
	Continue               // the log goes on at its end
	Truncate               // what is behind At is kept aside and cut off
	Restart                // the whole log, if there is any, is dropped, the next byte is At: the master had all of it, but no longer keeps it
	Give                   // the slave sends what is behind At: the master has lost it
	Later                  // the master takes no slaves yet
)

func (a Action) String() string {
	return [...]string{"refuse", "continue", "truncate", "restart", "give", "later"}[a]
}

// Verdict is what becomes of a slave.
type Verdict struct {
	Action Action
	At     int64
	Why    string // of a refusal, with what to do
	Stale  bool   // refused because the slave has seen a newer master: this one must not go on
}

func refuse(format string, a ...any) Verdict {
	return Verdict{Action: Refuse, Why: fmt.Sprintf(format, a...)}
}

// maxPoints bounds how many places are compared.
const maxPoints = 64

// Points are the places where Decide may want to know whether the logs are the same before them, the highest first.
func Points(master, slave Side) []int64 {
	top, _, ok, below := epoch.Common(master.Epochs, master.Max, slave.Epochs, slave.Max)
	points := []int64{slave.Max}
	if ok {
		points = append(append(points, top), below...)
	}
	lo, hi := max(master.Min, slave.Min), min(master.Max, slave.Max)
	points = slices.DeleteFunc(points, func(off int64) bool { return off <= lo || off > hi })
	slices.SortFunc(points, func(a, b int64) int { return int(min(max(b-a, -1), 1)) })
	points = slices.Compact(points)
	return points[:min(len(points), maxPoints)]
}

// Decide holds two logs against each other. same is asked about Points only.
//
// The lists say where the logs agree and the checksums must not contradict. Where they do (a list was lost, a disk has
// changed bytes) the next lower place in common is tried. Nothing is ever cut off because of a guess: without a place
// where lists and bytes agree the slave is refused.
func Decide(master, slave Side, same func(off int64) Sameness) Verdict {
	if v, bad := strangers(master, slave); bad {
		return v
	}
	switch {
	case slave.Max == slave.Min && slave.Max == master.Min:
		return Verdict{Action: Continue, At: master.Min}
	case slave.Max == slave.Min:
		return Verdict{Action: Restart, At: master.Min}
	case master.Max == master.Min:
		return refuse("this master's log is empty and the slave's ends at %d: if the master's disk was lost, promote the slave; to copy this master, empty the slave's store", slave.Max)
	}
	top, sure, ok, below := epoch.Common(master.Epochs, master.Max, slave.Epochs, slave.Max)
	if !ok || slave.Epochs.Cut(slave.Max).Last().Life == 0 { // the list does not say whose its last bytes are
		if slave.Max > master.Min && slave.Max <= master.Max && same(slave.Max) == Same {
			return Verdict{Action: Continue, At: slave.Max}
		}
	}
	if !ok {
		return refuse("the two logs have no history in common (%d to %d here, %d to %d there): empty the slave's store to copy everything", master.Min, master.Max, slave.Min, slave.Max)
	}
	if top < master.Min {
		if sure && top == slave.Max {
			return Verdict{Action: Restart, At: master.Min}
		}
		return refuse("the two logs agree up to %d, and this master keeps %d and later; the slave alone has %d bytes behind that: save them if they matter and empty its store to copy everything", top, master.Min, slave.Max-top)
	}
	if s := same(top); s == Same || s == Unknown && sure {
		return at(top, slave)
	}
	for _, off := range below {
		if off > master.Min && same(off) == Same {
			return at(off, slave)
		}
	}
	return refuse("by their histories the two logs agree up to %d, by their bytes they do not: check both stores (rmqctl store check), then empty the slave's to copy everything", top)
}

// Recall is asked by a master that a power cut may have robbed of its tail, before it begins a new mastership. A slave whose
// log goes on where the master's ends gives that back: within one epoch there was one master, so the bytes were its own. The
// master takes the slave's list before the bytes.
func Recall(master, slave Side, same func(off int64) Sameness) Verdict {
	if v, bad := strangers(master, slave); bad {
		return v
	}
	last := slave.Epochs.Cut(slave.Max).Last()
	top, sure, ok, _ := epoch.Common(master.Epochs, master.Max, slave.Epochs, slave.Max)
	if !ok || !sure || top != master.Max || slave.Max <= top || slave.Min > top || last.Life == 0 || same(top) == Different {
		return Verdict{Action: Later}
	}
	// A master that was promoted a moment before may have lost bytes of epochs before its own, too.
	if whole, _, _, _ := epoch.Common(master.Epochs, math.MaxInt64, slave.Epochs, slave.Max); last.Epoch != master.Epoch && whole != slave.Max {
		return Verdict{Action: Later}
	}
	return Verdict{Action: Give, At: top}
}

func at(off int64, slave Side) Verdict {
	switch {
	case off == slave.Max:
		return Verdict{Action: Continue, At: off}
	case off <= slave.Min:
		return refuse("the two logs agree up to %d, where the slave's begins: nothing of it would remain; empty its store to copy everything", off)
	}
	return Verdict{Action: Truncate, At: off}
}

// strangers refuses who is no slave of this master, and a slave that has seen a newer one.
func strangers(master, slave Side) (Verdict, bool) {
	differ := func(a, b string) bool { return a != "" && b != "" && a != b }
	switch {
	case differ(master.Cluster, slave.Cluster) || differ(master.Broker, slave.Broker):
		return refuse("it belongs to broker %s of cluster %s, this is %s of %s: look at haMasterAddress", slave.Broker, slave.Cluster, master.Broker, master.Cluster), true
	case master.Segment != slave.Segment && master.Segment > 0 && slave.Segment > 0:
		return refuse("its mappedFileSizeCommitLog is %d, this master's is %d: they must be equal", slave.Segment, master.Segment), true
	case slave.Epoch > master.Epoch:
		v := refuse("it has followed a master of epoch %d, this one is of epoch %d: another broker was promoted, make this one its slave", slave.Epoch, master.Epoch)
		v.Stale = true
		return v, true
	}
	return Verdict{}, false
}
