// Step: what a peer's message does, and what is looked at before the library sees it.

package raftgroup

import (
	"encoding/binary"
	"fmt"
	"math"
	"sort"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

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
