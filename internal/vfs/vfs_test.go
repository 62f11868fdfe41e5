package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// each runs f on the real file system and on Mem: they must agree.
func each(t *testing.T, f func(t *testing.T, fsys FS, dir string)) {
	t.Run("os", func(t *testing.T) { f(t, OS, t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := NewMem()
		if err := m.MkdirAll("/d", 0o755); err != nil {
			t.Fatal(err)
		}
		f(t, m, "/d")
	})
}

func TestFilesReadBackWhatWasWritten(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(10000); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("hello"), 4094); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 9)
		if _, err := f.ReadAt(b, 4092); err != nil || string(b) != "\x00\x00hello\x00\x00" {
			t.Fatalf("%q %v", b, err)
		}
		if n, err := f.ReadAt(b, 9995); n != 5 || !errors.Is(err, io.EOF) {
			t.Fatalf("short read: %d %v", n, err)
		}
		if err := f.Truncate(4095); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(10000); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(b, 4092); err != nil || string(b) != "\x00\x00h\x00\x00\x00\x00\x00\x00" {
			t.Fatalf("after cutting: %q %v", b, err)
		}
	})
}

func TestZeroKeepsLengthAndNeighbours(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		f, err := fsys.OpenFile(filepath.Join(dir, "f"), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		want := bytes.Repeat([]byte("x"), 20000)
		f.WriteAt(want, 0)
		clear(want[3000:17000])
		if err := f.Zero(3000, 14000); err != nil {
			t.Fatal(err)
		}
		got, err := ReadFile(fsys, f.Name())
		if err != nil || !bytes.Equal(got, want) {
			t.Fatal(len(got), err)
		}
	})
}

func TestMissingFilesSayNotExist(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "none", "f")
		_, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Error("open:", err)
		}
		if _, err = fsys.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Error("stat:", err)
		}
		if err = fsys.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			t.Error("remove:", err)
		}
	})
}

func TestOneLockAtATime(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "lock")
		l, err := fsys.Lock(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fsys.Lock(name); !errors.Is(err, ErrLocked) {
			t.Fatal("second lock:", err)
		}
		l.Close()
		l, err = fsys.Lock(name)
		if err != nil {
			t.Fatal("after unlock:", err)
		}
		l.Close()
	})
}

func TestWriteFileAtomicKeepsThePrevious(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "topics.json")
		for _, text := range []string{"one", "two", "three"} {
			if err := WriteFileAtomic(fsys, name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		now, err := ReadFile(fsys, name)
		bak, err2 := ReadFile(fsys, name+".bak")
		if string(now) != "three" || string(bak) != "two" || err != nil || err2 != nil {
			t.Fatalf("%q %q %v %v", now, bak, err, err2)
		}
	})
}

// TestWriteFileAtomicSurvivesAPowerCutAnywhere cuts the power before each operation in turn: old or new, never neither.
func TestWriteFileAtomicSurvivesAPowerCutAnywhere(t *testing.T) {
	cut := errors.New("cut")
	for stop := 0; ; stop++ {
		m := NewMem()
		MakeDirs(m, "/d", 0o755)
		if err := WriteFileAtomic(m, "/d/f", []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
		n := 0
		f := &Fault{FS: m, Before: func(Op) error {
			if n++; n > stop {
				return cut
			}
			return nil
		}}
		err := WriteFileAtomic(f, "/d/f", []byte("new"), 0o644)
		for seed := range uint64(8) {
			after := m.CrashClone(rand.New(rand.NewPCG(seed, 1)), 0.5)
			b, rerr := ReadFile(after, "/d/f")
			if rerr != nil || !bytes.Equal(b, []byte("old")) && !bytes.Equal(b, []byte("new")) {
				t.Fatalf("cut before operation %d, seed %d: %q %v", stop, seed, b, rerr)
			}
		}
		if err == nil {
			b, _ := ReadFile(m.CrashClone(nil, 0), "/d/f")
			if string(b) != "new" {
				t.Fatalf("acknowledged content lost: %q", b)
			}
			return
		}
	}
}

func TestCrashCloneLosesWhatWasNotSynced(t *testing.T) {
	m := NewMem()
	m.MkdirAll("/d", 0o755)
	m.SyncDir("/")
	f, _ := m.OpenFile("/d/f", os.O_RDWR|os.O_CREATE, 0o644)
	f.WriteAt([]byte("kept"), 0)
	f.Sync()
	m.SyncDir("/d")
	f.WriteAt([]byte("lost"), 8192)
	b, err := ReadFile(m.CrashClone(nil, 0), "/d/f")
	if err != nil || string(b) != "kept" {
		t.Fatalf("%q %v", b, err)
	}
	if b, _ := ReadFile(m.Clone(), "/d/f"); len(b) != 8196 {
		t.Fatalf("a killed process loses nothing, got %d bytes", len(b))
	}
}

func TestFullDiskRefusesWritesAndSaysSo(t *testing.T) {
	m := NewMem()
	m.SetTotal(2 * memPage)
	m.MkdirAll("/d", 0o755)
	f, _ := m.OpenFile("/d/f", os.O_RDWR|os.O_CREATE, 0o644)
	n, err := f.WriteAt(make([]byte, 3*memPage), 0)
	if n != 2*memPage || !IsNoSpace(err) {
		t.Fatal(n, err)
	}
	if _, free, _ := m.DiskUsage("/"); free != 0 {
		t.Fatal("free", free)
	}
	f.Truncate(0)
	if _, free, _ := m.DiskUsage("/"); free != 2*memPage {
		t.Fatal("free after truncation", free)
	}
}

func TestDiskUsageOfTheRealDisk(t *testing.T) {
	total, free, err := OS.DiskUsage(t.TempDir())
	if err != nil || total <= 0 || free > total {
		t.Fatal(total, free, err)
	}
}
