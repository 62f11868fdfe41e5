package torture

// Every durability edge of a member of a group: a fixed story is played, and at each operation that changes the disk, just
// before and just after it, the disk is kept as a kill would leave it and as two power cuts would.

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"rmqctl/broker/store"
	"rmqctl/internal/vfs"
)

// moment1 is the disk at one edge, with what the model said by then.
type moment1 struct {
	name string
	disk *vfs.Mem
	p    party // the model only
}

func (p *party) keep(name string) moment1 {
	m := moment1{name: name, disk: p.disk.Clone(), p: party{began: p.began, ents: slices.Clone(p.ents), committed: p.committed,
		told: p.told, durable: p.durable, doing: p.doing, anew: p.anew, cutting: p.cutting}}
	m.p.world = &world{o: p.o, sync: p.sync, byID: map[int]*sent{}, readers: map[string]int64{}}
	for _, x := range p.all {
		y := *x
		m.p.all = append(m.p.all, &y)
		m.p.byID[y.id] = &y
	}
	m.p.other.ents = slices.Clone(p.other.ents)
	return m
}

// groupStory plays the fixed program.
func groupStory(t *testing.T) (kept []moment1) {
	synctest.Test(t, func(t *testing.T) {
		p := newParty(7, nil)
		p.o.IndexEntries, p.o.QueueSegmentSize = 30, 400
		if err := p.otherOpens(); err != nil {
			t.Fatal(err)
		}
		defer p.other.s.Close()
		p.plug(0)
		p.p.restful, p.p.peek = 0, nil
		p.p.edges = func(_ int, op vfs.Op, when moment) {
			if strings.HasPrefix(op.Name, dir+"/") || op.Name == dir {
				kept = append(kept, p.keep(p.doing+": "+edge(op)))
			}
		}
		var err error
		if p.s, err = store.Open(p.p.fs, p.o); err == nil {
			err = p.s.Start()
		}
		if err == nil {
			err = p.otherLeads()
		}
		if err != nil {
			t.Fatal(err)
		}
		several := func(n int, f func() error) func() error {
			return func() error {
				for range n {
					if err := f(); err != nil {
						return err
					}
				}
				return nil
			}
		}
		all := func() error {
			for p.end1() < p.other.end() {
				if err := p.replicate(); err != nil {
					return err
				}
			}
			return nil
		}
		for i, step := range []func() error{several(3, p.put), all, p.commit, p.sync1, p.s.Checkpoint, // a follower
			p.turn, several(4, p.put), p.replicate, p.commit, p.sync1, p.put, // leads
			p.turn, // follows: what was not handed on is cut off
			several(3, p.put), all, p.sync1, p.put, all, p.commit,
			p.turn, several(3, p.put), p.sync1, p.s.Checkpoint, p.turn, // again
			several(12, p.put), p.otherAgrees, several(2, p.otherCleans), p.startAnew, all, p.commit, p.sync1, p.put, all, p.commit} {
			if err := step(); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			if err := p.hidden(); err != nil {
				t.Fatalf("after step %d: %v", i, err)
			}
			kept = append(kept, p.keep("step"))
		}
		p.doing = "close"
		if err := p.s.Close(); err != nil {
			t.Fatal(err)
		}
		if p.resets != 1 || p.turns != 4 {
			t.Fatalf("%d starts anew, %d turns", p.resets, p.turns)
		}
	})
	return kept
}

// otherAgrees: the rest of the group commits what it has.
func (p *party) otherAgrees() error {
	p.committed = max(p.committed, p.other.end())
	return p.other.s.Commit(p.other.end())
}

func TestEveryEdgeOfAMember(t *testing.T) {
	kept := groupStory(t)
	hit := map[string]int{}
	for i, k := range kept {
		hit[k.name]++
		for variant := range uint64(3) {
			if err := k.survive(variant); err != nil {
				t.Fatalf("edge %d (%s), variant %d: %v", i, k.name, variant, err)
			}
		}
	}
	for _, want := range []string{"truncate: commitlog: zero", "truncate: commitlog: sync", "start anew: reset.tmp: write",
		"start anew: commitlog: remove", "start anew: consumequeue: rename", "start anew: index: remove", "start anew: checkpoint: write",
		"start anew: commitlog: new file, rename", "start anew: reset: remove", "replicate: commitlog: write", "put: commitlog: write",
		"sync: commitlog: sync"} {
		if hit[want] == 0 {
			t.Errorf("the story does not cross the edge %q", want)
		}
	}
	t.Logf("%d moments at %d edges, each killed once and cut twice", len(kept), len(hit))
	for _, name := range slices.Sorted(maps.Keys(hit)) {
		t.Logf("%4d %s", hit[name], name)
	}
}

// survive starts from what a kill (variant 0) or a power cut leaves.
func (k *moment1) survive(variant uint64) error {
	p := party{began: k.p.began, ents: k.p.ents, committed: k.p.committed, told: k.p.told, durable: k.p.durable, doing: k.p.doing,
		anew: k.p.anew, cutting: k.p.cutting, other: peer{ents: k.p.other.ents}}
	p.world = &world{o: k.p.o, sync: k.p.sync, all: k.p.all, byID: k.p.byID, readers: map[string]int64{}}
	p.rng = rand.New(rand.NewPCG(variant, 99))
	p.o.Gate, p.o.Events, p.o.Committed = &p.tape, store.Events{}, p.told
	p.disk = k.disk.Clone()
	if variant > 0 {
		p.powerCut = true
		p.disk = k.disk.PowerCut(p.rng, vfs.AnyCut(p.rng))
	}
	p.plug(0)
	p.p.restful, p.p.peek = 0, nil
	var err error
	if p.s, err = store.Open(p.p.fs, p.o); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer p.s.Close()
	if err := p.s.Start(); err != nil {
		return err
	}
	return errors.Join(p.idempotent(), p.compare())
}
