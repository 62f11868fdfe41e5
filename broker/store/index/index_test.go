package index

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"rmqctl/internal/vfs"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)

// java is a file as a Java broker writes it: every entry is linked when it is put.
type java struct {
	slots, entries int32
	b              []byte
	h              header
}

func newJava(slots, entries int32) *java {
	return &java{slots, entries, make([]byte, headerSize+slots*slotSize+entries*entrySize), header{next: 1}}
}

func (j *java) put(p Put) {
	if j.h.next == 1 {
		j.h.beginTime, j.h.beginPhys = p.At, p.Phys
	}
	slot := j.b[headerSize+p.Hash%j.slots*slotSize:]
	prev := int32(be.Uint32(slot))
	copy(j.b[headerSize+j.slots*slotSize+j.h.next*entrySize:], appendEntry(nil, entry{p.Hash, p.Phys, seconds(j.h.beginTime, p.At), prev}))
	be.PutUint32(slot, uint32(j.h.next))
	if prev == 0 {
		j.h.slots++
	}
	j.h.next++
	j.h.endTime, j.h.endPhys = p.At, p.Phys
	copy(j.b, j.h.encode())
}

func mustIndex(t *testing.T, fsys vfs.FS, slots, entries int32) *Index {
	t.Helper()
	x, aside, err := Open(fsys, "/index", slots, entries)
	if err != nil || len(aside) > 0 {
		t.Fatal(aside, err)
	}
	return x
}

func content(t *testing.T, fsys vfs.FS, x *Index, i int) []byte {
	t.Helper()
	b, err := vfs.ReadFile(fsys, filepath.Join("/index", x.files[i].name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFilesAreThoseOfAJavaBrokerWheneverTheyAreSaved(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 0))
		slots, entries := int32(1+rng.IntN(3000)), int32(2+rng.IntN(4000))
		m := vfs.NewMem()
		failing := 0
		fsys := &vfs.Fault{FS: m, Before: func(op vfs.Op) error {
			if failing > 0 && op.Kind == "write" {
				if failing--; failing == 0 {
					return errors.New("boom")
				}
			}
			return nil
		}}
		x := mustIndex(t, fsys, slots, entries)
		files := []*java{}
		var all []Put
		phys := int64(0)
		for range 1 + rng.IntN(20) {
			run := make([]Put, rng.IntN(600))
			for i := range run {
				phys += int64(100 + rng.IntN(100))
				run[i] = Put{Hash: rng.Int32N(5000), Phys: phys, At: start.UnixMilli() + phys}
			}
			if err := x.PutRun(run, func() time.Time { return start }); err != nil {
				t.Fatal(err)
			}
			for _, p := range run {
				if n := len(files); n == 0 || files[n-1].h.next >= entries {
					files = append(files, newJava(slots, entries))
				}
				files[len(files)-1].put(p)
			}
			all = append(all, run...)
			if rng.IntN(2) == 0 {
				failing = rng.IntN(2) * (1 + rng.IntN(5))
				err := x.Save(rng.IntN(2) == 0)
				if failing = 0; err != nil && err.Error() == "" {
					t.Fatal(err)
				}
			}
			compareFind(t, x, all, rng.Int32N(5000))
		}
		if err := x.Save(true); err != nil {
			t.Fatal(err)
		}
		for i, want := range files {
			if got := content(t, m, x, i); !bytes.Equal(got, want.b) {
				t.Fatalf("seed %d: file %d of %d differs", seed, i, len(files))
			}
		}
		compareFind(t, x, all, rng.Int32N(5000))
	}
}

func compareFind(t *testing.T, x *Index, all []Put, hash int32) {
	t.Helper()
	var want, got []int64
	for _, p := range slices.Backward(all) {
		if p.Hash == hash {
			want = append(want, p.Phys)
		}
	}
	if err := x.Find(hash, 0, 1<<60, func(phys int64) bool { got = append(got, phys); return true }); err != nil || !slices.Equal(got, want) {
		t.Fatalf("hash %d: %v %v, want %v", hash, got, err, want)
	}
}

func TestRepairMakesSlotsAndLinksFromTheEntriesThatAreLeft(t *testing.T) {
	m := vfs.NewMem()
	x := mustIndex(t, m, 1000, 5000)
	want := newJava(1000, 5000)
	var run []Put
	for i := range int64(4000) {
		run = append(run, Put{Hash: int32(i * 7919 % 3001), Phys: i*100 + 50, At: start.UnixMilli() + i})
	}
	if err := errors.Join(x.PutRun(run, func() time.Time { return start }), x.Save(true)); err != nil {
		t.Fatal(err)
	}
	for _, p := range run[:3900] {
		want.put(p)
	}
	f, err := m.OpenFile(filepath.Join("/index", x.files[0].name), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int32{1, 1500, 3276, 3277, 3899} { // links that did not reach the disk, in more than one block
		if _, err := f.WriteAt([]byte{0, 0, 0x77, 0x77}, x.entryAt(n)+16); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	x = mustIndex(t, m, 1000, 5000)
	for range 2 {
		if err := errors.Join(x.Repair(390000), x.Save(true)); err != nil {
			t.Fatal(err)
		}
		got := content(t, m, x, 0)
		if keep := headerSize + 1000*slotSize + 3901*entrySize; !bytes.Equal(got[headerSize:keep], want.b[headerSize:keep]) || fmt.Sprint(x.files[0].h.next) != "3901" {
			t.Fatalf("differs, next %d", x.files[0].h.next)
		}
	}
}

func BenchmarkPutAndSave(b *testing.B) {
	x, _, err := Open(vfs.OS, b.TempDir(), 5000000, 20000000)
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	run := make([]Put, 100)
	n := int64(0)
	for b.Loop() {
		for i := range run {
			n++
			run[i] = Put{Hash: int32(uint64(n) * 2654435761 >> 1 & 0x7fffffff), Phys: n * 1000, At: start.UnixMilli()}
		}
		if err := x.PutRun(run, time.Now); err != nil {
			b.Fatal(err)
		}
		if n%200000 == 0 {
			if err := x.Save(false); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/entry")
}
