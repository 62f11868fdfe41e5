// The plan: every step of every role asked whether it holds. Making one changes nothing, and there is no way it could.

package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"rmqctl/inventory"
	"rmqctl/provision/step"
)

// Plan is what a deploy would do.
type Plan struct {
	Cluster string     `json:"cluster"`
	Hosts   []HostPlan `json:"hosts"`
	Order   []string   `json:"order"` // how the changes would be made, wave by wave

	Losses []inventory.Loss `json:"losses"` // what the death of each host and data centre would mean

	title string // of what is no deploy: it stands for the count of changes
}

// HostPlan is one host's part.
type HostPlan struct {
	Host    string      `json:"host"`
	Address string      `json:"address"`
	Roles   []*RolePlan `json:"roles"`
}

// RolePlan is one role's part.
type RolePlan struct {
	Role    string   `json:"role"`
	Checked int      `json:"checked"`
	Changes []Change `json:"changes"`
	Notes   []string `json:"notes,omitempty"` // what holds, and should be known all the same
}

// Change is one difference.
type Change struct {
	Step        string `json:"step"`
	Why         string `json:"why"`
	Diff        string `json:"diff,omitempty"`
	Consequence string `json:"consequence"`
	Obstacle    bool   `json:"obstacle,omitempty"`
	Hint        string `json:"hint,omitempty"`

	consequence step.Consequence
	creates     bool
}

// MakePlan looks at all hosts and says what differs. It touches nothing.
func MakePlan(ctx context.Context, o Options) (*Plan, error) {
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	defer e.close()
	if err := e.open(ctx); err != nil {
		return nil, err
	}
	return e.plan(ctx)
}

func (e *engine) plan(ctx context.Context) (*Plan, error) {
	err := e.all(ctx, e.hosts, func(ctx context.Context, h *host) error {
		for _, t := range h.tasks {
			if err := e.planTask(ctx, t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p := &Plan{Cluster: e.inv.Name, Losses: e.inv.Losses()}
	for _, h := range e.hosts {
		hp := HostPlan{Host: h.name(), Address: h.node.Address}
		for _, t := range h.tasks {
			hp.Roles = append(hp.Roles, t.plan)
		}
		p.Hosts = append(p.Hosts, hp)
	}
	for _, w := range e.waves() {
		p.Order = append(p.Order, w.String())
	}
	return p, nil
}

// planTask asks the steps of one role.
func (e *engine) planTask(ctx context.Context, t *task) error {
	p := &RolePlan{Role: t.role}
	for _, s := range t.steps {
		p.Checked++
		c, err := s.Check(ctx, onlyReader{t.host.m.Look(ctx)})
		if err != nil {
			return &StepError{Host: t.host.name(), Role: t.role, Step: s.Name(), Err: err}
		}
		if c == nil {
			note, err := noteOf(ctx, t, s)
			if err != nil {
				return err
			}
			if note != "" {
				p.Notes = append(p.Notes, note)
				e.emit(Event{Host: t.host.name(), Role: t.role, Step: s.Name(), State: Note, Why: note})
			}
		} else {
			p.Changes = append(p.Changes, Change{Step: s.Name(), Why: c.Why, Diff: c.Diff, Consequence: c.Consequence.String(), Obstacle: c.Apply == nil,
				Hint: c.Hint, consequence: c.Consequence, creates: c.Creates})
		}
	}
	t.plan = p
	return nil
}

// noteOf is what a step that holds wants to be known.
func noteOf(ctx context.Context, t *task, s step.Step) (string, error) {
	n, ok := s.(step.Noter)
	if !ok {
		return "", nil
	}
	note, err := n.Note(ctx, onlyReader{t.host.m.Look(ctx)})
	if err != nil {
		return "", &StepError{Host: t.host.name(), Role: t.role, Step: s.Name(), Err: err}
	}
	return note, nil
}

// consequence is the heaviest one of a role's changes.
func (p *RolePlan) consequence() step.Consequence {
	worst := step.None
	for _, c := range p.Changes {
		worst = max(worst, c.consequence)
	}
	return worst
}

// Changes counts the differences, obstacles apart.
func (p *Plan) Changes() int {
	n := 0
	p.each(func(_ HostPlan, _ *RolePlan, c Change) {
		if !c.Obstacle {
			n++
		}
	})
	return n
}

// Restarts counts the running services that would be restarted.
func (p *Plan) Restarts() int {
	n := 0
	for _, h := range p.Hosts {
		for _, r := range h.Roles {
			if r.consequence() == step.Restart {
				n++
			}
		}
	}
	return n
}

// Checked counts the steps that were asked.
func (p *Plan) Checked() int {
	n := 0
	for _, h := range p.Hosts {
		for _, r := range h.Roles {
			n += r.Checked
		}
	}
	return n
}

// Obstacles lists what is in the way.
func (p *Plan) Obstacles() []Obstacle {
	var out []Obstacle
	p.each(func(h HostPlan, r *RolePlan, c Change) {
		if c.Obstacle {
			out = append(out, Obstacle{Host: h.Host, Role: r.Role, Step: c.Step, Why: c.Why, Hint: c.Hint})
		}
	})
	return out
}

// Empty says that there is nothing to do.
func (p *Plan) Empty() bool { return p.Changes() == 0 && len(p.Obstacles()) == 0 }

func (p *Plan) each(f func(HostPlan, *RolePlan, Change)) {
	for _, h := range p.Hosts {
		for _, r := range h.Roles {
			for _, c := range r.Changes {
				f(h, r, c)
			}
		}
	}
}

// Summary is the plan in one line.
func (p *Plan) Summary() string {
	if p.title != "" {
		return p.title
	}
	if p.Empty() {
		return fmt.Sprintf("nothing to do (%s, %s checked)", count(len(p.Hosts), "host"), count(p.Checked(), "resource"))
	}
	s := fmt.Sprintf("%s on %s, %s", count(p.Changes(), "change"), count(p.changedHosts(), "host"), count(p.Restarts(), "restart"))
	if n := len(p.Obstacles()); n > 0 {
		s += ", " + count(n, "obstacle")
	}
	return s
}

func (p *Plan) changedHosts() int {
	hit := map[string]bool{}
	p.each(func(h HostPlan, _ *RolePlan, _ Change) { hit[h.Host] = true })
	return len(hit)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// WriteText writes the plan for people, with unified diffs of files.
func (p *Plan) WriteText(w io.Writer, diffs bool) error {
	var b strings.Builder
	for _, h := range p.Hosts {
		fmt.Fprintf(&b, "%s (%s)\n", h.Host, h.Address)
		quiet := true
		for _, r := range h.Roles {
			if len(r.Changes) == 0 && len(r.Notes) == 0 {
				continue
			}
			quiet = quiet && len(r.Changes) == 0
			fmt.Fprintf(&b, "  %s\n", r.Role)
			for _, n := range r.Notes {
				fmt.Fprintf(&b, "    i %s\n", n)
			}
			for _, c := range r.Changes {
				c.write(&b, diffs)
			}
		}
		if quiet {
			b.WriteString("  nothing to do\n")
		}
	}
	if len(p.Order) > 0 {
		b.WriteString("order\n")
		for i, o := range p.Order {
			fmt.Fprintf(&b, "  %d. %s\n", i+1, o)
		}
	}
	if len(p.Losses) > 0 {
		b.WriteString("what a loss would mean\n" + inventory.LossesText(p.Losses))
	}
	fmt.Fprintf(&b, "%s\n", p.Summary())
	_, err := io.WriteString(w, b.String())
	return err
}

func (c Change) write(b *strings.Builder, diffs bool) {
	mark := "~"
	switch {
	case c.Obstacle:
		mark = "!"
	case c.creates:
		mark = "+"
	}
	fmt.Fprintf(b, "    %s %s: %s", mark, c.Step, c.Why)
	if c.consequence > step.None {
		fmt.Fprintf(b, "  [%s]", c.Consequence)
	}
	b.WriteByte('\n')
	if c.Hint != "" {
		fmt.Fprintf(b, "        %s\n", c.Hint)
	}
	if diffs && c.Diff != "" {
		for line := range strings.Lines(c.Diff) {
			b.WriteString("        " + strings.TrimSuffix(line, "\n") + "\n")
		}
	}
}

// JSON is the plan for machines.
func (p *Plan) JSON() ([]byte, error) {
	return json.MarshalIndent(struct {
		*Plan
		Changes   int `json:"changes"`
		Restarts  int `json:"restarts"`
		Checked   int `json:"checked"`
		Obstacles int `json:"obstacles"`
	}{p, p.Changes(), p.Restarts(), p.Checked(), len(p.Obstacles())}, "", "  ")
}
