// Package raftgroup makes the commit logs of several brokers one log, by Raft (go.etcd.io/raft). The commit log IS the raft
// log: an entry is a range of its bytes, and a small index beside it says which range, of which term. Nothing is written twice.
//
// Core is the member as a state machine: no goroutine, no clock, no network. Node drives a Core and carries its messages.
// DESIGN.md says what holds at every moment, what is on the disk, and why.
package raftgroup

import (
	"errors"
	"log/slog"
	"math/rand/v2"

	"rmqctl/internal/vfs"
)

// Log is the commit log of one member (*store.Store with a gate). A Core calls it from one goroutine.
type Log interface {
	MinPhysical() int64 // begin of the oldest file
	MaxPhysical() int64 // end of what readers see: never beyond what was committed
	End() int64         // end of what is written
	SegmentSize() int64 // no entry crosses a multiple of it
	// ReadWritten reads log bytes up to End, never across a segment's end.
	ReadWritten(off int64, buf []byte) (int, error)
	// AppendRaw writes at End; not visible.
	AppendRaw(off int64, b []byte) error
	// TruncateTo ends the log at off, at or behind what was committed; durable.
	TruncateTo(off int64) error
	// Reset empties the log and lets it begin at from; durable. ends is what a leader's QueueEnds said of that place.
	Reset(from int64, ends []byte) error
	// QueueEnds says where the queues ended at a place of the log: a queue all of whose messages are older goes on there.
	QueueEnds(at int64) ([]byte, error)
	// Commit makes everything before to visible and tells its producers.
	Commit(to int64) error
	// Sync returns when the disk has everything before to.
	Sync(to int64) error
	// Lead lets the store take appends; Follow ends that: it waits for the round being written and tells where the log ends.
	Lead() error
	Follow() (end int64, err error)
}

// Role is what a member is in its group.
type Role struct {
	Leader   bool   // it takes appends: its own first entry is committed and everything before it is visible
	Term     uint64 // fences: a leader of a higher term is the newer one
	LeaderID string // nX, "" while unknown
}

// CoreOptions say what a member is. FS, Dir, Group, Self, Peers and Log are required.
type CoreOptions struct {
	FS    vfs.FS
	Dir   string // the folder "raft" of the store; made if absent
	Group string
	Self  uint64 // raft id: X+1 of nX
	Peers []Peer // as configured; what the group decided since stands above it
	Log   Log

	// Bootstrap: a member without state begins the group with Peers as its voters. Every one of them must do so, with the same
	// Peers, and none may have been a member before. Without it a member without state waits for a leader to take it in.
	Bootstrap bool

	ElectionTicks  int // 10; a follower campaigns after one to two times as many ticks without a leader
	HeartbeatTicks int // 1

	Rand    *rand.Rand  // election timeouts; nil = seeded by the machine
	Durable func() bool // acknowledged means on the disk (SYNC_FLUSH); nil = no
	// Boot names the running system: after a power cut it differs. "" = unknown: every unclean end counts as a power cut.
	Boot string
	// Both runs two things that may go on at once; nil = one after the other.
	Both func(a, b func() error) (error, error)

	IndexEntries int64 // records per file of the index, 65536
	Logger       *slog.Logger
}

// Member is one member of the group as this one sees it.
type Member struct {
	ID        uint64
	Name      string // nX
	Addr      string
	Voter     bool
	Match     int64 // physical offset up to which its log is known to be ours; of others known to the leader only
	Active    bool  // it has been heard of lately (leader only)
	Snapshot  bool  // it is being sent to the oldest file
	Connected bool  // filled in by Node
}

// Status is a member now.
type Status struct {
	Role
	State     string // leader, follower, candidate, waiting (not a member yet), halted
	Vote      uint64
	First     uint64 // index of the oldest entry
	Last      uint64
	Committed uint64
	From      int64 // physical offset of First
	End       int64 // physical end of Last
	Commit    int64 // physical end of Committed
	Transfer  string
	NoVote    bool // it may lack what it acknowledged (power cut, new disk) and does not vote until it is level
	Members   []Member
	Err       string // why it is halted
}

// Errors.
var (
	// ErrNotLeader: only the leader does that.
	ErrNotLeader = errors.New("raft: not the leader")
	// ErrBusy: another change of members is not finished.
	ErrBusy = errors.New("raft: another change is under way")
	// ErrHalted: this member has stopped, because going on would have broken a promise. Status().Err says which.
	ErrHalted = errors.New("raft: this member has halted")
	// ErrForeignLog: the store has a log that no raft group wrote.
	ErrForeignLog = errors.New("raft: the commit log is not empty and has no raft state beside it")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("raft: closed")
)
