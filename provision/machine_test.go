package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gossh "golang.org/x/crypto/ssh"

	"rmqctl/inventory"
	"rmqctl/provision/agent"
	"rmqctl/provision/ssh"
	"rmqctl/provision/ssh/sshtest"
	"rmqctl/provision/step"
)

const sudoSecret = "sudo pass'word"

// sshHost is a host behind SSH whose sudo wants a password, and a way to connect to it as the engine does.
func sshHost(t *testing.T) (*sshtest.Server, func() (machine, error)) {
	t.Helper()
	home := t.TempDir()
	signer, key := sshtest.NewKey(t)
	block, err := gossh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	id := filepath.Join(home, "key")
	if err := os.WriteFile(id, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	s := (&sshtest.Server{Keys: []gossh.PublicKey{signer.PublicKey()}, Sudo: sshtest.SudoAsks, SudoWants: sudoSecret}).Start(t)
	inv, err := inventory.Parse("i.toml", home, strings.NewReplacer("ADDR", s.Host(), "PORT", s.Addr[strings.LastIndexByte(s.Addr, ':')+1:], "KEY", id).Replace(`
schema = 1
[cluster]
name = "t"
mode = "single"
[ssh]
user = "ops"
port = PORT
identity = "KEY"
become_password = "env:SUDO"
[[node]]
name = "node1"
address = "ADDR"
advertise = "10.0.0.1"
[nameserver]
nodes = ["node1"]
[[group]]
name = "broker-a"
master = "node1"
`))
	if err != nil {
		t.Fatal(err)
	}
	d, err := ssh.New(ssh.Options{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	env := func(k string) string { return map[string]string{"SUDO": sudoSecret}[k] }
	dl := &dialer{ssh: d, secrets: &secrets{dir: home, getenv: env}}
	return s, func() (machine, error) { return dl.connect(t.Context(), inv.Nodes[0]) }
}

func TestAgentIsBroughtAndStartedThroughSudoOverSSH(t *testing.T) {
	s, connect := sshHost(t)
	m, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	to := filepath.Join(t.TempDir(), "releases", "x", "rmqctl")
	if m.Agent() != nil {
		t.Fatal("an agent before one was brought")
	}
	if _, err := m.Look(t.Context()).Query(step.AskDial("127.0.0.1:1", 0)); !errors.Is(err, step.ErrNoAgent) {
		t.Errorf("a look without the agent: %v", err)
	}
	if err := m.Upload(t.Context(), self, to, hex.EncodeToString(sum[:]), 0o755, nil); err != nil {
		t.Fatal(err)
	}
	if err := m.StartAgent(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	if out, err := m.Look(t.Context()).Query(step.AskDial("127.0.0.1:1", 0)); err != nil || out != "refused" {
		t.Errorf("a look with the agent: %q, %v", out, err)
	}
	lock := filepath.Join(t.TempDir(), "lock")
	if err := m.Agent().Lock(t.Context(), lock, agent.Holder{Command: "first"}); err != nil {
		t.Fatal(err)
	}

	// A second run meets the lock, until the first one's cable is pulled.
	two, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	if err := two.StartAgent(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	var held *agent.LockedError
	if err := two.Agent().Lock(t.Context(), lock, agent.Holder{}); !errors.As(err, &held) || held.Holder.Command != "first" {
		t.Errorf("second lock: %v", err)
	}
	m.Close()
	if _, err := m.Look(t.Context()).ReadFile("/etc/hosts"); !errors.Is(err, agent.ErrGone) {
		t.Errorf("a look after the end: %v", err)
	}
	for err = two.Agent().Lock(t.Context(), lock, agent.Holder{}); errors.As(err, &held); {
		err = two.Agent().Lock(t.Context(), lock, agent.Holder{}) // the first agent is ending
	}
	if err != nil {
		t.Error(err)
	}
	if all := strings.Join(s.Commands(), "\n") + s.SudoLog(); strings.Contains(all, sudoSecret) || !strings.Contains(all, "agent") {
		t.Error("the sudo password was seen in a command line or environment, or the agent in none")
	}
}

func TestStrangeProgramInsteadOfTheAgentIsAnError(t *testing.T) {
	_, connect := sshHost(t)
	m, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.StartAgent(t.Context(), "/nowhere/rmqctl"); err == nil || !strings.Contains(err.Error(), "/nowhere/rmqctl") {
		t.Errorf("error: %v", err)
	}
}

func TestSecretsAreFetchedOnceAndNamedWhenMissing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pw"), []byte("from file\nsecond line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inv, err := inventory.Parse("i.toml", dir, `
schema = 1
[cluster]
name = "t"
mode = "single"
[ssh]
password = "file:pw"
become_password = "env:NOT_SET"
[[node]]
name = "node1"
address = "10.0.0.1"
[nameserver]
nodes = ["node1"]
[[group]]
name = "broker-a"
master = "node1"
`)
	if err != nil {
		t.Fatal(err)
	}
	s := &secrets{dir: dir, getenv: func(string) string { return "" }}
	n := inv.Nodes[0].SSH
	get := s.get(n.Password, "Password")
	for range 2 {
		if v, err := get(); err != nil || v != "from file" {
			t.Errorf("file: %q, %v", v, err)
		}
		os.Remove(filepath.Join(dir, "pw"))
	}
	if _, err := s.get(n.BecomePassword, "Sudo password")(); err == nil || !strings.Contains(err.Error(), "env:NOT_SET") {
		t.Errorf("unset variable: %v", err)
	}
	if s.get(n.Passphrase, "") != nil {
		t.Error("a secret that is not named can be fetched")
	}
}
