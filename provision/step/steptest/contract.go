// The contract that every step keeps, as one test.

package steptest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"rmqctl/provision/step"
)

// Case is a list of steps and the host they start from.
type Case struct {
	Host  func() *Host
	Steps func() []step.Step
	// Stays says that nothing takes the steps back.
	Stays bool
	// Free is a step that has nothing to do on this host.
	Free bool
}

// Contract checks what every step and every role has to keep.
func Contract(t *testing.T, c Case) {
	t.Helper()
	h := c.Host()
	before := h.Snapshot()
	why, err := Plan(h, c.Steps())
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	if (len(why) == 0) != c.Free {
		t.Fatalf("the first plan has %d changes", len(why))
	}
	if h.Snapshot() != before || h.Writes > 0 {
		t.Fatal("the plan changed the host")
	}
	owned := map[step.Owned]bool{}
	if err := Apply(h, c.Steps(), owned); err != nil {
		t.Fatalf("apply: %v", err)
	}
	if why, err = Plan(h, c.Steps()); err != nil || len(why) > 0 {
		t.Fatalf("the plan after an apply: %v %v", why, err)
	}
	writes := h.Writes
	if !c.Stays {
		if err := Destroy(h, c.Steps(), owned, true); err != nil {
			t.Fatalf("destroy: %v", err)
		}
		if after := h.Snapshot(); after != before {
			t.Fatalf("destroy left\n%s", lineDiff(before, after))
		}
	}
	for cut := 1; cut <= writes; cut++ {
		for _, lost := range []bool{false, true} {
			pullCable(t, c, cut, lost)
		}
	}
}

// pullCable interrupts an apply at one change, finishes it, and takes it back.
func pullCable(t *testing.T, c Case, cut int, lost bool) {
	t.Helper()
	h := c.Host()
	before := h.Snapshot()
	owned := map[step.Owned]bool{}
	h.CutAt, h.CutAfter = cut, lost
	if err := Apply(h, c.Steps(), owned); !errors.Is(err, ErrCut) {
		t.Fatalf("cable pulled at change %d: %v", cut, err)
	}
	h.CutAt = 0
	if err := Apply(h, c.Steps(), owned); err != nil {
		t.Fatalf("apply again after change %d was cut (answer lost: %t): %v", cut, lost, err)
	}
	if why, err := Plan(h, c.Steps()); err != nil || len(why) > 0 {
		t.Fatalf("after change %d was cut (answer lost: %t) the plan is never empty: %v %v", cut, lost, why, err)
	}
	if c.Stays {
		return
	}
	if err := Destroy(h, c.Steps(), owned, true); err != nil {
		t.Fatalf("destroy after change %d was cut: %v", cut, err)
	}
	if after := h.Snapshot(); after != before {
		t.Fatalf("change %d was cut (answer lost: %t), and destroy left\n%s", cut, lost, lineDiff(before, after))
	}
}

// Plan is what would change: "step: why".
func Plan(h *Host, steps []step.Step) ([]string, error) {
	var out []string
	for _, s := range steps {
		c, err := s.Check(context.Background(), h.Reader())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name(), err)
		}
		if c != nil {
			out = append(out, s.Name()+": "+c.Why)
		}
	}
	return out, nil
}

// Apply closes every difference, in order, and looks again after each. What the steps create is noted in owned before.
func Apply(h *Host, steps []step.Step, owned map[step.Owned]bool) error {
	for _, s := range steps {
		if err := apply(h, s, owned); err != nil {
			return fmt.Errorf("%s: %w", s.Name(), err)
		}
	}
	return nil
}

func apply(h *Host, s step.Step, owned map[step.Owned]bool) error {
	ctx := context.Background()
	c, err := s.Check(ctx, h.Reader())
	if err != nil || c == nil {
		return err
	}
	if c.Apply == nil {
		return fmt.Errorf("obstacle: %s", c.Why)
	}
	if r, ok := s.(step.Removable); ok && c.Creates && owned != nil {
		owned[r.Owned()] = true
	}
	if err := c.Apply(ctx, h); err != nil {
		return err
	}
	if c, err = s.Check(ctx, h.Reader()); err != nil {
		return err
	}
	if c != nil {
		return fmt.Errorf("still there after the change: %s", c.Why)
	}
	return nil
}

// Destroy takes back what the steps created, last first.
func Destroy(h *Host, steps []step.Step, owned map[step.Owned]bool, data bool) error {
	for i := len(steps) - 1; i >= 0; i-- {
		r, ok := steps[i].(step.Removable)
		if !ok || !owned[r.Owned()] || r.Owned().Kind == "data" && !data {
			continue
		}
		if err := apply(h, r.Absent(), nil); err != nil {
			return fmt.Errorf("%s: %w", r.Absent().Name(), err)
		}
	}
	return nil
}

// lineDiff is the lines that only one side has.
func lineDiff(before, after string) string {
	had := map[string]bool{}
	for _, l := range strings.Split(before, "\n") {
		had[l] = true
	}
	var out []string
	for _, l := range strings.Split(after, "\n") {
		if !had[l] {
			out = append(out, "+ "+l)
		}
		delete(had, l)
	}
	for l := range had {
		out = append(out, "- "+l)
	}
	return strings.Join(out, "\n")
}
