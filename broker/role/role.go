// Package role says what a broker is at this moment. A role may change while the broker runs; whoever needs to know asks
// the Holder every time and keeps nothing.
package role

import "sync/atomic"

// Kind is what a broker does in its group.
type Kind uint8

const (
	// Slave follows a master or a leader. It serves reads and takes no messages.
	Slave Kind = iota
	// Master, or the leader of a raft group, takes messages.
	Master
	// Fenced takes no messages any more and follows nobody yet; slaves may still copy from it.
	Fenced
)

func (k Kind) String() string { return [...]string{"slave", "master", "fenced"}[k] }

// State is a role with what belongs to it. It is never changed once it is in a Holder.
type State struct {
	Kind
	ID    int64  // the id it registers under; 0 is the master
	Epoch int64  // of the promotion or the election; what name servers compare. 0: there was none
	Sync  bool   // a master answers when a slave has the message, too
	Why   string // why it takes no messages, for producers
	// Forward: sends that reach it all the same are handed on to who takes them.
	Forward bool
}

// Takes says whether producers and operators are served.
func (s *State) Takes() bool { return s.Kind == Master }

// Holder is the role of one broker.
type Holder struct{ p atomic.Pointer[State] }

// New is a holder of s.
func New(s State) *Holder {
	h := &Holder{}
	h.Set(s)
	return h
}

// Load is the role now.
func (h *Holder) Load() *State { return h.p.Load() }

// Set changes the role. Only the broker's assembly does.
func (h *Holder) Set(s State) { h.p.Store(&s) }

// Takes says whether producers and operators are served now.
func (h *Holder) Takes() bool { return h.p.Load().Takes() }
