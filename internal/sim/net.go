package sim

import "time"

// Line is one direction between two members.
type Line struct {
	Min, Max  time.Duration // how long a message is under way
	Loss, Dup float64       // chance that it is lost, that it comes twice
	Late      float64       // chance that it comes up to a second later, behind many others
	Cut       bool
}

// Net carries messages between n members. A message may be lost, doubled, late, and overtaken.
type Net struct {
	w     *World
	n     int
	lines []Line // [from*n+to]
	usual Line
}

// NewNet makes a network whose lines are all like usual.
func NewNet(w *World, n int, usual Line) *Net {
	net := &Net{w: w, n: n, lines: make([]Line, n*n), usual: usual}
	net.Heal()
	return net
}

// Line is the line from one member to another, to be looked at or changed.
func (n *Net) Line(from, to int) *Line { return &n.lines[from*n.n+to] }

// Send lets deliver happen when the message arrives, if it does. A cut takes what is under way, too.
func (n *Net) Send(from, to int, deliver func()) {
	l := n.Line(from, to)
	n.w.Tally.Add("messages", 1)
	if l.Cut || l.Loss > 0 && n.w.Chance(l.Loss) {
		return
	}
	n.carry(l, deliver)
	if l.Dup > 0 && n.w.Chance(l.Dup) {
		n.carry(l, deliver)
	}
}

func (n *Net) carry(l *Line, deliver func()) {
	d := n.w.Between(l.Min, l.Max)
	if l.Late > 0 && n.w.Chance(l.Late) {
		d += n.w.Between(0, time.Second)
	}
	n.w.After(d, func() {
		if !l.Cut {
			deliver()
		}
	})
}

// Heal makes all lines usual again.
func (n *Net) Heal() {
	for i := range n.lines {
		n.lines[i] = n.usual
	}
}

// Sees tells whether messages go from one member to another and back.
func (n *Net) Sees(a, b int) bool { return a == b || !n.Line(a, b).Cut && !n.Line(b, a).Cut }

// cut cuts each line that apart picks.
func (n *Net) cut(apart func(from, to int) bool) {
	for from := range n.n {
		for to := range n.n {
			if from != to && apart(from, to) {
				n.Line(from, to).Cut = true
			}
		}
	}
}

// Shapes are the faults of a network by name. Each gets a member to aim at.
var Shapes = []struct {
	Name string
	Make func(n *Net, at int)
}{
	{"halves", func(n *Net, _ int) {
		side := n.w.Rand.Uint64()
		n.cut(func(a, b int) bool { return side>>a&1 != side>>b&1 })
	}},
	{"alone", func(n *Net, at int) {
		n.cut(func(a, b int) bool { return a == at || b == at })
	}},
	{"deaf", func(n *Net, at int) {
		n.cut(func(_, b int) bool { return b == at })
	}},
	{"dumb", func(n *Net, at int) {
		n.cut(func(a, _ int) bool { return a == at })
	}},
	{"one way", func(n *Net, at int) {
		other := (at + 1 + n.w.Rand.IntN(max(n.n-1, 1))) % n.n
		n.cut(func(a, b int) bool { return a == at && b == other })
	}},
	{"bridge", func(n *Net, at int) { // two halves, and one member that sees both
		side := n.w.Rand.Uint64()
		n.cut(func(a, b int) bool { return a != at && b != at && side>>a&1 != side>>b&1 })
	}},
	{"ring", func(n *Net, _ int) { // everybody sees his neighbours: each a different majority of five
		n.cut(func(a, b int) bool { d := (a - b + n.n) % n.n; return d != 1 && d != n.n-1 })
	}},
	{"nobody", func(n *Net, _ int) {
		n.cut(func(_, _ int) bool { return true })
	}},
	{"loss", func(n *Net, _ int) {
		p := 0.1 + 0.7*n.w.Rand.Float64()
		n.each(func(l *Line) { l.Loss = p })
	}},
	{"slow", func(n *Net, _ int) {
		least := n.w.Between(10*time.Millisecond, 300*time.Millisecond)
		n.each(func(l *Line) { l.Min, l.Max = least, 2*least })
	}},
	{"wild", func(n *Net, _ int) {
		n.each(func(l *Line) { l.Dup, l.Late, l.Max = 0.3, 0.3, l.Max+50*time.Millisecond })
	}},
}

func (n *Net) each(change func(l *Line)) {
	for i := range n.lines {
		change(&n.lines[i])
	}
}

// Trouble brings one of the shapes over the network, aimed at a member, and tells its name. What was there before stays: two
// faults may lie over each other.
func (n *Net) Trouble(at int) string {
	s := Shapes[n.w.Rand.IntN(len(Shapes))]
	s.Make(n, at)
	n.w.Tally.Add("partitions", 1)
	return s.Name
}
