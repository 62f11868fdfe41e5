package epoch

import (
	"errors"
	"slices"
	"testing"

	"rmqctl/internal/vfs"
)

func TestCommon(t *testing.T) {
	one := List{{1, 7, 0}}
	for _, c := range []struct {
		name     string
		a        List
		aEnd     int64
		b        List
		bEnd     int64
		off      int64
		sure, ok bool
		below    []int64
	}{
		{"a slave of the same mastership is behind", one, 500, one, 300, 300, true, true, []int64{0}},
		{"a restarted master lost a tail", List{{1, 7, 0}, {1, 8, 100}}, 100, one, 140, 100, true, true, []int64{0}},
		{"the restarted master has grown past the slave", List{{1, 7, 0}, {1, 8, 100}}, 900, one, 140, 100, true, true, []int64{0}},
		{"an old master comes back with a tail the promoted slave never had", List{{1, 7, 0}, {2, 9, 450}}, 800, one, 500, 450, true, true, []int64{0}},
		{"the list runs ahead of the slave's log", List{{1, 7, 0}, {2, 9, 450}}, 800, List{{1, 7, 0}, {2, 9, 450}}, 300, 300, true, true, []int64{0}},
		{"it stands where the newest begins", List{{1, 7, 0}, {2, 9, 450}}, 800, List{{1, 7, 0}, {2, 9, 450}}, 450, 450, true, true, []int64{0}},
		{"two promoted at the same place are not one", List{{1, 7, 0}, {2, 9, 450}}, 800, List{{1, 7, 0}, {2, 10, 450}}, 700, 450, true, true, []int64{0}},
		{"logs of before there were lists", nil, 500, nil, 300, 300, false, true, []int64{0}},
		{"a list begins in the middle of an old log", List{{1, 7, 400}}, 500, nil, 450, 400, false, true, []int64{0}},
		{"nothing in common", one, 500, List{{1, 8, 0}}, 300, 0, false, false, nil},
		{"several masterships in common", List{{1, 7, 0}, {1, 8, 100}, {2, 9, 200}}, 300, List{{1, 7, 0}, {1, 8, 100}, {2, 9, 200}, {3, 4, 250}}, 280, 250, true, true, []int64{200, 100, 0}},
	} {
		for range 2 { // neither side is special
			off, sure, ok, below := Common(c.a, c.aEnd, c.b, c.bEnd)
			if off != c.off || sure != c.sure || ok != c.ok || !slices.Equal(below, c.below) {
				t.Errorf("%s: %d %v %v %v", c.name, off, sure, ok, below)
			}
			c.a, c.aEnd, c.b, c.bEnd = c.b, c.bEnd, c.a, c.aEnd
		}
	}
}

func TestAMastershipForgetsWhatIsBehindItsBeginning(t *testing.T) {
	l := List{{1, 7, 0}, {2, 9, 500}}.Lead(3, 5, 300)
	if !slices.Equal(l, List{{1, 7, 0}, {3, 5, 300}}) {
		t.Errorf("%v", l)
	}
	if l = l.Lead(3, 6, 300); !slices.Equal(l, List{{1, 7, 0}, {3, 6, 300}}) {
		t.Errorf("one that wrote nothing stays: %v", l)
	}
	for i := range int64(2 * MaxEntries) {
		l = l.Lead(3, 6, 301+i)
	}
	if len(l) != MaxEntries || l.Check() != nil || l.Last().Start != 300+2*MaxEntries {
		t.Errorf("%d entries, the last %v", len(l), l.Last())
	}
}

func TestFileKeepsWhatItWasTold(t *testing.T) {
	disk := vfs.NewMem()
	if err := vfs.MakeDirs(disk, "/s", 0o755); err != nil {
		t.Fatal(err)
	}
	open := func() *File {
		f, err := Open(disk, "/s")
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := open()
	if f.Epoch() != 0 || len(f.List()) != 0 {
		t.Errorf("empty: %d %v", f.Epoch(), f.List())
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if f.Booted("one") != "" {
		t.Error("a system of before there was a file")
	}
	must(f.Lead(1, 1<<63+5, 0))
	must(f.Adopt(List{{1, 1<<63 + 5, 0}, {4, 9, 600}}))
	must(f.Lead(4, 11, 400)) // what was adopted never came
	f = open()
	if want := (List{{1, 1<<63 + 5, 0}, {4, 11, 400}}); !slices.Equal(f.List(), want) || f.Epoch() != 4 {
		t.Errorf("%d %v", f.Epoch(), f.List())
	}
	if err := f.Lead(3, 12, 500); !errors.Is(err, ErrOld) {
		t.Errorf("an older epoch: %v", err)
	}
	f.Booted("two")
	must(f.Foreign(450))
	f = open()
	if before := f.Booted("three"); before != "one" {
		t.Errorf("the last mastership began under %q", before)
	}
	must(f.Foreign(700)) // the same stretch
	f = open()
	if want := (List{{1, 1<<63 + 5, 0}, {4, 11, 400}, {4, 0, 450}}); !slices.Equal(f.List(), want) {
		t.Errorf("%v", f.List())
	}
	// The epoch is remembered although its entry is gone.
	must(f.Adopt(List{{1, 7, 0}}))
	if f = open(); f.Epoch() != 4 {
		t.Errorf("epoch %d", f.Epoch())
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"epoch":2,"entries":[{"epoch":1,"life":"ff","start":0},{"epoch":2,"life":"1","start":9}]}`))
	f.Add([]byte(`{"entries":[{"epoch":2,"life":"1","start":9},{"epoch":1,"life":"1","start":9}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var x File
		if x.decode(b) != nil {
			return
		}
		if err := x.list.Check(); err != nil || x.high < x.list.Last().Epoch {
			t.Fatalf("accepted %v, epoch %d: %v", x.list, x.high, err)
		}
	})
}
