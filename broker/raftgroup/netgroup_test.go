package raftgroup

import (
	"context"
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
