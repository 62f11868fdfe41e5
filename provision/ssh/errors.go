// Why a host could not be reached or used, told so that an operator can act on it.

package ssh

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Kind is one way in which reaching a host goes wrong. errors.Is(err, ssh.Refused) asks for it.
type Kind string

// The kinds. Each is a different thing to do for the operator.
const (
	NoSuchHost   Kind = "no such host"
	Refused      Kind = "connection refused"
	TimedOut     Kind = "timed out"
	Unreachable  Kind = "host unreachable"
	UnknownKey   Kind = "host key unknown"
	ChangedKey   Kind = "host key changed"
	BadKeyFile   Kind = "key file unusable"
	AuthFailed   Kind = "authentication failed"
	Handshake    Kind = "not a usable SSH server"
	SudoRefused  Kind = "sudo refused"
	LinkLost     Kind = "connection lost"
	UploadFailed Kind = "upload failed"
	BadConfig    Kind = "ssh configuration unusable"
)

func (k Kind) Error() string { return string(k) }

// Error says which host, what was tried, what came of it, the likely cause and the next step.
type Error struct {
	Kind   Kind
	Host   string // the node's name in the inventory
	Addr   string // user@address:port
	Tried  string
	Cause  error
	Likely string
	Next   string
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s): %s", e.Host, e.Addr, e.Kind)
	if e.Tried != "" {
		fmt.Fprintf(&b, ": tried %s", e.Tried)
	}
	if e.Cause != nil {
		fmt.Fprintf(&b, ": %v", e.Cause)
	}
	return b.String()
}

// Unwrap gives the cause; Is also answers for the kind.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is(err, ssh.AuthFailed) work.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// dialError names what a failed TCP connection means.
func dialError(t Target, via string, err error) *Error {
	e := &Error{Kind: Unreachable, Host: t.Name, Addr: t.addr(), Tried: "TCP to " + t.hostPort() + via, Cause: err,
		Likely: "the host is down, or there is no route to it", Next: "ping it from here, or look at its console"}
	var dns *net.DNSError
	var ne net.Error
	switch {
	case errors.As(err, &dns) && !dns.IsTimeout:
		e.Kind, e.Cause = NoSuchHost, nil
		e.Likely, e.Next = "the address in the inventory is misspelt, or your resolver does not know it", "check `address` of node "+t.Name
	case errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "Connection refused"):
		e.Kind, e.Cause = Refused, nil
		e.Likely, e.Next = "no SSH server listens on this port", "check that sshd runs there, and `port` of node "+t.Name
	case errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH):
	case errors.Is(err, os.ErrDeadlineExceeded) || (errors.As(err, &ne) && ne.Timeout()):
		e.Kind, e.Cause = TimedOut, nil
		e.Likely, e.Next = "the host is down, or a firewall drops the packets", "ping it from here; try another port or a jump host"
	}
	return e
}

// lost says whether err means that the connection itself is gone.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
