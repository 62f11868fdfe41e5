package raftgroup

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/broker/raftgroup/raftgrouptest"
	"rmqctl/internal/vfs"
)

// patience is how long a test waits for what must come; nothing depends on how fast it comes.
const patience = 30 * time.Second

// netGroup is a group of Nodes on loopback connections that can be cut.
type netGroup struct {
	t     *testing.T
	peers []Peer
	m     []*netMember
	cuts  sync.Map // [2]uint64 -> true: from cannot reach to
}

type netMember struct {
	g     *netGroup
	id    uint64
	addr  string
	fs    *vfs.Mem
	log   *raftgrouptest.Log
	node  *Node
	ln    net.Listener
	mu    sync.Mutex // guards conns, acks
	conns map[net.Conn]uint64
	acks  map[int64]chan struct{} // end of a round -> closed at commit
	role  atomic.Pointer[Role]
	opts  func(*Options)
}

func newNetGroup(t *testing.T, n int) *netGroup {
	t.Helper()
	g := &netGroup{t: t}
	for i := range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		m := &netMember{g: g, id: uint64(i + 1), addr: ln.Addr().String(), ln: ln, fs: vfs.NewMem(), log: raftgrouptest.New(64 << 10)}
		g.m = append(g.m, m)
		g.peers = append(g.peers, Peer{ID: m.id, Addr: m.addr})
	}
	t.Cleanup(func() {
		for _, m := range g.m {
			if m.node != nil {
				_ = m.node.Close()
			}
		}
	})
	return g
}

func (g *netGroup) start() {
	for _, m := range g.m {
		m.start()
	}
}

func (m *netMember) start() {
	g := m.g
	g.t.Helper()
	if m.ln == nil {
		ln, err := net.Listen("tcp", m.addr)
		if err != nil {
			g.t.Fatal(err)
		}
		m.ln = ln
	}
	m.conns, m.acks = map[net.Conn]uint64{}, map[int64]chan struct{}{}
	m.role.Store(&Role{})
	log, role := m.log, &m.role
	o := Options{CoreOptions: CoreOptions{FS: m.fs, Dir: "/store/raft", Group: "g", Self: m.id, Peers: g.peers, Log: log, Boot: "b"},
		Listener: m.ln, Dial: m.dial, OnRole: func(r Role) { role.Store(&r) }, Tick: 20 * time.Millisecond}
	if os.Getenv("RAFT_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if m.opts != nil {
		m.opts(&o)
	}
	node, err := New(o)
	if err != nil {
		g.t.Fatal(err)
	}
	log.Gate = node.Written
	log.OnCommit = m.committed
	m.node = node
	if err := node.Start(); err != nil {
		g.t.Fatal(err)
	}
}

func (m *netMember) dial(ctx context.Context, addr string) (net.Conn, error) {
	var to uint64
	for _, o := range m.g.m {
		if o.addr == addr {
			to = o.id
		}
	}
	if _, cut := m.g.cuts.Load([2]uint64{m.id, to}); cut {
		<-ctx.Done() // silence, not refusal
		return nil, ctx.Err()
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err == nil {
		m.mu.Lock()
		m.conns[conn] = to
		m.mu.Unlock()
	}
	return conn, err
}

// kill ends the member as a killed process ends: connections and listener close, nothing is said, nothing is saved.
func (m *netMember) kill() {
	n := m.node
	n.mu.Lock()
	n.closing = true
	n.mu.Unlock()
	n.stop()
	n.in.close()
	n.group.Wait()
	for _, l := range n.links {
		l.close()
	}
	m.node, m.ln = nil, nil
	m.fs, m.log = m.fs.Clone(), m.log.Killed()
	m.role.Store(&Role{})
}

func (m *netMember) committed(to int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for end, c := range m.acks {
		if end <= to {
			close(c)
			delete(m.acks, end)
		}
	}
}

// put appends a round and waits until it is committed; false when this member takes none, or it never is.
func (m *netMember) put(p string, wait time.Duration) (from int64, ok bool) {
	done := make(chan struct{})
	m.mu.Lock()
	from, err := m.log.Append([]byte(p))
	if err != nil {
		m.mu.Unlock()
		return 0, false
	}
	if end := from + int64(len(p)); m.log.MaxPhysical() >= end {
		close(done)
	} else {
		m.acks[end] = done
	}
	m.mu.Unlock()
	select {
	case <-done:
		return from, true
	case <-time.After(wait):
		return 0, false
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatal("did not come to pass: " + what)
}

func (g *netGroup) leader() *netMember {
	g.t.Helper()
	var l *netMember
	eventually(g.t, "a leader", func() bool {
		for _, m := range g.m {
			if m.node != nil && m.role.Load().Leader && m.log.Leading() {
				l = m
				return true
			}
		}
		return false
	})
	return l
}

func (g *netGroup) level() {
	g.t.Helper()
	eventually(g.t, "all members level", func() bool {
		l := g.leader()
		for _, m := range g.m {
			if m.node != nil && m.log.MaxPhysical() != l.log.End() {
				return false
			}
		}
		return true
	})
	want := g.leader().log.Visible()
	for _, m := range g.m {
		if m.node != nil && string(m.log.Visible()) != string(want) {
			g.t.Fatalf("%s has other bytes than the leader", PeerName(m.id))
		}
	}
}

func TestNodesFormAGroupAndCarryRounds(t *testing.T) {
	g := newNetGroup(t, 3)
	g.start()
	l := g.leader()
	for i := range 200 {
		if _, ok := l.put(fmt.Sprintf("round %d;", i), patience); !ok {
			t.Fatalf("round %d was not committed", i)
		}
	}
	g.level()
	s := l.node.Status()
	if s.State != "leader" || s.LeaderID != PeerName(l.id) || len(s.Members) != 3 || s.Commit != l.log.MaxPhysical() {
		t.Fatalf("status %+v", s)
	}
}

// TestNothingAcknowledgedIsLostOverKills kills the leader again and again under load.
func TestNothingAcknowledgedIsLostOverKills(t *testing.T) {
	g := newNetGroup(t, 3)
	g.start()
	acked := map[int64]string{}
	for round := range 5 {
		l := g.leader()
		var wg sync.WaitGroup
		stop := make(chan struct{})
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				p := fmt.Sprintf("kill %d round %d;", round, i)
				if from, ok := l.put(p, 200*time.Millisecond); ok {
					acked[from] = p
				}
			}
		})
		before := l.log.MaxPhysical()
		eventually(t, "load", func() bool { return l.log.MaxPhysical() > before+500 })
		close(stop)
		wg.Wait()
		l.kill()
		g.leader()
		l.start()
	}
	g.leader().put("end", patience)
	g.level()
	seen := string(g.leader().log.Visible())
	for from, p := range acked {
		if seen[from:from+int64(len(p))] != p {
			t.Fatalf("%q was acknowledged at %d", p, from)
		}
	}
	if len(acked) < 50 {
		t.Fatalf("only %d rounds were acknowledged", len(acked))
	}
}

// TestAKilledLeaderIsReplacedWithoutWaitingForTheTimeout: with a tick of a minute no timeout can have helped.
func TestAKilledLeaderIsReplacedWithoutWaitingForTheTimeout(t *testing.T) {
	g := newNetGroup(t, 3)
	g.start()
	l := g.leader()
	l.put("x", patience)
	g.level()
	for _, m := range g.m {
		if m != l { // no tick comes any more
			if err := m.node.call(context.Background(), func(c *Core) { c.timeout = 1 << 30 }); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.kill()
	g.leader().put("y", patience)
}

func TestACutOffLeaderIsReplacedAndReturns(t *testing.T) {
	g := newNetGroup(t, 3)
	g.start()
	old := g.leader()
	old.put("common;", patience)
	g.isolate(old)
	if _, ok := old.put("never;", 300*time.Millisecond); ok {
		t.Fatal("a leader without a majority acknowledged")
	}
	eventually(t, "the isolated leader to step down", func() bool { return !old.log.Leading() && !old.role.Load().Leader })
	l := g.leader()
	if l == old {
		t.Fatal("the isolated member leads")
	}
	if _, ok := l.put("kept;", patience); !ok {
		t.Fatal("the majority does not go on")
	}
	g.heal()
	g.level()
}

func (g *netGroup) isolate(m *netMember) {
	for _, o := range g.m {
		if o != m {
			g.cuts.Store([2]uint64{m.id, o.id}, true)
			g.cuts.Store([2]uint64{o.id, m.id}, true)
		}
	}
	for _, o := range g.m {
		o.mu.Lock()
		for c, to := range o.conns {
			if o == m || to == m.id {
				_ = c.Close()
			}
		}
		o.mu.Unlock()
	}
}

func (g *netGroup) heal() { g.cuts.Clear() }

func TestMembersAreTransferredToAddedAndRemoved(t *testing.T) {
	g := newNetGroup(t, 4)
	all := g.peers
	g.peers = all[:3]
	for _, m := range g.m[:3] {
		m.start()
	}
	l := g.leader()
	for i := range 50 {
		l.put(fmt.Sprint("round ", i, ";"), patience)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	to := g.m[l.id%3]
	if err := l.node.Transfer(ctx, to.id); err != nil {
		t.Fatal(err)
	}
	if err := l.node.AddMember(ctx, all[3]); err == nil {
		t.Fatal("a follower added a member")
	}
	eventually(t, "the new leader", func() bool { return to.role.Load().Leader })
	g.peers = nil // as its configuration says: in the place of one, here of the leader, whom it does not know therefore
	for _, p := range all {
		if p.ID != to.id {
			g.peers = append(g.peers, p)
		}
	}
	g.m[3].start()
	if err := to.node.AddMember(ctx, all[3]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new member votes", func() bool {
		s := to.node.Status()
		return len(s.Members) == 4 && s.Members[3].Voter && s.Members[3].Connected
	})
	if err := to.node.RemoveMember(ctx, l.id); err != nil {
		t.Fatal(err)
	}
	l.kill()
	if _, ok := g.leader().put("end;", patience); !ok {
		t.Fatal("the changed group does not commit")
	}
	g.level()
}

func TestAMemberWithANewDiskWaitsAndIsBroughtLevel(t *testing.T) {
	g := newNetGroup(t, 3)
	g.start()
	l := g.leader()
	l.put("before;", patience)
	g.level()
	f := g.m[l.id%3]
	f.kill()
	f.fs, f.log = vfs.NewMem(), raftgrouptest.New(64<<10)
	f.start()
	eventually(t, "the new disk has everything", func() bool {
		s := f.node.Status()
		return s.State == "follower" && !s.NoVote && f.log.MaxPhysical() >= 7
	})
	g.leader().put("after;", patience)
	g.level()
}

func TestAMemberGoesOnAfterItsDiskHasFailed(t *testing.T) {
	g := newNetGroup(t, 3)
	var sick atomic.Bool
	g.start()
	l := g.leader()
	f := g.m[l.id%3]
	f.kill()
	f.log.Fail = func(op string) error {
		if sick.Load() && op == "append" {
			return fmt.Errorf("no space")
		}
		return nil
	}
	f.start()
	sick.Store(true)
	l = g.leader()
	for i := range 10 {
		if _, ok := l.put(fmt.Sprint("r", i, ";"), patience); !ok {
			t.Fatal("two of three do not commit")
		}
	}
	eventually(t, "the member says that it failed", func() bool { return f.node.Status().Err != "" })
	sick.Store(false)
	g.level()
}

func TestALeaderThatCannotWriteHandsOver(t *testing.T) {
	g := newNetGroup(t, 3)
	var sick atomic.Uint64
	for _, m := range g.m {
		m.opts = func(o *Options) {
			o.GiveUp = 50 * time.Millisecond
			o.Healthy = func() error {
				if sick.Load() == m.id {
					return fmt.Errorf("no space")
				}
				return nil
			}
		}
	}
	g.start()
	l := g.leader()
	l.put("x", patience)
	sick.Store(l.id)
	eventually(t, "another leader", func() bool { n := g.leader(); return n != l })
}

func TestALeaderWhoseDiskHangsIsNoLongerOne(t *testing.T) {
	g := newNetGroup(t, 3)
	hang := make(chan struct{})
	var stuck atomic.Bool
	for _, m := range g.m {
		m.opts = func(o *Options) {
			o.GiveUp = 100 * time.Millisecond
			o.Durable = func() bool { return true }
		}
	}
	g.start()
	l := g.leader()
	l.put("x", patience)
	stuck.Store(true)
	l.log.Fail = func(op string) error {
		if op == "sync" && stuck.Load() {
			<-hang
		}
		return nil
	}
	l.put("y", time.Millisecond)
	eventually(t, "its role to be taken back", func() bool { return !l.role.Load().Leader })
	eventually(t, "another leader", func() bool {
		for _, m := range g.m {
			if m != l && m.role.Load().Leader {
				return true
			}
		}
		return false
	})
	stuck.Store(false)
	close(hang)
	eventually(t, "it follows", func() bool { return !l.log.Leading() })
	g.leader().put("z", patience)
	g.level()
}

func TestStrangersAreRefused(t *testing.T) {
	g := newNetGroup(t, 3)
	g.start()
	l := g.leader()
	for _, c := range []struct {
		name string
		h    hello
		want verdict
	}{
		{"another group", hello{version: 1, from: 2, to: l.id, group: "other"}, wrongGroup},
		{"another member was meant", hello{version: 1, from: 2, to: 9, group: "g"}, wrongMember},
		{"an unknown member", hello{version: 1, from: 9, to: l.id, group: "g"}, stranger},
		{"another version", hello{version: 2, from: 2, to: l.id, group: "g"}, wrongVersion},
	} {
		conn, err := net.Dial("tcp", l.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(c.h.append(nil)); err != nil {
			t.Fatal(err)
		}
		answer, err := readHello(conn)
		if err != nil || answer.verdict != c.want || answer.stage != lived {
			t.Errorf("%s: answered %+v, %v", c.name, answer, err)
		}
		_ = conn.Close()
	}
	conn, err := net.Dial("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("\x00\x00\x00\x30\x00\x00\x00\x20{\"code\":51002}")); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Fatal("a peer of another protocol was answered")
	}
}
