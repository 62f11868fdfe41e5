// The order of everything: groups of brokers with the same settings, workloads, rounds, and turns.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// A run is disturbed when others took more than this of the machine.
const (
	mostForeign = 10.0 // percent
	mostSteal   = 3.0
)

type bench struct {
	s          *settings
	ports      int
	nameServer string
	names      *process
	topics     int        // made so far, so that each run has its own
	running    []*broker  // of the group whose turn it is
	spinning   []*process // keep the processors awake
}

// newBench starts the name server that all brokers share.
func newBench(s *settings) (*bench, error) {
	for _, peer := range s.Peers {
		what := filepath.Join(s.Libs, peer)
		if peer == ours {
			what = s.Program
		}
		if _, err := os.Stat(what); err != nil {
			return nil, fmt.Errorf("%s: %w (make build, make peers)", peer, err)
		}
	}
	b := &bench{s: s, ports: s.Port, nameServer: fmt.Sprintf("127.0.0.1:%d", s.Port)}
	home := filepath.Join(s.Dir, "names")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, err
	}
	conf := filepath.Join(home, "namesrv.conf")
	text := fmt.Sprintf("listenPort=%d\nbindAddress=127.0.0.1\nkvConfigPath=%s\n", s.Port, filepath.Join(home, "kv.json"))
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	var err error
	b.names, err = start(filepath.Join(home, "out.log"), s.Program, "namesrv", "-c", conf)
	return b, err
}

func (b *bench) close() {
	b.names.stop()
	_ = os.RemoveAll(b.s.Dir)
}

// all runs every group. What fails is a line, too, and the others go on.
func (b *bench) all(ctx context.Context) error {
	if err := b.save(&line{Setup: b.setup()}); err != nil {
		return err
	}
	var errs []error
	for _, g := range groups() {
		for _, peers := range b.matches(g) {
			if err := ctx.Err(); err != nil {
				return errors.Join(append(errs, err)...)
			}
			if err := b.group(ctx, g, peers); err != nil {
				b.say("%s: %v", g.name, err)
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// matches are the sets of peers that meet in a group: all at once, or, of pairs, which are never stopped, two at a time.
func (b *bench) matches(g *group) (sets [][]string) {
	var peers []string
	for _, p := range b.s.Peers {
		for _, w := range g.workloads {
			if b.s.wants(w.name, p) && (w.only == "" || w.only == p || b.named(w.name, p)) {
				peers = append(peers, p)
				break
			}
		}
	}
	if !g.pair && !g.raft || len(peers) < 3 {
		if len(peers) > 0 {
			sets = append(sets, peers)
		}
		return sets
	}
	for _, p := range peers {
		if p != ours {
			sets = append(sets, []string{ours, p})
		}
	}
	return sets
}

// named says whether a workload of a peer is asked for by its very name.
func (b *bench) named(workload, peer string) bool {
	for _, w := range b.s.Workloads {
		if w == workload+"@"+peer {
			return true
		}
	}
	return false
}

func (b *bench) group(ctx context.Context, g *group, peers []string) error {
	var ks []*broker
	defer func() {
		b.running = nil
		for _, k := range ks {
			k.end()
		}
	}()
	for _, p := range peers {
		k := b.broker(p, p, g.name, g.pair, g.props)
		k.raft = g.raft
		ks = append(ks, k)
		if p == ours && g.raft {
			ks = append(ks, b.broker(p, oursPair, g.name, true, map[string]string{"brokerRole": "SYNC_MASTER"}))
		}
		if p == ours && slices.ContainsFunc(g.workloads, func(w *workload) bool { return w.async && b.s.wants(w.name, p) }) {
			ks = append(ks, b.broker(p, oursAsync, g.name, true, map[string]string{"brokerRole": "ASYNC_MASTER"}))
		}
	}
	var up []*broker
	for _, k := range ks {
		if !g.bare {
			if err := b.warm(ctx, g, k); err != nil {
				b.failed(g.name, k, 0, err)
				k.end()
				continue
			}
			k.freeze()
		}
		up = append(up, k)
	}
	b.running = up
	for _, w := range g.workloads {
		if b.s.wants(w.name, "") {
			b.workload(ctx, w, up)
		}
	}
	return ctx.Err()
}

// warm starts a broker and, if it is a JVM, keeps it at full load until its rate is level.
func (b *bench) warm(ctx context.Context, g *group, k *broker) error {
	b.say("%s: starting %s", g.name, k.label)
	if err := k.fresh(ctx); err != nil {
		return err
	}
	if !k.java() || b.s.Warm == 0 {
		return nil
	}
	step := max(b.s.Warm/6, time.Second)
	before := 0.0
	for spent := time.Duration(0); spent < 2*b.s.Warm; spent += step {
		o := b.options(k, shape{conns: 64, under: 16})
		o.Record, o.Warmup, o.Duration = false, 0, step
		r, _, err := b.produce(ctx, k, o)
		if err != nil {
			return err
		}
		if spent+step >= b.s.Warm && r.PerSecond < 1.05*before {
			break
		}
		before = r.PerSecond
	}
	b.say("%s: %s is warm at %.0f/s", g.name, k.label, before)
	return nil
}

func (b *bench) workload(ctx context.Context, w *workload, ks []*broker) {
	var mine []*broker
	for _, k := range ks {
		if b.s.wants(w.name, k.peer) && (w.only == "" || w.only == k.peer || b.named(w.name, k.peer)) && (k.label != oursAsync || w.async) {
			mine = append(mine, k)
		}
	}
	t := &turn{b: b, w: w, ks: ks, state: map[*broker]any{}}
	for _, k := range mine {
		if err := t.prepare(ctx, k); err != nil {
			b.failed(w.name, k, 0, err)
		}
	}
	rounds := b.s.Rounds
	if w.rounds > 0 {
		rounds = min(rounds, w.rounds)
	}
	for round := 1; round <= rounds; round++ {
		for _, k := range mine {
			if ctx.Err() != nil {
				return
			}
			t.take(ctx, k, round)
		}
	}
}

// failed saves that a run has not been made.
func (b *bench) failed(workload string, k *broker, round int, err error) {
	if errors.Is(err, context.Canceled) {
		return // the user's wish
	}
	b.say("%s %s: %v", workload, k.label, err)
	_ = b.save(&line{Workload: workload, Peer: k.label, Round: round, Error: err.Error()})
}

// turn is a workload with what it keeps between its runs.
type turn struct {
	b     *bench
	w     *workload
	ks    []*broker // of the group, all
	state map[*broker]any
}

// prepare makes what all rounds share, and lets a JVM get used to this load.
func (t *turn) prepare(ctx context.Context, k *broker) error {
	if t.w.bare() {
		return nil
	}
	k.thaw()
	defer k.freeze()
	if err := k.trim(ctx); err != nil {
		return err
	}
	if t.w.before != nil {
		if err := t.w.before(ctx, t, k); err != nil {
			return err
		}
	}
	if !k.java() || t.b.s.Warm == 0 {
		return nil
	}
	was := t.b.s.Length
	t.b.s.Length = max(t.b.s.Warm/12, time.Second)
	defer func() { t.b.s.Length = was }()
	_, err := t.w.run(ctx, t, k)
	return err
}

// take makes one run, again when it was disturbed, and saves it.
func (t *turn) take(ctx context.Context, k *broker, round int) {
	b := t.b
	for try := 1; ; try++ {
		l, err := t.once(ctx, k)
		if ctx.Err() != nil {
			return // half a run is none
		}
		if err != nil {
			b.failed(t.w.name, k, round, err)
			t.mend(ctx, k)
			return
		}
		l.Workload, l.Peer, l.Round = t.w.name, k.label, round
		disturbed := l.Values["foreign"] > mostForeign || l.Values["steal"] > mostSteal
		l.Discarded = disturbed && try < b.s.Tries
		l.Noisy = disturbed && !l.Discarded
		if err := b.save(l); err != nil {
			b.say("%v", err)
			return
		}
		b.say("%-18s %-10s %d  %s", t.w.name, k.label, round, l.brief())
		if !l.Discarded {
			return
		}
		time.Sleep(2 * time.Second)
	}
}

func (l *line) brief() string {
	var s strings.Builder
	for _, name := range []string{"perSecond", "p50", "p99", "cpu", "anonMiB", "millis", "gbPerSecond", "kibPerConn", "idlePercent", "createSeconds", "ofOneTopic", "missing", "failed", "foreign", "steal"} {
		if v, ok := l.Values[name]; ok && (v != 0 || name == "missing") {
			fmt.Fprintf(&s, " %s=%.4g", name, v)
		}
	}
	if l.Discarded || l.Noisy {
		s.WriteString("  DISTURBED")
	}
	return s.String()
}

func (t *turn) once(ctx context.Context, k *broker) (*line, error) {
	if t.w.bare() {
		defer k.end()
		t.b.quiet(ctx)
		return t.w.run(ctx, t, k)
	}
	k.thaw()
	defer k.freeze()
	if t.w.before == nil { // what that made must stay
		if err := k.trim(ctx); err != nil {
			return nil, err
		}
	}
	t.b.quiet(ctx)
	if t.w.awake {
		defer t.b.awake()()
	}
	return t.w.run(ctx, t, k)
}

// mend brings a broker back after a failure, warm enough to go on.
func (t *turn) mend(ctx context.Context, k *broker) {
	if t.w.bare() || ctx.Err() != nil {
		return
	}
	k.thaw()
	defer k.freeze()
	if k.alive() && k.ready(ctx, 20*time.Second) == nil {
		return
	}
	if err := k.restarted(ctx); err != nil {
		t.b.say("%s: %v", k.label, err)
		return
	}
	if err := t.prepare(ctx, k); err != nil {
		t.b.say("%s: %v", k.label, err)
	}
}

// awake keeps every processor from sleeping until the returned function is called.
func (b *bench) awake() func() {
	var ps []*process
	for range runtime.NumCPU() {
		if p, err := start(filepath.Join(b.s.Dir, "spin.log"), "/proc/self/exe", "spin"); err == nil {
			ps = append(ps, p)
		}
	}
	b.spinning = ps
	time.Sleep(100 * time.Millisecond)
	return func() {
		b.spinning = nil
		for _, p := range ps {
			p.kill()
		}
	}
}

// setup describes the machine.
func (b *bench) setup() *setup {
	s := &setup{
		Command: b.s.Command, Revision: output("git", "describe", "--always", "--dirty"), Ours: output(b.s.Program, "version"),
		Java: firstLine(output("java", "-version")), Go: runtime.Version(), Kernel: kernel(), CPU: cpuName(), CPUs: runtime.NumCPU(),
		MemoryGB: memoryGB(), Disk: firstLine(output("findmnt", "-n", "-o", "FSTYPE,OPTIONS", "-T", b.s.Dir)), Heap: b.s.Heap,
		Rounds: b.s.Rounds, Seconds: b.s.Length.Seconds(), Warm: b.s.Warm.Seconds(), Peers: b.s.Peers, Network: "loopback",
	}
	if os.Getenv("BENCH_OWN_NETWORK") != "" {
		s.Network = "loopback of a network namespace of its own"
	}
	if over, grow, err := syncTime(b.s.Dir); err == nil {
		s.SyncOver, s.SyncGrow = float64(over.Microseconds()), float64(grow.Microseconds())
	}
	if fresh, again, err := writeTime(b.s.Dir); err == nil {
		s.NewPage, s.OldPage = float64(fresh.Nanoseconds()), float64(again.Nanoseconds())
		if s.NewPage > 1000 {
			b.say("memory: a new page costs %.0f ns per KiB. Is this a virtual machine that gets its memory while it is measured? Fill the memory once, and stop free page reporting", s.NewPage)
		}
	}
	if info, ok := debug.ReadBuildInfo(); ok && s.Revision == "" {
		s.Revision = info.Main.Version
	}
	return s
}

func output(argv ...string) string {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

func cpuName() string { return field("/proc/cpuinfo", "model name") }

func memoryGB() float64 {
	var kib float64
	_, _ = fmt.Sscan(field("/proc/meminfo", "MemTotal"), &kib)
	return kib / (1 << 20)
}

// field is the value behind the first line that begins with name.
func field(path, name string) string {
	b, _ := os.ReadFile(path)
	for l := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
