// Package ssh is the only place that opens SSH. It logs in as OpenSSH would (keys, agent, ~/.ssh/config, known_hosts,
// jump hosts), becomes root, brings files, and starts the agent; everything else on a host is the agent's work.
package ssh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Options is what all connections of one run share. The zero value works.
type Options struct {
	Log        *slog.Logger
	Home       string // whose .ssh is used; "" = the user's
	ConfigFile string // "" = <Home>/.ssh/config; "none" = no file
	AgentSock  string // "" = SSH_AUTH_SOCK as handed in by the program
	// Prompt asks the operator for a passphrase; nil: nobody is there.
	Prompt func(ctx context.Context, question string) (string, error)
	// Notice tells of something the operator should see: a host key that was learned.
	Notice    func(host, text string)
	Timeout   time.Duration // of the TCP connection and of the handshake up to the host key; 10 s
	Keepalive time.Duration // 15 s; three unanswered ones end the connection
}

// Dialer opens connections. Close it when the run is over: it holds the connections to jump hosts.
type Dialer struct {
	opts   Options
	config config
	ring   *keyring
	known  sync.Mutex // held while known_hosts is read and extended
	mu     sync.Mutex // guards hops
	hops   map[string]*hop
}

// hop is a jump host that several targets share.
type hop struct {
	once   sync.Once
	client *Client
	err    error
}

// New reads the SSH configuration.
func New(o Options) (*Dialer, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Notice == nil {
		o.Notice = func(string, string) {}
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Keepalive == 0 {
		o.Keepalive = 15 * time.Second
	}
	if o.Home == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("home directory: %w", err)
		}
		o.Home = home
	}
	if o.ConfigFile == "" {
		o.ConfigFile = filepath.Join(o.Home, ".ssh", "config")
	}
	d := &Dialer{opts: o, ring: &keyring{prompt: serialPrompt(o.Prompt), sock: o.AgentSock}, hops: map[string]*hop{}}
	d.config.home = o.Home
	if o.ConfigFile != "none" {
		c, skipped, err := loadConfig(o.ConfigFile, o.Home)
		if err != nil {
			return nil, &Error{Kind: BadConfig, Host: "ssh", Addr: o.ConfigFile, Cause: err, Likely: "the file is not a valid OpenSSH configuration", Next: "try `ssh -G somehost`"}
		}
		if skipped > 0 {
			o.Log.Warn("Match blocks of the ssh configuration are not used", "file", o.ConfigFile, "blocks", skipped)
		}
		d.config = c
	}
	return d, nil
}

// serialPrompt keeps two questions from standing on the terminal at once.
func serialPrompt(ask func(context.Context, string) (string, error)) func(context.Context, string) (string, error) {
	if ask == nil {
		return nil
	}
	var mu sync.Mutex
	return func(ctx context.Context, q string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		return ask(ctx, q)
	}
}

// Expand is a file's path as ~/.ssh/config would read it.
func (d *Dialer) Expand(path string) string { return d.config.expand(path, Target{}) }

// Close ends the connections to jump hosts.
func (d *Dialer) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.hops {
		if h.client != nil {
			h.client.Close()
		}
	}
	d.hops = map[string]*hop{}
}

// Dial logs in to a host. The error is an *Error.
func (d *Dialer) Dial(ctx context.Context, t Target) (*Client, error) {
	t, err := d.config.fill(t)
	if err != nil {
		return nil, err
	}
	return d.dial(ctx, t, 0)
}

const maxHops = 8

func (d *Dialer) dial(ctx context.Context, t Target, depth int) (*Client, error) {
	if depth > maxHops {
		return nil, &Error{Kind: BadConfig, Host: t.Name, Addr: t.addr(), Cause: fmt.Errorf("more than %d jump hosts", maxHops),
			Likely: "ProxyJump goes in a circle", Next: "look at ~/.ssh/config"}
	}
	conn, via, err := d.reach(ctx, t, depth)
	if err != nil {
		return nil, err
	}
	return d.login(ctx, t, conn, via)
}

// reach opens the TCP connection, from here or from the last jump host.
func (d *Dialer) reach(ctx context.Context, t Target, depth int) (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(ctx, d.opts.Timeout+time.Duration(len(t.Jump))*d.opts.Timeout)
	defer cancel()
	if len(t.Jump) == 0 {
		conn, err := (&net.Dialer{Timeout: d.opts.Timeout, KeepAlive: d.opts.Keepalive}).DialContext(ctx, "tcp", t.hostPort())
		if err != nil {
			return nil, "", dialError(t, "", err)
		}
		return conn, "", nil
	}
	last, err := d.jump(ctx, t, depth)
	if err != nil {
		return nil, "", err
	}
	via := " from jump host " + last.target.Address
	conn, err := last.conn.DialContext(ctx, "tcp", t.hostPort())
	if err != nil {
		return nil, "", dialError(t, via, err)
	}
	return conn, via, nil
}

// jump connects to the last of t's jump hosts, through the ones before it. The connection is shared.
func (d *Dialer) jump(ctx context.Context, t Target, depth int) (*Client, error) {
	key := t.Name
	if len(t.Jump) > 0 {
		key = strings.Join(t.Jump, ",")
	}
	d.mu.Lock()
	h := d.hops[key]
	if h == nil {
		h = &hop{}
		d.hops[key] = h
	}
	d.mu.Unlock()
	h.once.Do(func() {
		ht, err := parseHop(t.Jump[len(t.Jump)-1])
		if err != nil {
			h.err = &Error{Kind: BadConfig, Host: t.Name, Addr: t.addr(), Cause: err, Likely: "the jump list is misspelt", Next: "write it as user@host:port"}
			return
		}
		ht.Jump = t.Jump[:len(t.Jump)-1]
		ht.Identities, ht.IdentitiesOnly, ht.Policy, ht.KnownHosts = t.Identities, t.IdentitiesOnly, t.Policy, t.KnownHosts
		ht.Password = t.Password
		ht.Name = "jump host " + ht.Address
		if ht, err = d.config.fill(ht); err == nil {
			h.client, err = d.dial(context.WithoutCancel(ctx), ht, depth+1)
		}
		h.err = err
	})
	return h.client, h.err
}

func (d *Dialer) login(ctx context.Context, t Target, conn net.Conn, via string) (*Client, error) {
	methods, tried := d.ring.methods(t, d.opts.Home)
	defer tried.close()
	files := t.KnownHosts
	if len(files) == 0 {
		files = []string{filepath.Join(d.opts.Home, ".ssh", "known_hosts"), filepath.Join(d.opts.Home, ".ssh", "known_hosts2"), "/etc/ssh/ssh_known_hosts"}
	}
	keys := &hostKeys{target: t, files: files, mu: &d.known, notice: d.opts.Notice}
	// A silent server is given up; once the host key is there the time is the operator's, who may be typing a passphrase.
	var once sync.Once
	guard, seen := context.WithTimeout(ctx, d.opts.Timeout)
	stop := context.AfterFunc(guard, func() { conn.Close() })
	cfg := &ssh.ClientConfig{
		User: t.User, Auth: methods, ClientVersion: "SSH-2.0-rmqctl", HostKeyAlgorithms: keys.algorithms(),
		HostKeyCallback: func(hostname string, remote net.Addr, key ssh.PublicKey) error {
			once.Do(func() { stop() })
			return keys.check(hostname, remote, key)
		},
	}
	cc, chans, reqs, err := ssh.NewClientConn(conn, t.hostPort(), cfg)
	timedOut := guard.Err() != nil
	stop()
	seen()
	if err != nil {
		conn.Close()
		return nil, loginError(t, via, keys, tried, timedOut, err)
	}
	c := &Client{conn: ssh.NewClient(cc, chans, reqs), target: t, log: d.opts.Log, done: make(chan struct{})}
	c.wait.Add(1)
	go c.keepalive(d.opts.Keepalive)
	return c, nil
}

func loginError(t Target, via string, keys *hostKeys, tried *attempt, timedOut bool, err error) error {
	var e *Error
	if errors.As(keys.found, &e) {
		return e
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "unable to authenticate"), strings.Contains(text, "too many authentication failures"), keys.found == nil && strings.Contains(text, "passphrase"):
		return tried.refused(t, err)
	case timedOut:
		return &Error{Kind: TimedOut, Host: t.Name, Addr: t.addr(), Tried: "SSH handshake" + via,
			Likely: "the port accepts connections but no SSH server answers", Next: "check what listens on " + t.hostPort()}
	}
	return &Error{Kind: Handshake, Host: t.Name, Addr: t.addr(), Tried: "SSH handshake" + via, Cause: err,
		Likely: "something other than an SSH server listens there, or it shares no algorithm with us", Next: fmt.Sprintf("try `ssh -v -p %d %s@%s`", t.Port, t.User, t.Address)}
}

// Client is a connection to one host.
type Client struct {
	conn   *ssh.Client
	target Target
	log    *slog.Logger
	root   rooter
	done   chan struct{}
	once   sync.Once
	wait   sync.WaitGroup
}

// Target is the host as it was resolved.
func (c *Client) Target() Target { return c.target }

// Close ends the connection; what ran there sees its standard input end.
func (c *Client) Close() error {
	var err error
	c.once.Do(func() {
		close(c.done)
		err = c.conn.Close()
		c.wait.Wait()
	})
	return err
}

// keepalive ends a dead connection after three unanswered questions, so that nothing waits for ever on a host whose
// cable was pulled.
func (c *Client) keepalive(every time.Duration) {
	defer c.wait.Done()
	tick := time.NewTicker(every)
	defer tick.Stop()
	answered := make(chan struct{}, 1)
	asking, missed := false, 0
	for {
		select {
		case <-c.done:
			return
		case <-answered:
			asking, missed = false, 0
		case <-tick.C:
			if asking {
				if missed++; missed >= 3 {
					c.log.Warn("ssh connection is dead", "remote", c.target.addr(), "unanswered", missed)
					c.conn.Close()
					return
				}
				continue
			}
			asking = true
			go func() {
				if _, _, err := c.conn.SendRequest("keepalive@openssh.com", true, nil); err == nil {
					answered <- struct{}{}
				}
			}()
		}
	}
}

func (c *Client) lost(doing string, err error) error {
	return &Error{Kind: LinkLost, Host: c.target.Name, Addr: c.target.addr(), Tried: doing, Cause: err,
		Likely: "the host went down or the network between was cut", Next: "run the same command again: it goes on where it stopped"}
}
