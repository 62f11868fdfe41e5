// Preflight: what of each host is in order, what a deploy would do, and what is in its way. Nothing is changed.

package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"rmqctl/provision/ssh"
	"rmqctl/provision/step"
)

// Finding is one line of a preflight report.
type Finding struct {
	Host  string `json:"host"`
	Role  string `json:"role,omitempty"`
	What  string `json:"what"`
	State string `json:"state"` // ok, todo (a deploy will do it), warn, FAIL
	Why   string `json:"why,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// Report is a preflight report.
type Report struct {
	Findings []Finding `json:"findings"`
}

// Failed counts what is in the way of a deploy.
func (r *Report) Failed() int { return r.count("FAIL") }

func (r *Report) count(state string) int {
	n := 0
	for _, f := range r.Findings {
		if f.State == state {
			n++
		}
	}
	return n
}

// OK says that nothing is in the way.
func (r *Report) OK() bool { return r.Failed() == 0 }

// WriteText writes the report for people: what is in order is only counted.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	host := ""
	for _, f := range r.Findings {
		if f.Host != host {
			host = f.Host
			fmt.Fprintf(&b, "%s\n", host)
		}
		if f.State == "ok" {
			continue
		}
		fmt.Fprintf(&b, "  %-4s  %-12s %s", f.State, f.Role, f.What)
		if f.Why != "" {
			fmt.Fprintf(&b, ": %s", strings.ReplaceAll(f.Why, "\n", "\n        "))
		}
		b.WriteByte('\n')
		if f.Hint != "" && f.State != "todo" {
			fmt.Fprintf(&b, "        next: %s\n", f.Hint)
		}
	}
	fmt.Fprintf(&b, "%d ok · %d to do by deploy · %s · %d FAIL\n", r.count("ok"), r.count("todo"), count(r.count("warn"), "warning"), r.Failed())
	_, err := io.WriteString(w, b.String())
	return err
}

// maxSkew is how far hosts' clocks may be apart before it is told: message times and retention go by them.
const maxSkew = 5 * time.Second

// Check looks at every host. A host that cannot be reached is a finding, not an error.
func Check(ctx context.Context, o Options) (*Report, error) {
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	defer e.close()
	openErr := e.open(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	away := map[string]error{}
	var u *UnreachableError
	if errors.As(openErr, &u) {
		for _, h := range u.Hosts {
			away[h.Host] = h.Err
		}
	} else if openErr != nil {
		return nil, openErr
	}
	parts := make([][]Finding, len(e.hosts))
	index := map[*host]int{}
	for i, h := range e.hosts {
		index[h] = i
	}
	err = e.all(ctx, e.hosts, func(ctx context.Context, h *host) error {
		var fs []Finding
		if err := away[h.name()]; err != nil {
			fs = []Finding{{Host: h.name(), What: "reachable", State: "FAIL", Why: err.Error(), Hint: hintOf(err)}}
		} else {
			fs = e.inspect(ctx, h)
		}
		parts[index[h]] = fs
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := &Report{}
	for _, fs := range parts {
		r.Findings = append(r.Findings, fs...)
	}
	return r, nil
}

func hintOf(err error) string {
	var e *ssh.Error
	if errors.As(err, &e) {
		return e.Likely + "; " + e.Next
	}
	return ""
}

func (e *engine) inspect(ctx context.Context, h *host) []Finding {
	fs := []Finding{{Host: h.name(), What: "reachable", State: "ok", Why: h.bin.kind}}
	look := onlyReader{h.m.Look(ctx)}
	fs = append(fs, e.clockOf(look, h))
	for _, t := range h.tasks {
		for _, s := range t.steps {
			f := Finding{Host: h.name(), Role: t.role, What: s.Name(), State: "ok"}
			c, err := s.Check(ctx, look)
			switch {
			case err != nil:
				f.State, f.Why = "FAIL", err.Error()
			case c != nil && c.Apply == nil:
				f.State, f.Why, f.Hint = "FAIL", c.Why, c.Hint
			case c != nil:
				f.State, f.Why = "todo", c.Why
			default:
				note, err := noteOf(ctx, t, s)
				if err != nil {
					f.State, f.Why = "FAIL", err.Error()
				} else if note != "" {
					f.State, f.Why = "warn", note
				}
			}
			fs = append(fs, f)
		}
	}
	return fs
}

func (e *engine) clockOf(look step.Reader, h *host) Finding {
	f := Finding{Host: h.name(), What: "clock", State: "ok"}
	out, err := look.Query(step.AskNow())
	sec, perr := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil || perr != nil {
		f.State, f.Why = "warn", "cannot be read"
		return f
	}
	skew := time.Unix(sec, 0).Sub(e.clock.Now()).Round(time.Second)
	if skew.Abs() > maxSkew {
		f.State, f.Why, f.Hint = "warn", skew.String()+" from this machine's", "let chrony or systemd-timesyncd set it"
	}
	return f
}
