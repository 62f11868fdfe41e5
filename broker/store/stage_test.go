package store

// Facts about stages and rounds: who is told what, when, and what a reader can see by then.

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// listener writes down what it is told.
type listener struct {
	mu   sync.Mutex
	told []PutResult
	errs []error
	more chan struct{}
}

func newListener() *listener { return &listener{more: make(chan struct{}, 1000)} }

func (l *listener) Stored(r PutResult, err error) {
	l.mu.Lock()
	l.told, l.errs = append(l.told, r), append(l.errs, err)
	l.mu.Unlock()
	l.more <- struct{}{}
}

func (l *listener) wait(n int) []PutResult {
	for range n {
		<-l.more
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]PutResult(nil), l.told...)
}

// put stages bodies for queue 0 of T and puts them.
func put(t *testing.T, s *Store, l *listener, bodies ...string) {
	t.Helper()
	g := s.NewStage()
	for _, b := range bodies {
		if status, err := g.Add(msg("T", 0, b), l); status != PutOK {
			t.Error(status, err)
		}
	}
	g.Put()
}

// gate is a disk whose operations of one kind on the log hang while it is shut.
type gate struct {
	vfs.Fault
	kind  string
	shut  atomic.Bool
	open  chan struct{}
	stuck chan struct{} // one for each operation that hangs
}

func newGate(kind string) *gate {
	g := &gate{kind: kind, open: make(chan struct{}), stuck: make(chan struct{}, 100)}
	g.FS = vfs.NewMem()
	g.Before = func(op vfs.Op) error {
		if op.Kind == kind && strings.Contains(op.Name, "commitlog/0") && !strings.HasSuffix(op.Name, ".making") && g.shut.Load() {
			g.stuck <- struct{}{}
			<-g.open
		}
		return nil
	}
	return g
}

func TestAStageIsToldInTheOrderOfTheLogBeforeItsRoundEnds(t *testing.T) {
	l := newListener()
	o := small("/store")
	var atEnd atomic.Int32
	o.Events.OnRound = func() { atEnd.Store(int32(len(l.told))) }
	s := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, s)
	put(t, s, l, "a", "b", "c") // nobody else writes: all has happened when it returns
	if atEnd.Load() != 3 {
		t.Fatalf("%d were told when the round ended", atEnd.Load())
	}
	for i, r := range l.told {
		if r.Status != PutOK || r.QueueOffset != int64(i) || r.Count != 1 || i > 0 && r.PhysicalOffset != l.told[i-1].NextOffset {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if got := fmt.Sprint(bodies(t, s, "T", 0)); got != "[a b c]" {
		t.Error(got)
	}
	wantWhole(t, s)
}

func TestWhoPutsBehindARoundDoesNotWaitForIt(t *testing.T) {
	disk, l := newGate("write"), newListener()
	s := mustOpen(t, disk, small("/store"))
	disk.shut.Store(true)
	go put(t, s, l, "leads")
	<-disk.stuck
	for i := range 10 {
		put(t, s, l, fmt.Sprint(i)) // returns, or the test never ends
	}
	if n := s.MaxOffset("T", 0); n != 0 {
		t.Fatal("visible before it is written:", n)
	}
	disk.shut.Store(false)
	close(disk.open)
	if got := l.wait(11); got[10].QueueOffset != 10 {
		t.Fatal(got)
	}
	mustClose(t, s)
}

func TestUnderSyncFlushNothingIsSeenBeforeTheDiskHasIt(t *testing.T) {
	disk, l := newGate("sync"), newListener()
	o := small("/store")
	tune := DefaultTunables()
	tune.SyncFlush = true
	o.Tunables = &tune
	var news atomic.Int32
	o.Events.OnDispatch = func(Dispatch) { news.Add(1) }
	s := mustOpen(t, disk, o)
	s.Attention("T", 0).Add(1)
	put(t, s, l, "before")
	l.wait(1)
	end := s.MaxPhysical()
	disk.shut.Store(true)
	go put(t, s, l, "a", "b")
	<-disk.stuck
	if s.MaxOffset("T", 0) != 1 || s.MaxPhysical() != end || len(l.told) != 1 || news.Load() != 1 {
		t.Error("seen, shipped, told or announced before the flush:", s.MaxOffset("T", 0), s.MaxPhysical(), end, len(l.told), news.Load())
	}
	disk.shut.Store(false)
	close(disk.open)
	if got := l.wait(2); got[2].Status != PutOK || s.FlushedPhysical() < got[2].NextOffset || s.MaxOffset("T", 0) != 3 {
		t.Error(got, s.FlushedPhysical())
	}
	mustClose(t, s)
}

func TestAFailedFlushUnderSyncFlushIsTheLastWord(t *testing.T) {
	var fail atomic.Bool
	eio := errors.New("input/output error")
	f := &vfs.Fault{FS: vfs.NewMem(), Before: func(op vfs.Op) error {
		if op.Kind == "sync" && strings.Contains(op.Name, "commitlog/0") && fail.Load() {
			return eio
		}
		return nil
	}}
	o, l := small("/store"), newListener()
	tune := DefaultTunables()
	tune.SyncFlush = true
	o.Tunables = &tune
	s := mustOpen(t, f, o)
	put(t, s, l, "kept")
	fail.Store(true)
	put(t, s, l, "lost", "lost too")
	fail.Store(false) // a later success proves nothing
	for i, r := range l.wait(3)[1:] {
		if r.Status != FlushDiskTimeout || !errors.Is(l.errs[1+i], ErrFlushFailed) { // it may be there after the next start: that is no refusal
			t.Error(r, l.errs[1+i])
		}
	}
	if r, err := s.Append(msg("T", 0, "after")); r.Status != ServiceNotAvailable || err == nil {
		t.Error(r, err)
	}
	if got := fmt.Sprint(bodies(t, s, "T", 0)); got != "[kept]" {
		t.Error(got)
	}
	if err := s.Close(); !errors.Is(err, ErrFlushFailed) {
		t.Error(err)
	}
}

func TestAHangingFlushIsAnsweredInTimeAndKeepsNewPutsOut(t *testing.T) {
	disk, l, clk := newGate("sync"), newListener(), fakeClock()
	o := small("/store")
	tune := DefaultTunables()
	tune.SyncFlush = true
	o.Tunables, o.Clock = &tune, clk
	s := mustOpen(t, disk, o)
	disk.shut.Store(true)
	go put(t, s, l, "a")
	<-disk.stuck
	put(t, s, l, "b")
	told := make(chan []PutResult, 1)
	go func() { told <- l.wait(2) }()
	var got []PutResult
	for refused := false; got == nil || !refused; {
		clk.Advance(100 * time.Millisecond)
		select {
		case got = <-told:
		case <-time.After(time.Millisecond):
		}
		if g := s.NewStage(); !refused {
			status, _ := g.Add(msg("T", 0, "c"), l)
			refused = status == PageCacheBusy
			g.release() // it is not put
		}
	}
	for _, r := range got {
		if r.Status != FlushDiskTimeout || r.Count != 1 {
			t.Error(r)
		}
	}
	disk.shut.Store(false)
	close(disk.open)
	s.Settle(nil)
	put(t, s, l, "d") // the disk is back
	if got := l.wait(1); len(got) != 3 || got[2].QueueOffset != 2 {
		t.Error("told twice, or late:", got)
	}
	if st := s.Stats(); st.Stalls != 1 {
		t.Error(st.Stalls)
	}
	mustClose(t, s)
}

func TestWhatIsTakenIsBounded(t *testing.T) {
	disk, l := newGate("write"), newListener()
	o := small("/store")
	o.SegmentSize = 256 << 20
	s := mustOpen(t, disk, o)
	disk.shut.Store(true)
	go put(t, s, l, "leads")
	<-disk.stuck
	body, taken := strings.Repeat("x", 1<<20), 1
	for ; ; taken++ {
		g := s.NewStage()
		if status, _ := g.Add(msg("T", 0, body), l); status == PageCacheBusy {
			break
		}
		g.Put()
		if taken > 2*maxHeld>>20 {
			t.Fatal("no bound")
		}
	}
	disk.shut.Store(false)
	close(disk.open)
	if got := l.wait(taken); got[taken-1].Status != PutOK {
		t.Error(got[taken-1])
	}
	s.Settle(nil)
	put(t, s, l, "again")
	if n := s.slow.held.Load(); n != 0 {
		t.Errorf("%d bytes are still held", n)
	}
	mustClose(t, s)
}

func TestAppendAllStopsCountingAtTheFirstThatIsNotStored(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), small("/store"))
	defer mustClose(t, s)
	if n, err := s.AppendAll([]*message.Message{msg("T", 0, "a"), msg("T", 1, "b"), msg("T", 0, "c")}); n != 3 || err != nil {
		t.Error(n, err)
	}
	if n, err := s.AppendAll([]*message.Message{msg("T", 0, "d"), msg("T", -1, "bad"), msg("T", 0, "e")}); n != 1 || err == nil {
		t.Error(n, err)
	}
	if got := fmt.Sprint(bodies(t, s, "T", 0)); got != "[a c d]" {
		t.Error(got)
	}
	wantWhole(t, s)
}
