// Services: their unit, whether they start at boot, and whether what runs is what is wanted.

package step

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// SpecEnv is the variable in a process's environment that says what it was started with.
const SpecEnv = "RMQ_SPEC"

// Hash is a short hash of texts; where one ends and the next begins counts.
func Hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// Unit is a unit's definition, and that the supervisor has read it.
type Unit struct {
	Unit string
	Text string
	Sup  Supervisor
}

// Name is the unit.
func (u Unit) Name() string { return "unit " + u.Unit }

// Check compares the definition, and asks systemd whether it has read it.
func (u Unit) Check(ctx context.Context, h Reader) (*Change, error) {
	f := u.file()
	c, err := f.Check(ctx, h)
	if err != nil {
		return nil, err
	}
	if c != nil {
		if apply := c.Apply; apply != nil {
			c.Consequence = Reload
			c.Apply = func(ctx context.Context, w Writer) error {
				if err := apply(ctx, w); err != nil {
					return err
				}
				return w.Run(u.Sup.Reload())
			}
		}
		return c, nil
	}
	if u.Sup.Builtin {
		return nil, nil
	}
	stale, err := h.Query(AskNeedsReload(u.Unit))
	if err != nil {
		return nil, fmt.Errorf("ask systemd about %s: %w", u.Unit, err)
	}
	if stale != "yes" {
		return nil, nil
	}
	return &Change{Why: "systemd has not read it yet", Consequence: Reload, Apply: func(_ context.Context, w Writer) error {
		return w.Run(u.Sup.Reload())
	}}, nil
}

func (u Unit) file() File {
	return File{Path: u.Sup.UnitPath(u.Unit), Content: []byte(u.Text), Mode: 0o644}
}

// Owned is the unit.
func (u Unit) Owned() Owned { return Owned{Kind: "unit", Name: u.Unit} }

// Absent removes the definition.
func (u Unit) Absent() Step { return noUnit{u} }

type noUnit struct{ unit Unit }

func (n noUnit) Name() string { return "no " + n.unit.Name() }

func (n noUnit) Check(ctx context.Context, h Reader) (*Change, error) {
	c, err := n.unit.file().Absent().Check(ctx, h)
	if c == nil || err != nil {
		return c, err
	}
	apply := c.Apply
	c.Apply = func(ctx context.Context, w Writer) error {
		if err := apply(ctx, w); err != nil {
			return err
		}
		return w.Run(n.unit.Sup.Reload())
	}
	return c, nil
}

// Enabled is a unit that systemd starts at boot.
type Enabled struct{ Unit string }

// Name says what it is.
func (e Enabled) Name() string { return "start " + e.Unit + " at boot" }

// Check asks systemd.
func (e Enabled) Check(_ context.Context, h Reader) (*Change, error) {
	state, err := h.Query(AskEnabled(e.Unit))
	if err != nil {
		return nil, fmt.Errorf("ask systemd about %s: %w", e.Unit, err)
	}
	switch {
	case strings.HasPrefix(state, "enabled"):
		return nil, nil
	case strings.HasPrefix(state, "masked"):
		return Obstacle(e.Unit+" is masked", "systemctl unmask "+e.Unit), nil
	}
	return &Change{Why: "does not", Creates: true, Apply: func(_ context.Context, w Writer) error {
		return w.Run(Cmd("systemctl", "enable", "--", e.Unit))
	}}, nil
}

// Owned is the unit's being enabled.
func (e Enabled) Owned() Owned { return Owned{Kind: "enabled", Name: e.Unit} }

// Absent disables it.
func (e Enabled) Absent() Step { return disabled(e) }

type disabled Enabled

func (d disabled) Name() string { return "do not start " + d.Unit + " at boot" }

func (d disabled) Check(_ context.Context, h Reader) (*Change, error) {
	state, err := h.Query(AskEnabled(d.Unit))
	if err != nil {
		return nil, fmt.Errorf("ask systemd about %s: %w", d.Unit, err)
	}
	if !strings.HasPrefix(state, "enabled") {
		return nil, nil
	}
	return &Change{Why: "still enabled", Apply: func(_ context.Context, w Writer) error {
		return w.Run(Cmd("systemctl", "disable", "--", d.Unit))
	}}, nil
}

// Running is a unit whose process was started with the wanted binary, configuration and unit. The process itself says
// so, by RMQ_SPEC in its environment: a crash between writing a file and restarting is found and healed by the next run.
type Running struct {
	Unit         string
	Spec         string
	Sup          Supervisor
	StartTimeout time.Duration
	StopTimeout  time.Duration
}

// Name says what it is.
func (r Running) Name() string { return "run " + r.Unit }

// Check compares the process's environment.
func (r Running) Check(_ context.Context, h Reader) (*Change, error) {
	out, err := h.Query(r.Sup.State(r.Unit))
	if err != nil && !errors.Is(err, ErrNoAgent) {
		return nil, fmt.Errorf("state of %s: %w", r.Unit, err)
	}
	state := ParseUnitState(out)
	if !state.Runs() || state.Active != "active" {
		why := "is " + state.Active
		if state.Active == "absent" || state.Active == "inactive" {
			why = "does not run"
		}
		return &Change{Why: why, Consequence: Start, Creates: true, Apply: r.start}, nil
	}
	have, err := h.Query(r.Sup.Environ(r.Unit, SpecEnv))
	if err != nil {
		return nil, fmt.Errorf("environment of %s: %w", r.Unit, err)
	}
	if have == r.Spec {
		return nil, nil
	}
	return &Change{Why: "runs with an older binary, configuration or unit", Consequence: Restart, Apply: func(ctx context.Context, w Writer) error {
		if err := w.Run(r.Sup.Stop(r.Unit, r.StopTimeout)); err != nil {
			return fmt.Errorf("stop %s: %w", r.Unit, err)
		}
		return r.start(ctx, w)
	}}, nil
}

// start starts the unit; when that fails, the end of its log says why.
func (r Running) start(_ context.Context, w Writer) error {
	err := w.Run(r.Sup.Start(r.Unit, r.StartTimeout))
	if err == nil {
		return nil
	}
	var no *ExitError
	if tail, qerr := w.Query(r.Sup.Log(r.Unit, 15)); errors.As(err, &no) && qerr == nil && tail != "" {
		return fmt.Errorf("start %s: %w\n%s", r.Unit, err, tail)
	}
	return fmt.Errorf("start %s: %w", r.Unit, err)
}

// Within is how long a start may take.
func (r Running) Within() time.Duration { return r.StartTimeout }

// Owned is the unit's running.
func (r Running) Owned() Owned { return Owned{Kind: "running", Name: r.Unit} }

// Absent stops it.
func (r Running) Absent() Step { return Stopped{Unit: r.Unit, Sup: r.Sup, Timeout: r.StopTimeout} }

// Stopped is a unit without a process.
type Stopped struct {
	Unit    string
	Sup     Supervisor
	Timeout time.Duration
}

// Name says what it is.
func (s Stopped) Name() string { return "stop " + s.Unit }

// Check asks the supervisor.
func (s Stopped) Check(_ context.Context, h Reader) (*Change, error) {
	out, err := h.Query(s.Sup.State(s.Unit))
	if errors.Is(err, ErrNoAgent) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("state of %s: %w", s.Unit, err)
	}
	if !ParseUnitState(out).Runs() {
		return nil, nil
	}
	return &Change{Why: "still runs", Apply: func(_ context.Context, w Writer) error {
		return w.Run(s.Sup.Stop(s.Unit, s.Timeout))
	}}, nil
}
