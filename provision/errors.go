// What can stop a run, by the exit code it ends with.

package provision

import (
	"errors"
	"fmt"
	"strings"

	"rmqctl/provision/agent"
)

// ErrDeclined means that the operator said no.
var ErrDeclined = errors.New("not confirmed")

// ObstacleError lists what is in the way. Nothing was begun.
type ObstacleError struct{ Obstacles []Obstacle }

// Obstacle is a difference that rmqctl does not close by itself.
type Obstacle struct {
	Host string `json:"host"`
	Role string `json:"role"`
	Step string `json:"step"`
	Why  string `json:"why"`
	Hint string `json:"hint,omitempty"`
}

func (o Obstacle) String() string {
	s := fmt.Sprintf("%s %s: %s: %s", o.Host, o.Role, o.Step, o.Why)
	if o.Hint != "" {
		s += " (" + o.Hint + ")"
	}
	return s
}

func (e *ObstacleError) Error() string {
	lines := make([]string, len(e.Obstacles))
	for i, o := range e.Obstacles {
		lines[i] = o.String()
	}
	return "nothing was begun:\n  " + strings.Join(lines, "\n  ")
}

// UnreachableError lists the hosts that could not be reached or looked at. Nothing was begun.
type UnreachableError struct{ Hosts []HostError }

// HostError is one of them. Err is often an *ssh.Error, which says the likely cause and the next step.
type HostError struct {
	Host string
	Err  error
}

func (e *UnreachableError) Error() string {
	lines := make([]string, len(e.Hosts))
	for i, h := range e.Hosts {
		lines[i] = h.Err.Error()
		if !strings.HasPrefix(lines[i], h.Host) {
			lines[i] = h.Host + ": " + lines[i]
		}
	}
	return "hosts not reached, nothing was begun:\n  " + strings.Join(lines, "\n  ")
}

// Unwrap lets errors.As find the causes.
func (e *UnreachableError) Unwrap() []error {
	out := make([]error, len(e.Hosts))
	for i, h := range e.Hosts {
		out[i] = h.Err
	}
	return out
}

// LockedError means that another run is working on the cluster.
type LockedError struct {
	Host   string
	Holder agent.Holder
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("another run works on this cluster: locked on %s by %s", e.Host, e.Holder)
}

// GateError means that a roll stopped because a number was not what it has to be. Nothing is left half done: what was
// drained is writable again.
type GateError struct {
	Host, Member string
	May          string // "stop", "be drained", "be called healthy"
	What         string // "slave broker-a-s is 48.2 MB behind"
	Limit        string // "1 MB"
	Next         string
}

func (e *GateError) Error() string {
	s := fmt.Sprintf("gate: %s on %s may not %s: %s", e.Member, e.Host, e.May, e.What)
	if e.Limit != "" {
		s += " (limit " + e.Limit + ")"
	}
	return s
}

// StepError is a step that failed on a host.
type StepError struct {
	Host, Role, Step string
	Err              error
	Log              string // the end of the service's log, when it was a service
}

func (e *StepError) Error() string {
	s := fmt.Sprintf("%s %s: %s: %v", e.Host, e.Role, e.Step, e.Err)
	if e.Log != "" {
		s += "\n  log of the service:\n    " + strings.ReplaceAll(e.Log, "\n", "\n    ")
	}
	return s
}

func (e *StepError) Unwrap() error { return e.Err }

// VerifyError means that the cluster runs, and a probe message did not go through.
type VerifyError struct{ Failed []string }

func (e *VerifyError) Error() string {
	return "the cluster runs, but a probe failed:\n  " + strings.Join(e.Failed, "\n  ")
}

// ExitCode is the program's exit code for an error of this package:
// 0 done, 1 failed, 3 an obstacle, 5 locked, 6 hosts unreachable, 7 a gate did not hold.
func ExitCode(err error) int {
	var obstacle *ObstacleError
	var locked *LockedError
	var away *UnreachableError
	var gate *GateError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &obstacle):
		return 3
	case errors.As(err, &locked):
		return 5
	case errors.As(err, &gate):
		return 7
	case errors.As(err, &away):
		return 6
	}
	return 1
}
