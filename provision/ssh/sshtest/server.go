// Package sshtest is an SSH server for tests: logins by key, password and keyboard-interactive, commands run by the
// machine's own shell with a sudo that only pretends, SFTP, and forwarding for jump hosts.
package sshtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// Server is one pretended host. Set the fields before Start.
type Server struct {
	User      string
	Keys      []ssh.PublicKey
	Password  string
	KbdOnly   bool // the password is accepted by keyboard-interactive only
	NoSFTP    bool
	Home      string   // the login's home; made if empty
	Env       []string // further environment of commands
	HostKey   ssh.Signer
	Listen    string // "127.0.0.1:0"
	Forward   bool   // jump host
	CutAfter  int64  // the connection is cut after this many bytes from the client; 0 = never
	Sudo      Sudo
	SudoWants string // the password

	Addr     string
	bin      string
	t        testing.TB
	ln       net.Listener
	mu       sync.Mutex // guards commands, conns
	commands []string
	conns    map[net.Conn]bool
	wg       sync.WaitGroup
}

// Sudo is how the pretended sudo behaves.
type Sudo string

// The ways.
const (
	SudoNone    Sudo = "none"    // the login is root
	SudoFree    Sudo = "free"    // no password asked
	SudoAsks    Sudo = "asks"    // wants SudoWants
	SudoRefuses Sudo = "refuses" // not in the sudoers file
	SudoMissing Sudo = "missing"
)

// NewKey makes a key pair.
func NewKey(t testing.TB) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s, priv
}

// Start listens until the test ends.
func (s *Server) Start(t testing.TB) *Server {
	t.Helper()
	s.t, s.conns = t, map[net.Conn]bool{}
	if s.HostKey == nil {
		s.HostKey, _ = NewKey(t)
	}
	if s.Home == "" {
		s.Home = t.TempDir()
	}
	if s.User == "" {
		s.User = "ops"
	}
	if s.Listen == "" {
		s.Listen = "127.0.0.1:0"
	}
	s.bin = t.TempDir()
	s.writePrograms()
	ln, err := net.Listen("tcp", s.Listen)
	if err != nil {
		t.Fatal(err)
	}
	s.ln, s.Addr = ln, ln.Addr().String()
	s.wg.Add(1)
	go s.accept()
	t.Cleanup(s.Stop)
	return s
}

// Host and Port are where it listens.
func (s *Server) Host() string { h, _, _ := net.SplitHostPort(s.Addr); return h }

// Port is its port.
func (s *Server) Port() int {
	_, p, _ := net.SplitHostPort(s.Addr)
	n, _ := strconv.Atoi(p)
	return n
}

// Stop cuts every connection and waits for the commands.
func (s *Server) Stop() {
	s.ln.Close()
	s.Cut()
	s.wg.Wait()
}

// Cut pulls the cable of every connection.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Commands is what was asked to run, word for word.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

const fakeID = `#!/bin/sh
if [ "$1" = -u ] && [ -z "$FAKE_ROOT" ]; then echo 1000; exit 0; fi
if [ "$1" = -u ]; then echo 0; exit 0; fi
exec /usr/bin/id "$@"
`

// fakeSudo knows -n, -S, -p PROMPT and --. It records its environment and arguments, for tests that look for secrets.
const fakeSudo = `#!/bin/sh
{ env; echo "$*"; } >>"$FAKE_SUDO_LOG"
quiet= stdin= prompt=
while [ $# -gt 0 ]; do case "$1" in
-n) quiet=1; shift;; -S) stdin=1; shift;; -p) prompt=$2; shift 2;; --) shift; break;; *) break;; esac; done
case "$FAKE_SUDO" in
refuses) echo "$USER is not in the sudoers file." >&2; exit 1;;
asks)
  if [ -n "$quiet" ]; then echo "sudo: a password is required" >&2; exit 1; fi
  n=0
  while :; do
    printf %s "$prompt" >&2
    IFS= read -r given || { echo "sudo: no password was provided" >&2; exit 1; }
    [ "$given" = "$(cat "$FAKE_SUDO_WANTS")" ] && break
    n=$((n+1)); [ $n -ge 3 ] && { echo "sudo: 3 incorrect password attempts" >&2; exit 1; }
    echo "Sorry, try again." >&2
  done;;
esac
FAKE_ROOT=1 exec "$@"
`

func (s *Server) writePrograms() {
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(s.bin, name), []byte(text), 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	write("wanted", s.SudoWants)
	if s.Sudo == SudoNone || s.Sudo == "" {
		write("id", "#!/bin/sh\n[ \"$1\" = -u ] && { echo 0; exit 0; }\nexec /usr/bin/id \"$@\"\n")
	} else {
		write("id", fakeID)
	}
	if s.Sudo == SudoMissing {
		write("sudo", "#!/bin/sh\necho 'sh: sudo: not found' >&2; exit 127\n")
	} else {
		write("sudo", fakeSudo)
	}
	write("chown", "#!/bin/sh\nexit 0\n")
}

// SudoLog is every environment and argument list that the pretended sudo was started with.
func (s *Server) SudoLog() string {
	b, _ := os.ReadFile(filepath.Join(s.bin, "log"))
	return string(b)
}

func (s *Server) accept() {
	defer s.wg.Done()
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		if s.CutAfter > 0 {
			c = &cutConn{Conn: c, left: s.CutAfter}
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Add(1)
		go s.serve(c)
	}
}

type cutConn struct {
	net.Conn
	left int64
}

func (c *cutConn) Read(b []byte) (int, error) {
	if atomic.LoadInt64(&c.left) <= 0 {
		c.Conn.Close()
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(b)
	atomic.AddInt64(&c.left, -int64(n))
	return n, err
}

func (s *Server) config() *ssh.ServerConfig {
	cfg := &ssh.ServerConfig{}
	no := errors.New("no")
	if len(s.Keys) > 0 {
		cfg.PublicKeyCallback = func(m ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			for _, want := range s.Keys {
				if m.User() == s.User && string(want.Marshal()) == string(k.Marshal()) {
					return nil, nil
				}
			}
			return nil, no
		}
	}
	if s.Password != "" {
		if !s.KbdOnly {
			cfg.PasswordCallback = func(m ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
				if m.User() == s.User && string(p) == s.Password {
					return nil, nil
				}
				return nil, no
			}
		}
		cfg.KeyboardInteractiveCallback = func(m ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			a, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil || len(a) != 1 || a[0] != s.Password || m.User() != s.User {
				return nil, no
			}
			return nil, nil
		}
	}
	cfg.AddHostKey(s.HostKey)
	return cfg
}

func (s *Server) serve(c net.Conn) {
	defer s.wg.Done()
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	_, chans, reqs, err := ssh.NewServerConn(c, s.config())
	if err != nil {
		return
	}
	go func() {
		for r := range reqs {
			if r.WantReply {
				r.Reply(false, nil)
			}
		}
	}()
	for nc := range chans {
		s.wg.Add(1)
		switch {
		case nc.ChannelType() == "session":
			go s.session(nc)
		case nc.ChannelType() == "direct-tcpip" && s.Forward:
			go s.forward(nc)
		default:
			nc.Reject(ssh.Prohibited, "no")
			s.wg.Done()
		}
	}
}

func (s *Server) forward(nc ssh.NewChannel) {
	defer s.wg.Done()
	var to struct {
		Host  string
		Port  uint32
		Host2 string
		Port2 uint32
	}
	ssh.Unmarshal(nc.ExtraData(), &to)
	out, err := net.Dial("tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	if err != nil {
		nc.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		out.Close()
		return
	}
	go ssh.DiscardRequests(reqs)
	go func() { io.Copy(out, ch); out.Close() }()
	io.Copy(ch, out)
	ch.Close()
}

func (s *Server) session(nc ssh.NewChannel) {
	defer s.wg.Done()
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	for r := range reqs {
		var arg struct{ Text string }
		ssh.Unmarshal(r.Payload, &arg)
		switch {
		case r.Type == "exec":
			r.Reply(true, nil)
			go ssh.DiscardRequests(reqs)
			s.exec(ch, arg.Text)
			return
		case r.Type == "subsystem" && arg.Text == "sftp" && !s.NoSFTP:
			r.Reply(true, nil)
			go ssh.DiscardRequests(reqs)
			if srv, err := sftp.NewServer(ch, sftp.WithServerWorkingDirectory(s.Home)); err == nil {
				srv.Serve()
			}
			return
		default:
			r.Reply(false, nil)
		}
	}
}

func (s *Server) exec(ch ssh.Channel, line string) {
	s.mu.Lock()
	s.commands = append(s.commands, line)
	s.mu.Unlock()
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Dir = s.Home
	cmd.Env = append([]string{"PATH=" + s.bin + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + s.Home, "USER=" + s.User, "FAKE_SUDO=" + string(s.Sudo),
		"FAKE_SUDO_WANTS=" + filepath.Join(s.bin, "wanted"), "FAKE_SUDO_LOG=" + filepath.Join(s.bin, "log")}, s.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return
	}
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	if err := cmd.Start(); err != nil {
		return
	}
	go func() { io.Copy(in, ch); in.Close() }()
	err = cmd.Wait()
	code := 0
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		code = ee.ExitCode()
	}
	ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(code)))
}
