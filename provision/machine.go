// A host as the engine holds it: reached, looked at, and with the agent on it once the binary is there.

package provision

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"rmqctl/inventory"
	"rmqctl/provision/agent"
	"rmqctl/provision/ssh"
	"rmqctl/provision/step"
)

// machine is one host. Tests bring their own.
type machine interface {
	// Look answers questions: through the agent when there is one, else as well as the host can without.
	Look(ctx context.Context) step.Reader
	// Agent is nil until StartAgent.
	Agent() *agent.Client
	StartAgent(ctx context.Context, binary string) error
	// Upload brings a file; progress may be called from other goroutines.
	Upload(ctx context.Context, from, to, sum string, mode fs.FileMode, progress func(done, total int64)) error
	Close() error
}

// sshMachine is a host behind SSH.
type sshMachine struct {
	client *ssh.Client
	agent  *agent.Client
	binary string // what the agent runs from
}

func (m *sshMachine) Look(ctx context.Context) step.Reader {
	if m.agent != nil {
		return m.agent.Host(ctx)
	}
	return m.client.Reader(ctx)
}

func (m *sshMachine) Agent() *agent.Client { return m.agent }

func (m *sshMachine) StartAgent(ctx context.Context, binary string) error {
	if m.agent != nil && m.binary == binary {
		return nil
	}
	p, err := m.client.Start(ctx, true, binary, "agent", "--stdio")
	if err != nil {
		return err
	}
	a, err := agent.Dial(ctx, p)
	if err != nil {
		if text := p.Stderr(); text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
		return fmt.Errorf("start %s on the host: %w", binary, err)
	}
	if m.agent != nil { // of an earlier release: it was good enough to look
		m.agent.Close()
	}
	m.agent, m.binary = a, binary
	return nil
}

func (m *sshMachine) Upload(ctx context.Context, from, to, sum string, mode fs.FileMode, progress func(done, total int64)) error {
	return m.client.Upload(ctx, ssh.Upload{From: from, To: to, Sum: sum, Mode: mode, Progress: progress})
}

func (m *sshMachine) Close() error {
	if m.agent != nil {
		m.agent.Close()
	}
	return m.client.Close()
}

// localMachine is this machine, below the node's own directory. The agent is a child process of the program itself, so
// it is there from the beginning.
type localMachine struct{ agent *agent.Client }

func (m *localMachine) Look(ctx context.Context) step.Reader     { return m.agent.Host(ctx) }
func (m *localMachine) Agent() *agent.Client                     { return m.agent }
func (m *localMachine) StartAgent(context.Context, string) error { return nil }
func (m *localMachine) Close() error                             { return m.agent.Close() }
func (m *localMachine) Upload(ctx context.Context, from, to, _ string, mode fs.FileMode, progress func(done, total int64)) error {
	return m.agent.Copy(ctx, from, to, mode)
}

// dialer opens machines for one run.
type dialer struct {
	ssh     *ssh.Dialer
	secrets *secrets
	self    string // the binary whose agent serves local nodes
}

func (d *dialer) connect(ctx context.Context, n *inventory.Node) (machine, error) {
	if n.Local() {
		a, err := agent.Child(ctx, d.self, "agent", "--stdio")
		if err != nil {
			return nil, fmt.Errorf("start the agent of local node %s: %w", n.Name, err)
		}
		return &localMachine{a}, nil
	}
	c, err := d.ssh.Dial(ctx, d.target(n))
	if err != nil {
		return nil, err
	}
	return &sshMachine{client: c}, nil
}

func (d *dialer) target(n *inventory.Node) ssh.Target {
	s := n.SSH
	t := ssh.Target{Name: n.Name, Address: n.Address, Port: s.Port, User: s.User, Jump: append([]string(nil), s.Jump...), Policy: ssh.Policy(s.HostKeys),
		Fingerprint: s.Fingerprint, Become: ssh.Become(s.Become)}
	for _, id := range s.Identity {
		t.Identities = append(t.Identities, d.ssh.Expand(id))
	}
	t.Password = d.secrets.get(s.Password, "Password of "+s.User+" on "+n.Name)
	t.BecomePassword = d.secrets.get(s.BecomePassword, "Password for "+string(s.Become))
	t.Passphrase = d.secrets.get(s.Passphrase, "Passphrase of "+strings.Join(s.Identity, ", "))
	return t
}

// onlyReader is the wall between looking and changing: whatever stands behind it, a Check finds no method that writes.
type onlyReader struct{ r step.Reader }

func (o onlyReader) ReadFile(path string) ([]byte, error) { return o.r.ReadFile(path) }
func (o onlyReader) Stat(path string) (step.Info, error)  { return o.r.Stat(path) }
func (o onlyReader) Query(q step.Query) (string, error)   { return o.r.Query(q) }

// writer is the agent with the means to bring files.
type writer struct {
	*agent.Host
	m        machine
	progress func(done, total int64)
}

// Upload is step.Uploader's.
func (w writer) Upload(ctx context.Context, from, to, sum string, mode fs.FileMode) error {
	return w.m.Upload(ctx, from, to, sum, mode, w.progress)
}
