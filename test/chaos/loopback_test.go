//go:build linux

package chaos

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// TestOnTheLoopback: without root there are no networks, and a raft group can be killed all the same.
func TestOnTheLoopback(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(seeded(t), 12))
	c, w := aRaftGroup(t, Layout{Loopback: true})
	strike(t, c, w, Kill(Leader()), rnd, 100*time.Millisecond)
	strike(t, c, w, Pause(Follower()), rnd, 300*time.Millisecond)
	if err := c.Strike(Isolated(Leader()), rnd, time.Second); !errors.Is(err, errNoNetwork) {
		t.Errorf("a partition of the loopback: %v", err)
	}
	mustFinish(t, w, *patient)
}

// TestASeedGivesOneSchedule: who repeats a seed gets the same faults and the same times.
func TestASeedGivesOneSchedule(t *testing.T) {
	a, b, other := Schedule(7, 20, raftMenu(), time.Second, time.Second), Schedule(7, 20, raftMenu(), time.Second, time.Second), Schedule(8, 20, raftMenu(), time.Second, time.Second)
	same := 0
	for i := range a {
		if a[i].Fault.String() != b[i].Fault.String() || a[i].Wait != b[i].Wait || a[i].Hold != b[i].Hold || a[i].seed != b[i].seed {
			t.Errorf("entry %d: %v and %v", i, a[i], b[i])
		}
		if a[i].Fault.String() == other[i].Fault.String() && a[i].Wait == other[i].Wait {
			same++
		}
	}
	if same > 2 {
		t.Errorf("%d of %d entries of another seed are the same", same, len(a))
	}
}
