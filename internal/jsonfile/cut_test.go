package jsonfile

// The file under power cuts, kills and damage: it always loads, with a text that was saved, and with none older than the last
// save that was done.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/vfs"
)

const file = "/c/t.json"

// value is the number in a text like {"n":17,...}; the filling makes texts of one number of one length.
func textOf(n int) []byte {
	return []byte(fmt.Sprintf(`{"n":%d,"filling":"%s"}`, n, strings.Repeat(strconv.Itoa(n%10), 400+n%3*300)))
}

func valueOf(text []byte) (n int, err error) {
	compact := strings.NewReplacer("\n", "", "\t", "").Replace(string(text))
	if _, err := fmt.Sscanf(compact, `{"n":%d,`, &n); err != nil {
		return 0, err
	}
	if compact != string(textOf(n)) {
		return 0, errors.New("not a text that was saved")
	}
	return n, nil
}

func load(t *testing.T, fsys vfs.FS) (n int, found bool, err error) {
	found, err = Load(fsys, file, func(b []byte) (err error) {
		n, err = valueOf(b)
		return err
	})
	return n, found, err
}

func newDisk() *vfs.Mem {
	m := vfs.NewMem()
	vfs.MakeDirs(m, "/c", 0o755)
	tick := int64(0)
	m.Now = func() time.Time { tick++; return time.Unix(0, tick) }
	return m
}

func TestEverySaveSurvivesCutsAtAnyMoment(t *testing.T) {
	off := errors.New("the power is off")
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 5))
		disk := newDisk()
		saved, tried := 0, 0
		for range 1 + rng.IntN(4) {
			n, at := 0, 1+rng.IntN(60)
			cut := func(vfs.Op) error {
				if n++; n > at {
					return off
				}
				if rng.IntN(8) == 0 {
					disk.WriteBack(rng, vfs.AnyCut(rng))
				}
				return nil
			}
			fs := &vfs.Fault{FS: disk, Before: cut}
			got, found, err := load(t, disk)
			if err != nil || found && (got < saved || got > tried) || !found && saved > 0 {
				t.Fatalf("seed %d: loaded %d (%v, %v), saved %d, tried %d", seed, got, found, err, saved, tried)
			}
			for n <= at {
				tried++
				if Save(fs, file, textOf(tried)) == nil {
					saved = tried
				}
			}
			if rng.IntN(3) == 0 {
				disk = disk.Clone()
			} else {
				disk = disk.PowerCut(rng, vfs.AnyCut(rng))
			}
		}
	}
}

// TestADamagedTextIsPassedOver: the generation before is taken, Doubts says so, and the next save does not spoil what is good.
func TestADamagedTextIsPassedOver(t *testing.T) {
	harms := map[string]func(b []byte) []byte{
		"a flipped bit":        func(b []byte) []byte { b[6] ^= 1; return b },
		"a flipped bit behind": func(b []byte) []byte { b[len(b)-40] ^= 1; return b },
		"a zeroed sector":      func(b []byte) []byte { clear(b[:min(512, len(b))]); return b },
		"nothing":              func(b []byte) []byte { return nil },
	}
	for name, harm := range harms {
		for depth, files := range [][]string{{file}, {file, file + ".bak"}} {
			m := newDisk()
			for n := range 5 {
				if err := Save(m, file, textOf(n)); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range files {
				spoil(t, m, f, harm)
			}
			want := 3 - depth
			if n, found, err := load(t, m); n != want || !found || err != nil {
				t.Errorf("%s in %d files: loaded %d, %v, want %d", name, depth+1, n, err, want)
			}
			doubts := Doubts(m, file, func(b []byte) error { _, err := valueOf(b); return err })
			if len(doubts) != depth+1 || !strings.Contains(doubts[0].Error(), file) {
				t.Errorf("%s: doubts %v", name, doubts)
			}
			if err := Save(m, file, textOf(9)); err != nil {
				t.Fatal(err)
			}
			spoil(t, m, file, harm)
			if n, _, err := load(t, m); err != nil || n > 3 {
				t.Errorf("%s, saved and hurt again: loaded %d, %v", name, n, err)
			}
		}
	}
}

// spoil changes bytes below the file system: neither time nor, unless harm does, size change.
func spoil(t *testing.T, m *vfs.Mem, name string, harm func([]byte) []byte) {
	t.Helper()
	info, err := m.Stat(name)
	b, err2 := vfs.ReadFile(m, name)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	f, _ := m.OpenFile(name, os.O_RDWR|os.O_TRUNC, 0)
	f.WriteAt(harm(b), 0)
	m.SetModTime(name, info.ModTime())
}

// TestWhatAJavaBrokerWroteIsTaken: it knows nothing of checksums, and moves our text to .bak.
func TestWhatAJavaBrokerWroteIsTaken(t *testing.T) {
	m := newDisk()
	for n := range 3 {
		if err := Save(m, file, textOf(n)); err != nil {
			t.Fatal(err)
		}
	}
	java := func(n int) {
		old, _ := vfs.ReadFile(m, file)
		plain(t, m, file+".bak", old)
		m.Remove(file)
		plain(t, m, file+".tmp", textOf(n))
		m.Rename(file+".tmp", file)
	}
	for _, n := range []int{12, 15} { // 12 and 2 have one length
		java(n)
		if got, _, err := load(t, m); got != n || err != nil {
			t.Fatal(n, got, err)
		}
	}
	m.Remove(file) // the window without a main file
	if got, _, err := load(t, m); got != 12 || err != nil {
		t.Fatal(got, err)
	}
	java(16)
	if err := Save(m, file, textOf(17)); err != nil {
		t.Fatal(err)
	}
	spoil(t, m, file, func(b []byte) []byte { b[6] ^= 1; return b })
	if got, _, err := load(t, m); got != 16 || err != nil {
		t.Fatal("the text before ours was Java's:", got, err)
	}
}

func plain(t *testing.T, m *vfs.Mem, name string, text []byte) {
	t.Helper()
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(text, 0); err != nil {
		t.Fatal(err)
	}
}
