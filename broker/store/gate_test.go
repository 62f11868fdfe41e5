package store

// Facts about a store that is a member of a raft group.

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// group is the gate of a store, and keeps what it was handed.
type group struct {
	mu      sync.Mutex // guards entries
	entries []entry
}

type entry struct {
	from int64
	b    []byte
}

func (e entry) to() int64 { return e.from + int64(len(e.b)) }

func (g *group) Written(from int64, b []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entries = append(g.entries, entry{from, b})
}

func (g *group) all() []entry {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]entry(nil), g.entries...)
}

func member(g *group) Options {
	o := small("/store")
	o.Gate = g
	return o
}

func mustLead(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Lead(); err != nil {
		t.Fatal(err)
	}
}

func mustCommit(t testing.TB, s *Store, to int64) {
	t.Helper()
	if err := s.Commit(to); err != nil {
		t.Fatal(err)
	}
}

// copyTo hands entries to a follower.
func copyTo(t testing.TB, s *Store, entries []entry) {
	t.Helper()
	for _, e := range entries {
		if e.from < s.End() {
			continue
		}
		if err := s.AppendRaw(e.from, e.b); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNothingIsVisibleOrAnsweredBeforeItIsCommitted(t *testing.T) {
	g, l := &group{}, newListener()
	o := member(g)
	var rounds, seen atomic.Int64
	o.Events.OnRound = func() { rounds.Add(1) }
	s := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, s)
	s.Watch(func(max int64) { seen.Store(max) })
	mustLead(t, s)
	put(t, s, l, "a", "b")
	put(t, s, l, "c") // the next round is written while the first one waits
	put(t, s, l, "d")
	e := g.all()
	if len(e) != 3 || len(l.told) != 0 || s.MaxOffset("T", 0) != 0 || s.MaxPhysical() != 0 || seen.Load() != 0 || s.End() != e[2].to() {
		t.Fatal(len(e), l.told, s.MaxOffset("T", 0), s.MaxPhysical(), s.End())
	}
	if _, err := s.LookMessage(0); !errors.Is(err, ErrNotFound) {
		t.Fatal("an uncommitted message is served by its offset:", err)
	}
	if n, _ := s.ReadLog(0, make([]byte, 100)); n != 0 {
		t.Fatal("an uncommitted log is served")
	}
	mustCommit(t, s, e[1].to())
	if len(l.told) != 3 || rounds.Load() != 1 || s.MaxOffset("T", 0) != 3 || s.MaxPhysical() != e[1].to() || seen.Load() != e[1].to() {
		t.Fatal(l.told, rounds.Load(), s.MaxOffset("T", 0), s.MaxPhysical())
	}
	for i, r := range l.told {
		if r.Status != PutOK || r.QueueOffset != int64(i) {
			t.Error(i, r)
		}
	}
	mustCommit(t, s, e[0].to()) // an older one changes nothing
	mustCommit(t, s, e[2].to())
	if got := fmt.Sprint(bodies(t, s, "T", 0)); got != "[a b c d]" || len(l.told) != 4 {
		t.Fatal(got, l.told)
	}
	if err := s.Commit(s.End() + 1); !errors.Is(err, ErrOutOfRange) {
		t.Fatal(err)
	}
	wantWhole(t, s)
}

func TestAFollowerIsItsLeaderByteForByte(t *testing.T) {
	g := &group{}
	s := mustOpen(t, vfs.NewMem(), member(g))
	defer mustClose(t, s)
	f := mustOpen(t, vfs.NewMem(), member(&group{}))
	defer mustClose(t, f)
	mustLead(t, s)
	l := newListener()
	for i := range 60 { // over the bases of several segments
		m := msg("T", int32(i%3), fmt.Sprintf("%d %s", i, bytes.Repeat([]byte("x"), i*13%700)), message.PropKeys, fmt.Sprint("k", i))
		if i%7 == 0 {
			m.Topic, m.QueueID = message.ScheduleTopic, 2
			m.Properties = message.SetProperty(m.Properties, message.PropDelay, "3")
		}
		st := s.NewStage()
		if status, err := st.Add(m, l); status != PutOK {
			t.Fatal(status, err)
		}
		st.Put()
	}
	at := int64(0)
	for _, e := range g.all() {
		if e.from != at || e.from/4096 != (e.to()-1)/4096 {
			t.Fatalf("entry %d to %d follows %d", e.from, e.to(), at)
		}
		at = e.to()
	}
	copyTo(t, f, g.all())
	if f.End() != s.End() || f.MaxPhysical() != 0 || len(f.Topics()) != 0 {
		t.Fatal(f.End(), s.End(), f.MaxPhysical(), f.Topics())
	}
	for _, m := range []*Store{s, f} {
		mustCommit(t, m, at)
		wantWhole(t, m)
	}
	for q := range int32(3) {
		if a, b := bodies(t, s, "T", q), bodies(t, f, "T", q); fmt.Sprint(a) != fmt.Sprint(b) || len(a) == 0 {
			t.Error(q, a, b)
		}
	}
	a, b := make([]byte, 4096), make([]byte, 4096)
	for off := int64(0); off < at; {
		n, err := s.ReadWritten(off, a)
		k, err2 := f.ReadWritten(off, b)
		if n != k || n == 0 || !bytes.Equal(a[:n], b[:k]) {
			t.Fatalf("at %d: %d, %d, %v, %v", off, n, k, err, err2)
		}
		off += int64(n)
	}
	for off := range s.MaxOffset(message.ScheduleTopic, 2) {
		u, _ := s.unit(s.table.Get(message.ScheduleTopic, 2), off)
		v, _ := f.unit(f.table.Get(message.ScheduleTopic, 2), off)
		if u != v || u.Tags < 1000 {
			t.Errorf("delayed message %d: %+v and %+v", off, u, v)
		}
	}
	if r, err := f.Query("T", "k50", 5, 0, 1<<60); err != nil || len(r.Messages) != 1 {
		t.Error(len(r.Messages), err)
	}
}

func TestAFollowerTakesNoPuts(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), member(&group{}))
	defer mustClose(t, s)
	if r, err := s.Append(msg("T", 0, "x")); r.Status != ServiceNotAvailable || !errors.Is(err, ErrFollowing) {
		t.Fatal(r, err)
	}
	mustLead(t, s)
	if err := s.AppendRaw(0, []byte("x")); !errors.Is(err, ErrLeading) {
		t.Fatal(err)
	}
	if err := s.TruncateTo(0); !errors.Is(err, ErrLeading) {
		t.Fatal(err)
	}
	if err := s.Reset(0, nil); !errors.Is(err, ErrLeading) {
		t.Fatal(err)
	}
	if _, err := s.Follow(); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Append(msg("T", 0, "x")); r.Status != ServiceNotAvailable || !errors.Is(err, ErrFollowing) {
		t.Fatal(r, err)
	}
}

func TestWhatIsCutOffIsAnsweredOnceAndItsOffsetsAreGivenAgain(t *testing.T) {
	g, l := &group{}, newListener()
	s := mustOpen(t, vfs.NewMem(), member(g))
	defer mustClose(t, s)
	mustLead(t, s)
	put(t, s, l, "a")
	put(t, s, l, "b", "c")
	put(t, s, l, "d")
	e := g.all()
	mustCommit(t, s, e[0].to())
	if end, err := s.Follow(); err != nil || end != e[2].to() {
		t.Fatal(end, err)
	}
	if err := s.TruncateTo(e[0].from); !errors.Is(err, ErrCommitted) {
		t.Fatal(err)
	}
	if err := s.Lead(); !errors.Is(err, ErrUncommitted) {
		t.Fatal("offsets could be given twice:", err)
	}
	if err := s.TruncateTo(e[1].to()); err != nil { // d was never proposed
		t.Fatal(err)
	}
	if len(l.told) != 2 || l.told[1].Status != UnknownError || !errors.Is(l.errs[1], ErrDropped) {
		t.Fatal(l.told, l.errs)
	}
	if err := s.TruncateTo(e[1].from); err != nil { // another leader has something else
		t.Fatal(err)
	}
	if len(l.told) != 4 || s.End() != e[0].to() || s.slow.held.Load() != 0 {
		t.Fatal(l.told, s.End(), s.slow.held.Load())
	}
	mustLead(t, s)
	put(t, s, l, "e")
	mustCommit(t, s, s.End())
	if got := fmt.Sprint(bodies(t, s, "T", 0)); got != "[a e]" || len(l.told) != 5 || l.told[4].QueueOffset != 1 {
		t.Fatal(got, l.told)
	}
	wantWhole(t, s)
}

// heard is what a listener was told by now.
func heard(l *listener) ([]PutResult, []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]PutResult(nil), l.told...), append([]error(nil), l.errs...)
}

func TestWhoWaitsTooLongIsToldThatItFailedAndTheMessageMayAppearLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, l := &group{}, newListener()
		s := mustOpen(t, vfs.NewMem(), member(g))
		mustLead(t, s)
		put(t, s, l, "a")
		time.Sleep(2 * time.Second)
		put(t, s, l, "b")
		synctest.Wait()
		if told, _ := heard(l); len(told) != 0 {
			t.Fatal(told)
		}
		time.Sleep(700 * time.Millisecond)
		synctest.Wait()
		if told, errs := heard(l); len(told) != 1 || told[0].Status != UnknownError || !errors.Is(errs[0], ErrNotCommitted) {
			t.Fatal(told, errs)
		}
		mustCommit(t, s, s.End())
		if told, _ := heard(l); len(told) != 2 || told[1].Status != PutOK || told[1].QueueOffset != 1 {
			t.Fatal(told)
		}
		if got := fmt.Sprint(bodies(t, s, "T", 0)); got != "[a b]" {
			t.Fatal(got)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		put(t, s, l, "c")
		mustClose(t, s) // outcome unknown
		if told, errs := heard(l); len(told) != 3 || !errors.Is(errs[2], ErrClosed) {
			t.Fatal(told, errs)
		}
	})
}

func TestWhatWaitsToBeCommittedIsBounded(t *testing.T) {
	g, l := &group{}, &counting{}
	o := member(g)
	o.SegmentSize, o.NoIndex = 1<<30, true
	s := mustOpen(t, vfs.NewMem(), o)
	mustLead(t, s)
	body := string(make([]byte, 1<<20))
	taken := 0
	for range 200 {
		st := s.NewStage()
		status, _ := st.Add(msg("T", 0, body), l)
		st.Put()
		if status == PageCacheBusy {
			break
		}
		taken++
	}
	if taken < 60 || taken > 70 {
		t.Fatal("taken without a commit:", taken)
	}
	mustCommit(t, s, s.End())
	if r, n := s.slow.held.Load(), l.n.Load(); r != 0 || int(n) != taken {
		t.Fatal(r, n)
	}
	put(t, s, newListener(), "there is room again")
	mustClose(t, s)
}

type counting struct{ n atomic.Int64 }

func (c *counting) Stored(PutResult, error) { c.n.Add(1) }

func TestWhatTheGateHoldsNeverChanges(t *testing.T) {
	g := &group{}
	o := member(g)
	o.SegmentSize, o.TailBytes = 1<<20, 256<<10
	s := mustOpen(t, vfs.NewMem(), o)
	mustLead(t, s)
	var want [][]byte
	for i := range 3000 {
		put(t, s, newListener(), fmt.Sprint(i, string(make([]byte, i%1500))))
		for e := g.all(); len(want) < len(e); {
			want = append(want, bytes.Clone(e[len(want)].b))
		}
		if i%100 == 0 {
			mustCommit(t, s, s.End())
		}
	}
	for i, e := range g.all() {
		if !bytes.Equal(e.b, want[i]) {
			t.Fatalf("entry %d at %d has changed", i, e.from)
		}
	}
	mustClose(t, s)
}

func TestAFailedWriteLeavesTheRoundsBeforeItAndTheirOffsets(t *testing.T) {
	g, l := &group{}, newListener()
	var full atomic.Bool
	disk := &vfs.Fault{FS: vfs.NewMem()}
	disk.Before = func(op vfs.Op) error {
		if full.Load() && op.Kind == "write" && op.Len > 0 && bytes.Contains([]byte(op.Name), []byte("commitlog/0")) {
			return vfs.ErrNoSpace
		}
		return nil
	}
	s := mustOpen(t, disk, member(g))
	mustLead(t, s)
	put(t, s, l, "a")
	full.Store(true)
	put(t, s, l, "b")
	if len(l.told) != 1 || l.told[0].Status == PutOK || s.End() != g.all()[0].to() {
		t.Fatal(l.told, s.End())
	}
	full.Store(false)
	s.state.room(s)
	put(t, s, l, "c")
	mustCommit(t, s, s.End())
	if got := fmt.Sprint(bodies(t, s, "T", 0)); got != "[a c]" || l.told[2].QueueOffset != 1 {
		t.Fatal(got, l.told)
	}
	wantWhole(t, s)
	mustClose(t, s)
}

func TestAStartShowsWhatWasCommittedAndKeepsTheRest(t *testing.T) {
	for _, how := range []string{"closed", "killed"} {
		t.Run(how, func(t *testing.T) {
			g, l := &group{}, newListener()
			o, disk := member(g), vfs.NewMem()
			s := mustOpen(t, disk, o)
			mustLead(t, s)
			for i := range 80 {
				put(t, s, l, fmt.Sprint(i, string(make([]byte, 100))))
			}
			e := g.all()
			mid := 40
			mustCommit(t, s, e[mid].to())
			n := s.MaxOffset("T", 0)
			if how == "closed" {
				mustClose(t, s)
			} else {
				disk = kill(s)
				o.Committed = e[mid].to()
			}
			s = mustOpen(t, disk, o)
			if s.MaxPhysical() != e[mid].to() || s.End() != e[len(e)-1].to() || s.MaxOffset("T", 0) != n {
				t.Fatal(s.MaxPhysical(), e[mid].to(), s.End(), s.MaxOffset("T", 0), n)
			}
			wantWhole(t, s)
			mustCommit(t, s, e[60].to())
			if err := s.TruncateTo(e[60].to()); err != nil {
				t.Fatal(err)
			}
			s.Close()
			s = mustOpen(t, disk, o)
			if s.MaxPhysical() != e[60].to() || s.End() != e[60].to() {
				t.Fatal(s.MaxPhysical(), s.End())
			}
			mustLead(t, s)
			put(t, s, l, "more")
			mustCommit(t, s, s.End())
			wantWhole(t, s)
			mustClose(t, s)
		})
	}
}

func TestRetentionLeavesWhatIsNotCommitted(t *testing.T) {
	g, l := &group{}, newListener()
	o := member(g)
	tune := DefaultTunables()
	tune.FileReserved, tune.DeleteBatch, tune.DeletePause = 0, 100, 0
	o.Tunables = &tune
	s := mustOpen(t, vfs.NewMem(), o)
	mustLead(t, s)
	for i := range 200 {
		put(t, s, l, fmt.Sprint(i, string(make([]byte, 100))))
	}
	e := g.all()
	k := len(e) / 2
	mustCommit(t, s, e[k].to())
	if err := s.Sync(s.End()); err != nil {
		t.Fatal(err)
	}
	s.CleanExpired()
	if first := s.MinPhysical(); first == 0 || first > s.MaxPhysical() {
		t.Fatal(first, s.MaxPhysical())
	}
	mustCommit(t, s, s.End())
	wantWhole(t, s)
	mustClose(t, s)
}

func TestSyncReachesBeyondWhatIsVisible(t *testing.T) {
	g, l := &group{}, newListener()
	o := member(g)
	tune := DefaultTunables()
	tune.SyncFlush = true
	o.Tunables = &tune
	disk := vfs.NewMem()
	s := mustOpen(t, disk, o)
	mustLead(t, s)
	put(t, s, l, "a")
	put(t, s, l, "b")
	e := g.all()
	mustCommit(t, s, e[0].to())
	if err := s.Sync(e[1].to()); err != nil {
		t.Fatal(err)
	}
	if s.FlushedPhysical() != e[0].to() {
		t.Fatal(s.FlushedPhysical())
	}
	o.Committed = e[0].to()
	s = mustOpen(t, disk.CrashClone(nil, 0), o)
	if s.End() != e[1].to() || s.MaxPhysical() != e[0].to() {
		t.Fatal(s.End(), s.MaxPhysical())
	}
	mustClose(t, s)
}

func TestADeletedTopicsWaitingMessagesAreLeftOut(t *testing.T) {
	g, l := &group{}, newListener()
	s := mustOpen(t, vfs.NewMem(), member(g))
	mustLead(t, s)
	put(t, s, l, "a")
	if err := s.DeleteTopic("T"); err != nil {
		t.Fatal(err)
	}
	put(t, s, l, "b")
	mustCommit(t, s, s.End())
	if got := fmt.Sprint(bodies(t, s, "T", 0)); got != "[b]" || s.Writable() != nil {
		t.Fatal(got, s.Writable())
	}
	mustClose(t, s)
}
