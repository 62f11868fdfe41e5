// The state of a cluster: a live view on a terminal, one look for scripts.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"rmqctl/cmd/rmqctl/tui"
	"rmqctl/internal/client"
	"rmqctl/provision"
)

type statusCmd struct {
	runFlags
	Every time.Duration `default:"2s" help:"How often the live view looks."`
}

func (c *statusCmd) Run(ctx context.Context, std *streams) error {
	j, err := c.job(std, "status")
	if err != nil {
		return err
	}
	for {
		act, err := c.look(ctx, j)
		if err != nil || act.Kind == "" {
			return err
		}
		if err := c.restart(ctx, std, j, act); err != nil {
			fmt.Fprintln(std.err, "rmqctl:", err)
			fmt.Fprint(std.out, "press Enter to go on ")
			var nothing [1]byte
			_, _ = std.in.Read(nothing[:])
		}
	}
}

// look opens the connections and shows the cluster until the user leaves or wants something done.
func (c *statusCmd) look(ctx context.Context, j *job) (tui.Action, error) {
	s, err := provision.Open(ctx, j.opts)
	if err != nil {
		return tui.Action{}, withCode(provision.ExitCode(err), err)
	}
	defer s.Close()
	if j.tty {
		return c.live(ctx, j, s)
	}
	return tui.Action{}, c.once(ctx, j.std, s)
}

// live shows the view until the user leaves it or wants something done.
func (c *statusCmd) live(ctx context.Context, j *job, s *provision.Session) (tui.Action, error) {
	m := tui.NewStatus(j.inv.Name, c.Every, true, s.Status)
	prog := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(ttyIn(j.std.in)), tea.WithOutput(j.std.out), tea.WithAltScreen())
	_, err := prog.Run()
	if errors.Is(err, tea.ErrProgramKilled) || ctx.Err() != nil {
		return tui.Action{}, ctx.Err()
	}
	return m.Chosen, err
}

// restart rolls what the user chose: the whole cluster, or the one broker behind an address.
func (c *statusCmd) restart(ctx context.Context, std *streams, j *job, act tui.Action) error {
	r, err := c.jobFor(std, "restart", j.inv)
	if err != nil {
		return err
	}
	if act.Kind == "restart-node" {
		for _, b := range j.inv.Brokers() {
			if b.Addr() == act.Addr {
				r.opts.Only = []string{b.Member}
			}
		}
		if r.opts.Only == nil {
			return fmt.Errorf("%s is not a broker of %s", act.Name, c.Inventory)
		}
	}
	return r.result(r.watch(ctx, provision.Restart))
}

// damages is a line for each broker that has found damage in its files. It goes on without what is damaged: the cluster is
// healthy all the same.
func damages(s *client.ClusterStatus) string {
	var b strings.Builder
	for _, g := range s.Groups {
		for _, m := range g.Members {
			if m.Damaged != "" {
				fmt.Fprintf(&b, "damage: broker %s[%d] %s: %s\n        stop it, then look with `rmqctl store check`\n", g.Name, m.ID, m.Addr, m.Damaged)
			}
		}
	}
	return b.String()
}

// once prints one look. A cluster that is not healthy is exit code 1.
func (c *statusCmd) once(ctx context.Context, std *streams, session *provision.Session) error {
	s, err := session.Status(ctx)
	if s == nil {
		return err
	}
	ok, why := s.Healthy()
	if c.Output == "json" {
		err = json.NewEncoder(std.out).Encode(map[string]any{"healthy": ok, "problems": why, "status": s})
	} else {
		_, err = fmt.Fprint(std.out, tui.Table(s)+damages(s.ClusterStatus))
	}
	if err == nil && !ok {
		return withCode(exitFailed, errors.New("not healthy: "+strings.Join(why, "; ")))
	}
	return err
}
