// Core: a member as a state machine. One goroutine calls it; it has no clock, and what it sends goes through a function.

package raftgroup

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime/debug"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

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
