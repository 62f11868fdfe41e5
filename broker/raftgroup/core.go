// Core: a member as a state machine. One goroutine calls it; it has no clock, and what it sends goes through a function.

package raftgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sort"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"rmqctl/internal/vfs"
)

const (
	maxMessage  = 1 << 20  // entries of one message to a peer; a single one may be larger
	maxInFlight = 16 << 20 // to one peer, not acknowledged
)

// Core is one member. After an error of Work or Step, only Close is of use: what is on the disk is good, open it again.
type Core struct {
	o     CoreOptions
	log   Log
	rn    *raft.RawNode
	st    *storage
	ix    *index
	vote  *voteFile
	group groupState
	run   runState

	leading  bool   // this member leads, and what it proposes is in its log already
	leadTerm uint64 // in this term
	taking   bool   // the store takes appends: Log.Lead was called
	handing  uint64 // the member that the leadership is being handed to
	handed   bool   // the library has been told
	handFor  int    // ticks
	waiting  []round
	taken    int64  // end of the last round that was proposed or waits for it
	applied  uint64 // committed, and the log and the members know
	saved    uint64 // applied, as "vote" knows it

	elapsed, timeout int    // ticks since a leader was heard of or an election was begun; how many make one
	sent             uint64 // the last entry that others may have from us
	silent           int    // ticks since a leader was heard of
	ticks            int
	best             entryID // the longest log that asked for a vote since
	term, before     uint64  // the newest term of a leader heard of, and the last entry committed here of a term below
	target, targetOf uint64  // NoVote ends when the log reaches target, the end of the leader's log in this term
	peers            map[uint64]*watch
	levelFor         int    // ticks that the preferred member has been level
	lastTick         uint64 // the leader's last entry at the tick before

	replies []pb.Message
	members int // changes with the members
	broken  error
}

// entryID says how far a log reaches: terms first.
type entryID struct{ term, index uint64 }

func (a entryID) less(b entryID) bool {
	return a.term < b.term || a.term == b.term && a.index < b.index
}

// round is one proposal: log bytes that the store has written.
type round struct {
	from int64
	b    []byte
}

// watch is what a leader remembers of a peer between ticks.
type watch struct {
	snapshot int // ticks it has been told to begin at the oldest file
}

// Open brings index, log and vote together and makes a member of them.
func Open(o CoreOptions) (*Core, error) {
	if o.FS == nil || o.Log == nil || o.Self == 0 || o.Group == "" || len(o.Peers) == 0 {
		return nil, errors.New("raft: FS, Log, Group, Self and Peers are required")
	}
	o.ElectionTicks = orInt(o.ElectionTicks, 10)
	o.HeartbeatTicks = orInt(o.HeartbeatTicks, 1)
	o.PreferTicks = orInt(o.PreferTicks, 20)
	if o.IndexEntries == 0 {
		o.IndexEntries = 1 << 16
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	c := &Core{o: o, log: o.Log, peers: map[uint64]*watch{}}
	if err := c.open(); err != nil {
		c.release()
		return nil, err
	}
	return c, nil
}

func orInt(v, def int) int {
	if v == 0 {
		return def
	}
	return v
}

func (c *Core) path(name string) string { return filepath.Join(c.o.Dir, name) }

func (c *Core) open() (err error) {
	if err = vfs.MakeDirs(c.o.FS, c.o.Dir, 0o755); err != nil {
		return err
	}
	if err = named(c.o.FS, c.o.Dir); err != nil {
		return err
	}
	if err = c.openGroup(); err != nil {
		return err
	}
	if c.ix, err = openIndex(c.o.FS, c.path("index"), uint64(c.o.IndexEntries), c.group.Base); err != nil {
		return err
	}
	if c.group.Reset {
		if err = c.finishReset(); err != nil {
			return err
		}
	}
	c.st = &storage{ix: c.ix, log: c.log, group: &c.group, vote: c.vote, warn: c.o.Logger.Error, compact: c.compact}
	if err = c.reconcile(); err != nil {
		return err
	}
	c.newTimeout()
	defer c.guard(&err)
	c.rn, err = raft.NewRawNode(&raft.Config{
		ID: c.o.Self, ElectionTick: c.o.ElectionTicks, HeartbeatTick: c.o.HeartbeatTicks, Storage: c.st, Applied: c.applied,
		MaxSizePerMsg: maxMessage, MaxCommittedSizePerReady: math.MaxUint64, MaxInflightMsgs: 256, MaxInflightBytes: maxInFlight,
		CheckQuorum: true, PreVote: true, DisableProposalForwarding: true, StepDownOnRemoval: true, Logger: raftLogger{c.o.Logger},
	})
	return err
}

// Tick is the passing of time.
func (c *Core) Tick() (err error) {
	if c.broken != nil {
		return c.broken
	}
	defer c.guard(&err)
	c.ticks++
	c.elapsed++
	c.silent++
	if c.state() == raft.StateLeader {
		c.silent = 0
		if err := c.proveDisk(); err != nil {
			return c.fail(err)
		}
		c.watchPeers() // first: the library's tick forgets who was active
		c.rn.Tick()
	} else {
		// The library's own timeout is drawn by the machine's randomness; ours can be repeated. This only moves the lease.
		c.rn.TickQuiesced()
		if c.elapsed >= c.timeout {
			c.campaign()
		}
	}
	if c.ticks%c.o.ElectionTicks == 0 {
		c.compact()
		return c.keepRun()
	}
	return nil
}

func (c *Core) newTimeout() {
	c.elapsed, c.timeout = 0, c.o.ElectionTicks+c.o.Rand.IntN(c.o.ElectionTicks)
}

func (c *Core) campaign() {
	c.newTimeout()
	if c.mayCampaign() {
		_ = c.rn.Campaign()
	}
}

// Campaign asks the others for their votes now, unless they know of a leader.
func (c *Core) Campaign() (err error) {
	if c.broken != nil {
		return c.broken
	}
	defer c.guard(&err)
	c.campaign()
	return nil
}

// ForgetLeader: the leader is known to be gone. Without it a follower neither campaigns nor votes before its timeout.
func (c *Core) ForgetLeader() (err error) {
	if c.broken != nil {
		return c.broken
	}
	defer c.guard(&err)
	return c.rn.ForgetLeader()
}

// Step takes a message of a peer.
func (c *Core) Step(m pb.Message) (err error) {
	if c.broken != nil {
		return c.broken
	}
	defer c.guard(&err)
	if ok, err := c.admit(&m); !ok {
		return err
	}
	before := c.rn.BasicStatus()
	if m.Type == pb.MsgAppResp && m.Reject && before.RaftState == raft.StateLeader && m.Term == before.Term {
		c.lookBack(m.From, m.RejectHint)
	}
	_ = c.rn.Step(m) // what does not fit is dropped: Raft lives with that
	now := c.rn.BasicStatus()
	switch m.Type {
	case pb.MsgApp, pb.MsgHeartbeat, pb.MsgSnap:
		if m.Term == now.Term && now.Lead == m.From {
			c.elapsed, c.silent, c.best = 0, 0, entryID{}
		}
	case pb.MsgVote:
		if now.Vote == m.From && (before.Vote != now.Vote || before.Term != now.Term) {
			c.newTimeout()
		}
	}
	return nil
}

// admit says whether the library is to see the message, and takes from it what is ours.
func (c *Core) admit(m *pb.Message) (bool, error) {
	switch m.Type {
	case pb.MsgVote, pb.MsgPreVote:
		return c.mayVote(entryID{m.LogTerm, m.Index}), nil
	case pb.MsgTimeoutNow:
		return c.group.NoVote == "", nil
	case pb.MsgHeartbeat:
		if err := c.trust(m); err != nil {
			return false, err
		}
		return c.heartbeatFits(m), nil
	case pb.MsgApp:
		if err := checkAppend(m); err != nil {
			c.o.Logger.Error("a peer sends what no member sends", "remote", PeerName(m.From), "err", err)
			return false, nil
		}
		err := c.trust(m)
		return err == nil, err
	case pb.MsgSnap:
		if m.Snapshot == nil {
			return false, nil
		}
		_, err := parseSnapshot(m.Snapshot)
		return err == nil, nil
	case pb.MsgAppResp:
		if last := max(c.sent, c.ix.last); !m.Reject && m.Index > last && m.Term == c.rn.BasicStatus().Term {
			c.o.Logger.Error("a peer acknowledges what it was not sent", "remote", PeerName(m.From), "entry", m.Index, "last", last)
			return false, nil
		}
		return true, nil
	case pb.MsgVoteResp, pb.MsgPreVoteResp, pb.MsgHeartbeatResp:
		return true, nil
	}
	return false, nil
}

// trust holds a leader's message against what was committed here. A leader has all of it, unless members have lost what they
// had acknowledged from memory, when most of the hosts lost power at once. Then this member has the only copy, and stops
// with it; the library would take the one for the other.
func (c *Core) trust(m *pb.Message) error {
	last := uint64(math.MaxUint64)
	if len(m.Context) == 8 {
		last = binary.BigEndian.Uint64(m.Context)
	}
	m.Context = nil
	if m.Term < c.rn.BasicStatus().Term {
		return nil
	}
	if m.Term > c.term {
		c.term, c.before = m.Term, c.appliedBefore(m.Term)
	}
	if last < c.before {
		return c.halt(fmt.Errorf("the log of the leader %s ends with entry %d, here entry %d is committed: the group has lost what it had acknowledged; "+
			"keep this log if its last messages matter, and empty the store to join again", PeerName(m.From), last, c.before))
	}
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Index > c.applied {
			break
		}
		if t, err := c.st.Term(e.Index); err == nil && t != e.Term {
			return c.halt(fmt.Errorf("entry %d is committed here with term %d, the leader %s has it with term %d: the group has lost what it had acknowledged; "+
				"keep this log if its last messages matter, and empty the store to join again", e.Index, t, PeerName(m.From), e.Term))
		}
	}
	if last != math.MaxUint64 && m.Type == pb.MsgHeartbeat {
		c.aim(m.Term, last)
	}
	return nil
}

// appliedBefore is the last committed entry of a term below that one: what every message of that term's leader must know.
func (c *Core) appliedBefore(term uint64) uint64 {
	first := c.ix.base.Index
	return first + uint64(sort.Search(int(c.applied-first), func(k int) bool {
		t, err := c.st.Term(first + 1 + uint64(k))
		return err != nil || t >= term
	}))
}

// heartbeatFits: a leader that believes us to have more than we have (our host lost power, our disk is new) is told what we
// have; the library would not survive its commit.
func (c *Core) heartbeatFits(m *pb.Message) bool {
	last := c.ix.last
	if m.Commit <= last || m.Term < c.rn.BasicStatus().Term {
		return true
	}
	if !c.rn.HasReady() { // else the entries may only not be in the index yet; the next heartbeat tells
		term, _ := c.st.Term(last)
		c.replies = append(c.replies, pb.Message{Type: pb.MsgAppResp, From: c.o.Self, To: m.From, Term: m.Term,
			Index: m.Commit, Reject: true, RejectHint: last, LogTerm: term})
	}
	m.Commit = 0
	return true
}

func checkAppend(m *pb.Message) error {
	term := m.LogTerm
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Index != m.Index+1+uint64(i) || e.Term < term || e.Term > m.Term || e.Type > pb.EntryConfChange {
			return fmt.Errorf("entry %d of term %d, kind %d, in the place of %d, term %d to %d", e.Index, e.Term, e.Type, m.Index+1+uint64(i), term, m.Term)
		}
		term = e.Term
	}
	return nil
}

// lookBack: a peer that acknowledged up to match and now has less has lost it. What is known of it is forgotten, so that it
// is asked anew; the library holds its first word for the last.
//
// The library lets a peer be taken out and in again in one place only: the configuration. Without it the others' quorum must
// be no smaller than with it, and that is so when the number of voters is odd. Else another leader has to begin with
// everybody from nothing.
func (c *Core) lookBack(from, has uint64) {
	voters, match, learner, found := 0, uint64(0), false, false
	c.rn.WithProgress(func(id uint64, typ raft.ProgressType, p tracker.Progress) {
		if typ == raft.ProgressTypePeer {
			voters++
		}
		if id == from {
			match, learner, found = p.Match, typ == raft.ProgressTypeLearner, true
		}
	})
	if !found || has >= match {
		return
	}
	c.o.Logger.Warn("a member has lost what it acknowledged, it is asked anew", "remote", PeerName(from), "had", match, "has", has)
	if !learner && voters%2 == 0 {
		// A term of our own making: everybody, we as well, goes to an election.
		_ = c.rn.Step(pb.Message{Type: pb.MsgHeartbeatResp, From: from, To: c.o.Self, Term: c.rn.BasicStatus().Term + 1})
		return
	}
	back := pb.ConfChangeAddNode
	if learner {
		back = pb.ConfChangeAddLearnerNode
	}
	c.rn.ApplyConfChange(pb.ConfChange{Type: pb.ConfChangeRemoveNode, NodeID: from})
	c.rn.ApplyConfChange(pb.ConfChange{Type: back, NodeID: from})
}

// Propose takes a round that the store has written, in the order of the log.
func (c *Core) Propose(from int64, b []byte) error {
	if c.broken != nil {
		return c.broken
	}
	if !c.leading {
		return ErrNotLeader
	}
	if len(b) == 0 {
		return nil
	}
	seg := c.log.SegmentSize()
	if from != c.taken || from/seg != (from+int64(len(b))-1)/seg {
		return c.halt(fmt.Errorf("%d bytes at %d were written, the log ends at %d in files of %d", len(b), from, c.taken, seg))
	}
	c.taken += int64(len(b))
	c.waiting = append(c.waiting, round{from, b})
	return nil
}

// propose hands the rounds that wait to the library, all in one message. During a transfer they go on waiting.
func (c *Core) propose() {
	if len(c.waiting) == 0 || !c.leading {
		return
	}
	es := make([]pb.Entry, len(c.waiting))
	for i, r := range c.waiting {
		es[i].Data = r.b
	}
	if err := c.rn.Step(pb.Message{Type: pb.MsgProp, From: c.o.Self, Entries: es}); err == nil {
		clear(c.waiting)
		c.waiting = c.waiting[:0]
	}
}

// Transfer hands the leadership to another voter. First the store takes no more appends and what was written is committed:
// nobody is told that his message may or may not be stored. If it fails, this member leads on.
func (c *Core) Transfer(to uint64) (err error) {
	if c.broken != nil {
		return c.broken
	}
	defer c.guard(&err)
	if c.state() != raft.StateLeader {
		return ErrNotLeader
	}
	if !slices.Contains(c.group.Conf.Voters, to) {
		return fmt.Errorf("raft: %s is no voter", PeerName(to))
	}
	if to == c.o.Self || c.handing != 0 && c.handing == to {
		return nil
	}
	if c.handing != 0 {
		return ErrBusy
	}
	return c.hand(to)
}

// HasWork tells whether Work has something to do.
func (c *Core) HasWork() bool {
	return c.broken == nil && (len(c.replies) > 0 || c.rn.HasReady() || c.mustFollow() || c.mayLead() ||
		c.leading && len(c.waiting) > 0 && c.rn.BasicStatus().LeadTransferee == 0)
}

func (c *Core) state() raft.StateType { return c.rn.BasicStatus().RaftState }

// Unreachable: a message to the peer was lost.
func (c *Core) Unreachable(id uint64) {
	if c.broken != nil {
		return
	}
	var err error
	defer c.guard(&err)
	c.rn.ReportUnreachable(id)
	if w := c.peers[id]; w != nil && w.snapshot > 0 {
		c.rn.ReportSnapshot(id, raft.SnapshotFailure)
	}
}

// halt stops this member for good: to go on would break a promise.
func (c *Core) halt(why error) error {
	if c.broken == nil || !errors.Is(c.broken, ErrHalted) {
		c.o.Logger.Error("THIS MEMBER HAS STOPPED: going on would harm the log; its group goes on without it", "group", c.o.Group,
			"member", PeerName(c.o.Self), "err", why)
		c.broken = fmt.Errorf("%w: %w", ErrHalted, why)
		c.unlead()
	}
	return c.broken
}

// guard makes a halt of the library's panics.
func (c *Core) guard(err *error) {
	if p := recover(); p != nil {
		c.o.Logger.Error("raft", "err", p, "stack", string(debug.Stack()))
		*err = c.halt(fmt.Errorf("%v", p))
	}
}

// unlead stops the store taking appends when nothing else can be done any more.
func (c *Core) unlead() {
	if c.leading {
		c.leading, c.taking, c.handing = false, false, 0
		c.waiting = nil
		_, _ = c.log.Follow()
	}
}

// Close ends the run; what was acknowledged is on the disk then.
func (c *Core) Close() error {
	c.unlead()
	var err error
	if c.broken == nil {
		err = errors.Join(c.log.Sync(c.ix.end()), c.ix.sync(), c.saveVote(true))
		if err == nil {
			c.run.Clean = true
			err = saveJSON(c.o.FS, c.path("run"), &c.run)
		}
		c.broken = ErrClosed
	}
	c.release()
	return err
}

func (c *Core) release() {
	if c.ix != nil {
		c.ix.close()
	}
	if c.vote != nil && c.vote.f != nil {
		_ = c.vote.f.Close()
	}
}
