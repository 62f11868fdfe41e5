package raftgroup

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"rmqctl/internal/vfs"
)

const testPer = 8 // records per file

func testIndex(t *testing.T, fsys vfs.FS, b base) *index {
	t.Helper()
	ix, err := openIndex(fsys, "/r/index", testPer, b)
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

// fill appends n entries of 10 bytes each.
func fill(t *testing.T, ix *index, n int, term uint64) {
	t.Helper()
	for range n {
		if err := ix.append([]entry{{term: term, from: ix.end(), length: 10, crc: uint32(ix.last)}}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheIndexReadsBackWhatWasAppended(t *testing.T) {
	m := vfs.NewMem()
	b := base{Index: 5, Term: 1, Physical: 100}
	ix := testIndex(t, m, b)
	fill(t, ix, 50, 2)
	for range 2 {
		if ix.last != 55 || ix.end() != 600 || ix.lastTerm() != 2 {
			t.Fatalf("last %d end %d term %d", ix.last, ix.end(), ix.lastTerm())
		}
		for i := uint64(6); i <= 55; i++ {
			if e, err := ix.get(i); err != nil || e.from != 100+int64(i-6)*10 || e.crc != uint32(i-1) {
				t.Fatalf("entry %d: %+v %v", i, e, err)
			}
		}
		if i, err := ix.find(333); err != nil || i != 30 {
			t.Fatalf("find 333: %d %v", i, err)
		}
		ix.close()
		ix = testIndex(t, m.Clone(), b)
	}
	if _, err := ix.get(5); err == nil {
		t.Fatal("the base is no entry")
	}
}

// TestATornEndIsCutAtEachByte: whatever part of the newest file is there, the records before it are, and nothing else.
func TestATornEndIsCutAtEachByte(t *testing.T) {
	m := vfs.NewMem()
	ix := testIndex(t, m, base{Index: 1, Term: 1})
	fill(t, ix, 12, 1) // entries 2 to 13: 6 in file 0, 6 in file 1
	name := ix.name(1)
	ix.close()
	whole, err := vfs.ReadFile(m, name)
	if err != nil || len(whole) != 7*recordSize {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	for n := range len(whole) {
		for _, damage := range []bool{false, true} {
			c := m.Clone()
			f, err := c.OpenFile(name, 2, 0)
			if err != nil {
				t.Fatal(err)
			}
			if damage {
				_, err = f.WriteAt([]byte{whole[n] ^ 0x40}, int64(n))
			} else {
				err = f.Truncate(int64(n))
			}
			if err != nil {
				t.Fatal(err)
			}
			ix := testIndex(t, c, base{Index: 1, Term: 1})
			want := uint64(7)
			if n >= recordSize {
				want += uint64(n/recordSize - 1)
			}
			if ix.last != want {
				t.Fatalf("byte %d, damage %v: the index ends at %d, want %d", n, damage, ix.last, want)
			}
			fill(t, ix, 10, 3)
			if ix.last != want+10 {
				t.Fatalf("byte %d: it does not go on", n)
			}
			ix.close()
		}
	}
}

func TestDamageInAnOlderFileIsSaid(t *testing.T) {
	m := vfs.NewMem()
	ix := testIndex(t, m, base{Index: 1, Term: 1})
	fill(t, ix, 30, 1)
	name := ix.name(1)
	ix.close()
	f, err := m.OpenFile(name, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("x"), 3*recordSize+5); err != nil {
		t.Fatal(err)
	}
	if _, err := openIndex(m, "/r/index", testPer, base{Index: 1, Term: 1}); err == nil {
		t.Fatal("entries in the middle are gone and nobody said so")
	}
}

// TestACutIsDurableAndOldRecordsNeverComeBack cuts at each entry, appends others, loses power, and looks.
func TestACutIsDurableAndOldRecordsNeverComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for cut := uint64(2); cut <= 31; cut++ {
		m := vfs.NewMem()
		ix := testIndex(t, m, base{Index: 1, Term: 1})
		fill(t, ix, 30, 1)
		if err := ix.sync(); err != nil {
			t.Fatal(err)
		}
		if err := ix.truncate(cut); err != nil {
			t.Fatal(err)
		}
		fill(t, ix, 3, 2)
		dark := m.PowerCut(rng, vfs.AnyCut(rng))
		again := testIndex(t, dark, base{Index: 1, Term: 1})
		for i := cut; i <= again.last; i++ {
			if e, err := again.get(i); err != nil || e.term != 2 {
				t.Fatalf("cut at %d: entry %d is %+v, %v", cut, i, e, err)
			}
		}
		if again.last < cut-1 {
			t.Fatalf("cut at %d: it ends at %d, though all before was synced", cut, again.last)
		}
		for i := uint64(2); i < cut; i++ {
			if e, err := again.get(i); err != nil || e.term != 1 {
				t.Fatalf("cut at %d: entry %d is %+v, %v", cut, i, e, err)
			}
		}
	}
}

func TestTheBeginningMovesUpAndFilesGo(t *testing.T) {
	m := vfs.NewMem()
	ix := testIndex(t, m, base{Index: 1, Term: 1})
	fill(t, ix, 40, 1)
	b := base{Index: 20, Term: 1, Physical: 190}
	if err := ix.begin(b); err != nil {
		t.Fatal(err)
	}
	if n, err := ix.list(); err != nil || !slices.Equal(n, []uint64{2, 3, 4, 5}) {
		t.Fatalf("files %v %v", n, err)
	}
	fill(t, ix, 5, 2)
	again := testIndex(t, m.Clone(), b)
	if again.last != 46 || again.end() != ix.end() {
		t.Fatalf("last %d end %d", again.last, again.end())
	}
	if e, err := again.get(21); err != nil || e.from != 190 {
		t.Fatalf("%+v %v", e, err)
	}
}

func TestCommittedEndReadsWithoutOpening(t *testing.T) {
	m := vfs.NewMem()
	b := base{Index: 1, Term: 1}
	ix := testIndex(t, m, b)
	fill(t, ix, 30, 1)
	for _, c := range []struct {
		i    uint64
		want int64
	}{{1, 0}, {2, 10}, {7, 60}, {8, 70}, {31, 300}, {99, 300}} {
		if end, err := committedEnd(m, "/r/index", b, c.i); err != nil || end != c.want {
			t.Errorf("entry %d ends at %d, %v; want %d", c.i, end, err, c.want)
		}
	}
}

func TestTheVoteSurvivesATornSecondWrite(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 200 {
		m := vfs.NewMem()
		if err := vfs.MakeDirs(m, "/r", 0o755); err != nil {
			t.Fatal(err)
		}
		v, err := openVote(m, "/r", true)
		if err != nil {
			t.Fatal(err)
		}
		durable := pb.HardState{}
		for i := range uint64(1 + rng.IntN(6)) {
			h := pb.HardState{Term: i + 1, Vote: 2, Commit: i}
			sync := rng.IntN(2) == 0
			if err := v.write(h, sync); err != nil {
				t.Fatal(err)
			}
			if sync {
				durable = h
			}
		}
		again, err := openVote(m.PowerCut(rng, vfs.AnyCut(rng)), "/r", false)
		if err != nil || again.now.Term < durable.Term {
			t.Fatalf("%+v after %+v was synced: %v", again, durable, err)
		}
	}
	if _, err := openVote(vfs.NewMem(), "/r", false); err == nil {
		t.Fatal("a vote that is gone beside a group is damage")
	}
}

func TestPeersAreReadAsJavaReadsThem(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"n0-127.0.0.1:40911;n1-127.0.0.1:40912", "[{1 127.0.0.1:40911} {2 127.0.0.1:40912}]"},
		{" n2-host-with-dashes:1; ", "[{3 host-with-dashes:1}]"},
		{"n0-[::1]:5", "[{1 [::1]:5}]"},
		{"n0-fe80::1:5", "[{1 [fe80::1]:5}]"},
	} {
		if got, err := ParsePeers(c.in); err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%q: %v, %v; want %s", c.in, got, err, c.want)
		}
	}
	for _, bad := range []string{"", ";", "n0", "x0-h:1", "n0-h", "n0-h:0", "n0-h:x", "n00-h:1", "n0-:1", "n0-h:1;n0-i:1", "n0-h:1;n1-h:1"} {
		if got, err := ParsePeers(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
