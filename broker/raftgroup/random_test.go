package raftgroup

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
)

// TestRandomFaultsLoseNothing: kills, power cuts (SYNC_FLUSH), lost, repeated and reordered messages, partitions, cleaning,
// transfers and changes of members, and in the end everything acknowledged is there and everybody agrees.
func TestRandomFaultsLoseNothing(t *testing.T) {
	seeds := uint64(60)
	if n, err := strconv.ParseUint(os.Getenv("SEEDS"), 10, 64); err == nil {
		seeds = n
	}
	acked := 0
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { acked += randomRun(t, 1000+seed) })
		if t.Failed() {
			return
		}
	}
	if acked < int(seeds)*5 {
		t.Fatalf("only %d rounds were acknowledged in %d runs: nothing was tested", acked, seeds)
	}
}

func randomRun(t *testing.T, seed uint64) int {
	c := newCluster(t, seed, 3)
	c.durable = seed%3 != 0 // without it there are kills, but no power cuts
	loss := c.rng.Float64() * 0.3
	n := 0
	for range 400 {
		c.randomStep(&n)
		c.scatter(loss)
	}
	c.cut = nil
	for _, id := range c.ids() {
		c.m[id].start()
	}
	c.tick(40)
	c.leader().append("the last one")
	c.settle()
	c.tick(10)
	c.level()
	return len(c.acked)
}

func (c *cluster) randomStep(n *int) {
	ids := c.ids()
	m := c.m[ids[c.rng.IntN(len(ids))]]
	switch k := c.rng.IntN(100); {
	case k < 40:
		if m.core != nil && m.log.Leading() {
			for range 1 + c.rng.IntN(4) {
				*n++
				m.append(fmt.Sprintf("%d:%0*d;", *n, c.rng.IntN(60), *n))
			}
		}
	case k < 75:
		if m.core != nil {
			if err := m.core.Tick(); err != nil {
				c.t.Fatal(err)
			}
		}
	case k < 78:
		m.kill()
	case k < 80 && c.durable:
		m.power()
		if c.rng.IntN(2) == 0 {
			c.boot++
		}
	case k < 88:
		m.start()
	case k < 90:
		a, b := c.rng.Uint64N(5), c.rng.Uint64N(5)
		c.cut = func(from, to uint64) bool { return from == a || to == b }
	case k < 93:
		c.cut = nil
	case k < 95:
		m.log.Clean()
	case k < 97 && m.core != nil:
		_ = m.core.Transfer(1 + c.rng.Uint64N(4)) // refused by most
	case k < 98 && m.core != nil:
		_ = m.core.ForgetLeader()
		_ = m.core.Campaign()
	case m.core != nil && m.core.Role().Leader:
		c.randomChange(m)
	}
}

// randomChange keeps three or four members.
func (c *cluster) randomChange(l *testMember) {
	if c.m[4] == nil {
		c.add(4, false)
	}
	in := false
	for _, m := range l.core.Status().Members {
		in = in || m.ID == 4
	}
	if !in {
		_ = l.core.ChangeMember(true, Peer{ID: 4, Addr: "new:1"}) // refused while another change is under way
	}
}

// scatter delivers some of what is under way, in any order, some of it twice, and loses some.
func (c *cluster) scatter(loss float64) {
	for _, id := range c.ids() {
		c.m[id].work()
	}
	var stay []pb.Message
	q := c.queue
	c.queue = nil
	c.rng.Shuffle(len(q), func(i, j int) {
		if c.rng.IntN(3) == 0 {
			q[i], q[j] = q[j], q[i]
		}
	})
	for _, msg := range q {
		switch {
		case c.rng.IntN(10) < 3:
			stay = append(stay, msg)
		case c.rng.Float64() < loss:
		default:
			c.deliver(msg)
			if c.rng.IntN(20) == 0 {
				c.deliver(msg)
			}
		}
	}
	if len(stay) > 200 {
		stay = stay[len(stay)-200:]
	}
	c.queue = append(stay, c.queue...)
	for _, id := range c.ids() {
		c.m[id].work()
	}
}
