// docs/BENCHMARKS.md, made from the saved lines alone.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// notesFile says, for goals that were missed, why, and what was tried: lines "ID: text"; "machine: text" how it was prepared.
const notesFile = "test/bench/notes.txt"

func writePage(s *settings) error {
	lines, err := readLines(s.Results)
	if err != nil {
		return err
	}
	text, err := page(lines, readNotes(notesFile))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.Page), 0o755); err != nil {
		return err
	}
	return os.WriteFile(s.Page, []byte(text), 0o644)
}

func readNotes(path string) map[string]string {
	notes := map[string]string{}
	b, _ := os.ReadFile(path)
	for l := range strings.Lines(string(b)) {
		if id, text, ok := strings.Cut(l, ":"); ok && !strings.HasPrefix(l, "#") {
			notes[strings.TrimSpace(id)] = strings.TrimSpace(text)
		}
	}
	return notes
}

// page is the document.
func page(lines []*line, notes map[string]string) (string, error) {
	t := newTable(lines)
	if len(t.setups) == 0 {
		return "", fmt.Errorf("no benchmark has been run: there is no line that describes one")
	}
	var b strings.Builder
	b.WriteString("# Benchmarks\n\nWritten by `make bench` (test/bench); do not edit. Ratios are worth more than figures: those of another machine are others.\n\n")
	t.intro(&b)
	if how := notes["machine"]; how != "" {
		b.WriteString("**How the machine was prepared.** " + how + "\n\n")
	}
	t.goals(&b, notes)
	t.details(&b)
	t.troubles(&b)
	return b.String(), nil
}

func (t *table) intro(b *strings.Builder) {
	s := t.setups[len(t.setups)-1]
	first := t.lines
	when := ""
	if len(first) > 0 {
		when = first[0].At.Format("2006-01-02 15:04") + " to " + first[len(first)-1].At.Format("15:04 UTC")
	}
	fmt.Fprintf(b, "| | |\n|---|---|\n| when | %s |\n| machine | %d x %s, %.0f GB memory |\n| kernel, disk | %s, %s |\n", when, s.CPUs, s.CPU, s.MemoryGB, s.Kernel, s.Disk)
	fmt.Fprintf(b, "| fdatasync of 4 KiB that day (median) | %.0f µs over written blocks, %.0f µs behind the end of the file |\n", s.SyncOver, s.SyncGrow)
	if s.NewPage > 0 {
		fmt.Fprintf(b, "| writing a KiB into the page cache | %.0f ns where nothing was, %.0f ns over what is there |\n", s.NewPage, s.OldPage)
	}
	fmt.Fprintf(b, "| ours | %s, revision %s |\n", s.Ours, s.Revision)
	fmt.Fprintf(b, "| Java | Apache RocketMQ %s; %s; -Xms%s -Xmx%s, G1 and the other flags of runbroker.sh but AlwaysPreTouch; at least %.0f s at full load before the first figure |\n",
		strings.Join(slices.DeleteFunc(slices.Clone(t.peers()), func(p string) bool { return strings.HasPrefix(p, ours) }), " and "), s.Java, s.Heap, heapless(s.Heap), s.Warm)
	fmt.Fprintf(b, "| runs | %d rounds of %.0f s, brokers in turns, over the %s |\n", s.Rounds, s.Seconds, s.Network)
	var commands []string
	for _, one := range t.setups {
		if c := "`" + one.Command + "`"; !slices.Contains(commands, c) {
			commands = append(commands, c)
		}
	}
	fmt.Fprintf(b, "| repeat it | %s |\n\n", strings.Join(commands, ", then "))
	b.WriteString(`4.9.7 stands for 4.9.x: of 4.9.8 no broker is on Maven Central. One Go load generator (internal/load, also ` + "`rmqctl bench`" + `) drives all of
them over plain TCP with frames rendered once; it shares the processors with the brokers. Bodies are 1 KiB, topics have 8
queues, the index is on, files of the commit log have 1 GiB, settings are the same for all. The brokers whose turn it is not are
stopped (SIGSTOP), but not the replicating pairs. After each run every acknowledged message is read back and compared. A run
in which other programs took over 10 % of the machine or over 3 % were stolen is discarded and repeated. Figures are medians
over the rounds, ratios medians of the ratios of the rounds, with their range in brackets. CPU is that of the broker's process.

`)
}

func heapless(h string) string { return h }

// peers are all whose runs are there, ours first.
func (t *table) peers() []string {
	peers := []string{ours}
	for _, l := range t.lines {
		if !slices.Contains(peers, l.Peer) {
			peers = append(peers, l.Peer)
		}
	}
	slices.SortStableFunc(peers, func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
	return peers
}

func rank(peer string) string {
	switch peer {
	case ours:
		return "0"
	case oursAsync, oursPair:
		return "1"
	}
	return "2" + peer
}

func titles() map[string]string {
	m := map[string]string{}
	for _, g := range groups() {
		for _, w := range g.workloads {
			m[w.name] = w.title
		}
	}
	return m
}

func (t *table) goals(b *strings.Builder, notes map[string]string) {
	b.WriteString("## Goals\n\n| # | workload | measured | goal | against | ours | theirs | ratio | |\n|---|---|---|---|---|---|---|---|---|\n")
	names := titles()
	var missed []string
	held, all := 0, 0
	for _, g := range goals() {
		against := t.peers()
		switch g.kind {
		case absolute:
			against = []string{""}
		case toOwn:
			against = []string{g.own}
		}
		for _, peer := range against {
			if peer == ours || strings.HasPrefix(peer, ours) && g.kind != toOwn {
				continue
			}
			m, ok := t.judge(&g, peer)
			if !ok {
				continue
			}
			all++
			verdict := "held"
			switch {
			case !m.held:
				verdict = "**missed** by " + short(m.missedBy) + " %"
				missed = append(missed, fmt.Sprintf("- %s (%s, %s%s): missed by %s %%. %s\n", g.id, names[g.workload], g.measure, versus(peer), short(m.missedBy), notes[g.id]))
			case m.worstOfRange && m.rounds > 1:
				verdict, held = "held (not in every round)", held+1
			default:
				held++
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", g.id, names[g.workload], g.measure, g.want(), orDash(peer),
				show(g.value, m.ours), t.theirs(&g, peer, m), m.ratioText(&g), verdict)
		}
	}
	fmt.Fprintf(b, "\n%d of %d held.\n\n", held, all)
	if len(missed) > 0 {
		b.WriteString("### Missed\n\n" + strings.Join(missed, "") + "\n")
	}
}

func versus(peer string) string {
	if peer == "" {
		return ""
	}
	return ", against " + peer
}

// theirs is what an absolute goal's other peers have, for comparison, or the peer's median.
func (t *table) theirs(g *goal, peer string, m measured) string {
	if g.kind != absolute {
		return show(g.value, m.other)
	}
	var parts []string
	for _, p := range t.peers() {
		if s := t.of(g.workload, p, g.value); !strings.HasPrefix(p, ours) && len(s) > 0 {
			parts = append(parts, p+" "+show(g.value, middle(values(s))))
		}
	}
	return orDash(strings.Join(parts, ", "))
}

func (m *measured) ratioText(g *goal) string {
	f := short
	if g.kind != absolute && g.most > 0 && g.most < 0.24 && m.ratio > 0 {
		f = func(v float64) string { return "1/" + short(1/v) }
	}
	unit := "x"
	if g.kind == absolute {
		unit = " " + g.unit
	}
	if strings.HasPrefix(f(m.ratio), "1/") {
		unit = ""
	}
	s := strings.TrimSpace(f(m.ratio) + unit)
	if m.rounds > 1 {
		s += fmt.Sprintf(" (%s to %s)", f(m.low), f(m.high))
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// show writes a value with its unit.
func show(key string, v float64) string {
	switch key {
	case "p50", "p99", "p999", "max":
		if v >= 1000 {
			return short(v/1000) + " ms"
		}
		return short(v) + " µs"
	case "cpu", "oneCPU", "slaveCPU", "clientCPU":
		return short(v) + " µs"
	case "anonMiB", "rssMiB":
		return short(v) + " MiB"
	case "perSecond", "onePerSecond":
		return short(v) + "/s"
	case "asKilledMillis", "cleanMillis", "millis", "rebuildMillis", "coldRebuildMillis":
		return short(v) + " ms"
	case "rebuildGBps", "coldRebuildGBps":
		return short(v) + " GB/s"
	case "createSeconds":
		return short(v) + " s"
	case "kibPerConn":
		return short(v) + " KiB"
	case "idlePercent", "foreign", "steal":
		return short(v) + " %"
	}
	return short(v)
}

// details has a table for each workload: all peers, medians and ranges.
func (t *table) details(b *strings.Builder) {
	b.WriteString("## All figures\n\nMedian (smallest to greatest of the rounds).\n\n")
	loads := [][2]string{{"perSecond", "messages"}, {"p50", "p50"}, {"p99", "p99"}, {"p999", "p99.9"}, {"max", "max"}, {"cpu", "CPU per message"}, {"slaveCPU", "of the slave"}, {"clientCPU", "client"}, {"anonMiB", "anonymous"}, {"syncsPer1000", "fdatasyncs per 1,000"}, {"failed", "failed"}, {"missing", "lost or twice"}}
	own := map[string][][2]string{
		"start":    {{"millis", "first acknowledged message"}},
		"idle":     {{"idlePercent", "of one processor"}, {"anonMiB", "anonymous"}, {"rssMiB", "resident"}},
		"conns":    {{"kibPerConn", "per connection"}, {"anonMiB", "anonymous with them"}, {"idlePercent", "CPU with them"}},
		"recovery": {{"messages", "messages"}, {"gigabytes", "GB of log"}, {"cleanMillis", "after a clean stop"}, {"asKilledMillis", "as killed"}, {"rebuildMillis", "whole log"}, {"rebuildGBps", "whole log"}, {"rebuildPerSecond", "messages/s"}, {"coldRebuildMillis", "whole log, cold"}, {"coldRebuildGBps", "whole log, cold"}, {"missing", "lost or twice"}},
		"topics":   {{"createSeconds", "all made"}, {"onePerSecond", "one topic"}, {"perSecond", "all topics"}, {"ofOneTopic", "ratio"}, {"p99", "p99"}, {"oneCPU", "CPU per message, one topic"}, {"cpu", "all topics"}, {"anonMiB", "anonymous"}, {"asKilledMillis", "start after kill -9"}, {"millis", "restart"}, {"restartAnonMiB", "MiB anonymous after it"}, {"missing", "lost or twice"}},
	}
	for _, g := range groups() {
		for _, w := range g.workloads {
			cols := own[w.name]
			if cols == nil {
				cols = loads
			}
			t.detail(b, w, cols)
		}
	}
}

func (t *table) detail(b *strings.Builder, w *workload, cols [][2]string) {
	has := func(key string) bool {
		return slices.ContainsFunc(t.lines, func(l *line) bool { _, ok := l.Values[key]; return ok && l.Workload == w.name })
	}
	cols = slices.DeleteFunc(slices.Clone(cols), func(c [2]string) bool { return !has(c[0]) })
	if len(cols) == 0 {
		return
	}
	fmt.Fprintf(b, "### %s (`%s`)\n\n| | rounds |", w.title, w.name)
	for _, c := range cols {
		b.WriteString(" " + c[1] + " |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(cols)) + "\n")
	for _, p := range t.peers() {
		n := 0
		var row strings.Builder
		for _, c := range cols {
			s := values(t.of(w.name, p, c[0]))
			n = max(n, len(s))
			row.WriteString(" " + withRange(c[0], s) + " |")
		}
		if n > 0 {
			fmt.Fprintf(b, "| %s | %d |%s\n", p, n, row.String())
		}
	}
	b.WriteString("\n")
}

func withRange(key string, v []float64) string {
	if len(v) == 0 {
		return "-"
	}
	s := show(key, middle(v))
	low, high := slices.Min(v), slices.Max(v)
	if len(v) == 1 || low == high {
		return s
	}
	return fmt.Sprintf("%s (%s to %s)", s, show(key, low), show(key, high))
}

// troubles are what a reader must know to judge the figures: runs that failed, were repeated, or stayed disturbed.
func (t *table) troubles(b *strings.Builder) {
	runs, discarded, noisy := 0, 0, 0
	var failed []string
	for _, l := range t.lines {
		runs++
		switch {
		case l.Error != "":
			failed = append(failed, fmt.Sprintf("- %s, %s, round %d: %s\n", l.Workload, l.Peer, l.Round, firstLine(l.Error)))
		case l.Discarded:
			discarded++
		case l.Noisy:
			noisy++
		}
	}
	fmt.Fprintf(b, "## Runs\n\n%d runs; %d discarded because the machine was disturbed, and repeated; %d kept though disturbed to the last try; %d failed.\n", runs, discarded, noisy, len(failed))
	if len(failed) > 0 {
		b.WriteString("\n" + strings.Join(failed, ""))
	}
}
