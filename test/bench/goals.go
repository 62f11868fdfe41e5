// The goals: what must be reached, in which workload, against whom.
package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// kind says what a goal is compared with.
type kind int

const (
	toJava   kind = iota // ours / Java's, of the same round
	absolute             // our value itself
	toOwn                // ours / our other label, of the same round
)

// goal is one row of the table.
type goal struct {
	id       string
	workload string
	measure  string // for people
	value    string // key of the values
	kind     kind
	least    float64 // 0: none
	most     float64 // 0: none
	own      string  // toOwn: the label compared with
	unit     string
}

func goals() []goal {
	return []goal{
		{id: "A1", workload: "async-64x16", measure: "messages/s", value: "perSecond", least: 4.5},
		{id: "A2", workload: "async-64x16", measure: "CPU per message", value: "cpu", most: 1.0 / 7},
		{id: "A3", workload: "async-64x16", measure: "p99", value: "p99", most: 0.25},
		{id: "A4", workload: "async-8x32", measure: "messages/s", value: "perSecond", least: 4.5},
		{id: "A5", workload: "async-8x32", measure: "CPU per message", value: "cpu", most: 1.0 / 7},
		{id: "A6", workload: "async-8x32-binary", measure: "messages/s", value: "perSecond", least: 4.5},
		{id: "A7", workload: "async-8x32-single", measure: "messages/s", value: "perSecond", least: 2.4},
		{id: "A8", workload: "async-64x1", measure: "messages/s", value: "perSecond", least: 2},
		{id: "A9", workload: "async-64x1", measure: "p99", value: "p99", most: 0.55},
		{id: "A10", workload: "async-1x1", measure: "p50", value: "p50", most: 0.4},
		{id: "A11", workload: "async-1x1-awake", measure: "p50", value: "p50", most: 0.25},
		{id: "A12", workload: "async-rate-30k", measure: "CPU per message", value: "cpu", most: 1 / 4.5},
		{id: "A13", workload: "async-rate-80", measure: "p99", value: "p99", most: 0.25},
		{id: "S1", workload: "sync-64x16", measure: "messages/s", value: "perSecond", least: 3.8},
		{id: "S2", workload: "sync-64x16", measure: "CPU per message", value: "cpu", most: 1.0 / 6},
		{id: "S3", workload: "sync-64x16", measure: "p99", value: "p99", most: 0.3},
		{id: "S4", workload: "sync-8x32", measure: "messages/s", value: "perSecond", least: 3},
		{id: "S6", workload: "sync-8x32", measure: "fdatasyncs per 1,000 messages", value: "syncsPer1000", kind: absolute, most: 10},
		{id: "S7", workload: "sync-64x16", measure: "fdatasyncs per 1,000 messages", value: "syncsPer1000", kind: absolute, most: 4},
		{id: "S5", workload: "sync-1x1", measure: "p50", value: "p50", most: 0.25},
		{id: "H1", workload: "ha-64x16", measure: "messages/s", value: "perSecond", least: 2.8},
		{id: "H2", workload: "ha-64x16", measure: "CPU of the master per message", value: "cpu", most: 0.25},
		{id: "H3", workload: "ha-64x16", measure: "messages/s, of our ASYNC_MASTER's", value: "perSecond", kind: toOwn, own: oursAsync, least: 0.9},
		{id: "H4", workload: "ha-8x32", measure: "messages/s", value: "perSecond", least: 2.5},
		{id: "H5", workload: "ha-8x32", measure: "p99", value: "p99", most: 0.2},
		{id: "H6", workload: "ha-1x1", measure: "p50", value: "p50", most: 0.5},
		{id: "C1", workload: "consume", measure: "messages/s", value: "perSecond", least: 3},
		{id: "C2", workload: "consume", measure: "CPU per message", value: "cpu", most: 0.25},
		{id: "E1", workload: "e2e-1k", measure: "p50", value: "p50", most: 1.0 / 6},
		{id: "E2", workload: "e2e-1k", measure: "p99", value: "p99", most: 1.0 / 6},
		{id: "E3", workload: "e2e-10k", measure: "p99", value: "p99", most: 1.0 / 15},
		{id: "R1", workload: "recovery", measure: "scanning the whole log", value: "rebuildGBps", kind: absolute, least: 1.5, unit: "GB/s"},
		{id: "R2", workload: "recovery", measure: "the same, nothing in memory", value: "coldRebuildGBps", kind: absolute, least: 1.5, unit: "GB/s"},
		{id: "R3", workload: "recovery", measure: "kill -9 to first acknowledged message", value: "asKilledMillis", most: 1.0 / 6},
		{id: "R4", workload: "recovery", measure: "start after a clean stop to first acknowledged message", value: "cleanMillis", most: 1.0 / 15},
		{id: "M1", workload: "async-64x16", measure: "anonymous memory under load", value: "anonMiB", most: 0.1},
		{id: "T1", workload: "start", measure: "start to first acknowledged message", value: "millis", most: 0.05},
		{id: "N1", workload: "topics", measure: "messages/s, of one topic's", value: "ofOneTopic", kind: absolute, least: 0.9},
		{id: "N2", workload: "topics", measure: "all made by their first message", value: "createSeconds", kind: absolute, most: 6, unit: "s"},
		{id: "N3", workload: "topics", measure: "restart to first acknowledged message", value: "millis", kind: absolute, most: 1300, unit: "ms"},
		{id: "N4", workload: "conns", measure: "anonymous memory per idle connection", value: "kibPerConn", kind: absolute, most: 16, unit: "KiB"},
		{id: "I1", workload: "idle", measure: "of one processor", value: "idlePercent", kind: absolute, most: 1, unit: "%"},
	}
}

// want is the goal in words.
func (g *goal) want() string {
	switch {
	case g.kind == absolute && g.least > 0:
		return strings.TrimSpace(fmt.Sprintf(">= %s %s", short(g.least), g.unit))
	case g.kind == absolute:
		return strings.TrimSpace(fmt.Sprintf("<= %s %s", short(g.most), g.unit))
	case g.least > 0:
		return fmt.Sprintf(">= %sx", short(g.least))
	case g.most < 0.24:
		return "<= 1/" + short(1/g.most)
	}
	return fmt.Sprintf("<= %sx", short(g.most))
}

// series are the values of one workload, peer and key by round.
type series map[int]float64

// table holds the lines of one or more runs of the benchmark. Of each workload the last run that has it counts.
type table struct {
	lines  []*line
	run    []int // of each line, the index of its setup
	setups []*setup
}

func newTable(lines []*line) *table {
	t := &table{}
	for _, l := range lines {
		if l.Setup != nil {
			t.setups = append(t.setups, l.Setup)
			continue
		}
		t.lines, t.run = append(t.lines, l), append(t.run, len(t.setups))
	}
	return t
}

// of is a series of the last run that has it.
func (t *table) of(workload, peer, value string) series {
	for run := len(t.setups); run >= 0; run-- {
		if s := t.in(run, workload, peer, value); len(s) > 0 {
			return s
		}
	}
	return nil
}

func (t *table) in(run int, workload, peer, value string) series {
	s := series{}
	for i, l := range t.lines {
		if t.run[i] == run && l.Workload == workload && l.Peer == peer && !l.Discarded && l.Error == "" {
			if v, ok := l.Values[value]; ok {
				s[l.Round] = v
			}
		}
	}
	return s
}

// pair is two peers' series of the last run that has both.
func (t *table) pair(workload, a, b, value string) (series, series) {
	for run := len(t.setups); run >= 0; run-- {
		if x, y := t.in(run, workload, a, value), t.in(run, workload, b, value); len(x) > 0 && len(y) > 0 {
			return x, y
		}
	}
	return nil, nil
}

// measured is one goal against one peer.
type measured struct {
	ours, other  float64 // medians
	ratio        float64 // of absolute goals: our value
	low, high    float64
	rounds       int
	held         bool
	missedBy     float64 // percent
	worstOfRange bool    // the median holds, the worst round does not
}

// judge compares; ok is false when there is nothing to compare.
func (t *table) judge(g *goal, peer string) (m measured, ok bool) {
	var ratios []float64
	if g.kind == absolute {
		ratios = values(t.of(g.workload, ours, g.value))
		m.ours = middle(ratios)
	} else {
		mine, theirs := t.pair(g.workload, ours, peer, g.value)
		m.ours, m.other = middle(values(mine)), middle(values(theirs))
		for round, v := range mine {
			if o := theirs[round]; o > 0 {
				ratios = append(ratios, v/o)
			}
		}
	}
	if len(ratios) == 0 {
		return m, false
	}
	m.ratio, m.low, m.high, m.rounds = middle(ratios), slices.Min(ratios), slices.Max(ratios), len(ratios)
	if g.least > 0 {
		m.held, m.missedBy = m.ratio >= g.least, 100*(1-m.ratio/g.least)
		m.worstOfRange = m.low < g.least
	} else {
		m.held, m.missedBy = m.ratio <= g.most, 100*(m.ratio/g.most-1)
		m.worstOfRange = m.high > g.most
	}
	return m, true
}

func values(s series) (v []float64) {
	for _, x := range s {
		v = append(v, x)
	}
	return v
}

func sorted(v []float64) []float64 {
	q := slices.Clone(v)
	slices.Sort(q)
	return q
}

// short writes a number with three digits that matter.
func short(v float64) string {
	a := math.Abs(v)
	switch {
	case math.IsNaN(v):
		return "-"
	case a >= 1000:
		s := fmt.Sprintf("%.0f", v)
		for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return trimZero(fmt.Sprintf("%.1f", v))
	case a >= 0.1 || a == 0:
		return trimZero(fmt.Sprintf("%.2f", v))
	}
	return trimZero(fmt.Sprintf("%.3f", v))
}

func trimZero(s string) string {
	for len(s) > 1 && s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	if s[len(s)-1] == '.' {
		s = s[:len(s)-1]
	}
	return s
}
