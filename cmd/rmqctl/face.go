// The three faces of a run: a live view, plain lines, JSON lines. All show the same events.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	"golang.org/x/term"

	"rmqctl/cmd/rmqctl/tui"
	"rmqctl/provision"
)

// watch runs the engine behind the face that the flags ask for.
func (j *job) watch(ctx context.Context, run func(context.Context, provision.Options) (*provision.Result, error)) (*provision.Result, error) {
	if !j.tty {
		j.opts.Sink = j.lines()
		return run(ctx, j.opts)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var hosts []string
	for _, n := range j.inv.Nodes {
		hosts = append(hosts, n.Name)
	}
	prog := tea.NewProgram(tui.NewProgress(j.title, hosts, cancel), tea.WithInput(ttyIn(j.std.in)), tea.WithOutput(j.std.out), tea.WithoutSignalHandler())
	j.view = prog
	j.opts.Sink = func(e provision.Event) { prog.Send(tui.EventMsg(e)) }
	closed := make(chan error, 1)
	go func() {
		_, err := prog.Run()
		closed <- err
	}()
	r, err := run(ctx, j.opts)
	prog.Send(tui.EndMsg{})
	if verr := <-closed; verr != nil && err == nil {
		err = fmt.Errorf("live view: %w", verr)
	}
	return r, err
}

// pauseView gives the terminal back while f asks the user something.
func (j *job) pauseView(f func()) {
	if j.view != nil {
		_ = j.view.ReleaseTerminal()
		defer func() { _ = j.view.RestoreTerminal() }()
	}
	f()
}

// lines prints an event a line. What merely held is left out unless asked for.
func (j *job) lines() func(provision.Event) {
	if j.flags.Output == "json" {
		enc := json.NewEncoder(j.std.out)
		return func(e provision.Event) { _ = enc.Encode(e) }
	}
	last := map[string]string{}
	return func(e provision.Event) {
		switch e.State {
		case provision.OK, provision.Running:
			if !j.flags.Verbose {
				return
			}
		case provision.Progress:
			if e.Why == "" || last[e.Host+e.Role] == e.Why {
				return
			}
			last[e.Host+e.Role] = e.Why
		}
		fmt.Fprintln(j.std.out, plainLine(e))
	}
}

func plainLine(e provision.Event) string {
	host := e.Host
	if host == "" {
		host = "cluster"
	}
	what := strings.TrimSpace(e.Role + " " + e.Step)
	line := fmt.Sprintf("%s %-10s %-8s %s", e.Time.Format("15:04:05"), host, e.State, what)
	why := e.Why
	if e.Err != nil {
		why = e.Err.Error()
	}
	if why != "" {
		line += ": " + strings.ReplaceAll(strings.TrimSpace(why), "\n", "\n    ")
	}
	return line
}

// askSecret reads a password without showing it.
func (j *job) askSecret(ctx context.Context, question string) (answer string, err error) {
	j.pauseView(func() {
		f, ok := j.std.in.(*os.File)
		if !ok {
			err = fmt.Errorf("%s: no terminal to ask on", question)
			return
		}
		fmt.Fprint(j.std.err, question+" ")
		var b []byte
		b, err = term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(j.std.err)
		answer = string(b)
	})
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return answer, err
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// ttyIn is what the live view reads keys from; nothing when standard input is no terminal.
func ttyIn(in io.Reader) io.Reader {
	if isTerminal(in) {
		return in
	}
	return nil
}
