package ha

// Who is waited for, for how long, and how fast a slave is fed.

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/broker/ha/decide"
	"rmqctl/internal/clock"
)

// A slave whose host has lost its power closes nothing: those who wait for it are answered before clients give up, and the
// next ones do not wait.
func TestASlaveThatFallsSilentIsGivenUp(t *testing.T) {
	log := newLog(4096)
	wall := clock.NewFake(time.Unix(1e9, 0))
	m, addr := serve(t, MasterOptions{Log: log, Clock: wall})
	c := dial(t, addr)
	report(t, c, 0)
	until(t, "reported", func() bool { _, ok := m.Replicated(); return ok })
	wall.Advance(10 * time.Second) // nothing is owed: that is no silence
	waiting := await(m, log.append([]byte("x")), 3*time.Second)
	begun, answered := wall.Now(), Status(99)
	until(t, "answered", func() bool {
		select {
		case answered = <-waiting:
			return true
		default:
			wall.Advance(lateCheck)
			return false
		}
	})
	if took := wall.Now().Sub(begun); answered != FlushSlaveTimeout || took < muteAfter {
		t.Errorf("%v after %v", answered, took)
	}
	select {
	case got := <-await(m, log.append([]byte("x")), 3*time.Second):
		if got != SlaveNotAvailable {
			t.Errorf("the next: %v", got)
		}
	default:
		t.Error("the next one waits")
	}
	read(t, c, 2)
	report(t, c, 2)
	until(t, "it speaks again", func() bool { best, _ := m.Replicated(); return best == 2 })
	again := await(m, log.append([]byte("x")), time.Hour)
	read(t, c, 3)
	report(t, c, 3)
	if got := <-again; got != Replicated {
		t.Errorf("after it has spoken: %v", got)
	}
}

// A slave that is slow but speaks is waited for, to the end.
func TestASlaveThatSpeaksIsWaitedFor(t *testing.T) {
	log := newLog(1 << 20)
	wall := clock.NewFake(time.Unix(1e9, 0))
	m, addr := serve(t, MasterOptions{Log: log, Clock: wall})
	c := dial(t, addr)
	report(t, c, 0)
	until(t, "reported", func() bool { _, ok := m.Replicated(); return ok })
	waiting := await(m, log.append(make([]byte, 100)), time.Hour)
	read(t, c, 100)
	for i := range int64(50) {
		report(t, c, i)
		until(t, "heard", func() bool { best, _ := m.Replicated(); return best == i })
		wall.Advance(time.Second)
		select {
		case got := <-waiting:
			t.Fatalf("given up with %v after %d s", got, i)
		default:
		}
	}
	report(t, c, 100)
	if got := <-waiting; got != Replicated {
		t.Errorf("status %v", got)
	}
}

func TestTwoConnectionsOfAHostAreOneCopy(t *testing.T) {
	log := newLog(4096)
	m, addr := serve(t, MasterOptions{Log: log, Rules: decide.Rules{InSyncReplicas: 3}})
	a, b := dial(t, addr), dial(t, addr)
	report(t, a, 0)
	report(t, b, 0)
	until(t, "both are here", func() bool {
		st := m.Status().Slaves
		return len(st) == 2 && st[0].Reported && st[1].Reported
	})
	waiting := await(m, log.append([]byte("x")), 30*time.Second)
	for _, c := range []net.Conn{a, b} {
		read(t, c, 1)
		report(t, c, 1)
	}
	until(t, "both have it", func() bool {
		st := m.Status().Slaves
		return st[0].Ack == 1 && st[1].Ack == 1
	})
	select {
	case got := <-waiting:
		t.Fatalf("two connections were taken for two slaves: %v", got)
	default:
	}
	m.SetRules(decide.Rules{InSyncReplicas: 2})
	if got := <-waiting; got != Replicated {
		t.Errorf("when one is enough: %v", got)
	}
}

func TestTooFewInSyncIsSaidBeforeTheAppend(t *testing.T) {
	log := newLog(4096)
	m, addr := serve(t, MasterOptions{Log: log, Rules: decide.Rules{MinInSyncReplicas: 2}})
	if got := m.Admit(); got != InSyncReplicasNotEnough {
		t.Errorf("nobody is here: %v", got)
	}
	c := dial(t, addr)
	report(t, c, 0)
	until(t, "enough", func() bool { return m.Admit() == Replicated })
	c.Close()
	until(t, "too few again", func() bool { return m.Admit() == InSyncReplicasNotEnough })
	m.SetRules(decide.Rules{})
	if got := m.Admit(); got != Replicated {
		t.Errorf("with the rules of 4.x: %v", got)
	}
}

// Appends, slaves that come and go, and the end of the master at any moment: each append is answered once, and nothing of
// the master goes on running.
func TestCloseAnswersEverybodyOnceAndLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		log := newLog(1 << 20)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		m := NewMaster(MasterOptions{Log: log})
		var all sync.WaitGroup
		all.Go(func() { m.Serve(ln) })
		slave := newNode(t, 1<<20)
		s := NewSlave(slave.slaveOptions())
		s.SetMaster(ln.Addr().String())
		until(t, "a slave", func() bool { _, ok := m.Replicated(); return ok })
		var asked, answered atomic.Int64
		stop := make(chan struct{})
		for range 4 {
			all.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					asked.Add(1)
					var once atomic.Bool
					m.Await(log.append(make([]byte, 100)), time.Minute, func(Status) {
						if once.Swap(true) {
							t.Error("answered twice")
						}
						answered.Add(1)
					})
				}
			})
		}
		until(t, "under way", func() bool { return answered.Load() > 20 })
		m.Close()
		close(stop)
		s.Close()
		all.Wait()
		if asked.Load() != answered.Load() {
			t.Fatalf("%d asked, %d were answered", asked.Load(), answered.Load())
		}
	}
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

// The limit holds for each slave, may be changed at any time, and the status tells how long it will take.
func TestASlaveIsFedNoFasterThanTheLimit(t *testing.T) {
	log := newLog(16 << 20)
	log.append(make([]byte, 8<<20))
	m, addr := serve(t, MasterOptions{Log: log, Rules: decide.Rules{BytesPerSecond: 1 << 20}, Heartbeat: 50 * time.Millisecond})
	copied := newLog(16 << 20)
	follow(t, addr, SlaveOptions{Log: copied})
	until(t, "a time that it will take", func() bool {
		st := m.Status().Slaves
		return len(st) == 1 && st[0].Left > 0 && st[0].BytesPerSecond > 0
	})
	if have := copied.MaxPhysical(); have == 8<<20 {
		t.Error("the whole log at once")
	}
	m.SetRules(decide.Rules{})
	until(t, "level without a limit", func() bool { return copied.MaxPhysical() == 8<<20 })
}

func TestBucket(t *testing.T) {
	var b bucket
	now, sent, second := int64(0), 0, int64(time.Second)
	for now < 10*second {
		if wait := b.wait(now, 1<<20); wait > 0 {
			now += int64(wait)
			continue
		}
		b.spend(256 << 10)
		sent += 256 << 10
	}
	if rate := sent / 10; rate < 1<<20*95/100 || rate > 1<<20*105/100 {
		t.Errorf("%d bytes in a second instead of %d", rate, 1<<20)
	}
	now += 100 * second // what was not used then is not used now
	for sent = 0; b.wait(now, 1<<20) == 0; sent += 64 << 10 {
		b.spend(64 << 10)
	}
	if sent > 1<<20/10+64<<10 {
		t.Errorf("%d bytes at once", sent)
	}
}

func TestProgress(t *testing.T) {
	var p progress
	second := int64(time.Second)
	if rate, left := p.rate(0, 0, 100); rate != 0 || left >= 0 {
		t.Errorf("nothing is known: %d %v", rate, left)
	}
	for i := range int64(20) { // 100 arrive in a second, 40 are added
		p.sample(i*second, i*100, 5000+i*40)
	}
	rate, left := p.rate(19*second, 1900, 5760)
	if rate != 100 || left != (5760-1900)*time.Second/60 {
		t.Errorf("%d in a second, %v", rate, left)
	}
	if _, left = p.rate(20*second, 2000, 2000); left != 0 {
		t.Errorf("level: %v", left)
	}
	p.restart()
	for i := range int64(9) { // it falls behind
		p.sample(i*second, i*10, 1000+i*40)
	}
	if _, left = p.rate(9*second, 90, 1360); left >= 0 {
		t.Errorf("it falls behind and will be level in %v", left)
	}
}
