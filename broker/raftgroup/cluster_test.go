// A group of Cores on a network of queues: one goroutine, everything repeats from its seed.

package raftgroup

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"rmqctl/broker/raftgroup/raftgrouptest"
	"rmqctl/internal/vfs"
)

type cluster struct {
	t       *testing.T
	rng     *rand.Rand
	peers   []Peer
	m       map[uint64]*testMember
	queue   []pb.Message
	cut     func(from, to uint64) bool // messages that do not arrive
	durable bool
	segment int64
	boot    int
	acked   []ack // what a producer was told is stored
}

type ack struct {
	from int64
	b    []byte
}

type testMember struct {
	c    *cluster
	id   uint64
	fs   *vfs.Mem
	log  *raftgrouptest.Log
	core *Core
	mine []ack // appended here as leader, not yet committed
	opts func(*CoreOptions)
}

func newCluster(t *testing.T, seed uint64, n int) *cluster {
	c := &cluster{t: t, rng: rand.New(rand.NewPCG(seed, 1)), m: map[uint64]*testMember{}, segment: 1 << 10}
	for i := range n {
		c.peers = append(c.peers, Peer{ID: uint64(i + 1), Addr: fmt.Sprintf("h%d:40911", i)})
	}
	for _, p := range c.peers {
		c.add(p.ID, true)
	}
	return c
}

func (c *cluster) add(id uint64, bootstrap bool) *testMember {
	m := &testMember{c: c, id: id, fs: vfs.NewMem(), log: raftgrouptest.New(c.segment)}
	m.opts = func(o *CoreOptions) { o.Bootstrap = bootstrap }
	c.m[id] = m
	m.open()
	return m
}

func (m *testMember) options() CoreOptions {
	o := CoreOptions{FS: m.fs, Dir: "/store/raft", Group: "g", Self: m.id, Peers: m.c.peers, Log: m.log, IndexEntries: 16,
		Rand: rand.New(rand.NewPCG(m.c.rng.Uint64(), m.id)), Durable: func() bool { return m.c.durable }, Boot: fmt.Sprint(m.c.boot)}
	if os.Getenv("RAFT_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("member", PeerName(m.id))
	}
	if m.opts != nil {
		m.opts(&o)
	}
	return o
}

func (m *testMember) open() {
	m.c.t.Helper()
	m.log.Gate = func(from int64, b []byte) {
		if err := m.core.Propose(from, b); err != nil {
			m.c.t.Fatalf("%s: propose %d: %v", PeerName(m.id), from, err)
		}
	}
	core, err := Open(m.options())
	if err != nil {
		m.c.t.Fatalf("open %s: %v", PeerName(m.id), err)
	}
	m.core = core
}

// kill ends a process: what it wrote is there.
func (m *testMember) kill() {
	if m.core != nil {
		m.core, m.mine = nil, nil
		m.fs, m.log = m.fs.Clone(), m.log.Killed()
	}
}

// power takes what was not synced.
func (m *testMember) power() {
	m.core, m.mine = nil, nil
	m.fs, m.log = m.fs.PowerCut(m.c.rng, vfs.AnyCut(m.c.rng)), m.log.PowerCut(m.c.rng)
}

func (m *testMember) start() {
	if m.core == nil {
		m.open()
	}
}

func (m *testMember) work() {
	if m.core == nil || !m.core.HasWork() {
		return
	}
	if err := m.core.Work(func(msg pb.Message) { m.c.queue = append(m.c.queue, msg) }); err != nil {
		m.c.t.Fatalf("%s: %v", PeerName(m.id), err)
	}
	done := 0
	for _, a := range m.mine {
		if a.from+int64(len(a.b)) > m.log.MaxPhysical() {
			break
		}
		m.c.acked = append(m.c.acked, a)
		done++
	}
	m.mine = m.mine[done:]
	if !m.core.leading {
		m.mine = nil
	}
}

func (m *testMember) append(p string) {
	m.c.t.Helper()
	from, err := m.log.Append([]byte(p))
	if err != nil {
		m.c.t.Fatalf("%s: append: %v", PeerName(m.id), err)
	}
	m.mine = append(m.mine, ack{from, []byte(p)})
}

func (c *cluster) ids() []uint64 {
	var out []uint64
	for id := range c.m {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// settle delivers until nothing is left.
func (c *cluster) settle() {
	c.t.Helper()
	for range 10000 {
		for _, id := range c.ids() {
			c.m[id].work()
		}
		if len(c.queue) == 0 {
			return
		}
		q := c.queue
		c.queue = nil
		for _, msg := range q {
			c.deliver(msg)
		}
	}
	c.t.Fatal("the group does not come to rest")
}

func (c *cluster) deliver(msg pb.Message) {
	to := c.m[msg.To]
	if to == nil || to.core == nil || c.cut != nil && c.cut(msg.From, msg.To) {
		if from := c.m[msg.From]; from != nil && from.core != nil {
			from.core.Unreachable(msg.To)
		}
		return
	}
	b, err := msg.Marshal() // nothing is shared between members
	if err != nil {
		c.t.Fatal(err)
	}
	var got pb.Message
	if err := got.Unmarshal(b); err != nil {
		c.t.Fatal(err)
	}
	if err := to.core.Step(got); err != nil {
		c.t.Fatalf("%s: %v", PeerName(msg.To), err)
	}
}

func (c *cluster) tick(n int) {
	c.t.Helper()
	for range n {
		for _, id := range c.ids() {
			if m := c.m[id]; m.core != nil {
				if err := m.core.Tick(); err != nil {
					c.t.Fatalf("%s: %v", PeerName(id), err)
				}
			}
		}
		c.settle()
	}
}

// leader ticks until there is one that takes appends.
func (c *cluster) leader() *testMember {
	c.t.Helper()
	for range 300 {
		c.tick(1)
		var best *testMember
		for _, id := range c.ids() {
			m := c.m[id]
			if m.core != nil && m.core.Role().Leader && (best == nil || m.core.Role().Term > best.core.Role().Term) && (c.cut == nil || !c.alone(id)) {
				best = m
			}
		}
		if best != nil {
			return best
		}
	}
	c.t.Fatal("no leader")
	return nil
}

func (c *cluster) alone(id uint64) bool {
	reach := 0
	for _, o := range c.ids() {
		if o != id && c.m[o].core != nil && !c.cut(id, o) && !c.cut(o, id) {
			reach++
		}
	}
	return reach == 0
}

// check: what is visible somewhere is the same everywhere it is visible, and every acknowledged round is on the leader.
func (c *cluster) check() {
	c.t.Helper()
	l := c.leader()
	for _, id := range c.ids() {
		m := c.m[id]
		lo, hi := max(m.log.MinPhysical(), l.log.MinPhysical()), min(m.log.MaxPhysical(), l.log.MaxPhysical())
		if lo < hi && !bytes.Equal(m.log.Visible()[lo-m.log.MinPhysical():hi-m.log.MinPhysical()], l.log.Visible()[lo-l.log.MinPhysical():hi-l.log.MinPhysical()]) {
			c.t.Fatalf("%s and %s differ between %d and %d", PeerName(id), PeerName(l.id), lo, hi)
		}
	}
	for _, a := range c.acked {
		if a.from < l.log.MinPhysical() {
			continue
		}
		at := a.from - l.log.MinPhysical()
		if end := at + int64(len(a.b)); end > int64(len(l.log.Visible())) || !bytes.Equal(l.log.Visible()[at:end], a.b) {
			c.t.Fatalf("%q was acknowledged at %d and is not on %s (visible to %d)", a.b, a.from, PeerName(l.id), l.log.MaxPhysical())
		}
	}
}

// level: every living member sees the same.
func (c *cluster) level() {
	c.t.Helper()
	c.check()
	l := c.leader()
	for _, member := range l.core.Status().Members {
		id := member.ID
		if m := c.m[id]; m.core != nil && m.log.MaxPhysical() != l.log.MaxPhysical() {
			c.t.Fatalf("%s sees %d, the leader %s %d: %+v", PeerName(id), m.log.MaxPhysical(), PeerName(l.id), l.log.MaxPhysical(), l.core.Status())
		}
	}
}
