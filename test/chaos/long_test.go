//go:build linux && long

package chaos

import (
	"flag"
	"testing"
	"time"
)

var seconds = flag.Int("seconds", 600, "how long TestLong goes on in each case")

// TestLong is make chaos: schedules until the time is over, on a fresh cluster for each ten faults, so that a seed that fails
// can be repeated in minutes.
func TestLong(t *testing.T) {
	for _, c := range []struct {
		name string
		set  SetLayout
		menu []Fault
	}{{"pair", Pair("pair", true), pairMenu()}, {"raft", Raft("raft"), raftMenu()}} {
		t.Run(c.name, func(t *testing.T) {
			NeedDisks(t)
			first, faults, acked := seeded(t), 0, int64(0)
			begun := time.Now()
			for s := first; s == first || time.Since(begun) < time.Duration(*seconds)*time.Second && !t.Failed(); s++ {
				t.Logf("seed %d", s)
				t.Run("", func(t *testing.T) {
					c2 := Start(t, Layout{Sets: []SetLayout{c.set}, DiskMB: 256, Props: map[string]string{"flushDiskType": "SYNC_FLUSH"}})
					w := c2.Run(Load{})
					for _, e := range Schedule(s, 10, c.menu, 500*time.Millisecond, 2*time.Second) {
						must(t, c2.Play([]Event{e}))
						w.MoreAcks(20, time.Minute)
						faults++
					}
					acked += mustFinish(t, w, time.Minute).Acked
				})
			}
			t.Logf("%v: %d faults, %d messages acknowledged, seeds from %d on", time.Since(begun).Round(time.Second), faults, acked, first)
		})
	}
	t.Run("kills", killedLeaders)
}
