package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// abandon ends a store's goroutines as a kill would: nothing more is written.
func abandon(s *Store) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.settleWrites(nil)
	close(s.stop)
	s.wg.Wait()
	s.lock.Close()
}

// kill is the disk after the process was killed, and the store gone.
func kill(s *Store) *vfs.Mem {
	m := s.fs.(*vfs.Mem).Clone()
	abandon(s)
	return m
}

// tree is every file's content, for comparing.
func tree(t testing.TB, fsys vfs.FS, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			for k, v := range tree(t, fsys, name) {
				out[k] = v
			}
			continue
		}
		b, err := vfs.ReadFile(fsys, name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(b)
	}
	return out
}

func diffTrees(a, b map[string]string) []string {
	var out []string
	for k := range a {
		if _, ok := b[k]; !ok {
			out = append(out, "gone: "+k)
		} else if a[k] != b[k] {
			i := 0
			for i < len(a[k]) && i < len(b[k]) && a[k][i] == b[k][i] {
				i++
			}
			out = append(out, fmt.Sprintf("differs: %s at byte %d (lengths %d, %d)", k, i, len(a[k]), len(b[k])))
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			out = append(out, "new: "+k)
		}
	}
	sort.Strings(out)
	return out
}

func wantWhole(t testing.TB, s *Store) {
	t.Helper()
	if wrong := s.Check(); len(wrong) > 0 {
		t.Fatalf("check:\n%s", strings.Join(wrong, "\n"))
	}
}

// filled is a store with records of many sizes over several topics and segments, and what each queue holds.
func filled(t testing.TB, fsys vfs.FS, o Options, n int) (*Store, map[string][]string) {
	s := mustOpen(t, fsys, o)
	want := map[string][]string{}
	for i := range n {
		topic, q := fmt.Sprint("T", i%3), int32(i%2)
		body := fmt.Sprint(i, strings.Repeat("y", i%97))
		mustAppend(t, s, msg(topic, q, body, "UNIQ_KEY", fmt.Sprint("u", i), "KEYS", fmt.Sprintf("a%d b%d", i%5, i), "TAGS", fmt.Sprint("t", i%4)))
		key := fmt.Sprint(topic, "/", q)
		want[key] = append(want[key], body)
	}
	return s, want
}

func wantQueues(t testing.TB, s *Store, want map[string][]string) {
	t.Helper()
	for key, list := range want {
		topic, q, _ := strings.Cut(key, "/")
		if got := bodies(t, s, topic, int32(q[0]-'0')); fmt.Sprint(got) != fmt.Sprint(list) {
			t.Fatalf("%s: got %d, want %d\n%v\n%v", key, len(got), len(list), got, list)
		}
	}
}

func TestKillLosesNothingAndRecoveryIsIdempotent(t *testing.T) {
	for _, before := range []string{"nothing saved", "queues saved", "checkpoint halfway"} {
		t.Run(before, func(t *testing.T) {
			o := small("/store")
			s, want := filled(t, vfs.NewMem(), o, 100)
			switch before {
			case "queues saved":
				if err := s.table.Save(0, false); err != nil {
					t.Fatal(err)
				}
				if err := s.index.Save(false); err != nil {
					t.Fatal(err)
				}
			case "checkpoint halfway":
				if err := s.Checkpoint(); err != nil {
					t.Fatal(err)
				}
				for i := range 50 {
					mustAppend(t, s, msg("T9", 0, fmt.Sprint(i), "UNIQ_KEY", fmt.Sprint("v", i)))
					want["T9/0"] = append(want["T9/0"], fmt.Sprint(i))
				}
			}
			end := s.MaxPhysical()
			m := kill(s)
			s2 := mustOpen(t, m, o)
			wantWhole(t, s2)
			wantQueues(t, s2, want)
			if s2.MaxPhysical() != end {
				t.Fatalf("end %d, want %d", s2.MaxPhysical(), end)
			}
			for i := range 100 {
				r, err := s2.Query(fmt.Sprint("T", i%3), fmt.Sprint("u", i), 10, 0, 1<<60)
				if err != nil || len(r.Messages) != 1 {
					t.Fatalf("key u%d: %d messages, %v", i, len(r.Messages), err)
				}
			}
			m2 := kill(s2)
			first := tree(t, m2, "/store")
			s3 := mustOpen(t, m2, o)
			wantWhole(t, s3)
			if d := diffTrees(first, tree(t, kill(s3), "/store")); d != nil {
				t.Fatalf("second recovery changed:\n%s", strings.Join(d, "\n"))
			}
		})
	}
}

func TestTornTailAtEveryByteOfTheLastRecord(t *testing.T) {
	o := small("/store")
	s := mustOpen(t, vfs.NewMem(), o)
	mustAppend(t, s, msg("T", 0, "first", "UNIQ_KEY", "k1"))
	r := mustAppend(t, s, msg("T", 0, "last", "UNIQ_KEY", "k2"))
	if err := s.table.Save(0, false); err != nil {
		t.Fatal(err)
	}
	m := kill(s)
	name := filepath.Join(o.Dir, "commitlog", "00000000000000000000")
	for cut := r.PhysicalOffset; cut < r.NextOffset; cut++ {
		c := m.Clone()
		f, _ := c.OpenFile(name, os.O_RDWR, 0)
		f.Truncate(cut)
		f.Truncate(4096)
		s := mustOpen(t, c, o)
		wantWhole(t, s)
		if got := bodies(t, s, "T", 0); fmt.Sprint(got) != "[first]" || s.MaxPhysical() != r.PhysicalOffset {
			t.Fatalf("cut at %d: %v, end %d", cut, got, s.MaxPhysical())
		}
		if q, _ := s.Query("T", "k2", 9, 0, 1<<60); len(q.Messages) != 0 {
			t.Fatal("index knows a message that is gone")
		}
		if again := mustAppend(t, s, msg("T", 0, "again")); again.PhysicalOffset != r.PhysicalOffset || again.QueueOffset != 1 {
			t.Fatalf("cut at %d: %+v", cut, again)
		}
		wantWhole(t, s)
		mustClose(t, s)
	}
}

// TestStaleRecordsAreNotRevived: records behind a torn one must not come back once new ones of the same size fill the gap.
func TestStaleRecordsAreNotRevived(t *testing.T) {
	o := small("/store")
	s := mustOpen(t, vfs.NewMem(), o)
	for i := range 5 {
		mustAppend(t, s, msg("T", 0, fmt.Sprint("old", i)))
	}
	size := s.MaxPhysical() / 5
	m := kill(s)
	f, _ := m.OpenFile("/store/commitlog/00000000000000000000", os.O_RDWR, 0)
	f.WriteAt([]byte{0xff}, 2*size+88) // the third record is torn, two good ones follow that no flush had promised
	s = mustOpen(t, m, o)
	if got := bodies(t, s, "T", 0); fmt.Sprint(got) != "[old0 old1]" {
		t.Fatal(got)
	}
	mustAppend(t, s, msg("T", 0, "new2"))
	s = mustOpen(t, kill(s), o)
	defer mustClose(t, s)
	if got := bodies(t, s, "T", 0); fmt.Sprint(got) != "[old0 old1 new2]" {
		t.Fatal(got)
	}
	wantWhole(t, s)
	kept, err := m.ReadDir("/store/lost+found")
	if err != nil || len(kept) != 1 {
		t.Fatal("what was cut off was not kept:", kept, err)
	}
}

func TestDamageInsideTheLogIsSkippedNotTruncated(t *testing.T) {
	o := small("/store")
	s, want := filled(t, vfs.NewMem(), o, 100)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	m := kill(s)
	// The second record of the second segment is hurt. It belongs to some queue; all others stay.
	name := "/store/commitlog/00000000000000004096"
	b, _ := vfs.ReadFile(m, name)
	r1, n1, err := message.Decode(b, message.Options{})
	r2, _, err2 := message.Decode(b[n1:], message.Options{})
	if err != nil || err2 != nil {
		t.Fatal(r1, err, err2)
	}
	f, _ := m.OpenFile(name, os.O_RDWR, 0)
	f.WriteAt([]byte("damage"), int64(n1)+90)
	var corrupt atomic.Int32
	o.Events.OnCorrupt = func(what string, off int64) {
		if off == 4096+int64(n1) {
			corrupt.Add(1)
		}
	}
	s = mustOpen(t, m, o)
	key := fmt.Sprint(r2.Topic, "/", r2.QueueID)
	list := want[key]
	want[key] = append(append([]string(nil), list[:r2.QueueOffset]...), list[r2.QueueOffset+1:]...)
	wantQueues(t, s, want)
	if corrupt.Load() != 1 {
		t.Fatal("damage was not told", corrupt.Load())
	}
	if got := s.MaxOffset(r2.Topic, r2.QueueID); got != int64(len(list)) {
		t.Fatalf("offsets moved: %d, want %d", got, len(list))
	}
	mustClose(t, s)
	s = mustOpen(t, m, o)
	defer mustClose(t, s)
	wantQueues(t, s, want)
}

func TestPowerCutKeepsWhatWasFlushed(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 7))
		o := small("/store")
		m := vfs.NewMem()
		s := mustOpen(t, m, o)
		var acked []string
		flushed := 0
		n := 20 + rng.IntN(60)
		for i := range n {
			body := fmt.Sprint(i, strings.Repeat("z", rng.IntN(200)))
			mustAppend(t, s, msg("T", 0, body, "UNIQ_KEY", fmt.Sprint(i)))
			acked = append(acked, body)
			switch rng.IntN(8) {
			case 0:
				if err := s.Flush(); err != nil {
					t.Fatal(err)
				}
				flushed = i + 1
			case 1:
				if err := s.Checkpoint(); err != nil {
					t.Fatal(err)
				}
				flushed = i + 1
			case 2:
				s.table.Save(0, false)
				s.index.Save(false)
			}
		}
		after := m.CrashClone(rng, rng.Float64())
		abandon(s)
		s = mustOpen(t, after, o)
		got := bodies(t, s, "T", 0)
		if len(got) < flushed || fmt.Sprint(got[:flushed]) != fmt.Sprint(acked[:flushed]) || !within(got, acked) {
			t.Fatalf("seed %d: %d messages, %d were flushed, %d sent", seed, len(got), flushed, n)
		}
		for i, body := range acked {
			if !slices.Contains(got, body) {
				continue
			}
			if q, err := s.Query("T", fmt.Sprint(i), 9, 0, 1<<60); err != nil || len(q.Messages) != 1 {
				t.Fatalf("seed %d: key %d has %d messages, %v", seed, i, len(q.Messages), err)
			}
		}
		mustAppend(t, s, msg("T", 0, "on"))
		if len(got) == 0 || fmt.Sprint(got) == fmt.Sprint(acked[:len(got)]) { // else a hole is left, which Check shows
			wantWhole(t, s)
		}
		mustClose(t, s)
	}
}

// within tells whether part is all with some left out.
func within(part, all []string) bool {
	for _, x := range part {
		i := slices.Index(all, x)
		if i < 0 {
			return false
		}
		all = all[i+1:]
	}
	return true
}

func TestDeletedQueuesAndIndexAreRebuilt(t *testing.T) {
	o := small("/store")
	s, want := filled(t, vfs.NewMem(), o, 100)
	m := kill(s)
	m.RemoveAll("/store/consumequeue")
	m.RemoveAll("/store/index")
	m.Remove("/store/checkpoint")
	s = mustOpen(t, m, o)
	defer mustClose(t, s)
	wantWhole(t, s)
	wantQueues(t, s, want)
	if q, err := s.Query("T1", "u4", 9, 0, 1<<60); err != nil || len(q.Messages) != 1 {
		t.Fatal(len(q.Messages), err)
	}
}

func TestSecondOpenIsRefusedBeforeAnythingIsTouched(t *testing.T) {
	m := vfs.NewMem()
	s, _ := filled(t, m, small("/store"), 20)
	defer mustClose(t, s)
	ops := 0
	f := &vfs.Fault{FS: m, Before: func(op vfs.Op) error {
		if op.Kind != "mkdir" && op.Kind != "lock" {
			ops++
		}
		return nil
	}}
	if _, err := Open(f, small("/store")); !strings.Contains(fmt.Sprint(err), "in use") || ops > 0 {
		t.Fatal(err, ops)
	}
}

func TestWrongSegmentSizeIsExplained(t *testing.T) {
	m := vfs.NewMem()
	s, _ := filled(t, m, small("/store"), 20)
	mustClose(t, s)
	o := small("/store")
	o.SegmentSize = 8192
	_, err := Open(m, o)
	if err == nil || !strings.Contains(err.Error(), "mappedFileSizeCommitLog") || !strings.Contains(err.Error(), "4096 bytes") {
		t.Fatal(err)
	}
}

func TestShortLastSegmentIsGrown(t *testing.T) {
	m := vfs.NewMem()
	o := small("/store")
	s, want := filled(t, m, o, 20)
	m = kill(s)
	segs, _ := m.ReadDir("/store/commitlog")
	f, _ := m.OpenFile(fmt.Sprintf("/store/commitlog/%020d", 4096*len(segs)), os.O_RDWR|os.O_CREATE, 0o644)
	f.Close()
	s = mustOpen(t, m, o)
	defer mustClose(t, s)
	wantQueues(t, s, want)
}

func TestQueuesWithoutALogAreSetAside(t *testing.T) {
	m := vfs.NewMem()
	o := small("/store")
	s, _ := filled(t, m, o, 20)
	mustClose(t, s)
	m.RemoveAll("/store/commitlog")
	s = mustOpen(t, m, o)
	defer mustClose(t, s)
	if n := s.MaxOffset("T0", 0); n != 0 {
		t.Fatal(n)
	}
	if _, err := m.Stat("/store/lost+found/consumequeue"); err != nil {
		t.Fatal(err)
	}
}

// TestJavaCheckpointIsUnderstood: without our part of the checkpoint the scan starts where Java's would.
func TestJavaCheckpointIsUnderstood(t *testing.T) {
	for _, crashed := range []bool{false, true} {
		o := small("/store")
		clk := fakeClock()
		o.Clock = clk
		m := vfs.NewMem()
		s := mustOpen(t, m, o)
		for i := range 100 {
			mustAppend(t, s, msg("T", 0, fmt.Sprint(i, strings.Repeat("x", 50)), "UNIQ_KEY", fmt.Sprint(i)))
			clk.Advance(time.Second)
		}
		mustClose(t, s)
		f, _ := m.OpenFile("/store/checkpoint", os.O_RDWR, 0)
		f.WriteAt(make([]byte, 2048+1024), markAt)
		if crashed {
			f, _ := m.OpenFile("/store/abort", os.O_RDWR|os.O_CREATE, 0o644)
			f.Close()
		}
		var total int64
		o.Progress = func(done, _ int64) { total = done }
		s = mustOpen(t, m, o)
		wantWhole(t, s)
		if n := s.MaxOffset("T", 0); n != 100 {
			t.Fatal(crashed, n)
		}
		if total == 0 || total >= s.MaxPhysical()/2+4096 {
			t.Fatalf("crashed %v: scanned %d of %d", crashed, total, s.MaxPhysical())
		}
		if q, _ := s.Query("T", "99", 9, 0, 1<<60); len(q.Messages) != 1 {
			t.Fatal(crashed, len(q.Messages))
		}
		mustClose(t, s)
	}
}
