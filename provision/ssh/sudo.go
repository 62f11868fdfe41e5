// Running programs on the host, as root. A sudo password is written to sudo's standard input, and only after sudo has
// printed the prompt that we chose; it is in no argument, no environment and no log.

package ssh

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"rmqctl/provision/step"
)

// rooter remembers how root is reached on this host.
type rooter struct {
	mu   sync.Mutex // guards all; held while it is being found out
	way  way
	err  error
	pass string
}

type way int

const (
	unknown  way = iota
	plain        // the login is root, or become = "none"
	sudoFree     // sudo -n works
	sudoPass     // sudo wants a password
	doasFree     // doas -n works
)

// Process is a program that runs on the host.
type Process struct {
	io.WriteCloser // its standard input
	Out            io.Reader
	sess           *ssh.Session
	err            *promptWatch
}

// Close ends its standard input and the session.
func (p *Process) Close() error {
	p.WriteCloser.Close()
	err := p.sess.Close()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

// Read reads its standard output.
func (p *Process) Read(b []byte) (int, error) { return p.Out.Read(b) }

// Wait waits for its end.
func (p *Process) Wait() error { return p.sess.Wait() }

// Stderr is the end of what it complained about.
func (p *Process) Stderr() string { return p.err.text() }

// Refused says whether sudo turned the password down.
func (p *Process) Refused() bool { return p.err.refused() }

// script runs a POSIX shell script and gives its standard output. root says as whom.
func (c *Client) script(ctx context.Context, root bool, script string) (string, error) {
	p, err := c.Start(ctx, root, "/bin/sh", "-c", "LC_ALL=C; export LC_ALL; "+script)
	if err != nil {
		return "", err
	}
	defer p.Close()
	stop := context.AfterFunc(ctx, func() { p.Close() })
	defer stop()
	if !p.err.wantsPassword() {
		p.WriteCloser.Close()
	}
	out, rerr := io.ReadAll(p.Out)
	err = p.Wait()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if p.Refused() {
		return "", c.sudoRefused("the password was not accepted", p.Stderr())
	}
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case err == nil && rerr == nil:
		return string(out), nil
	case errors.As(err, &exit):
		return string(out), &step.ExitError{Argv: []string{script}, Code: exit.ExitStatus(), Stderr: p.Stderr()}
	case errors.As(err, &missing), lost(err):
		return "", c.lost("a command", err)
	case err == nil:
		err = rerr
	}
	return "", c.lost("a command", err)
}

// Start starts a program, as root if asked. Its input must not be written before it has printed something, or sudo
// might read it as the password.
func (c *Client) Start(ctx context.Context, root bool, argv ...string) (*Process, error) {
	w := plain
	if root {
		var err error
		if w, err = c.becomeRoot(ctx); err != nil {
			return nil, err
		}
	}
	line := step.Quote(argv...)
	watch := &promptWatch{}
	switch w {
	case sudoFree:
		line = "sudo -n -- " + line
	case doasFree:
		line = "doas -n " + line
	case sudoPass:
		watch.nonce, watch.pass = nonce(), c.root.pass
		line = "sudo -S -p " + step.Quote(watch.nonce) + " -- " + line
	}
	return c.start(line, watch)
}

func (c *Client) start(line string, watch *promptWatch) (*Process, error) {
	sess, err := c.conn.NewSession()
	if err != nil {
		return nil, c.lost("open a session", err)
	}
	in, err := sess.StdinPipe()
	if err != nil {
		sess.Close()
		return nil, err
	}
	out, err := sess.StdoutPipe()
	if err != nil {
		sess.Close()
		return nil, err
	}
	watch.in = in
	sess.Stderr = watch
	if err := sess.Start(line); err != nil {
		sess.Close()
		return nil, c.lost("start a command", err)
	}
	return &Process{WriteCloser: in, Out: out, sess: sess, err: watch}, nil
}

// becomeRoot finds out once how root is reached.
func (c *Client) becomeRoot(ctx context.Context) (way, error) {
	r := &c.root
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.way == unknown && r.err == nil {
		r.way, r.err = c.findRoot(ctx)
		if errors.Is(r.err, LinkLost) || ctx.Err() != nil {
			err := r.err
			r.err = nil // says nothing about sudo
			return r.way, err
		}
	}
	return r.way, r.err
}

func (c *Client) findRoot(ctx context.Context) (way, error) {
	if c.target.Become == None {
		return plain, nil
	}
	uid, err := c.script(ctx, false, "id -u")
	if err != nil {
		return unknown, err
	}
	if strings.TrimSpace(uid) == "0" {
		return plain, nil
	}
	if c.target.Become == Doas {
		if _, err = c.script(ctx, false, "doas -n true"); err != nil {
			return unknown, c.sudoRefused("doas does not let the user in without a password", err.Error())
		}
		return doasFree, nil
	}
	_, err = c.script(ctx, false, "sudo -n true")
	var exit *step.ExitError
	switch {
	case err == nil:
		return sudoFree, nil
	case !errors.As(err, &exit):
		return unknown, err
	case exit.Code == 127:
		return unknown, c.sudoRefused("there is no sudo on the host", "")
	case strings.Contains(exit.Stderr, "must have a tty"):
		return unknown, c.sudoRefused("sudo wants a terminal (requiretty)", exit.Stderr)
	case strings.Contains(exit.Stderr, "not in the sudoers") || strings.Contains(exit.Stderr, "may not run sudo") || strings.Contains(exit.Stderr, "not allowed"):
		return unknown, c.sudoRefused("the user may not use sudo", exit.Stderr)
	case c.target.BecomePassword == nil:
		return unknown, c.sudoRefused("sudo wants a password, and none is given", "")
	}
	pass, err := c.target.BecomePassword()
	if err != nil {
		return unknown, c.sudoRefused("the sudo password cannot be had: "+err.Error(), "")
	}
	c.root.pass = pass
	return sudoPass, c.tryPassword(ctx)
}

// tryPassword proves the password with a command that does nothing.
func (c *Client) tryPassword(ctx context.Context) error {
	w := &promptWatch{nonce: nonce(), pass: c.root.pass}
	p, err := c.start("sudo -S -p "+step.Quote(w.nonce)+" -- id -u", w)
	if err != nil {
		return err
	}
	defer p.Close()
	stop := context.AfterFunc(ctx, func() { p.Close() })
	defer stop()
	out, _ := io.ReadAll(p.Out)
	err = p.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case strings.TrimSpace(string(out)) == "0":
		return nil
	case p.Refused():
		return c.sudoRefused("the password was not accepted", p.Stderr())
	case lost(err):
		return c.lost("sudo", err)
	}
	return c.sudoRefused("the user may not use sudo", p.Stderr())
}

func (c *Client) sudoRefused(why, output string) *Error {
	e := &Error{Kind: SudoRefused, Host: c.target.Name, Addr: c.target.addr(), Tried: "sudo as " + c.target.User, Cause: errors.New(why),
		Likely: "user " + c.target.User + " may not become root with what is given",
		Next:   "log in as root (`user`), give `become_password`, or add " + c.target.User + " to sudoers"}
	if output = strings.TrimSpace(output); output != "" {
		e.Cause = fmt.Errorf("%s: %s", why, output)
	}
	return e
}

func nonce() string {
	var b [12]byte
	rand.Read(b[:])
	return "rmq-" + hex.EncodeToString(b[:]) + ":"
}

// promptWatch is the standard error of a program: it answers sudo's prompt once, takes the prompt out of the text, and
// keeps the end of the rest.
type promptWatch struct {
	nonce, pass string
	in          io.WriteCloser
	mu          sync.Mutex // guards what follows
	buf         bytes.Buffer
	prompts     int
}

const stderrKept = 8 << 10

func (w *promptWatch) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(b)
	for w.nonce != "" {
		i := bytes.Index(w.buf.Bytes(), []byte(w.nonce))
		if i < 0 {
			break
		}
		rest := append(bytes.Clone(w.buf.Bytes()[:i]), w.buf.Bytes()[i+len(w.nonce):]...)
		w.buf.Reset()
		w.buf.Write(rest)
		w.prompts++
		if w.prompts > 1 { // asked again: it was wrong
			w.in.Close()
			continue
		}
		io.WriteString(w.in, w.pass+"\n")
	}
	if n := w.buf.Len(); n > stderrKept {
		w.buf.Next(n - stderrKept)
	}
	return len(b), nil
}

func (w *promptWatch) wantsPassword() bool { return w.nonce != "" }

func (w *promptWatch) refused() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.prompts > 1
}

func (w *promptWatch) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := strings.TrimSpace(w.buf.String())
	if w.pass != "" {
		s = strings.ReplaceAll(s, w.pass, "‹secret›")
	}
	return s
}
