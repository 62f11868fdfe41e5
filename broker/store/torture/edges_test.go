package torture

// Every durability edge: a fixed story is played once, and at each operation that changes the disk, just before and just
// after it, the disk is kept as a kill would leave it and as three power cuts would, with what was acknowledged by then.
// Each of these must start and keep every promise.

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"rmqctl/broker/offset"
	"rmqctl/broker/store"
	"rmqctl/internal/vfs"
)

// edge names an operation by what it does for the store.
func edge(op vfs.Op) string {
	rel, _ := filepath.Rel(dir, op.Name)
	kind, _, _ := strings.Cut(rel, "/")
	switch {
	case strings.HasSuffix(rel, ".making"): // commitlog.NAME.making, index/NAME.making
		kind, _, _ = strings.Cut(kind, ".")
		return kind + ": new file, " + op.Kind
	case strings.HasPrefix(rel, "config"):
		return "metadata: " + op.Kind
	case rel == "commitlog" || rel == "index" || strings.HasPrefix(rel, "consumequeue") && op.Kind == "syncdir":
		return kind + ": directory, " + op.Kind
	}
	return kind + ": " + op.Kind
}

// named are the edges that the story must cross.
var named = []string{
	"commitlog: write", "commitlog: sync", "commitlog: zero", "commitlog: remove",
	"commitlog: new file, create", "commitlog: new file, truncate", "commitlog: new file, sync", "commitlog: new file, rename",
	"commitlog: directory, syncdir",
	"consumequeue: create", "consumequeue: truncate", "consumequeue: write", "consumequeue: sync", "consumequeue: zero",
	"consumequeue: rename", "consumequeue: directory, syncdir", "consumequeue.deleted: directory, syncdir",
	"consumequeue.deleted: removeall",
	"index: new file, create", "index: new file, rename", "index: write", "index: sync", "index: directory, syncdir",
	"checkpoint: create", "checkpoint: write", "checkpoint: sync",
	"abort: create", "abort: remove",
	"metadata: create", "metadata: write", "metadata: sync", "metadata: rename", "metadata: syncdir",
	"acknowledge",
}

// moments is what was kept at one edge.
type kept struct {
	name     string
	disk     *vfs.Mem
	all      []sent
	flushed  int64
	deleting string
	offsets  [2]int64 // of the group: saved for sure, and being saved
}

// story plays the fixed program and keeps the disk at every edge.
type story struct {
	*world
	keep    []kept
	group   *offset.Table
	offsets [2]int64
}

const offsetFile = dir + "/config/consumerOffset.json"

func (s *story) note(name string) {
	k := kept{name: name, disk: s.disk.Clone(), flushed: s.flushed, deleting: s.deleting, offsets: s.offsets}
	for _, x := range s.all {
		k.all = append(k.all, *x)
	}
	s.keep = append(s.keep, k)
}

func play1(t *testing.T, sync bool) *story {
	s := &story{world: newWorld(7, nil), group: offset.New()}
	synctest.Test(t, func(t *testing.T) {
		s.world = newWorld(7, nil)
		s.world.sync, s.world.await = sync, false
		s.o.Tunables.SyncFlush, s.o.SegmentSize, s.o.IndexEntries = sync, 4096, 30
		s.plug(0)
		s.p.restful, s.p.peek = 0, nil
		s.p.edges = func(_ int, op vfs.Op, when moment) {
			if strings.HasPrefix(op.Name, dir+"/") || op.Name == dir {
				s.note(edge(op))
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		var err error
		s.s, err = store.Open(s.p.fs, s.o)
		must(err)
		must(s.s.Start())
		must(vfs.MakeDirs(s.p.fs, filepath.Dir(offsetFile), 0o755))
		for i, step := range []func() error{s.produce, s.crowd, s.batch, s.saveOffsets, s.produce, s.s.Checkpoint, s.crowd,
			s.rest, s.crowd, s.saveOffsets, s.truncate1, s.produce, s.rest, s.deleteTopic, s.crowd, s.batch, s.s.Flush, s.crowd,
			s.age, s.produce, s.saveOffsets, s.s.Checkpoint, s.produce} {
			if err := step(); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			s.note("acknowledge")
		}
		must(s.s.Close())
		s.note("closed")
	})
	return s
}

func (s *story) rest() error {
	time.Sleep(8 * time.Second)
	return nil
}

// age lets segments grow old enough for retention.
func (s *story) age() error {
	time.Sleep(25 * time.Second)
	return nil
}

func (s *story) truncate1() error {
	if err := s.s.Checkpoint(); err != nil {
		return err
	}
	for _, x := range slices.Backward(s.all) {
		if x.known && !x.gone && x.at > 0 && x.phys%s.o.SegmentSize > 0 {
			return s.truncateAt(x)
		}
	}
	return fmt.Errorf("nothing to cut off")
}

// saveOffsets commits what a consumer has read, as a broker does: no further than what may be read.
func (s *story) saveOffsets() error {
	s.offsets[1]++
	s.group.Commit("g", "T", 0, s.offsets[1])
	if err := s.group.Save(s.p.fs, offsetFile); err != nil {
		return err
	}
	s.offsets[0] = s.offsets[1]
	return nil
}

// TestEveryEdge is the exhaustive part.
func TestEveryEdge(t *testing.T) {
	for _, sync := range []bool{true, false} {
		s := play1(t, sync)
		hit := map[string]int{}
		var all errgroup.Group
		all.SetLimit(runtime.NumCPU())
		for i := range s.keep {
			k := &s.keep[i]
			hit[k.name]++
			all.Go(func() error {
				for variant := range uint64(4) {
					if err := s.survive(k, variant); err != nil {
						t.Errorf("sync %v, edge %d (%s), variant %d: %v", sync, i, k.name, variant, err)
					}
				}
				return nil
			})
		}
		_ = all.Wait() // failures are told already
		for _, name := range named {
			if hit[name] == 0 {
				t.Errorf("sync %v: the story does not cross the edge %q", sync, name)
			}
		}
		names := slices.Sorted(maps.Keys(hit))
		t.Logf("sync %v: %d moments at %d edges, each killed once and cut three times", sync, len(s.keep), len(names))
		for _, name := range names {
			t.Logf("%4d %s", hit[name], name)
		}
	}
}

// survive starts from what a kill (variant 0) or a power cut leaves at k.
func (s *story) survive(k *kept, variant uint64) error {
	w := &world{rng: rand.New(rand.NewPCG(variant, 99)), o: s.o, sync: s.sync, byID: map[int]*sent{}, readers: map[string]int64{},
		flushed: k.flushed, deleting: k.deleting}
	w.o.Events = store.Events{}
	for i := range k.all {
		x := k.all[i]
		w.all = append(w.all, &x)
		w.byID[x.id] = &x
	}
	w.disk = k.disk
	w.firstSeg = w.seenFirst()
	if variant == 0 {
		w.disk = k.disk.Clone()
	} else {
		w.powerCut = true
		w.disk = k.disk.PowerCut(w.rng, vfs.AnyCut(w.rng))
	}
	if err := k.offsetsLoad(w.disk); err != nil {
		return err
	}
	w.plug(0)
	w.p.peek = nil
	var err error
	if w.s, err = store.Open(w.p.fs, w.o); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer w.s.Close()
	return w.verify()
}

// offsetsLoad: the group's offset is one that was saved, and not older than the last save that was done.
func (k *kept) offsetsLoad(disk *vfs.Mem) error {
	group := offset.New()
	if err := group.Load(disk, offsetFile); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("offsets: %w", err)
	}
	if at, _ := group.Get("g", "T", 0); at < k.offsets[0] || at > k.offsets[1] {
		return fmt.Errorf("offset %d, saved was %d, being saved %d", at, k.offsets[0], k.offsets[1])
	}
	return nil
}
