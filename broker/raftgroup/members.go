// Who the members are, how they change, and who may vote.

package raftgroup

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// ChangeMember takes a member in or out, on the leader. A new one learns first; the leader makes it a voter when it is level.
// It is decided when Status shows it.
func (c *Core) ChangeMember(add bool, p Peer) (err error) {
	if c.broken != nil {
		return c.broken
	}
	defer c.guard(&err)
	if !c.taking {
		return ErrNotLeader
	}
	conf := c.group.Conf
	member := slices.Contains(conf.Voters, p.ID) || slices.Contains(conf.Learners, p.ID)
	switch {
	case p.ID == 0 || add && p.Addr == "":
		return fmt.Errorf("raft: a member needs a name and an address")
	case add && member && c.addrOf(p.ID) == p.Addr, !add && !member:
		return nil
	case add && member:
		return fmt.Errorf("raft: %s is a member at %s; take it out first", PeerName(p.ID), c.addrOf(p.ID))
	case !add && len(conf.Voters) == 1 && conf.Voters[0] == p.ID:
		return fmt.Errorf("raft: %s is the last voter", PeerName(p.ID))
	case add && len(conf.Learners) > 0:
		return ErrBusy
	}
	kind := pb.ConfChangeRemoveNode
	if add {
		kind = pb.ConfChangeAddLearnerNode
	}
	return c.proposeChange(pb.ConfChange{Type: kind, NodeID: p.ID, Context: []byte(p.Addr)})
}

func (c *Core) proposeChange(cc pb.ConfChange) error {
	if c.applied != c.ix.last { // the library would put an empty entry in its place
		for i := c.ix.last; i > c.applied; i-- {
			if e, err := c.ix.get(i); err != nil || e.kind == pb.EntryConfChange {
				return ErrBusy
			}
		}
	}
	c.propose()
	if err := c.rn.ProposeConfChange(cc); err != nil {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return nil
}

// change makes a committed change of members. Its file is written before anything relies on it.
func (c *Core) change(e *pb.Entry) error {
	var cc pb.ConfChange
	if err := cc.Unmarshal(e.Data); err != nil {
		return c.halt(fmt.Errorf("entry %d changes members and says nothing readable: %w", e.Index, err))
	}
	if e.Index <= c.group.ConfAt { // made before the last end of this member, or known from the leader that told it where to begin
		return nil
	}
	c.group.Conf = *c.rn.ApplyConfChange(cc)
	c.group.ConfAt = e.Index
	c.group.Members = slices.DeleteFunc(c.group.Members, func(m memberState) bool {
		return m.ID == cc.NodeID && (cc.Type == pb.ConfChangeRemoveNode || len(cc.Context) > 0)
	})
	if cc.Type != pb.ConfChangeRemoveNode {
		if !slices.ContainsFunc(c.group.Members, func(m memberState) bool { return m.ID == cc.NodeID }) {
			c.group.Members = append(c.group.Members, memberState{ID: cc.NodeID, Addr: string(cc.Context), Configured: c.configured(cc.NodeID)})
		}
	}
	c.members++
	c.o.Logger.Info("members changed", "group", c.o.Group, "what", cc.Type.String(), "member", PeerName(cc.NodeID), "remote", string(cc.Context),
		"voters", len(c.group.Conf.Voters), "learners", len(c.group.Conf.Learners))
	return c.saveGroup()
}

func (c *Core) configured(id uint64) string {
	for _, p := range c.o.Peers {
		if p.ID == id {
			return p.Addr
		}
	}
	return ""
}

// adopt takes the members that a leader knows, with what our configuration says of them now.
func (c *Core) adopt(ms []memberState) []memberState {
	out := slices.Clone(ms)
	for i := range out {
		out[i].Configured = c.configured(out[i].ID)
	}
	return out
}

// addrOf is where a member is: what the group agreed on, unless our configuration has been given another word since.
func (c *Core) addrOf(id uint64) string {
	conf := c.configured(id)
	for _, m := range c.group.Members {
		if m.ID == id && (conf == "" || conf == m.Configured) && m.Addr != "" {
			return m.Addr
		}
	}
	return conf
}

// Peers are the others, as far as they are known: members, and before this one is a member, those of the configuration.
func (c *Core) Peers() []Peer {
	var out []Peer
	for _, id := range slices.Concat(c.group.Conf.Voters, c.group.Conf.Learners) {
		if a := c.addrOf(id); id != c.o.Self && a != "" {
			out = append(out, Peer{ID: id, Addr: a})
		}
	}
	if len(c.group.Conf.Voters) == 0 {
		for _, p := range c.o.Peers {
			if p.ID != c.o.Self {
				out = append(out, p)
			}
		}
	}
	return out
}

// Formed tells whether there is a group yet, as far as this member knows.
func (c *Core) Formed() bool { return c.group.Base.Index > 0 }

// mayVote: see NoVote. A member that lost memory, not its disk, votes after all when for long nobody has led: else a group
// whose hosts all lost power would never have a leader again. It votes for the longest log that it has heard of. Such
// members ask for votes some time before they give any, so that everybody has heard of everybody.
func (c *Core) mayVote(log entryID) bool {
	if c.group.NoVote == "" {
		return true
	}
	if c.best.less(log) {
		c.best = log
	}
	return c.group.NoVote == afterPower && c.silent >= 15*c.o.ElectionTicks && !log.less(c.best)
}

func (c *Core) mayCampaign() bool {
	return c.group.NoVote == "" || c.group.NoVote == afterPower && c.silent >= 10*c.o.ElectionTicks
}

// aim takes where the leader's log ended when it sent a heartbeat, the first after we began. What we ever acknowledged and
// what counted lies before: messages come in their order, and a leader has everything that was committed before its term.
func (c *Core) aim(term, last uint64) {
	if c.group.NoVote != "" && term > c.targetOf && term >= c.rn.BasicStatus().Term {
		c.target, c.targetOf = last, term
	}
}

// level looks at an acknowledgement of ours: it may be the one that makes us a full member again.
func (c *Core) level(m *pb.Message) error {
	if c.group.NoVote == "" || m.Type != pb.MsgAppResp || m.Reject || c.targetOf == 0 || m.Term != c.targetOf || m.Index < c.target || !c.Formed() {
		return nil
	}
	if err := c.log.Sync(c.ix.end()); err != nil {
		return err
	}
	if err := c.ix.sync(); err != nil {
		return err
	}
	c.o.Logger.Info("level with the leader again: votes from now on", "group", c.o.Group, "offset", c.ix.end())
	return c.voteAgain()
}

func (c *Core) voteAgain() error {
	if c.group.NoVote == "" {
		return nil
	}
	c.group.NoVote = ""
	return c.saveGroup()
}

// watchPeers is the leader's housekeeping, at each tick.
func (c *Core) watchPeers() {
	now := c.rn.BasicStatus()
	if now.RaftState != raft.StateLeader {
		return
	}
	var promote, failed []uint64
	c.rn.WithProgress(func(id uint64, typ raft.ProgressType, p tracker.Progress) {
		w := c.peers[id]
		if w == nil {
			w = &watch{}
			c.peers[id] = w
		}
		if p.State != tracker.StateSnapshot {
			w.snapshot = 0
		} else if w.snapshot++; w.snapshot%(5*c.o.ElectionTicks) == 0 {
			failed = append(failed, id)
		}
		level := p.RecentActive && p.State == tracker.StateReplicate && c.lastTick > 0 && p.Match >= c.lastTick
		if level && typ == raft.ProgressTypeLearner {
			promote = append(promote, id)
		}
	})
	c.lastTick = c.ix.last
	for _, id := range failed {
		c.rn.ReportSnapshot(id, raft.SnapshotFailure)
	}
	c.watchHanding()
	if !c.taking || now.LeadTransferee != 0 {
		return
	}
	if len(promote) > 0 {
		// A refusal means that another change is under way: the next tick asks again.
		_ = c.proposeChange(pb.ConfChange{Type: pb.ConfChangeAddNode, NodeID: slices.Min(promote)})
	}
}

// Role is what this member is now.
func (c *Core) Role() Role {
	if c.rn == nil || c.broken != nil {
		return Role{Term: c.vote.now.Term}
	}
	s := c.rn.BasicStatus()
	return Role{Leader: c.leading && s.RaftState == raft.StateLeader && s.Term == c.leadTerm, Term: s.Term, LeaderID: PeerName(s.Lead)}
}

// Status is this member now.
func (c *Core) Status() Status {
	s := Status{Role: c.Role(), NoVote: c.group.NoVote != "", First: c.ix.base.Index + 1, Last: c.ix.last, Committed: c.applied,
		From: c.ix.base.Physical, End: c.ix.end(), State: "halted"}
	s.Commit, _ = c.toOf(c.applied)
	if c.broken != nil {
		s.Err = c.broken.Error()
		return s
	}
	b := c.rn.BasicStatus()
	s.Vote, s.Transfer = b.Vote, PeerName(max(b.LeadTransferee, c.handing))
	switch {
	case b.RaftState == raft.StateLeader:
		s.State = "leader"
	case !slices.Contains(c.group.Conf.Voters, c.o.Self) && !slices.Contains(c.group.Conf.Learners, c.o.Self):
		s.State = "waiting"
	case b.RaftState == raft.StateFollower:
		s.State = "follower"
	default:
		s.State = "candidate"
	}
	for _, id := range c.group.Conf.Voters {
		s.Members = append(s.Members, Member{ID: id, Name: PeerName(id), Addr: c.addrOf(id), Voter: true, Match: -1})
	}
	for _, id := range c.group.Conf.Learners {
		s.Members = append(s.Members, Member{ID: id, Name: PeerName(id), Addr: c.addrOf(id), Match: -1})
	}
	c.progress(s.Members)
	return s
}

// progress fills in how far the members are, as far as a leader knows.
func (c *Core) progress(ms []Member) {
	lead := c.state() == raft.StateLeader
	for i := range ms {
		m := &ms[i]
		if m.ID == c.o.Self {
			m.Match, m.Active = c.ix.end(), true
			continue
		}
		if !lead {
			continue
		}
		c.rn.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
			if id == m.ID {
				m.Match, _ = c.toOf(min(p.Match, c.ix.last))
				m.Active, m.Snapshot = p.RecentActive, p.State == tracker.StateSnapshot
			}
		})
	}
}
