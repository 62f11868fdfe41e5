// Exit codes: one list, printed in the help, tested by scripts.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"rmqctl/provision"
	"rmqctl/provision/ssh"
)

const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitCheck       = 3
	exitPending     = 4
	exitLocked      = 5
	exitUnreachable = 6
	exitGate        = 7
	exitInterrupted = 130
)

// exitError is a failure that has an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// withCode gives err an exit code; nil stays nil.
func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code, err}
}

// hinted is a failure whose next step is known.
type hinted struct {
	error
	next string
}

func (e *hinted) Unwrap() error { return e.error }

// errQuiet ends the program with a code after the command has said everything itself.
var errQuiet = errors.New("")

// report prints err, if there is one, and returns the exit code that belongs to it.
func report(std *streams, err error) int {
	if err == nil {
		return exitOK
	}
	if msg := err.Error(); msg != "" {
		fmt.Fprintln(std.err, "rmqctl:", msg)
	}
	for _, h := range hints(err) {
		fmt.Fprintln(std.err, "  "+h)
	}
	var coded *exitError
	switch {
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}

// hints are the likely causes and next steps that the errors in err's tree know of, each once.
func hints(err error) []string {
	var out []string
	add := func(label, text string) {
		if h := label + text; text != "" && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) {
		case *ssh.Error:
			add("likely: ", e.Likely)
			add("next:   ", e.Next)
		case *provision.GateError:
			add("next:   ", e.Next)
		case *hinted:
			add("next:   ", e.next)
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				walk(inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner)
			}
		}
	}
	walk(err)
	return out
}
