package store

// Facts about starting anew from another member's oldest file.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"rmqctl/internal/vfs"
)

// aged is a leader whose oldest files are gone: nothing is left of topic Old, and some of T.
func aged(t *testing.T) (s *Store, g *group, from int64) {
	t.Helper()
	g = &group{}
	o := member(g)
	tune := DefaultTunables()
	tune.FileReserved, tune.DeleteBatch, tune.DeletePause = 0, 3, 0
	o.Tunables = &tune
	s = mustOpen(t, vfs.NewMem(), o)
	mustLead(t, s)
	l := newListener()
	for i := range 100 {
		put(t, s, l, fmt.Sprint(i, string(make([]byte, 100))))
		if i < 20 {
			st := s.NewStage()
			st.Add(msg("Old", 1, "x"), l)
			st.Put()
		}
	}
	mustCommit(t, s, s.End())
	if err := s.Sync(s.End()); err != nil {
		t.Fatal(err)
	}
	s.CleanExpired()
	if from = s.MinPhysical(); from == 0 || s.MinOffset("T", 0) == 0 || s.MinOffset("Old", 1) != 20 {
		t.Fatal(from, s.MinOffset("T", 0), s.MinOffset("Old", 1))
	}
	return s, g, from
}

// behind is a member with some of what was there long ago, and something that nobody else has.
func behind(t *testing.T, disk vfs.FS, g *group) *Store {
	t.Helper()
	o := member(&group{})
	o.Gate = &group{}
	s := mustOpen(t, disk, o)
	for _, e := range g.all()[:30] {
		if err := s.AppendRaw(e.from, e.b); err != nil {
			t.Fatal(err)
		}
	}
	mustCommit(t, s, g.all()[25].to())
	return s
}

func follow(t *testing.T, s *Store, g *group) {
	t.Helper()
	copyTo(t, s, g.all())
	mustCommit(t, s, s.End())
}

func TestAMemberStartsAnewFromAnothersOldestFile(t *testing.T) {
	s, g, from := aged(t)
	defer mustClose(t, s)
	ends, err := s.QueueEnds(from)
	if err != nil {
		t.Fatal(err)
	}
	disk := vfs.NewMem()
	f := behind(t, disk, g)
	if err := f.Reset(from+1, nil); !errors.Is(err, ErrOutOfRange) {
		t.Fatal(err)
	}
	if err := f.Reset(from, []byte("nonsense")); err == nil {
		t.Fatal("nonsense is taken for queue ends")
	}
	if err := f.Reset(from, ends); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if f.MinPhysical() != from || f.MaxPhysical() != from || f.End() != from {
			t.Fatal(f.MinPhysical(), f.MaxPhysical(), f.End())
		}
		if f.MaxOffset("Old", 1) != 20 || f.MinOffset("Old", 1) != 20 || f.MaxOffset("T", 0) != s.MinOffset("T", 0) {
			t.Fatal(f.MaxOffset("Old", 1), f.MinOffset("Old", 1), f.MaxOffset("T", 0), s.MinOffset("T", 0))
		}
		mustClose(t, f)
		f = mustOpen(t, disk, member(&group{}))
	}
	follow(t, f, g)
	wantWhole(t, f)
	if a, b := fmt.Sprint(bodies(t, s, "T", 0)), fmt.Sprint(bodies(t, f, "T", 0)); a != b {
		t.Fatal(a, b)
	}
	mustLead(t, f) // and as leader it gives no offset twice
	l := newListener()
	st := f.NewStage()
	st.Add(msg("Old", 1, "new"), l)
	st.Put()
	mustCommit(t, f, f.End())
	if l.told[0].QueueOffset != 20 {
		t.Fatal(l.told)
	}
	mustClose(t, f)
}

func TestStartingAnewCutOffAnywhereLeavesTheOldOrTheNew(t *testing.T) {
	s, g, from := aged(t)
	defer mustClose(t, s)
	ends, err := s.QueueEnds(from)
	if err != nil {
		t.Fatal(err)
	}
	old, fresh := 0, 0
	for cut := 1; ; cut++ {
		mem := vfs.NewMem()
		f := behind(t, mem, g)
		if err := f.Sync(f.End()); err != nil {
			t.Fatal(err)
		}
		committed := f.MaxPhysical()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		var n atomic.Int32
		var begun atomic.Bool
		disk := &vfs.Fault{FS: mem}
		disk.Before = func(op vfs.Op) error {
			if begun.Load() && op.Kind != "read" && op.Kind != "open" && op.Kind != "readdir" && op.Kind != "lock" && op.Kind != "usage" {
				if int(n.Add(1)) >= cut {
					return errors.New("the power is off")
				}
			}
			return nil
		}
		f = mustOpen(t, disk, member(&group{}))
		begun.Store(true)
		err := f.Reset(from, ends)
		rng := rand.New(rand.NewPCG(uint64(cut), 5))
		left := []*vfs.Mem{mem.Clone(), mem.PowerCut(rng, vfs.AnyCut(rng)), mem.CrashClone(nil, 0)}
		abandon(f)
		for i, disk := range left {
			o := member(&group{})
			o.Committed = committed
			r := mustOpen(t, disk, o)
			again := tree(t, disk.Clone(), "/store")
			switch {
			case r.MinPhysical() == from && r.End() == from && r.MaxOffset("Old", 1) == 20:
				fresh++
			case err != nil && r.MinPhysical() == 0 && r.MaxPhysical() == committed && r.MaxOffset("Old", 1) > 0:
				old++
			default:
				t.Fatalf("cut %d, variant %d: %d to %d, %d written, Old/1 ends at %d (%v)", cut, i, r.MinPhysical(), r.MaxPhysical(), r.End(), r.MaxOffset("Old", 1), err)
			}
			if _, there := again["/store/reset"]; there {
				t.Fatalf("cut %d: the start did not end the matter", cut)
			}
			wantWhole(t, r)
			if r.MinPhysical() == from {
				follow(t, r, g)
				wantWhole(t, r)
				if got := r.MaxOffset("T", 0); got != 100 {
					t.Fatal(cut, got)
				}
			}
			mustClose(t, r)
		}
		if err == nil {
			break
		}
	}
	if old < 5 || fresh < 20 {
		t.Fatal("too few cuts:", old, fresh)
	}
}

func FuzzQueueEnds(f *testing.F) {
	f.Add(reset{from: 4096}.encode())
	f.Add([]byte("reset"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeReset(b)
		if err == nil && string(r.encode()) != string(b) {
			t.Fatalf("%x becomes %x", b, r.encode())
		}
	})
}
