package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
)

// disk is a Mem with a synced directory /d.
func disk(t *testing.T) *Mem {
	m := NewMem()
	if err := MakeDirs(m, "/d", 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}

func write(t *testing.T, m *Mem, name string, off int64, text string) File {
	t.Helper()
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(text), off); err != nil {
		t.Fatal(err)
	}
	return f
}

// outcomes cuts the power of m in many ways and counts what look makes of the rest.
func outcomes(m *Mem, c Cut, look func(*Mem) string) map[string]int {
	got := map[string]int{}
	for seed := range uint64(400) {
		got[look(m.PowerCut(rand.New(rand.NewPCG(seed, 9)), c))]++
	}
	return got
}

func text(m *Mem, name string) string {
	b, err := ReadFile(m, name)
	if err != nil {
		return "none"
	}
	return string(b)
}

var half = Cut{Data: 0.5, Size: 0.5, Names: 0.5}

func TestAPowerCutTearsAtSectors(t *testing.T) {
	m := disk(t)
	f := write(t, m, "/d/f", 0, string(bytes.Repeat([]byte("o"), 2*memPage)))
	f.Sync()
	m.SyncDir("/d")
	write(t, m, "/d/f", 0, string(bytes.Repeat([]byte("n"), 2*memPage)))
	shape := func(step int) func(*Mem) string {
		return func(m *Mem) string {
			b := []byte(text(m, "/d/f"))
			out := ""
			for i := 0; i < len(b); i += step {
				if !bytes.Equal(b[i:i+step], bytes.Repeat(b[i:i+1], step)) {
					t.Fatalf("torn inside of %d bytes at %d", step, i)
				}
				out += string(b[i])
			}
			return out
		}
	}
	if got := outcomes(m, half, shape(sector)); len(got) < 100 {
		t.Error("sectors do not tear by themselves:", len(got))
	}
	page := half
	page.Page = true
	if got := outcomes(m, page, shape(memPage)); len(got) != 4 || got["on"] == 0 {
		t.Error("pages of 4 KiB:", got)
	}
}

func TestNamesAreLostByThemselves(t *testing.T) {
	m := disk(t)
	write(t, m, "/d/a", 0, "a").Sync()
	write(t, m, "/d/gone", 0, "g").Sync()
	m.SyncDir("/d")
	write(t, m, "/d/b", 0, "b").Sync()
	m.Remove("/d/gone")
	got := outcomes(m, half, func(m *Mem) string { return text(m, "/d/a") + text(m, "/d/b") + text(m, "/d/gone") })
	for _, want := range []string{"abg", "abnone", "anoneg", "anonenone"} {
		if got[want] == 0 {
			t.Errorf("%s never happens: %v", want, got)
		}
	}
	if len(got) != 4 {
		t.Error(got)
	}
	m.SyncDir("/d")
	if got := outcomes(m, half, func(m *Mem) string { return text(m, "/d/a") + text(m, "/d/b") + text(m, "/d/gone") }); got["abnone"] != 400 {
		t.Error("synced names:", got)
	}
}

func TestARenamedFileHasOneOfItsNames(t *testing.T) {
	for _, to := range []string{"/d/new", "/e/new"} {
		m := disk(t)
		MakeDirs(m, "/e", 0o755)
		write(t, m, "/d/old", 0, "x").Sync()
		m.SyncDir("/d")
		m.Rename("/d/old", to)
		look := func(m *Mem) string { return text(m, "/d/old") + " " + text(m, to) }
		got := outcomes(m, half, look)
		if len(got) != 3 || got["none none"] != 0 {
			t.Error(got)
		}
		m.SyncDir("/d")
		m.SyncDir("/e")
		if got := outcomes(m, half, look); got["none x"] != 400 && to == "/d/new" {
			t.Error(got)
		}
	}
}

func TestADirectoryNeedsItsParent(t *testing.T) {
	m := NewMem()
	m.MkdirAll("/d", 0o755)
	write(t, m, "/d/f", 0, "x").Sync()
	m.SyncDir("/d")
	if got := outcomes(m, half, func(m *Mem) string { return text(m, "/d/f") }); got["none"] == 0 {
		t.Error("a directory without SyncDir of its parent always survives:", got)
	}
	m.SyncDir("/")
	if got := outcomes(m, half, func(m *Mem) string { return text(m, "/d/f") }); got["x"] != 400 {
		t.Error(got)
	}
}

func TestSizesAreLostByThemselves(t *testing.T) {
	m := disk(t)
	f := write(t, m, "/d/f", 0, "old")
	f.Sync()
	m.SyncDir("/d")
	f.Truncate(0)
	f.WriteAt([]byte("newer"), 0)
	got := outcomes(m, half, func(m *Mem) string { return text(m, "/d/f") })
	for _, want := range []string{"old", "new", "newer", "", "\x00\x00\x00\x00\x00"} {
		if got[want] == 0 {
			t.Errorf("%q never happens: %v", want, got)
		}
	}
	f.Sync()
	if got := outcomes(m, half, func(m *Mem) string { return text(m, "/d/f") }); got["newer"] != 400 {
		t.Error(got)
	}
}

func TestAKillTakesNothingButProtectsNothing(t *testing.T) {
	m := disk(t)
	write(t, m, "/d/f", 0, "x")
	k := m.Clone()
	if text(k, "/d/f") != "x" {
		t.Error("a kill took something")
	}
	if got := outcomes(k, Cut{}, func(m *Mem) string { return text(m, "/d/f") }); got["none"] != 400 {
		t.Error("a power cut after a kill finds things that nobody synced:", got)
	}
}

func TestWriteBackLeavesAnOlderVersion(t *testing.T) {
	m := disk(t)
	f := write(t, m, "/d/f", 0, "one")
	f.Sync()
	m.SyncDir("/d")
	f.WriteAt([]byte("two"), 0)
	m.WriteBack(rand.New(rand.NewPCG(1, 1)), Cut{Data: 1})
	f.WriteAt([]byte("tri"), 0)
	if text(m, "/d/f") != "tri" {
		t.Error("readers see the disk")
	}
	if got := outcomes(m, half, func(m *Mem) string { return text(m, "/d/f") }); got["two"] == 0 || got["tri"] == 0 || got["one"] != 0 {
		t.Error(got)
	}
}

// TestWhatIsSyncedSurvivesEverything plays random operations and cuts the power again and again: what was synced last is there.
func TestWhatIsSyncedSurvivesEverything(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		m := disk(t)
		want := map[string]string{}
		for range 3 {
			for range 30 {
				name := fmt.Sprintf("/d/%d", rng.IntN(3))
				f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
				if err != nil {
					t.Fatal(err)
				}
				delete(want, name)
				switch rng.IntN(7) {
				case 0:
					f.Truncate(rng.Int64N(3 * memPage))
				case 1:
					f.Zero(rng.Int64N(memPage), rng.Int64N(2*memPage))
				case 2:
					m.WriteBack(rng, AnyCut(rng))
				case 3:
					m.Remove(name)
				default:
					f.WriteAt(bytes.Repeat([]byte{byte(rng.IntN(255) + 1)}, rng.IntN(2*memPage)), rng.Int64N(2*memPage))
				}
				if rng.IntN(3) == 0 {
					f.Sync()
					m.SyncDir("/d")
					if b := text(m, name); b != "none" {
						want[name] = b
					}
				}
			}
			m = m.PowerCut(rng, AnyCut(rng))
			for name, b := range want {
				if text(m, name) != b {
					t.Fatalf("seed %d: %s lost what was synced", seed, name)
				}
			}
			if again := m.PowerCut(rng, AnyCut(rng)); text(again, "/d/0") != text(m, "/d/0") {
				t.Fatalf("seed %d: a second cut took what the first had left", seed)
			}
		}
	}
}

func TestAShortWriteWritesItsPart(t *testing.T) {
	m := disk(t)
	broken := errors.New("broken")
	fl := &Fault{FS: m, Before: func(op Op) error {
		if op.Kind == "write" {
			return &Short{N: 3, Err: broken}
		}
		return nil
	}}
	f, err := fl.OpenFile("/d/f", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteAt([]byte("hello"), 0); n != 3 || !errors.Is(err, broken) || text(m, "/d/f") != "hel" {
		t.Error(n, err, text(m, "/d/f"))
	}
}
