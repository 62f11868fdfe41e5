//go:build linux

package chaos

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"rmqctl/test/peers"
)

var (
	kills   = flag.Int("kills", 12, "kills of the leader of a raft group")
	program = flag.String("program", peers.Ours, "whose brokers and name servers the tests of raft groups run: a version of Java's is the control")
)

// Promised for the time without a writable leader after a kill; a loaded test machine is allowed three times that.
const (
	promisedMedian = 2 * time.Second
	promisedP99    = 5 * time.Second
	patience       = 3
)

// TestKilledLeadersAreReplaced kills the leader again and again, as soon as the group is whole, and measures how long it takes
// until another takes messages.
func TestKilledLeadersAreReplaced(t *testing.T) {
	t.Parallel()
	killedLeaders(t)
}

func killedLeaders(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seeded(t), 3))
	c := Start(t, Layout{Program: *program, Sets: []SetLayout{Raft("raft")}})
	set := c.Sets[0]
	w := c.Run(Load{Pause: 5 * time.Millisecond})
	var outages []time.Duration
	for n := range *kills {
		w.MoreAcks(50, time.Minute)
		must(t, c.AwaitMembers(set, 2*time.Minute))
		time.Sleep(time.Duration(rnd.Int64N(int64(500 * time.Millisecond))))
		leader, err := c.AwaitLeader(set, time.Minute)
		must(t, err)
		killed := time.Now()
		leader.Kill()
		out, err := w.Outage(set, killed, 2*time.Minute)
		must(t, err)
		outages = append(outages, out)
		t.Logf("kill %d: %s; writable again after %v", n, leader, out.Round(time.Millisecond))
		must(t, leader.Start())
		must(t, c.Settle())
	}
	v := mustFinish(t, w, 2*time.Minute)
	median, p99, most := Quantile(outages, 0.5), Quantile(outages, 0.99), Quantile(outages, 1)
	t.Logf("%s: %d kills of the leader: without a writable leader p50 %v, p90 %v, p99 %v, longest %v; acknowledged %d, lost %d",
		*program, len(outages), median.Round(time.Millisecond), Quantile(outages, 0.9).Round(time.Millisecond), p99.Round(time.Millisecond), most.Round(time.Millisecond), v.Acked, v.Count(0))
	if *program != peers.Ours {
		return // no promise of ours
	}
	if median > patience*promisedMedian || p99 > patience*promisedP99 {
		t.Errorf("promised are %v for the median and %v for 99 %%", promisedMedian, promisedP99)
	}
}
