package raftgroup

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/broker/raftgroup/raftgrouptest"
	"rmqctl/internal/vfs"
)

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

// TestAKilledLeaderIsReplacedWithoutWaitingForTheTimeout: the followers' timeouts are too long to have helped.
func TestAKilledLeaderIsReplacedWithoutWaitingForTheTimeout(t *testing.T) {
	g := newNetGroup(t, 3)
	g.start()
	l := g.leader()
	l.put("x", patience)
	g.level()
	for _, m := range g.m {
		if m != l {
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
