// Work: what the library wants written, sent and made visible, in the order that keeps the promises.

package raftgroup

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Work does all that there is to be done. An error means that the disk, or the log, failed: see Core.
func (c *Core) Work(send func(pb.Message)) (err error) {
	if c.broken != nil {
		return c.broken
	}
	defer c.guard(&err)
	for {
		if c.mustFollow() {
			if err := c.follow(); err != nil {
				return c.fail(err)
			}
		}
		c.propose()
		c.sendReplies(send)
		if !c.rn.HasReady() {
			if c.handNow() {
				continue
			}
			break
		}
		c.st.bare = true // Ready reads committed entries, of which only the kind and the place are looked at
		rd := c.rn.Ready()
		c.st.bare = false
		if err := c.handle(&rd, send); err != nil {
			return c.fail(err)
		}
		c.rn.Advance(rd)
	}
	if err := c.lead(); err != nil {
		return c.fail(err)
	}
	return nil
}

// fail ends this run after an error that may pass: the member falls silent, and is opened again.
func (c *Core) fail(err error) error {
	if c.broken == nil {
		c.broken = err
		c.unlead()
	}
	return c.broken
}

// handle is one round of the library's wishes. What a leader sends to others goes out before its own disk is asked; what
// acknowledges or votes goes out after what it speaks of is as safe as was promised.
func (c *Core) handle(rd *raft.Ready, send func(pb.Message)) error {
	c.sent = c.ix.last
	if n := len(rd.Entries); n > 0 {
		c.sent = rd.Entries[n-1].Index
	}
	for i := range rd.Messages {
		if m := &rd.Messages[i]; !speaksOfOurDisk(m.Type) {
			c.send(m, send)
		}
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		if err := c.keepVote(rd.HardState); err != nil {
			return err
		}
	}
	if !raft.IsEmptySnap(rd.Snapshot) {
		if err := c.begin(&rd.Snapshot); err != nil {
			return err
		}
	}
	if len(rd.Entries) > 0 {
		if err := c.persist(rd.Entries); err != nil {
			return err
		}
	}
	for i := range rd.Messages {
		if m := &rd.Messages[i]; speaksOfOurDisk(m.Type) {
			if err := c.level(m); err != nil {
				return err
			}
			c.send(m, send)
		}
	}
	return c.apply(rd.CommittedEntries)
}

func speaksOfOurDisk(t pb.MessageType) bool {
	return t == pb.MsgAppResp || t == pb.MsgVoteResp || t == pb.MsgPreVoteResp
}

func (c *Core) send(m *pb.Message, send func(pb.Message)) {
	if m.Type == pb.MsgHeartbeat || m.Type == pb.MsgApp {
		// A member that does not vote learns from it how far it has to come; see trust, too.
		m.Context = binary.BigEndian.AppendUint64(nil, c.sent)
	}
	send(*m)
}

func (c *Core) sendReplies(send func(pb.Message)) {
	for i := range c.replies {
		if c.replies[i].Term == c.rn.BasicStatus().Term {
			send(c.replies[i])
		}
	}
	c.replies = c.replies[:0]
}

func (c *Core) keepVote(h pb.HardState) error {
	now := c.vote.now
	if h.Term < now.Term || h.Term == now.Term && now.Vote != 0 && h.Vote != now.Vote {
		return c.halt(fmt.Errorf("term %d vote %d after term %d vote %d", h.Term, h.Vote, now.Term, now.Vote))
	}
	if h.Term == now.Term && h.Vote == now.Vote {
		return nil // commit alone is written with what it makes visible
	}
	c.vote.now.Term, c.vote.now.Vote = h.Term, h.Vote
	return c.saveVote(true)
}

// persist writes entries behind the log, in the place of those that conflict with them.
func (c *Core) persist(es []pb.Entry) error {
	first := es[0].Index
	if first > c.ix.last+1 {
		return c.halt(fmt.Errorf("entry %d after %d", first, c.ix.last))
	}
	if first <= c.ix.last {
		if err := c.cutFrom(first); err != nil {
			return err
		}
	}
	recs, bytes, err := c.records(es)
	if err != nil {
		return err
	}
	at, end := c.ix.end(), c.ix.end()+bytes
	if c.leading {
		if have := c.log.End(); have < end {
			return c.halt(fmt.Errorf("entries up to %d were proposed, the log ends at %d", end, have))
		}
	} else if err := c.appendRaw(at, es); err != nil {
		return err
	}
	if err := c.ix.append(recs); err != nil {
		return err
	}
	if !c.durable() {
		return nil
	}
	logErr, ixErr := c.both(func() error { return c.log.Sync(end) }, c.ix.sync)
	if logErr != nil {
		return fmt.Errorf("sync the log to %d: %w", end, logErr)
	}
	return ixErr
}

func (c *Core) both(a, b func() error) (error, error) {
	if c.o.Both != nil {
		return c.o.Both(a, b)
	}
	if err := a(); err != nil {
		return err, nil
	}
	return nil, b()
}

func (c *Core) cutFrom(first uint64) error {
	if first <= c.applied {
		return c.halt(fmt.Errorf("entry %d is to be replaced, up to %d they are committed", first, c.applied))
	}
	if c.leading {
		return c.halt(fmt.Errorf("entry %d of a leader is to be replaced", first))
	}
	was := c.ix.end()
	if err := c.ix.truncate(first); err != nil {
		return err
	}
	end := c.ix.end()
	c.o.Logger.Info("entries that were never committed are replaced", "group", c.o.Group, "from", first, "offset", end, "was", was)
	if c.log.End() == end {
		return nil
	}
	if err := c.log.TruncateTo(end); err != nil {
		return fmt.Errorf("cut the log to %d: %w", end, err)
	}
	return nil
}

// records makes the index's records, and keeps what changes of members say.
func (c *Core) records(es []pb.Entry) ([]entry, int64, error) {
	recs, at := make([]entry, len(es)), c.ix.end()
	begin := at
	for i := range es {
		e := &es[i]
		recs[i] = entry{term: e.Term, from: at, kind: e.Type, crc: crc32.Checksum(e.Data, castagnoli)}
		if e.Type == pb.EntryConfChange {
			if err := c.ix.putChange(e.Index, e.Term, e.Data); err != nil {
				return nil, 0, err
			}
			continue
		}
		recs[i].length = uint32(len(e.Data))
		at += int64(len(e.Data))
	}
	return recs, at - begin, nil
}

// appendRaw writes the entries' bytes; those that lie one behind the other in memory, as they came, go together.
func (c *Core) appendRaw(at int64, es []pb.Entry) error {
	if end := c.log.End(); end != at {
		return c.halt(fmt.Errorf("the log ends at %d, the last entry at %d", end, at))
	}
	var run []byte
	flush := func() error {
		if len(run) == 0 {
			return nil
		}
		if err := c.log.AppendRaw(at, run); err != nil {
			return fmt.Errorf("append %d bytes at %d: %w", len(run), at, err)
		}
		at += int64(len(run))
		return nil
	}
	for i := range es {
		b := es[i].Data
		if es[i].Type == pb.EntryConfChange || len(b) == 0 {
			continue
		}
		if n := len(run); n > 0 && cap(run) >= n+len(b) && &run[: n+1 : n+1][n] == &b[0] {
			run = run[:n+len(b)]
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		run = b
	}
	return flush()
}

// apply makes committed entries count: members change, bytes become visible.
func (c *Core) apply(es []pb.Entry) error {
	if len(es) == 0 {
		return nil
	}
	if es[0].Index != c.applied+1 {
		return c.halt(fmt.Errorf("entry %d is committed after %d", es[0].Index, c.applied))
	}
	for i := range es {
		if es[i].Type != pb.EntryConfChange {
			continue
		}
		c.applied = es[i].Index - 1
		if err := c.show(); err != nil {
			return err
		}
		if err := c.change(&es[i]); err != nil {
			return err
		}
	}
	c.applied = es[len(es)-1].Index
	if c.applied > c.ix.last {
		return c.halt(fmt.Errorf("entry %d is committed, the log has %d", c.applied, c.ix.last))
	}
	return c.show()
}

// begin empties this member's log, which is far behind, to go on where a leader's begins. The file "group" says so first,
// for what follows may be cut off anywhere.
func (c *Core) begin(s *pb.Snapshot) error {
	d, err := parseSnapshot(s)
	if err != nil {
		return c.halt(err)
	}
	end, err := c.toOf(c.applied)
	if err != nil {
		return err
	}
	if s.Metadata.Index <= c.applied || d.Physical < end {
		return c.halt(fmt.Errorf("told to begin behind entry %d at %d, up to %d at %d is committed", s.Metadata.Index, d.Physical, c.applied, end))
	}
	c.o.Logger.Warn("this member is behind the oldest file of its leader, and begins there", "group", c.o.Group, "offset", d.Physical, "had", c.log.End())
	if c.group.Base.Index == 0 {
		if err := c.beginRun(); err != nil {
			return err
		}
	}
	c.group.Base = base{Index: s.Metadata.Index, Term: s.Metadata.Term, Physical: d.Physical}
	c.group.ConfAt, c.group.Conf, c.group.Members = d.ConfAt, s.Metadata.ConfState, c.adopt(d.Members)
	c.group.Reset, c.group.QueueEnds = true, d.QueueEnds
	c.members++
	c.applied = s.Metadata.Index
	if err := c.saveGroup(); err != nil {
		return err
	}
	if err := c.finishReset(); err != nil {
		return err
	}
	return c.saveVote(true)
}

// mustFollow: the store still takes appends, and this member leads no longer.
func (c *Core) mustFollow() bool {
	if !c.leading {
		return false
	}
	s := c.rn.BasicStatus()
	return s.RaftState != raft.StateLeader || s.Term != c.leadTerm
}

// follow ends the appends. Rounds that never became entries are cut off; their producers are refused. Those that are entries
// and not in the index yet are cut off too, and come back with the library's next wish, if it still wants them.
func (c *Core) follow() error {
	c.leading, c.taking, c.handing = false, false, 0
	c.waiting = nil
	end, err := c.log.Follow()
	if err != nil {
		return fmt.Errorf("stop taking appends: %w", err)
	}
	if keep := c.ix.end(); end > keep {
		if err := c.log.TruncateTo(keep); err != nil {
			return fmt.Errorf("cut the log to %d: %w", keep, err)
		}
	}
	return nil
}

// lead lets the store take appends, as soon as an entry of this term is committed: then so is everything before it. Also
// when handing over has failed.
func (c *Core) lead() error {
	if !c.mayLead() {
		return nil
	}
	s := c.rn.BasicStatus()
	if err := c.voteAgain(); err != nil {
		return err
	}
	if err := c.log.Lead(); err != nil {
		return fmt.Errorf("let the store take appends: %w", err)
	}
	c.leading, c.taking, c.leadTerm, c.taken = true, true, s.Term, c.ix.end()
	c.o.Logger.Info("leader", "group", c.o.Group, "term", s.Term, "offset", c.taken)
	return nil
}

func (c *Core) mayLead() bool {
	if c.taking || c.handing != 0 || c.applied != c.ix.last || c.lagging() {
		return false
	}
	s := c.rn.BasicStatus()
	t, err := c.st.Term(c.applied)
	return s.RaftState == raft.StateLeader && err == nil && t == s.Term
}

// lagging: the log has bytes that are not in the index yet, of rounds written before a handing over that failed.
func (c *Core) lagging() bool { return c.log.End() != c.ix.end() }
