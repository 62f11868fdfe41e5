// Opening: what is on the disk is brought together, whatever the end of the last run left.

package raftgroup

import (
	"fmt"
	"path/filepath"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"

	"rmqctl/internal/vfs"
)

// Reasons not to vote. A member that may lack what it acknowledged would help to elect one that lacks it too.
const (
	afterPower = "power" // what was acknowledged from memory may be gone
	asNew      = "new"   // nothing is here: this may be the new disk of an old member
)

// begun is where every group begins: no entry is there, and the log is empty.
var begun = base{Index: 1, Term: 1}

func (c *Core) openGroup() error {
	found, err := loadJSON(c.o.FS, c.path("group"), &c.group)
	if err != nil {
		return err
	}
	if _, err := loadJSON(c.o.FS, c.path("run"), &c.run); err != nil {
		return err
	}
	if c.vote, err = openVote(c.o.FS, c.o.Dir, !found); err != nil {
		return err
	}
	if !found {
		return c.beginGroup()
	}
	if c.group.Group != c.o.Group || c.group.Self != c.o.Self {
		return fmt.Errorf("raft: %s belongs to %s of group %s, not to %s of group %s", c.o.Dir, PeerName(c.group.Self), c.group.Group, PeerName(c.o.Self), c.o.Group)
	}
	if !c.run.Clean && !c.run.Durable && (c.run.Boot == "" || c.run.Boot != c.o.Boot) && c.group.NoVote == "" {
		c.o.Logger.Warn("the host went down while this member ran: it does not vote until it is level", "group", c.o.Group)
		c.group.NoVote = afterPower
		if err := c.saveGroup(); err != nil {
			return err
		}
	}
	return c.beginRun()
}

func (c *Core) beginGroup() error {
	if c.log.End() != 0 {
		return ErrForeignLog
	}
	c.group = groupState{Group: c.o.Group, Self: c.o.Self, NoVote: asNew}
	if !c.o.Bootstrap {
		return nil // the group is learned from a leader
	}
	c.group.NoVote, c.group.Base, c.group.ConfAt = "", begun, begun.Index
	for _, p := range c.o.Peers {
		c.group.Conf.Voters = append(c.group.Conf.Voters, p.ID)
		c.group.Members = append(c.group.Members, memberState{ID: p.ID, Addr: p.Addr, Configured: p.Addr})
	}
	if !slices.Contains(c.group.Conf.Voters, c.o.Self) {
		return fmt.Errorf("raft: %s is not one of the peers", PeerName(c.o.Self))
	}
	slices.Sort(c.group.Conf.Voters)
	if err := c.saveGroup(); err != nil {
		return err
	}
	return c.beginRun()
}

func (c *Core) saveGroup() error { return saveJSON(c.o.FS, c.path("group"), &c.group) }

func (c *Core) durable() bool { return c.o.Durable != nil && c.o.Durable() }

func (c *Core) beginRun() error {
	c.run = runState{Boot: c.o.Boot, Durable: c.durable()}
	return saveJSON(c.o.FS, c.path("run"), &c.run)
}

// keepRun notes when the promise of the acknowledgements changes.
func (c *Core) keepRun() error {
	if c.group.Base.Index == 0 || c.run.Durable == c.durable() {
		return nil
	}
	if c.durable() {
		if err := c.syncAll(); err != nil {
			return err
		}
	}
	return c.beginRun()
}

// finishReset empties index and log once more: a crash came in between.
func (c *Core) finishReset() error {
	b := c.group.Base
	if err := c.ix.reset(b); err != nil {
		return err
	}
	if err := c.log.Reset(b.Physical, c.group.QueueEnds); err != nil {
		return fmt.Errorf("begin the log at %d: %w", b.Physical, err)
	}
	c.group.Reset, c.group.QueueEnds = false, nil
	return c.saveGroup()
}

// reconcile makes log, index, vote and group agree.
//
//	log behind the last record   cut: never acknowledged, or lost from the index by a power cut
//	records behind the log       cut: lost from the log by a power cut
//	commit behind the last one   lowered, and this member does not vote until it is level
func (c *Core) reconcile() error {
	if end := c.log.End(); end < c.ix.end() {
		if err := c.cutIndex(end); err != nil {
			return err
		}
	}
	known := c.vote.now.Commit
	if known > c.ix.last && c.group.Base.Index > 0 {
		c.o.Logger.Error("this member has lost entries that were committed, it does not vote until it is level",
			"committed", known, "has", c.ix.last)
		if c.group.NoVote == "" {
			c.group.NoVote = afterPower
		}
		if err := c.saveGroup(); err != nil {
			return err
		}
	}
	if end := c.ix.end(); c.log.End() > end {
		if err := c.log.TruncateTo(end); err != nil {
			return fmt.Errorf("cut the log to %d, where the last entry ends: %w", end, err)
		}
	}
	if err := c.syncAll(); err != nil { // a killed run may have written what we shall be held to have acknowledged
		return err
	}
	c.applied = max(min(known, c.ix.last), c.ix.base.Index)
	if err := c.takeVisible(); err != nil {
		return err
	}
	c.vote.now.Commit, c.saved = c.applied, c.applied
	if err := c.saveVote(true); err != nil {
		return err
	}
	return c.show()
}

func (c *Core) syncAll() error {
	if err := c.log.Sync(c.ix.end()); err != nil {
		return fmt.Errorf("sync the log: %w", err)
	}
	return c.ix.sync()
}

// cutIndex drops records of bytes that the log does not have.
func (c *Core) cutIndex(end int64) error {
	i := c.ix.last
	for ; i > c.ix.base.Index; i-- {
		e, err := c.ix.get(i)
		if err != nil {
			return err
		}
		if e.to() <= end {
			break
		}
	}
	if i == c.ix.base.Index && c.ix.base.Physical > end {
		return fmt.Errorf("raft: the log ends at %d, before %d where the group's log begins", end, c.ix.base.Physical)
	}
	c.o.Logger.Warn("entries whose bytes are not in the log are dropped", "from", i+1, "to", c.ix.last)
	return c.ix.truncate(i + 1)
}

// takeVisible: what readers have seen was committed, also when the file that says so is older. A change of members is not
// passed over: it has to be made.
func (c *Core) takeVisible() error {
	i, err := c.ix.find(c.log.MaxPhysical())
	if err != nil {
		return err
	}
	for next := c.applied + 1; next < i; next++ {
		e, err := c.ix.get(next)
		if err != nil {
			return err
		}
		if e.kind == pb.EntryConfChange && next > c.group.ConfAt || e.to() > c.log.MaxPhysical() {
			break
		}
		c.applied = next
	}
	return nil
}

// saveVote writes what the library's hard state is, with the commit that log and members have followed to.
func (c *Core) saveVote(durable bool) error {
	h := c.vote.now
	h.Commit = c.applied
	if err := c.vote.write(h, durable); err != nil {
		return err
	}
	c.saved = c.applied
	return nil
}

// show makes everything committed visible. That it is committed is written down first: then a kill never takes back what
// readers have seen.
func (c *Core) show() error {
	to, err := c.toOf(c.applied)
	if err != nil || to <= c.log.MaxPhysical() {
		return err
	}
	if c.applied != c.saved {
		if err := c.saveVote(false); err != nil {
			return err
		}
	}
	if err := c.log.Commit(to); err != nil {
		return fmt.Errorf("make the log visible to %d: %w", to, err)
	}
	return nil
}

// toOf is the physical end of entry i.
func (c *Core) toOf(i uint64) (int64, error) {
	if i <= c.ix.base.Index {
		return c.ix.base.Physical, nil
	}
	e, err := c.ix.get(i)
	return e.to(), err
}

// compact moves the beginning of the index to the log's oldest file.
func (c *Core) compact() {
	from := c.log.MinPhysical()
	if c.ix == nil || c.group.Base.Index == 0 || from <= c.ix.base.Physical {
		return
	}
	if err := c.compactTo(from); err != nil {
		c.o.Logger.Error("the index keeps entries that the log has removed", "offset", from, "err", err)
	}
}

func (c *Core) compactTo(from int64) error {
	i, err := c.ix.find(from)
	if err != nil {
		return err
	}
	i = min(i-1, c.applied)
	if i <= c.ix.base.Index {
		return nil
	}
	e, err := c.ix.get(i)
	if err != nil {
		return err
	}
	if e.to() != from {
		return fmt.Errorf("entry %d ends at %d", i, e.to())
	}
	c.group.Base = base{Index: i, Term: e.term, Physical: from}
	if err := c.saveGroup(); err != nil {
		return err
	}
	return c.ix.begin(c.group.Base)
}

// Committed tells, before the store is opened, up to which physical offset the log beside dir is known to be committed: it
// goes into the store's options. It changes nothing.
func Committed(fsys vfs.FS, dir string) (int64, error) {
	var g groupState
	found, err := loadJSON(fsys, filepath.Join(dir, "group"), &g)
	if err != nil || !found || g.Reset {
		return 0, err // the log is empty, or will be
	}
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, "vote"))
	if err != nil {
		return 0, err
	}
	_, h, _, err := readVote(b)
	if err != nil {
		return 0, err
	}
	return committedEnd(fsys, filepath.Join(dir, "index"), g.Base, h.Commit)
}
