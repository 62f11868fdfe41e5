package torture

// RocketMQ's own losses, each as the story that once led to it. The number is the issue's.

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rmqctl/broker/offset"
	"rmqctl/broker/store"
	"rmqctl/internal/vfs"
)

// quiet is a world whose disk never fails by itself, with small segments.
func quiet(t *testing.T, sync bool) *world {
	t.Helper()
	w := newWorld(3, nil)
	w.sync, w.await = sync, false
	w.o.SegmentSize, w.o.QueueSegmentSize, w.o.IndexEntries, w.o.Tunables.SyncFlush = 4096, 400, 40, sync
	w.start(t)
	return w
}

func (w *world) start(t *testing.T) {
	t.Helper()
	w.plug(0)
	w.p.restful, w.p.peek = 0, nil
	var err error
	if w.s, err = store.Open(w.p.fs, w.o); err != nil {
		t.Fatal(err)
	}
	if err := w.s.Start(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) must(t *testing.T, steps ...func() error) {
	t.Helper()
	for _, step := range steps {
		if err := step(); err != nil {
			w.end()
			t.Fatal(err)
		}
	}
}

// kill and cut end the store and start it again on what is left.
func (w *world) kill(t *testing.T) {
	t.Helper()
	w.end()
	w.firstSeg, w.powerCut, w.disk = w.seenFirst(), false, w.disk.Clone()
	w.start(t)
}

func (w *world) cut(t *testing.T, c vfs.Cut) {
	t.Helper()
	w.end()
	w.firstSeg, w.powerCut, w.disk = w.seenFirst(), true, w.disk.PowerCut(w.rng, c)
	w.start(t)
}

func (w *world) put(t *testing.T, n int) {
	t.Helper()
	for range n {
		w.must(t, w.produce)
	}
}

func Test467And1434MessagesReachTheirQueueThoughTheLogRolledBeforeTheKill(t *testing.T) {
	for _, saved := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := quiet(t, false)
			w.put(t, 5)
			if saved {
				w.must(t, w.s.Checkpoint)
			}
			w.put(t, 60) // several segments; no unit of these is in a file
			if w.s.MaxPhysical() < 3*w.o.SegmentSize {
				t.Fatal("the log did not roll")
			}
			w.kill(t)
			w.must(t, w.verify)
			w.end()
		})
	}
}

func Test6703NothingIsConfirmedBeyondTheEndOfTheLog(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			w := quiet(t, false)
			w.rng = rand.New(rand.NewPCG(seed, 1))
			w.put(t, 10)
			w.must(t, w.s.Flush)
			w.put(t, 20)
			w.cut(t, vfs.Cut{Data: 0.5, Size: 0.5, Names: 0.5})
			if w.s.FlushedPhysical() > w.s.MaxPhysical() {
				t.Fatalf("flushed %d, end %d", w.s.FlushedPhysical(), w.s.MaxPhysical())
			}
			w.must(t, w.verify, w.produce, w.content)
			w.end()
		})
	}
}

// Test8239AReaderSeesOnlyWhatIsOnTheDisk looks while the log is being synced, and cuts the power right there.
func Test8239AReaderSeesOnlyWhatIsOnTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := quiet(t, true)
		w.put(t, 20)
		was := map[string]int64{}
		for _, topic := range w.s.Topics() {
			for _, q := range w.s.Queues(topic) {
				was[fmt.Sprint(topic, q)] = w.s.MaxOffset(topic, q)
			}
		}
		looked := 0
		w.p.edges = func(_ int, op vfs.Op, when moment) {
			if op.Kind != "sync" || !strings.Contains(op.Name, "/commitlog/0") || when != before {
				return
			}
			looked++
			for _, topic := range w.s.Topics() {
				for _, q := range w.s.Queues(topic) {
					if at, ok := was[fmt.Sprint(topic, q)]; ok && w.s.MaxOffset(topic, q) != at {
						t.Errorf("%s/%d shows %d before the flush, was %d", topic, q, w.s.MaxOffset(topic, q), at)
					}
				}
			}
		}
		w.must(t, w.produce)
		if looked == 0 {
			t.Error("the log was not synced")
		}
		w.p.edges = nil
		w.must(t, w.consume, w.consume, w.consume)
		w.cut(t, vfs.Cut{})
		w.must(t, w.verify)
		w.end()
	})
}

func Test10666ATruncationIsForGood(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			w := quiet(t, seed%2 == 0)
			w.rng = rand.New(rand.NewPCG(seed, 2))
			w.put(t, 30)
			w.must(t, w.s.Checkpoint)
			w.put(t, w.rng.IntN(10))
			from := w.all[10+w.rng.IntN(len(w.all)-10)]
			w.must(t, func() error { return w.truncateAt(from) })
			for range 3 {
				w.cut(t, vfs.AnyCut(w.rng))
				w.must(t, w.verify)
				w.flushed = w.s.FlushedPhysical()
				w.put(t, w.rng.IntN(3))
				w.must(t, w.s.Checkpoint)
			}
			w.end()
		})
	}
}

func Test7689NoTwoMessagesAtOneOffset(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			w := quiet(t, false)
			w.rng = rand.New(rand.NewPCG(seed, 4))
			for range 4 {
				w.put(t, 10)
				w.cut(t, vfs.AnyCut(w.rng))
				w.must(t, w.verify) // what is gone is forgotten, so its offsets may be given again; all others may not
				w.flushed = w.s.FlushedPhysical()
			}
			w.end()
		})
	}
}

// Test8007And10108EveryMessageIsFoundByKeyAfterACrash, however little of the index was saved, and with index files rolled.
func Test8007And10108EveryMessageIsFoundByKeyAfterACrash(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			w := quiet(t, true)
			w.rng = rand.New(rand.NewPCG(seed, 5))
			for range 3 {
				w.put(t, 20)
				time.Sleep(time.Duration(w.rng.IntN(9)) * time.Second)
				w.put(t, 10)
				w.cut(t, vfs.AnyCut(w.rng))
				for _, x := range w.all {
					w.must(t, func() error { return w.find(x) })
				}
			}
			if entries, _ := w.disk.ReadDir(filepath.Join(dir, "index")); len(entries) < 3 {
				t.Fatal("the index did not roll")
			}
			w.end()
		})
	}
}

// Test9705OffsetsLoadWhateverACutOrADamageLeaves: two of three generations may be lost.
func Test9705OffsetsLoadWhateverACutOrADamageLeaves(t *testing.T) {
	for _, harm := range []func([]byte) []byte{
		func(b []byte) []byte { return b[:len(b)/2] },
		func(b []byte) []byte { clear(b); return b },
		func(b []byte) []byte { return nil },
		func(b []byte) []byte { b[bytes.LastIndexByte(b, ':')+1] ^= 2; return b },
	} {
		m := vfs.NewMem()
		if err := vfs.MakeDirs(m, filepath.Dir(offsetFile), 0o755); err != nil {
			t.Fatal(err)
		}
		table := offset.New()
		for n := int64(1); n <= 5; n++ {
			table.Commit("g", "T", 0, n)
			if err := table.Save(m, offsetFile); err != nil {
				t.Fatal(err)
			}
		}
		for k, name := range []string{offsetFile, offsetFile + ".bak"} {
			info, _ := m.Stat(name)
			b, err := vfs.ReadFile(m, name)
			if err != nil {
				t.Fatal(err)
			}
			f, _ := m.OpenFile(name, os.O_RDWR|os.O_TRUNC, 0)
			f.WriteAt(harm(b), 0)
			m.SetModTime(name, info.ModTime())
			back := offset.New()
			if err := back.Load(m, offsetFile); err != nil {
				t.Fatal(err)
			}
			if at, _ := back.Get("g", "T", 0); at != int64(4-k) {
				t.Errorf("%d files hurt: offset %d", k+1, at)
			}
		}
	}
}

// Test573AFullDiskIsWrittenAgainWhenThereIsRoom, without a restart, and a start on the full disk works.
func Test573AFullDiskIsWrittenAgainWhenThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := quiet(t, false)
		w.o.Tunables.FileReserved = time.Hour
		w.put(t, 10)
		w.must(t, w.s.Checkpoint)
		total, free, err := w.disk.DiskUsage(dir)
		if err != nil {
			t.Fatal(err)
		}
		w.disk.SetTotal(total - free + 8192)
		refused := 0
		for range 40 {
			m, x := w.message("T", 0)
			res, err := w.s.Append(m)
			if err != nil || res.Status != store.PutOK {
				if !errors.Is(err, store.ErrDiskFull) && !vfs.IsNoSpace(err) {
					t.Fatal(res.Status, err)
				}
				refused++
				continue
			}
			w.must(t, func() error { return w.ack(x, res.QueueOffset, res.PhysicalOffset, res.NextOffset) })
		}
		if refused == 0 {
			t.Fatal("the disk did not fill")
		}
		w.must(t, w.consume)
		w.kill(t)
		w.must(t, w.verify)
		w.disk.SetTotal(1 << 40)
		time.Sleep(30 * time.Second)
		w.put(t, 10)
		w.must(t, w.content)
		w.end()
	})
}

// TestDamageInTheMiddleCostsThatMessageOnly: a bit flips in what was flushed, the process is killed, and all others are there;
// what recovery takes out of the log lies in lost+found.
func TestDamageInTheMiddleCostsThatMessageOnly(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			w := quiet(t, seed%2 == 0)
			w.rng = rand.New(rand.NewPCG(seed, 6))
			said := 0
			w.o.Events.OnCorrupt = func(string, int64) { said++ }
			w.put(t, 20)
			if seed%3 == 0 {
				w.must(t, w.s.Checkpoint)
			}
			w.put(t, 20)
			w.must(t, w.s.Flush)
			time.Sleep(1100 * time.Millisecond) // the mark is at most a second old
			w.put(t, 1)
			w.must(t, w.s.Flush)
			w.put(t, w.rng.IntN(3))
			victim := w.all[w.rng.IntN(41)]
			rec, err := w.s.LookMessage(victim.phys)
			if err != nil {
				t.Fatal(err)
			}
			body := bytes.Index(rec, []byte(victim.body)) + w.rng.IntN(len(victim.body))
			w.end()
			w.firstSeg, w.disk = w.seenFirst(), w.disk.Clone()
			f, err := w.disk.OpenFile(fmt.Sprintf("%s/commitlog/%020d", dir, victim.phys/w.o.SegmentSize*w.o.SegmentSize), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			at := victim.phys%w.o.SegmentSize + int64(body)
			b := make([]byte, 1)
			f.ReadAt(b, at)
			b[0] ^= 1 << w.rng.IntN(8)
			f.WriteAt(b, at)
			w.start(t)
			aside := ""
			for _, b := range image(w.disk, dir+"/lost+found") {
				aside += b
			}
			for _, x := range w.all {
				if x.phys > victim.phys && victim.id >= 40 && strings.Contains(aside, x.body) {
					continue // younger than the mark, so the log may end before it: it is kept aside
				}
				if r, err := w.s.LookMessage(x.phys); x != victim && (err != nil || !w.is(x, r)) {
					t.Fatalf("seed %d: message %d at %d is gone with message %d at %d: %v", seed, x.id, x.phys, victim.id, victim.phys, err)
				}
			}
			r, err := w.s.Get(victim.topic, victim.queue, victim.at, store.GetLimit{Messages: 1}, store.Match{})
			if err != nil || len(r.Messages) > 0 && w.is(victim, r.Messages[0]) {
				t.Fatalf("seed %d: the damaged message is served: %v", seed, err)
			}
			r.Release()
			if said == 0 && victim.id < 40 { // else it may look like a write that did not come to its end
				t.Fatalf("seed %d: nobody was told", seed)
			}
			w.end()
		})
	}
}

func (w *world) is(x *sent, record []byte) bool {
	y, _, err := w.recognise(record)
	return err == nil && x == y
}
