//go:build linux

package chaos

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// aRaftGroup is a group of three under load.
func aRaftGroup(t *testing.T, l Layout) (*Cluster, *Workload) {
	t.Helper()
	l.Program = *program
	if l.Sets == nil {
		l.Sets = []SetLayout{Raft("raft")}
	}
	c := Start(t, l)
	w := c.Run(Load{Pause: 5 * time.Millisecond})
	must(t, c.AwaitMembers(c.Sets[0], bootTime))
	w.MoreAcks(100, *patient)
	return c, w
}

// strike is one fault, and the group takes messages again afterwards.
func strike(t *testing.T, c *Cluster, w *Workload, f Fault, rnd *rand.Rand, hold time.Duration) {
	t.Helper()
	begun := time.Now()
	must(t, c.Strike(f, rnd, hold))
	w.MoreAcks(50, *patient)
	t.Logf("%v: longest time without service %v", f, w.Longest(c.Sets[0], begun).Round(time.Millisecond))
}

// TestPartitionsOfARaftGroup: whatever is cut, what a leader acknowledged its followers have, and there is service again.
func TestPartitionsOfARaftGroup(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(seeded(t), 4))
	c, w := aRaftGroup(t, Layout{})
	for _, f := range []Fault{Isolated(Leader()), OneWay(Leader(), true), OneWay(Leader(), false), Bridge(), Halves(), Silent(Leader()), Isolated(Follower())} {
		strike(t, c, w, f, rnd, 3*time.Second)
	}
	mustFinish(t, w, *patient)
}

// TestALeaderThatWakesUp was stopped for so long that another leads; what it then answers must not count.
func TestALeaderThatWakesUp(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(seeded(t), 5))
	c, w := aRaftGroup(t, Layout{})
	for range 3 {
		strike(t, c, w, Pause(Leader()), rnd, 3*time.Second)
	}
	mustFinish(t, w, *patient)
}

// TestAnIsolatedLeaderAcknowledgesNothing: its clients still reach it, its followers do not. Whoever answers before the
// majority has it is found out here.
func TestAnIsolatedLeaderAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(seeded(t), 6))
	c, w := aRaftGroup(t, Layout{})
	strike(t, c, w, Isolated(Leader()), rnd, 5*time.Second)
	mustFinish(t, w, *patient)
}

// TestALaggardDoesNotLead: a follower comes back that lacks what was acknowledged, and the leader dies at that moment (#2178).
func TestALaggardDoesNotLead(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(seeded(t), 11))
	c, w := aRaftGroup(t, Layout{})
	for range 4 {
		laggard := Follower().pick(c, rnd)
		back, err := Isolated(These(laggard...)).begin(c, rnd)
		must(t, err)
		w.MoreAcks(100, *patient)
		leader, err := c.AwaitLeader(c.Sets[0], time.Minute)
		must(t, err)
		leader.Kill()
		must(t, back())
		w.MoreAcks(100, *patient)
		must(t, leader.Start())
		must(t, c.Settle())
		must(t, c.AwaitMembers(c.Sets[0], time.Minute))
	}
	mustFinish(t, w, *patient)
}

// TestAPowerCutOfAWholeRaftGroup: acknowledged is, with SYNC_FLUSH, what a majority has on its disks.
func TestAPowerCutOfAWholeRaftGroup(t *testing.T) {
	t.Parallel()
	NeedDisks(t)
	rnd := rand.New(rand.NewPCG(seeded(t), 7))
	c, w := aRaftGroup(t, Layout{DiskMB: 160, Props: map[string]string{"flushDiskType": "SYNC_FLUSH"}})
	for range 2 {
		strike(t, c, w, PowerCut(All()), rnd, 100*time.Millisecond)
	}
	mustFinish(t, w, *patient)
}

// TestAPowerCutOfOneHost: acknowledged is, with ASYNC_FLUSH, what a majority has in memory, so one host may forget. It must not
// help to elect a leader before it has got back what it forgot.
func TestAPowerCutOfOneHost(t *testing.T) {
	t.Parallel()
	NeedDisks(t)
	rnd := rand.New(rand.NewPCG(seeded(t), 14))
	c, w := aRaftGroup(t, Layout{DiskMB: 160, Props: map[string]string{"flushDiskType": "ASYNC_FLUSH"}})
	for _, f := range []Fault{PowerCut(Leader()), PowerCut(Follower()), DuringRecovery(PowerCut(Follower()), Kill(Leader()))} {
		strike(t, c, w, f, rnd, 500*time.Millisecond)
		must(t, c.caughtUp(c.Sets[0], *patient))
	}
	mustFinish(t, w, *patient)
}

// caughtUp waits until the leader says that all members are with it. Two hosts that forget at once are more than a group of three
// can stand with ASYNC_FLUSH.
func (c *Cluster) caughtUp(s *Set, within time.Duration) error {
	return c.until(within, func() error {
		leader, err := c.AwaitLeader(s, within)
		if err != nil {
			return err
		}
		state, err := leader.state()
		if err != nil {
			return err
		}
		for _, m := range state.Members {
			if !m.InSync || !m.Connected && m.ID != state.Self {
				return fmt.Errorf("%s does not have %+v with it", leader.Name, m)
			}
		}
		return nil
	})
}

// TestDisksOfARaftGroup: a leader whose disk hangs or is full is replaced, or waits for room, and loses nothing.
func TestDisksOfARaftGroup(t *testing.T) {
	t.Parallel()
	NeedDisks(t)
	rnd := rand.New(rand.NewPCG(seeded(t), 8))
	c, w := aRaftGroup(t, Layout{DiskMB: 160, Props: map[string]string{"flushDiskType": "SYNC_FLUSH"}})
	for _, f := range []Fault{SlowDisk(Leader(), 100*time.Millisecond), SlowDisk(Leader(), 8*time.Second), SlowDisk(Follower(), 8*time.Second), FullDisk(Leader()), FullDisk(Follower())} {
		strike(t, c, w, f, rnd, 5*time.Second)
	}
	mustFinish(t, w, *patient)
}

// TestADataCentreOfARaftGroup: two members are in one, the third in the other.
func TestADataCentreOfARaftGroup(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(seeded(t), 9))
	c, w := aRaftGroup(t, Layout{NameServers: 2, Sets: []SetLayout{{Name: "raft", Raft: true, Zones: []string{"a", "a", "b"}}}})
	for _, f := range []Fault{Kill(Zone("b")), Kill(Zone("a")), Unplugged(Zone("b")), Silent(Zone("a"))} {
		strike(t, c, w, f, rnd, 2*time.Second)
	}
	mustFinish(t, w, *patient)
}

// TestBothLeadersOfTwoGroupsDie: each of two data centres has two members of one group and one of the other.
func TestBothLeadersOfTwoGroupsDie(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(seeded(t), 13))
	c, w := aRaftGroup(t, Layout{NameServers: 2, Sets: []SetLayout{{Name: "one", Raft: true, Zones: []string{"a", "a", "b"}}, {Name: "two", Raft: true, Zones: []string{"b", "b", "a"}}}})
	for _, f := range []Fault{Kill(Leaders()), Kill(Zone("a")), Both(Kill(Zone("b")), Kill(Leaders()))} {
		strike(t, c, w, f, rnd, time.Second)
	}
	mustFinish(t, w, *patient)
}

// TestClocksOfARaftGroup: the wall clock of one member, then of all, is set.
func TestClocksOfARaftGroup(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(seeded(t), 10))
	c, w := aRaftGroup(t, Layout{Knobs: true})
	for _, f := range []Fault{ClockJump(Leader(), time.Hour), ClockJump(Follower(), -time.Hour), Both(ClockJump(One(), 24*365*time.Hour), Kill(Leader()))} {
		strike(t, c, w, f, rnd, 2*time.Second)
	}
	mustFinish(t, w, *patient)
}

// raftMenu is what a raft group must get over.
func raftMenu() []Fault {
	single := []Fault{
		Kill(Leader()), Kill(Follower()), Kill(All()), PowerCut(Leader()), PowerCut(All()), Pause(Leader()), Pause(Follower()), Isolated(Leader()), Isolated(Follower()),
		Halves(), Bridge(), OneWay(Leader(), true), OneWay(Leader(), false), Silent(Leader()), Unplugged(One()),
		SlowNetwork(Leader(), 30*time.Millisecond, 30*time.Millisecond, 0.02), SlowNetwork(Follower(), 100*time.Millisecond, 50*time.Millisecond, 0.1),
		FullDisk(Leader()), SlowDisk(Leader(), 200*time.Millisecond), SlowDisk(Follower(), 3*time.Second), Kill(NameServer()),
	}
	return append(single,
		Both(Kill(Leader()), Isolated(One())), Both(Pause(Leader()), Kill(Follower())), Both(SlowNetwork(Follower(), 50*time.Millisecond, 0, 0.05), Kill(Leader())),
		DuringRecovery(Kill(Leader()), Kill(Leader())), DuringRecovery(PowerCut(Leader()), Kill(Follower())), DuringRecovery(Isolated(Leader()), PowerCut(All())),
		DuringRecovery(Pause(Leader()), Kill(Leader())), DuringRecovery(Halves(), Kill(One())),
	)
}

// TestARaftGroupLosesNothing plays a schedule of faults and pairs of faults.
func TestARaftGroupLosesNothing(t *testing.T) {
	t.Parallel()
	NeedDisks(t)
	events := Schedule(seeded(t), 5, raftMenu(), 500*time.Millisecond, 1500*time.Millisecond)
	c, w := aRaftGroup(t, Layout{DiskMB: 160, Props: map[string]string{"flushDiskType": "SYNC_FLUSH"}})
	for _, e := range events {
		must(t, c.Play([]Event{e}))
		w.MoreAcks(20, *patient)
	}
	mustFinish(t, w, *patient)
}
