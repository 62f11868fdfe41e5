// The services' logs, from all hosts.

package provision

import (
	"bytes"
	"context"
	"strings"
	"sync"
)

// LogOptions say how much of the logs.
type LogOptions struct {
	Lines  int // of each service; 0 = 50
	Follow bool
}

// LogLine is a line of a service's log, without its end.
type LogLine struct {
	Host string `json:"host"`
	Role string `json:"role"`
	Text string `json:"text"`
}

// Logs hands out the last lines of each service, then, if asked, what is added until ctx ends. out is called for one line at a time.
func Logs(ctx context.Context, o Options, l LogOptions, out func(LogLine)) error {
	e, err := newEngine(o)
	if err != nil {
		return err
	}
	defer e.close()
	if err := e.open(ctx); err != nil {
		return err
	}
	tasks, err := e.only(e.tasks(func(t *task) bool { return t.unit != "" }))
	if err != nil {
		return err
	}
	if l.Lines == 0 {
		l.Lines = 50
	}
	for _, t := range tasks {
		text, err := t.host.m.Look(ctx).Query(t.host.sup.Log(t.unit, l.Lines))
		if err != nil {
			return &StepError{Host: t.host.name(), Role: t.role, Step: "log", Err: err}
		}
		for line := range strings.Lines(text) {
			out(LogLine{t.host.name(), t.role, strings.TrimSuffix(line, "\n")})
		}
	}
	if !l.Follow {
		return nil
	}
	var mu sync.Mutex
	return e.each(ctx, tasks, func(ctx context.Context, t *task) error {
		if t.host.m.Agent() == nil {
			return nil
		}
		file, argv := t.logSource()
		var rest []byte
		return t.host.m.Agent().Follow(ctx, file, argv, func(b []byte) {
			rest = append(rest, b...)
			for {
				i := bytes.IndexByte(rest, '\n')
				if i < 0 {
					return
				}
				mu.Lock()
				out(LogLine{t.host.name(), t.role, string(rest[:i])})
				mu.Unlock()
				rest = rest[i+1:]
			}
		})
	})
}

// logSource is where a service's log grows: a file, or a program that follows the journal.
func (t *task) logSource() (file string, argv []string) {
	if !t.host.sup.Builtin {
		return "", []string{"journalctl", "-u", t.unit, "-n", "0", "-f", "--no-pager", "-o", "cat"}
	}
	if t.ns != nil {
		return t.ns.LogPath(), nil
	}
	return t.broker.LogPath(), nil
}
