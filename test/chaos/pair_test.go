//go:build linux

package chaos

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"rmqctl/test/peers"
)

var seed = flag.Uint64("seed", 0, "of schedules; 0: chosen and printed")

// patient is how long it may take, once every fault is over, until messages are taken again and replicas are level.
var patient = flag.Duration("patience", 30*time.Second, "until messages are taken again and replicas are level; a fraction of a second is usual")

// seeded is the seed of this run.
func seeded(t *testing.T) uint64 {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64()%1_000_000 + 1
	}
	t.Logf("seed %d: repeat with go test ./test/chaos -run '^%s$' -seed=%d", s, t.Name(), s)
	return s
}

// mustFinish ends a workload and shows what came of it. Java is the control: what it breaks is shown and fails nothing.
func mustFinish(t *testing.T, w *Workload, within time.Duration) *Verdict {
	t.Helper()
	v, err := w.Finish(within)
	must(t, err)
	return kept(t, w, v)
}

func kept(t *testing.T, w *Workload, v *Verdict) *Verdict {
	t.Helper()
	broken := strings.Join(v.Broken[:min(len(v.Broken), 12)], "\n  ")
	switch {
	case len(v.Broken) == 0:
	case w.c.layout.Program == peers.Ours:
		t.Errorf("%d promises were not kept:\n  %s", len(v.Broken), broken)
	default:
		t.Logf("%s: %d promises of ours were not kept:\n  %s", w.c.layout.Program, len(v.Broken), broken)
	}
	t.Log(v)
	return v
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestASlaveServesUntilItsMasterReturns: the master dies under load, the group reads the rest from the slave and commits there,
// and nothing is consumed again when the master is back.
func TestASlaveServesUntilItsMasterReturns(t *testing.T) {
	t.Parallel()
	c := Start(t, Layout{Sets: []SetLayout{Pair("pair", true)}})
	w := c.Run(Load{Saved: 3 * time.Second})
	w.MoreAcks(1000, 30*time.Second)
	master := c.Sets[0].Members[0]
	killed := time.Now()
	master.Kill()
	slave := c.Sets[0].Members[1]
	must(t, c.until(20*time.Second, func() error { return w.groupReached(slave) }))
	read := time.Since(killed)
	time.Sleep(2*w.Saved - time.Since(killed) + read) // what was committed at the slave is old enough to count
	must(t, master.Start())
	must(t, c.Settle())
	out, err := w.Outage(c.Sets[0], killed, 30*time.Second)
	must(t, err)
	w.MoreAcks(1000, 30*time.Second)
	mustFinish(t, w, 30*time.Second)
	t.Logf("all read from the slave %v after the kill; writable again after %v", read.Round(time.Millisecond), out.Round(time.Millisecond))
}

// pairMenu is what a pair of SYNC_MASTER and slave must get over without losing anything.
func pairMenu() []Fault {
	return []Fault{
		Kill(Leader()), Kill(Follower()), Kill(All()), PowerCut(One()), PowerCut(All()), Pause(Leader()), Pause(Follower()), Silent(Follower()), Silent(Leader()), Unplugged(Leader()),
		Isolated(Leader()), OneWay(Leader(), true), OneWay(Leader(), false), SlowNetwork(Follower(), 50*time.Millisecond, 20*time.Millisecond, 0.05),
		FullDisk(Leader()), FullDisk(Follower()), SlowDisk(Leader(), 300*time.Millisecond), SlowDisk(Follower(), 300*time.Millisecond),
		Both(Kill(Leader()), Silent(Follower())), DuringRecovery(Kill(Leader()), Kill(Follower())), DuringRecovery(PowerCut(Follower()), Kill(Leader())),
		DuringRecovery(Kill(All()), PowerCut(One())), Kill(NameServer()),
	}
}

// TestAPairLosesNothing plays a schedule of faults against a master that flushes and waits for its slave.
func TestAPairLosesNothing(t *testing.T) {
	t.Parallel()
	NeedDisks(t)
	events := Schedule(seeded(t), 5, pairMenu(), 500*time.Millisecond, 1500*time.Millisecond)
	c := Start(t, Layout{Sets: []SetLayout{Pair("pair", true)}, DiskMB: 160, Props: map[string]string{"flushDiskType": "SYNC_FLUSH"}})
	w := c.Run(Load{})
	for _, e := range events {
		must(t, c.Play([]Event{e}))
		w.MoreAcks(20, *patient)
	}
	mustFinish(t, w, *patient)
}
