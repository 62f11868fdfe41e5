// Handing the leadership over, and giving it up.

package raftgroup

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// hand begins to hand over: the store takes no more appends.
func (c *Core) hand(to uint64) error {
	if !c.leading {
		c.rn.TransferLeader(to) // it takes none yet
		return nil
	}
	c.handing, c.handed, c.handFor = to, false, 0
	if _, err := c.log.Follow(); err != nil {
		return c.fail(err)
	}
	c.taking = false
	return nil
}

// handNow tells the library as soon as everything written is committed.
func (c *Core) handNow() bool {
	if c.handing == 0 || c.handed || len(c.waiting) > 0 || c.taken != c.log.End() || c.applied != c.ix.last {
		return false
	}
	c.handed = true
	c.rn.TransferLeader(c.handing)
	return true
}

// watchHanding ends it when nobody has taken over: this member goes on.
func (c *Core) watchHanding() {
	if c.handing == 0 {
		return
	}
	c.handFor++
	if c.handed && c.rn.BasicStatus().LeadTransferee == 0 || c.handFor > 2*c.o.ElectionTicks {
		c.o.Logger.Warn("nobody has taken over the leadership: this member goes on", "group", c.o.Group, "to", PeerName(c.handing))
		c.handing = 0
	}
}

// transferNow hands over without asking the store anything: it may not answer. What is not committed may be lost, and
// nobody was told otherwise.
func (c *Core) transferNow(to uint64) {
	if c.broken == nil && c.state() == raft.StateLeader {
		c.rn.TransferLeader(to)
	}
}

// proveDisk writes something now and then. A leader whose disk hangs then hangs with it and falls silent, instead of keeping
// its followers content with heartbeats; one whose disk fails gives up.
func (c *Core) proveDisk() error {
	if c.ticks%max(c.o.ElectionTicks/2, 1) != 0 {
		return nil
	}
	return c.saveVote(false)
}

// levelest is the voter to hand over to: the one that has most of the log among those heard of lately; 0 = none.
func (c *Core) levelest() (best uint64) {
	var match uint64
	c.rn.WithProgress(func(id uint64, typ raft.ProgressType, p tracker.Progress) {
		if id == c.o.Self || typ == raft.ProgressTypeLearner || p.State != tracker.StateReplicate {
			return
		}
		if p.Match > match || p.Match == match && (best == 0 || id < best) {
			best, match = id, p.Match
		}
	})
	return best
}
