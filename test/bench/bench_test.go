package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/load"
	"rmqctl/test/peers"
)

func small(t *testing.T, workloads ...string) *settings {
	t.Helper()
	dir := t.TempDir()
	return &settings{
		Workloads: workloads, Peers: []string{ours}, Rounds: 1, Length: 300 * time.Millisecond, Heap: "1g", Dir: filepath.Join(dir, "stores"),
		Results: filepath.Join(dir, "lines"), Page: filepath.Join(dir, "PAGE.md"), Program: peers.Program(t), Topics: 20, Conns: 50,
		Backlog: 2000, Idle: 300 * time.Millisecond, Tries: 1, Store: 4 << 30, Port: peers.Ports(t, 200), Command: "make bench", started: time.Now(),
	}
}

// No figure is asserted: only that every kind of workload gives its figures, loses nothing and gets onto the page.
func TestEveryKindOfWorkloadGivesItsFigures(t *testing.T) {
	s := small(t, "async-8x32*", "async-1x1*", "async-rate-30k", "consume", "e2e-1k", "sync-1x1", "ha-8x32", "start", "conns", "recovery", "topics")
	b, err := newBench(s)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if err := b.all(context.Background()); err != nil {
		t.Fatal(err)
	}
	lines, err := readLines(s.Results)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, l := range lines {
		if l.Setup != nil {
			continue
		}
		seen[l.Workload], seen[l.Workload+" "+l.Peer] = true, true
		if l.Error != "" {
			t.Errorf("%s: %s", l.Workload, l.Error)
			continue
		}
		if n, ok := l.Values["missing"]; n != 0 || !ok && l.Result != nil && l.Result.What == "produce" {
			t.Errorf("%s: missing %v, looked %v", l.Workload, n, ok)
		}
		if l.Result != nil && l.Result.Failed > 0 {
			t.Errorf("%s: %d failed: %s", l.Workload, l.Result.Failed, l.Result.FirstError)
		}
		for _, g := range goals() {
			if _, ok := l.Values[g.value]; g.workload == l.Workload && !ok {
				t.Errorf("%s: no %s in %v", l.Workload, g.value, l.Values)
			}
		}
	}
	for _, g := range groups() {
		for _, w := range g.workloads {
			if s.wants(w.name, ours) && !seen[w.name] {
				t.Errorf("%s has not been run", w.name)
			}
		}
	}
	if !seen["ha-8x32 "+oursAsync] {
		t.Error("our ASYNC_MASTER pair has not been run")
	}
	if err := writePage(s); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(s.Page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## Goals", "(`async-8x32`)", "(`recovery`)", "| N4 | idle connections |", "make bench", "0 failed."} {
		if !strings.Contains(string(page), want) {
			t.Errorf("%q is not on the page\n%s", want, page)
		}
	}
}

func TestVerifySeesWhatIsMissingAndWhatIsNotTheSame(t *testing.T) {
	s := small(t)
	b, err := newBench(s)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	ctx := context.Background()
	k := b.broker(ours, ours, "verify", false, nil)
	defer k.end()
	if err := k.fresh(ctx); err != nil {
		t.Fatal(err)
	}
	o := b.options(k, shape{conns: 2, under: 4})
	o.Count, o.Warmup, o.Duration, o.Patience = 100, 0, time.Minute, 500*time.Millisecond
	r, ledger, err := b.produce(ctx, k, o)
	if err != nil || r.Messages != 100 || ledger.Acked() != 100 {
		t.Fatalf("%v %+v", err, r)
	}
	v, err := load.Verify(ctx, o, ledger)
	if err != nil || !v.OK() || v.Read != 100 {
		t.Errorf("all there: %v %+v", err, v)
	}
	other := o
	other.Size++
	if v, err := load.Verify(ctx, other, ledger); err != nil || v.Corrupt != 100 || v.OK() {
		t.Errorf("another body: %v %+v", err, v)
	}
	ledger.Claim(1, 500)
	if v, err := load.Verify(ctx, o, ledger); err != nil || v.Missing != 1 || v.OK() {
		t.Errorf("one more was acknowledged: %v %+v", err, v)
	}
}

func TestPageJudgesByTheRatiosOfTheRounds(t *testing.T) {
	row := func(peer string, round int, rate float64, discarded bool) *line {
		return &line{Workload: "async-64x16", Peer: peer, Round: round, Discarded: discarded, Values: map[string]float64{"perSecond": rate}}
	}
	lines := []*line{
		{Setup: &setup{Command: "make bench ROUNDS=1"}},
		row(ours, 1, 1, false), row("4.9.7", 1, 1000, false), // an older run, which no longer counts
		{Setup: &setup{Command: "make bench", Heap: "4g"}},
		row(ours, 1, 100, false), row("4.9.7", 1, 20, false),
		row(ours, 2, 1, true), row(ours, 2, 200, false), row("4.9.7", 2, 50, false),
		row(ours, 3, 300, false), row("4.9.7", 3, 50, false),
		{Workload: "sync-1x1", Peer: "4.9.7", Round: 1, Error: "it fell over\nand more"},
	}
	text, err := page(lines, map[string]string{"A2": "not asked"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| A1 | produce, ASYNC_FLUSH, 64 connections x 16 in flight | messages/s | >= 4.5x | 4.9.7 | 200/s | 50/s | 5x (4 to 6) | held (not in every round) |",
		"1 of 1 held.", "10 runs; 1 discarded", "1 failed.", "- sync-1x1, 4.9.7, round 1: it fell over\n", "`make bench ROUNDS=1`, then `make bench`",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the page\n%s", want, text)
		}
	}
	lines = append(lines, row(ours, 4, 10, false), row("4.9.7", 4, 50, false), row(ours, 5, 10, false), row("4.9.7", 5, 50, false))
	text, err = page(lines, map[string]string{"A1": "the disk was slow."})
	if err != nil || !strings.Contains(text, "**missed** by 11.1 %") || !strings.Contains(text, "missed by 11.1 %. the disk was slow.") {
		t.Errorf("%v\n%s", err, text)
	}
	if _, err := page(nil, nil); err == nil {
		t.Error("a page of nothing")
	}
}

func TestEveryGoalHasItsWorkload(t *testing.T) {
	names, ids := titles(), map[string]bool{}
	for _, g := range goals() {
		if names[g.workload] == "" || ids[g.id] || (g.least > 0) == (g.most > 0) {
			t.Errorf("goal %+v", g)
		}
		ids[g.id] = true
	}
}

func TestLinesSurviveATornEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	if err := appendLine(path, &line{Workload: "w", Values: map[string]float64{"p50": 1}}); err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(&line{Workload: "x"})
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b[:len(b)/2]); err != nil {
		t.Fatal(err)
	}
	f.Close()
	lines, err := readLines(path)
	if err != nil || len(lines) != 1 || lines[0].Workload != "w" {
		t.Errorf("%v %v", err, lines)
	}
}

func TestTheShortListHasWorkloadsOnly(t *testing.T) {
	for _, name := range issueTable {
		if titles()[name] == "" {
			t.Errorf("%s is no workload", name)
		}
	}
	if s := (&settings{Workloads: []string{wordForTable}}); !s.wants("e2e-1k", ours) || s.wants("async-8x1", ours) {
		t.Error("the short list is not what is asked for")
	}
}

func TestSelection(t *testing.T) {
	s := &settings{Workloads: []string{"async*", "sync-1x1@4.9.7"}}
	for _, c := range []struct {
		workload, peer string
		want           bool
	}{
		{"async-8x32", ours, true}, {"sync-1x1", "4.9.7", true}, {"sync-1x1", ours, false}, {"sync-1x1", "", true}, {"sync-64x1", "", false},
	} {
		if s.wants(c.workload, c.peer) != c.want {
			t.Errorf("%s of %q: %v", c.workload, c.peer, !c.want)
		}
	}
}
