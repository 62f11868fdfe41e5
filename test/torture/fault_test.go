package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rmqctl/internal/checker"
	"rmqctl/internal/clock"
	"rmqctl/internal/protocol"
	"rmqctl/internal/vfs"
)

// faultyDisk is a disk in memory on which one operation fails, once, and all others work: a kernel reports a failed
// writeback once only.
type faultyDisk struct {
	*vfs.Mem
	fs   *vfs.Fault
	left atomic.Int64 // operations of the kind until it fails; 0: none will
	kind string
	hit  atomic.Bool
}

func newFaultyDisk(kind string) *faultyDisk {
	d := &faultyDisk{Mem: vfs.NewMem(), kind: kind}
	d.Mem.Now = time.Now
	d.fs = &vfs.Fault{FS: d.Mem, Before: d.before}
	return d
}

func (d *faultyDisk) before(op vfs.Op) error {
	if op.Kind != d.kind || !strings.Contains(op.Name, "/commitlog/0") || strings.HasSuffix(op.Name, ".making") || d.left.Load() == 0 || d.left.Add(-1) != 0 {
		return nil
	}
	d.hit.Store(true)
	return syscall.EIO
}

// TestAfterAFailedFsyncNothingIsAcknowledged fails one fsync, or one write, of the log at a random moment. The store takes no
// message after that, serves what it has, says so, and after a power cut everything that was acknowledged is there.
func TestAfterAFailedFsyncNothingIsAcknowledged(t *testing.T) {
	const rounds = 20
	var acked, refusals int64
	for n := range rounds {
		kind, mode := []string{"sync", "write"}[n%2], []string{"SYNC_FLUSH", "ASYNC_FLUSH"}[n/2%2]
		t.Run(fmt.Sprint(n, kind, mode), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(n), 7))
			d := newFaultyDisk(kind)
			b := startBroker(t, d.fs, clock.System, "flushDiskType="+mode, "flushIntervalCommitLog=20", "flushCommitLogLeastPages=0")
			rec := checker.New()
			l := (&load{rec: rec, addr: b.Addr(), topic: "Fault", limit: 10 * time.Second}).run(4)
			moreAcks(t, l, 50, 10*time.Second)
			d.left.Store(1 + rng.Int64N(40))
			until(t, "the fault", d.hit.Load)
			for i := range l.failures { // an answer that was on its way to this producer has come by then
				was := l.failures[i].Load()
				until(t, "each producer is refused", func() bool { return l.failures[i].Load() > was })
			}
			before := l.acks.Load()
			refusedMore(t, l, 50)
			if after := l.acks.Load(); after != before {
				t.Errorf("%d messages were acknowledged after the fault", after-before)
			}
			readsGoOn(t, b.Addr(), "Fault")
			l.end()
			said(t, b, "input/output error")
			left := d.Clone()
			if mode == "SYNC_FLUSH" {
				left = d.PowerCut(rng, vfs.AnyCut(rng))
			}
			_ = b.Close()
			b = startBroker(t, left, clock.System, "flushDiskType="+mode)
			drain(t, rec, b.Addr(), "Fault")
			rep := verdict(t, rec, checker.Rules{Replicas: []string{replica}})
			acked += rep.Acked
			many, _ := l.said(protocol.ServiceNotAvailable)
			refusals += int64(many)
			_ = b.Close()
		})
	}
	table(t, []row{{"faults", rounds}, {"acknowledged, refused", fmt.Sprint(acked, refusals)}, {"lost, acknowledged after the fault", 0}})
}

// said looks for the reason where an operator looks: the log, and the broker's status.
func said(t *testing.T, b *rig, why string) {
	t.Helper()
	if !b.log.has("store is read-only until the next start") || !b.log.has(why) {
		t.Error("the log does not say why no message is taken")
	}
	info, err := newClient(t, 5*time.Second).RuntimeInfo(context.Background(), b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if got := info["storeTakesNoMessages"]; !strings.Contains(got, why) {
		t.Errorf("the broker's status says %q", got)
	}
}

// slowDisk stalls fsyncs, or writes, of the log until it is told to go on.
type slowDisk struct {
	fs      *vfs.Fault
	stalled chan struct{} // one for each operation that began to wait
	on      atomic.Pointer[chan struct{}]
}

func newSlowDisk(kind string) *slowDisk {
	m := vfs.NewMem()
	m.Now = time.Now
	d := &slowDisk{stalled: make(chan struct{}, 1000)}
	d.fs = &vfs.Fault{FS: m, Before: func(op vfs.Op) error {
		if gate := d.on.Load(); gate != nil && op.Kind == kind && strings.Contains(op.Name, "/commitlog/0") {
			d.stalled <- struct{}{}
			<-*gate
		}
		return nil
	}}
	return d
}

func (d *slowDisk) stall() {
	gate := make(chan struct{})
	d.on.Store(&gate)
}

func (d *slowDisk) release() {
	close(*d.on.Swap(nil))
}

// TestASlowDiskHoldsBackProducersAndNobodyElse stalls the disk for as long as it takes for the flush to be given up: with
// syncFlushTimeout at 300 ms that stands for any longer stall. Short stalls of 100 ms and one of 1 s come before.
func TestASlowDiskHoldsBackProducersAndNobodyElse(t *testing.T) {
	for _, kind := range []string{"sync", "write"} {
		t.Run(kind, func(t *testing.T) { slow(t, kind) })
	}
}

func slow(t *testing.T, kind string) {
	d := newSlowDisk(kind)
	b := startBroker(t, d.fs, clock.System, "flushDiskType=SYNC_FLUSH", "syncFlushTimeout=300")
	rec := checker.New()
	l := (&load{rec: rec, addr: b.Addr(), topic: "Slow", limit: 20 * time.Second}).run(32)
	moreAcks(t, l, 500, 20*time.Second)
	for _, stall := range []time.Duration{100 * time.Millisecond, time.Second} {
		d.stall()
		<-d.stalled
		time.Sleep(stall)
		d.release()
		moreAcks(t, l, 200, 20*time.Second)
	}

	d.stall()
	<-d.stalled
	settled := heap()
	acksAtStall := l.acks.Load()
	until(t, "a producer is told FLUSH_DISK_TIMEOUT, or that the disk takes nothing", func() bool {
		timeouts, _ := l.said(protocol.FlushDiskTimeout)
		busy, _ := l.said(protocol.SystemBusy)
		unavailable, _ := l.said(protocol.ServiceNotAvailable)
		return timeouts+busy+unavailable > 20
	})
	var slowest time.Duration
	for range 200 { // the rest of the broker must not notice
		begun := time.Now()
		asks(t, b.Addr(), "Slow")
		slowest = max(slowest, time.Since(begun))
	}
	if n := l.acks.Load() - acksAtStall; n > 32 { // answers that were on their way
		t.Errorf("%d messages were acknowledged while the disk took nothing", n)
	}
	grown := heap() - settled
	if grown > 32<<20 {
		t.Errorf("memory grew by %d MiB during the stall", grown>>20)
	}
	timeouts, _ := l.said(protocol.FlushDiskTimeout)
	if timeouts == 0 {
		t.Error("nobody was told FLUSH_DISK_TIMEOUT")
	}
	d.release()
	moreAcks(t, l, 500, 20*time.Second)
	l.end()
	drain(t, rec, b.Addr(), "Slow")
	rep := verdict(t, rec, checker.Rules{Replicas: []string{replica}})
	table(t, []row{
		{"stalled", kind},
		{"acknowledged, unknown, refused", fmt.Sprint(rep.Acked, rep.Unknown, rep.Failed)},
		{"answered FLUSH_DISK_TIMEOUT", timeouts},
		{"memory during the stall, KiB", grown >> 10},
		{"slowest of 200 x 3 other requests meanwhile", slowest},
	})
}

// asks what clients and tools ask beside sending: offsets, a heartbeat, the status.
func asks(t *testing.T, addr, topic string) {
	t.Helper()
	c, ctx := sharedClient(t), context.Background()
	if _, err := c.MaxOffset(ctx, addr, protocol.MessageQueue{Topic: topic}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RuntimeInfo(ctx, addr); err != nil {
		t.Fatal(err)
	}
	if err := heartbeat(ctx, c, addr); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
