package ssh

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"rmqctl/provision/ssh/sshtest"
)

// home is an operator's home directory with one key in it.
type home struct {
	dir    string
	pub    ssh.PublicKey
	priv   ed25519.PrivateKey
	notes  []string
	asked  []string
	answer string
}

func newHome(t *testing.T) *home {
	t.Helper()
	s, priv := sshtest.NewKey(t)
	h := &home{dir: t.TempDir(), pub: s.PublicKey(), priv: priv}
	h.write(t, "id_ed25519", priv, "")
	return h
}

func (h *home) write(t *testing.T, name string, priv ed25519.PrivateKey, pass string) string {
	t.Helper()
	var block *pem.Block
	var err error
	if pass == "" {
		block, err = ssh.MarshalPrivateKey(priv, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(priv, "", []byte(pass))
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.dir, ".ssh", name)
	os.MkdirAll(filepath.Dir(path), 0o700)
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (h *home) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(h.dir, ".ssh", name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (h *home) dialer(t *testing.T, change ...func(*Options)) *Dialer {
	t.Helper()
	o := Options{Home: h.dir, Notice: func(host, text string) { h.notes = append(h.notes, host+": "+text) },
		Prompt: func(_ context.Context, q string) (string, error) {
			h.asked = append(h.asked, q)
			if h.answer == "" {
				return "", errors.New("nobody answers")
			}
			return h.answer, nil
		}}
	for _, f := range change {
		f(&o)
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func target(s *sshtest.Server) Target {
	return Target{Name: "node1", Address: s.Host(), Port: s.Port(), User: s.User}
}

// in logs in and proves that commands run.
func in(t *testing.T, d *Dialer, to Target) *Client {
	t.Helper()
	c, err := d.Dial(t.Context(), to)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	out, err := c.script(t.Context(), false, "echo hello")
	if err != nil || out != "hello\n" {
		t.Fatalf("echo: %q, %v", out, err)
	}
	return c
}

// kind asserts which kind of error a dial ends with, and returns it.
func kind(t *testing.T, d *Dialer, to Target, want Kind) *Error {
	t.Helper()
	c, err := d.Dial(t.Context(), to)
	if err == nil {
		c.Close()
		t.Fatalf("dial succeeded, want %q", want)
	}
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, want) {
		t.Fatalf("error is %v, want %q", err, want)
	}
	if e.Host == "" || e.Likely == "" || e.Next == "" {
		t.Errorf("error %q lacks host, likely cause or next step: %+v", e, *e)
	}
	return e
}

func TestLoginByKey(t *testing.T) {
	h := newHome(t)
	s := (&sshtest.Server{Keys: []ssh.PublicKey{h.pub}}).Start(t)
	in(t, h.dialer(t), target(s))
}

func TestLoginByPassword(t *testing.T) {
	h := newHome(t)
	s := (&sshtest.Server{Password: "pw"}).Start(t)
	to := target(s)
	to.Password = func() (string, error) { return "pw", nil }
	in(t, h.dialer(t), to)
}

func TestLoginByKeyboardInteractive(t *testing.T) {
	h := newHome(t)
	s := (&sshtest.Server{Password: "pw", KbdOnly: true}).Start(t)
	to := target(s)
	to.Password = func() (string, error) { return "pw", nil }
	in(t, h.dialer(t), to)
}

func TestEncryptedKeyIsAskedForOnceForManyHosts(t *testing.T) {
	h := newHome(t)
	path := h.write(t, "sealed", h.priv, "open sesame")
	h.answer = "open sesame"
	d := h.dialer(t)
	for range 3 {
		s := (&sshtest.Server{Keys: []ssh.PublicKey{h.pub}}).Start(t)
		to := target(s)
		to.Identities = []string{path}
		in(t, d, to)
	}
	if len(h.asked) != 1 {
		t.Errorf("asked %d times: %q", len(h.asked), h.asked)
	}
}

func TestEncryptedKeyThatNoHostWantsIsNotAskedFor(t *testing.T) {
	h := newHome(t)
	path := h.write(t, "sealed", h.priv, "open sesame")
	other, _ := sshtest.NewKey(t)
	s := (&sshtest.Server{Keys: []ssh.PublicKey{other.PublicKey()}}).Start(t)
	to := target(s)
	to.Identities = []string{path}
	kind(t, h.dialer(t), to, AuthFailed)
	if len(h.asked) != 0 {
		t.Errorf("asked: %q", h.asked)
	}
}

func TestWrongPassphraseIsAKeyError(t *testing.T) {
	h := newHome(t)
	path := h.write(t, "sealed", h.priv, "open sesame")
	h.answer = "guess"
	s := (&sshtest.Server{Keys: []ssh.PublicKey{h.pub}}).Start(t)
	to := target(s)
	to.Identities = []string{path}
	kind(t, h.dialer(t), to, BadKeyFile)
}

func TestLoginByAgent(t *testing.T) {
	h := newHome(t)
	os.Remove(filepath.Join(h.dir, ".ssh", "id_ed25519"))
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: h.priv}); err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(t.TempDir(), "a")
	ln, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(ring, c)
		}
	}()
	s := (&sshtest.Server{Keys: []ssh.PublicKey{h.pub}}).Start(t)
	in(t, h.dialer(t, func(o *Options) { o.AgentSock = sock }), target(s))
}

func TestEachFailureHasItsOwnKind(t *testing.T) {
	h := newHome(t)
	stranger, _ := sshtest.NewKey(t)
	s := (&sshtest.Server{Keys: []ssh.PublicKey{stranger.PublicKey()}, Password: "right"}).Start(t)
	wrong := func() (string, error) { return "wrong", nil }
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	for _, c := range []struct {
		name string
		to   Target
		want Kind
	}{
		{"a key the host does not know", target(s), AuthFailed},
		{"a wrong password", Target{Name: "n", Address: s.Host(), Port: s.Port(), User: "ops", Password: wrong}, AuthFailed},
		{"a key file that is not there", Target{Name: "n", Address: s.Host(), Port: s.Port(), User: "ops", Identities: []string{"/nowhere/key"}}, BadKeyFile},
		{"nothing listens", Target{Name: "n", Address: "127.0.0.1", Port: port(closed)}, Refused},
		{"a listener that says nothing", Target{Name: "n", Address: "127.0.0.1", Port: port(silent)}, TimedOut},
		{"a name nobody knows", Target{Name: "n", Address: "no-such-host.invalid"}, NoSuchHost},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := h.dialer(t, func(o *Options) { o.Timeout = 300 * time.Millisecond })
			kind(t, d, c.to, c.want)
		})
	}
}

func TestNewHostKeyIsLearnedOnceAndThenChecked(t *testing.T) {
	h := newHome(t)
	s := (&sshtest.Server{Keys: []ssh.PublicKey{h.pub}}).Start(t)
	d := h.dialer(t)
	in(t, d, target(s))
	in(t, d, target(s))
	if len(h.notes) != 1 || !strings.Contains(h.notes[0], ssh.FingerprintSHA256(s.HostKey.PublicKey())) {
		t.Errorf("notices: %q", h.notes)
	}
	to := target(s)
	to.Policy = Strict
	in(t, d, to)
}

func TestUnknownHostKeyIsRefusedWhenStrict(t *testing.T) {
	h := newHome(t)
	s := (&sshtest.Server{Keys: []ssh.PublicKey{h.pub}}).Start(t)
	to := target(s)
	to.Policy = Strict
	kind(t, h.dialer(t), to, UnknownKey)
}

func TestChangedHostKeyStopsAndNamesFileAndLine(t *testing.T) {
	h := newHome(t)
	s := (&sshtest.Server{Keys: []ssh.PublicKey{h.pub}}).Start(t)
	other, _ := sshtest.NewKey(t)
	line := fmt.Sprintf("[%s]:%d %s", s.Host(), s.Port(), ssh.MarshalAuthorizedKey(other.PublicKey()))
	file := h.file(t, "known_hosts", "# first line\n"+line)
	for _, p := range []Policy{AcceptNew, Strict} {
		to := target(s)
		to.Policy = p
		e := kind(t, h.dialer(t), to, ChangedKey)
		if !strings.Contains(e.Error(), file+":2") {
			t.Errorf("%q does not name %s:2", e, file)
		}
	}
}

func TestHashedHostNameIsFound(t *testing.T) {
	h := newHome(t)
	s := (&sshtest.Server{Keys: []ssh.PublicKey{h.pub}}).Start(t)
	hashed := hashHost(fmt.Sprintf("[%s]:%d", s.Host(), s.Port()))
	h.file(t, "known_hosts", hashed+" "+string(ssh.MarshalAuthorizedKey(s.HostKey.PublicKey())))
	to := target(s)
	to.Policy = Strict
	in(t, h.dialer(t), to)
}

func TestPinnedFingerprintDecidesAlone(t *testing.T) {
	h := newHome(t)
	s := (&sshtest.Server{Keys: []ssh.PublicKey{h.pub}}).Start(t)
	to := target(s)
	to.Policy = Strict
	to.Fingerprint = ssh.FingerprintSHA256(s.HostKey.PublicKey())
	in(t, h.dialer(t), to)
	to.Fingerprint = "SHA256:other"
	kind(t, h.dialer(t), to, ChangedKey)
}

func TestJumpsThroughTwoHosts(t *testing.T) {
	h := newHome(t)
	keys := []ssh.PublicKey{h.pub}
	one := (&sshtest.Server{Keys: keys, Forward: true, User: "a"}).Start(t)
	two := (&sshtest.Server{Keys: keys, Forward: true, User: "b"}).Start(t)
	s := (&sshtest.Server{Keys: keys}).Start(t)
	d := h.dialer(t)
	to := target(s)
	to.Jump = []string{"a@" + one.Addr, "b@" + two.Addr}
	in(t, d, to)
	to.Port = 1 // reached from the second hop, where nothing listens
	e := kind(t, d, to, Refused)
	if !strings.Contains(e.Error(), "from jump host") {
		t.Errorf("%q does not say from where", e)
	}
}

func TestSSHConfigIsHonoured(t *testing.T) {
	h := newHome(t)
	_, priv := sshtest.NewKey(t)
	special, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	path := h.write(t, "special", priv, "")
	jump := (&sshtest.Server{Keys: []ssh.PublicKey{special.PublicKey()}, Forward: true, User: "jumper"}).Start(t)
	s := (&sshtest.Server{Keys: []ssh.PublicKey{special.PublicKey()}, User: "carol"}).Start(t)
	h.file(t, "config", fmt.Sprintf(`
Host bastion
  HostName %s
  Port %d
  User jumper
  IdentityFile %s
Match user nobody
  Port 1
Host box
  HostName %s
  Port %d
  User carol
  IdentityFile %s
  IdentitiesOnly yes
  ProxyJump bastion
  UserKnownHostsFile %s
`, jump.Host(), jump.Port(), path, s.Host(), s.Port(), path, filepath.Join(h.dir, "own_known_hosts")))
	in(t, h.dialer(t), Target{Name: "node1", Address: "box"})
	if len(jump.Commands()) != 0 || len(s.Commands()) == 0 {
		t.Error("the commands did not run on the last host")
	}
	if b, err := os.ReadFile(filepath.Join(h.dir, "own_known_hosts")); err != nil || !strings.Contains(string(b), fmt.Sprint(s.Port())) {
		t.Errorf("UserKnownHostsFile: %q, %v", b, err)
	}
}

func TestDeadConnectionIsNoticed(t *testing.T) {
	h := newHome(t)
	s := (&sshtest.Server{Keys: []ssh.PublicKey{h.pub}}).Start(t)
	c := in(t, h.dialer(t), target(s))
	s.Cut()
	_, err := c.script(t.Context(), false, "echo")
	if !errors.Is(err, LinkLost) {
		t.Errorf("error is %v", err)
	}
}
