package raftgroup

import (
	"errors"
	"fmt"
	"testing"
)

func TestALeaderIsElectedAndItsRoundsAreOnAll(t *testing.T) {
	c := newCluster(t, 1, 3)
	l := c.leader()
	for i := range 100 {
		l.append(fmt.Sprintf("round %d;", i))
	}
	c.settle()
	c.tick(2)
	c.level()
	if len(c.acked) != 100 {
		t.Fatalf("%d of 100 rounds were acknowledged", len(c.acked))
	}
}

func TestTheOthersGoOnWithoutAKilledLeader(t *testing.T) {
	c := newCluster(t, 2, 3)
	l := c.leader()
	l.append("before")
	c.settle()
	l.kill()
	l2 := c.leader()
	l2.append("after")
	c.settle()
	l.start()
	c.tick(5)
	c.level()
	if len(c.acked) != 2 {
		t.Fatalf("acknowledged %d of 2", len(c.acked))
	}
}

func TestAnIsolatedLeaderAcknowledgesNothingAndIsCutBack(t *testing.T) {
	c := newCluster(t, 3, 3)
	old := c.leader()
	old.append("common")
	c.settle()
	c.cut = func(from, to uint64) bool { return from == old.id || to == old.id }
	for i := range 20 {
		old.append(fmt.Sprint("lost ", i))
	}
	c.settle()
	l := c.leader()
	for i := range 20 {
		l.append(fmt.Sprint("kept ", i))
	}
	c.settle()
	c.tick(20)
	if old.log.Leading() {
		t.Fatal("an isolated leader still takes appends")
	}
	c.cut = nil
	c.tick(5)
	c.level()
	if len(c.acked) != 21 {
		t.Fatalf("acknowledged %d, want common and 20 kept", len(c.acked))
	}
}

func TestAMemberBehindTheOldestFileBeginsThere(t *testing.T) {
	c := newCluster(t, 4, 3)
	l := c.leader()
	var behind *testMember
	for _, m := range c.m {
		if m != l {
			behind = m
		}
	}
	l.append("first")
	c.settle()
	behind.kill()
	for i := range 200 {
		l.append(fmt.Sprintf("a round of some length, number %d", i))
		c.settle()
	}
	for range 4 {
		l.log.Clean()
	}
	c.tick(20)
	if s := l.core.Status(); s.From != l.log.MinPhysical() || s.From == 0 {
		t.Fatalf("the index begins at %d, the log at %d", s.From, l.log.MinPhysical())
	}
	behind.start()
	c.tick(30)
	c.level()
	if behind.log.MinPhysical() != l.log.MinPhysical() || behind.log.Ends() != fmt.Sprint("ends at ", l.log.MinPhysical()) {
		t.Fatalf("it begins at %d with %q, the leader at %d", behind.log.MinPhysical(), behind.log.Ends(), l.log.MinPhysical())
	}
	behind.kill()
	behind.start()
	c.tick(5)
	c.level()
}

func TestLeadershipIsHandedOverUnderLoadWithoutALostRound(t *testing.T) {
	c := newCluster(t, 5, 3)
	l := c.leader()
	to := l.id%3 + 1
	for i := range 5 {
		l.append(fmt.Sprint("before ", i))
	}
	if err := l.core.Transfer(to); err != nil {
		t.Fatal(err)
	}
	if _, err := l.log.Append([]byte("during")); err == nil {
		t.Fatal("a leader that hands over takes appends, whose outcome nobody knows")
	}
	c.settle()
	if len(c.acked) != 5 {
		t.Fatalf("acknowledged %d of 5", len(c.acked))
	}
	c.tick(2)
	if got := c.leader(); got.id != to {
		t.Fatalf("%s leads, not %s", PeerName(got.id), PeerName(to))
	}
	c.level()
}

func TestALeaderGoesOnWhenNobodyTakesOver(t *testing.T) {
	c := newCluster(t, 6, 3)
	l := c.leader()
	to := l.id%3 + 1
	c.m[to].kill()
	if err := l.core.Transfer(to); err != nil {
		t.Fatal(err)
	}
	c.tick(30)
	for i := range 5 {
		l.append(fmt.Sprint("after ", i))
		c.settle()
	}
	if !l.core.Role().Leader || len(c.acked) != 5 {
		t.Fatalf("leader %v, acknowledged %d of 5", l.core.Role().Leader, len(c.acked))
	}
}

func TestANewMemberLearnsAndBecomesAVoter(t *testing.T) {
	c := newCluster(t, 7, 3)
	l := c.leader()
	for i := range 50 {
		l.append(fmt.Sprintf("a round that the new one has to learn, %d", i))
		c.settle()
	}
	l.log.Clean()
	c.tick(10)
	c.add(4, false)
	c.tick(30)
	if s := c.m[4].core.Status(); s.State != "waiting" {
		t.Fatalf("a member that nobody has added is %s", s.State)
	}
	if err := l.core.ChangeMember(true, Peer{ID: 4, Addr: "new:1"}); err != nil {
		t.Fatal(err)
	}
	c.settle()
	c.tick(30)
	for _, id := range c.ids() {
		s := c.m[id].core.Status()
		if len(s.Members) != 4 || !s.Members[3].Voter || s.Members[3].ID != 4 || s.Members[3].Addr != "new:1" {
			t.Fatalf("%s knows %+v", PeerName(id), s.Members)
		}
		if s.NoVote {
			t.Fatalf("%s does not vote", PeerName(id))
		}
	}
	c.level()
	if err := l.core.ChangeMember(false, Peer{ID: l.id}); err != nil {
		t.Fatal(err)
	}
	c.settle()
	gone := l.id
	c.m[gone].kill()
	delete(c.m, gone)
	l = c.leader()
	l.append("without it")
	c.settle()
	c.tick(2)
	c.level()
	if n := len(l.core.Status().Members); n != 3 {
		t.Fatalf("%d members", n)
	}
}

func TestAFollowerThatLostPowerIsAskedAnew(t *testing.T) {
	for seed := range uint64(30) {
		n := 3 + int(seed%2) // with an even number of voters another leader has to begin anew
		c := newCluster(t, 100+seed, n)
		l := c.leader()
		f := c.m[l.id%uint64(n)+1]
		for i := range 40 {
			l.append(fmt.Sprint("round ", i))
			c.settle()
		}
		f.power()
		c.boot++
		f.start()
		c.tick(20)
		l = c.leader()
		l.append("and on")
		c.settle()
		c.tick(20)
		c.level()
		if f.core.Status().NoVote {
			t.Fatalf("seed %d: level and still without a vote", seed)
		}
	}
}

// A killed run has written records that were never synced. A leader that sends them again hears that they are there: by then a
// power cut must not take them any more.
func TestWhatAKilledRunWroteIsOnTheDiskBeforeItCounts(t *testing.T) {
	for seed := range uint64(30) {
		c := newCluster(t, 300+seed, 3)
		l := c.leader()
		for i := range 40 {
			l.append(fmt.Sprint("round ", i))
			c.settle()
		}
		f := c.m[l.id%3+1]
		had, end := f.core.ix.last, f.log.End()
		f.kill()
		c.durable = true
		f.start()
		f.power()
		f.start()
		if f.core.ix.last < had || f.log.End() < end {
			t.Fatalf("seed %d: entries to %d and bytes to %d after the power cut, before it %d and %d", seed, f.core.ix.last, f.log.End(), had, end)
		}
	}
}

func TestAGroupWhoseHostsAllLostPowerComesBack(t *testing.T) {
	for _, durable := range []bool{false, true} {
		for seed := range uint64(20) {
			c := newCluster(t, 200+seed, 3)
			c.durable = durable
			l := c.leader()
			c.tick(20)
			for i := range 40 {
				l.append(fmt.Sprint("round ", i))
				c.settle()
			}
			for _, id := range c.ids() {
				c.m[id].power()
			}
			c.boot++
			for _, id := range c.ids() {
				c.m[id].start()
			}
			if !durable {
				c.acked = nil // promised from memory
			}
			l = c.leader()
			l.append("and on")
			c.settle()
			c.tick(20)
			c.level()
		}
	}
}

// TestTheOnlyCopyOfWhatWasCommittedIsNotCut: most hosts lose power under ASYNC_FLUSH and what they had in memory, and go on
// without the one member that still has it. When that one returns it stops, with its log as it was.
func TestTheOnlyCopyOfWhatWasCommittedIsNotCut(t *testing.T) {
	stopped := 0
	for seed := range uint64(20) {
		c := newCluster(t, 300+seed, 3)
		keeps := c.leader()
		for i := range 40 {
			keeps.append(fmt.Sprint("round ", i))
			c.settle()
		}
		c.tick(2)
		have := keeps.log.MaxPhysical()
		c.boot++
		lost := true
		for _, id := range c.ids() {
			if m := c.m[id]; m != keeps {
				m.power()
				m.start()
				lost = lost && m.log.End() < have
			}
		}
		if !lost { // somebody's disk had it all
			continue
		}
		c.cut = func(from, to uint64) bool { return from == keeps.id || to == keeps.id }
		c.leader().append("a new history")
		c.settle()
		c.cut = nil
		if err := c.untilHalt(keeps); !errors.Is(err, ErrHalted) {
			t.Fatalf("seed %d: it follows a leader that lacks what was committed: %v, %+v", seed, err, keeps.core.Status())
		}
		if keeps.log.MaxPhysical() != have || keeps.log.Leading() {
			t.Fatalf("seed %d: it sees %d, not %d", seed, keeps.log.MaxPhysical(), have)
		}
		stopped++
	}
	if stopped < 3 {
		t.Fatalf("only %d runs lost anything", stopped)
	}
}

// untilHalt lets the others talk to m until it stops.
func (c *cluster) untilHalt(m *testMember) error {
	for range 100 {
		for _, id := range c.ids() {
			if o := c.m[id]; o != m {
				if err := o.core.Tick(); err != nil {
					return err
				}
				o.work()
			}
		}
		q := c.queue
		c.queue = nil
		for _, msg := range q {
			if msg.To != m.id {
				c.deliver(msg)
			} else if err := m.core.Step(msg); err != nil {
				return err
			}
		}
		m.work()
	}
	return nil
}
