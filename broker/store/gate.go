package store

// A store as one member of a raft group: what is written is handed to a gate, and becomes visible only when the group has
// committed it. The commit log is the group's log; nothing is written twice.
//
//	leader    rounds are written one after the other, each is handed to the Gate, waits (gated.go) and is published by Commit
//	follower  AppendRaw writes what a leader has written, TruncateTo drops what another leader never had, Commit publishes
//
//	[ Min ... committed = MaxPhysical )[ written, not visible ... End )
//
// A gated store starts as a follower. Gated calls come from one goroutine, the group's, after Start; puts from anybody.

import (
	"errors"
	"sync/atomic"
)

// Gate takes what a leader has written, to have it replicated.
type Gate interface {
	// Written is called in the order of the log by whoever wrote, with no lock of the store held: it must not block, nor
	// call the store. b is the log from from on: whole records, or the blank at the end of a segment with all its zeros,
	// never across the base of a segment. It belongs to the gate and never changes.
	Written(from int64, b []byte)
}

// Relay is a Gate that passes everything on to one that is made later, before the first Lead.
type Relay struct{ to atomic.Pointer[Gate] }

// Set says where to.
func (r *Relay) Set(g Gate) { r.to.Store(&g) }

// Written is the Gate's.
func (r *Relay) Written(from int64, b []byte) { (*r.to.Load()).Written(from, b) }

// Errors of a gated store.
var (
	ErrNotGated     = errors.New("store: not a member of a raft group")
	ErrFollowing    = errors.New("store: this member does not lead its group")
	ErrLeading      = errors.New("store: this member leads its group")
	ErrUncommitted  = errors.New("store: not all of the log is committed yet")
	ErrCommitted    = errors.New("store: what is committed is never cut off")
	ErrNotCommitted = errors.New("store: not committed by the group in time; it may be later")
	ErrDropped      = errors.New("store: the group's leader changed before the message was committed")
)

// gated is a member's part of a Store.
type gated struct {
	gate    Gate
	leading bool          // guarded by Store.mu: puts are taken
	opened  bool          // guarded by Store.raw.mu: the log is as the start has left it
	wait    []*round      // guarded by Store.mu: written and not committed, oldest first
	empty   chan struct{} // guarded by Store.mu: closed when wait is empty; made by who waits for that
	awake   atomic.Bool   // ackLoop looks by itself
	kick    chan struct{}
	runs    []run // the writer's: what he hands over
}

// Gated tells whether the store is a member of a group.
func (s *Store) Gated() bool { return s.gated != nil }

// End is the end of what is written, committed or not. MaxPhysical is the end of what is committed.
func (s *Store) End() int64 { return s.clog.Top() }

// Lead lets the store take puts. All that is written must be committed: so a queue's next offset is its end, whoever wrote
// it, and no two messages get the same. A store without a group takes puts from the start; Lead ends what Follow began.
func (s *Store) Lead() error {
	g := s.gated
	if g == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fenced = false
		return nil
	}
	s.raw.mu.Lock()
	defer s.raw.mu.Unlock()
	if err := s.seize(); err != nil { // every queue learns its end anew
		return err
	}
	defer s.letGo()
	if s.clog.Written() != s.clog.Top() {
		return ErrUncommitted
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.leading, g.opened = true, false
	return nil
}

// Follow ends the taking of puts. What was taken is written, and handed to the gate, before it returns the end of the log.
// It waits to be committed, or dropped by TruncateTo. In a store without a group it is visible and its producers are told.
func (s *Store) Follow() (end int64, err error) {
	g := s.gated
	s.raw.mu.Lock()
	defer s.raw.mu.Unlock()
	s.mu.Lock()
	if g == nil {
		s.fenced = true
	} else {
		g.leading = false
	}
	s.mu.Unlock()
	if err := s.seize(); err != nil {
		return s.clog.Top(), err
	}
	s.letGo()
	return s.clog.Top(), nil
}
