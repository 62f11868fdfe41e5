// Package provision turns an inventory into a running cluster: it looks at the hosts, says what differs from what should
// be, and changes just that, host by host in an order that keeps the cluster serving. See DESIGN.md.
package provision

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"rmqctl/internal/clock"
	"rmqctl/inventory"
	"rmqctl/provision/ssh"
	"rmqctl/provision/step"
)

// Options of a run. Inventory and Self must be set.
type Options struct {
	Inventory *inventory.Inventory
	Self      string            // path of the running program: it is what local nodes' agents are
	Binary    string            // what goes to the hosts; "" = Self
	Binaries  map[string]string // for hosts of another kind: "linux/arm64" → path
	Version   string
	Command   string // shown to whoever meets our lock: "rmqctl deploy orders.toml"
	Forks     int    // hosts worked on at once; 0 = 20

	AcceptOutage bool          // take an outage where there is no other way (a single master)
	SkipVerify   bool          // no probe messages after a deploy
	LockWait     time.Duration // how long to wait for another run to end
	Only         []string      // restart, start, stop, logs: these nodes, brokers or groups; empty = all

	Sink    func(Event)
	Log     *slog.Logger
	Clock   clock.Clock
	Getenv  func(string) string
	Ask     func(ctx context.Context, question string) (string, error) // passwords and passphrases; nil: nobody is there
	Confirm func(ctx context.Context, p *Plan) (bool, error)           // shown the plan before anything is changed; nil: yes
	SSH     ssh.Options                                                // Home, ConfigFile, AgentSock, Timeout, Keepalive

	connect func(context.Context, *inventory.Node) (machine, error) // tests
}

// Result is what a run did.
type Result struct {
	Run      string        `json:"run"`
	Nothing  bool          `json:"nothingToDo"`
	Changed  int           `json:"changed"`
	Checked  int           `json:"checked"`
	Hosts    int           `json:"hosts"`
	Restarts int           `json:"restarts"`
	Took     time.Duration `json:"tookNanos"`
}

// engine is one run.
type engine struct {
	o       Options
	inv     *inventory.Inventory
	id      string
	begun   time.Time
	clock   clock.Clock
	log     *slog.Logger
	sink    *sink
	ssh     *ssh.Dialer
	connect func(context.Context, *inventory.Node) (machine, error)
	hosts   []*host
	net     *network
	rest    []*task // of a roll: whose turn comes later

	mu       sync.Mutex // guards changed, restarts
	changed  int
	restarts int
}

// host is a node during a run.
type host struct {
	node  *inventory.Node
	sup   step.Supervisor
	bin   binary
	m     machine
	tasks []*task
	state *state // what this cluster owns there; nil until the host is locked
	// stray says that the release lay there while no manifest did: a run was cut between bringing it and noting it.
	stray bool
}

func (h *host) name() string { return h.node.Name }

// task is one role on one host, with its steps in their order.
type task struct {
	host   *host
	role   string // host, namesrv, or the broker's member name
	unit   string // "" for the host itself
	ns     *inventory.NameServer
	broker *inventory.Broker
	steps  []step.Step
	plan   *RolePlan
}

func newEngine(o Options) (*engine, error) {
	if o.Inventory == nil {
		return nil, errors.New("no inventory")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Sink == nil {
		o.Sink = func(Event) {}
	}
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	if o.Forks <= 0 {
		o.Forks = 20
	}
	if o.Binary == "" {
		o.Binary = o.Self
	}
	e := &engine{o: o, inv: o.Inventory, clock: o.Clock, log: o.Log, sink: &sink{to: o.Sink}, begun: o.Clock.Now(), connect: o.connect}
	var b [4]byte
	rand.Read(b[:])
	e.id = hex.EncodeToString(b[:])
	if e.connect == nil {
		so := o.SSH
		so.Log, so.Prompt = o.Log, o.Ask
		so.Notice = func(host, text string) { e.emit(Event{Host: host, Step: "connect", State: Note, Why: text}) }
		d, err := ssh.New(so)
		if err != nil {
			return nil, err
		}
		e.ssh = d
		dl := &dialer{ssh: d, secrets: &secrets{dir: e.inv.Dir, getenv: o.Getenv, ask: o.Ask}, self: o.Self}
		e.connect = dl.connect
	}
	for _, n := range e.inv.Nodes {
		e.hosts = append(e.hosts, &host{node: n})
	}
	e.net = newNetwork(e)
	return e, nil
}

// open connects to every host, and says all that could not be reached.
func (e *engine) open(ctx context.Context) error {
	return e.all(ctx, e.hosts, func(ctx context.Context, h *host) error {
		e.emit(Event{Host: h.name(), Step: "connect", State: Running})
		m, err := e.connect(ctx, h.node)
		if err == nil {
			h.m = m
			err = e.facts(ctx, h)
		}
		if err != nil {
			e.emit(Event{Host: h.name(), Step: "connect", State: Failed, Err: err})
			return err
		}
		e.emit(Event{Host: h.name(), Step: "connect", State: OK, Why: h.bin.kind})
		return nil
	})
}

// all does f on the hosts side by side. It waits for all of them and reports every failure.
func (e *engine) all(ctx context.Context, hosts []*host, f func(context.Context, *host) error) error {
	errs := make([]error, len(hosts))
	var g errgroup.Group
	g.SetLimit(e.o.Forks)
	for i, h := range hosts {
		g.Go(func() error { errs[i] = f(ctx, h); return nil })
	}
	_ = g.Wait() // the errors are kept by place
	away := &UnreachableError{}
	var steps []error
	for i, err := range errs {
		var se *StepError
		if errors.As(err, &se) {
			steps = append(steps, err)
		}
		if err != nil {
			away.Hosts = append(away.Hosts, HostError{hosts[i].name(), err})
		}
	}
	if len(away.Hosts) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(steps) == len(away.Hosts) { // reached, and something there is not as it should be
		return errors.Join(steps...)
	}
	return away
}

// each is all for work that changes hosts: the first failure is the run's.
func (e *engine) each(ctx context.Context, tasks []*task, f func(context.Context, *task) error) error {
	var g errgroup.Group
	g.SetLimit(e.o.Forks)
	errs := make([]error, len(tasks))
	for i, t := range tasks {
		g.Go(func() error { errs[i] = f(ctx, t); return nil })
	}
	_ = g.Wait() // nobody is called off in the middle of a change
	return errors.Join(errs...)
}

func (e *engine) close() {
	e.net.close()
	for _, h := range e.hosts {
		if h.m != nil {
			h.m.Close()
		}
	}
	if e.ssh != nil {
		e.ssh.Close()
	}
}

func (e *engine) emit(ev Event) {
	ev.Time = e.clock.Now()
	e.sink.send(ev)
}

func (e *engine) result() *Result {
	e.mu.Lock()
	defer e.mu.Unlock()
	return &Result{Run: e.id, Changed: e.changed, Restarts: e.restarts, Hosts: len(e.hosts), Took: e.clock.Now().Sub(e.begun)}
}

// wait waits for d or the end of ctx.
func (e *engine) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-e.clock.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// who is the operator, for locks and the journal.
func (e *engine) who() (name, host string) {
	host, _ = os.Hostname()
	if name = e.o.Getenv("SUDO_USER"); name != "" {
		return name, host
	}
	if u, err := user.Current(); err == nil {
		return u.Username, host
	}
	return fmt.Sprint("uid ", os.Getuid()), host
}
