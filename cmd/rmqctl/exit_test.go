package main

import (
	"bytes"
	"errors"
	"testing"

	"rmqctl/provision"
	"rmqctl/provision/ssh"
)

func TestAFailureSaysLikelyCauseAndNextStepOnce(t *testing.T) {
	away := func(host string) provision.HostError {
		return provision.HostError{Host: host, Err: &ssh.Error{Kind: ssh.Refused, Host: host, Addr: "root@h:22", Likely: "no sshd", Next: "start sshd"}}
	}
	err := &provision.UnreachableError{Hosts: []provision.HostError{away("n1"), away("n2")}}
	var out bytes.Buffer
	code := report(&streams{err: &out}, withCode(provision.ExitCode(err), err))
	want := `rmqctl: hosts not reached, nothing was begun:
  n1 (root@h:22): connection refused
  n2 (root@h:22): connection refused
  likely: no sshd
  next:   start sshd
`
	if code != exitUnreachable || out.String() != want {
		t.Errorf("%d\n%s", code, out.String())
	}
}

func TestAGateSaysWhatToDo(t *testing.T) {
	err := errors.Join(errors.New("x"), &provision.GateError{Host: "n1", Member: "broker-a", May: "stop", What: "behind", Next: "wait"})
	if got := hints(err); len(got) != 1 || got[0] != "next:   wait" {
		t.Errorf("%q", got)
	}
}
