// Everything that works on a cluster described by an inventory: deploy, plan, check, restart, start, stop, destroy, logs.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"rmqctl/inventory"
	"rmqctl/provision"
)

// inventoryFlag is the argument that all of them share.
type inventoryFlag struct {
	Inventory string `arg:"" optional:"" default:"inventory.toml" help:"The inventory file."`
}

// runFlags are shared by what connects to the hosts.
type runFlags struct {
	inventoryFlag
	faceFlags
}

// faceFlags are how a run works and shows itself.
type faceFlags struct {
	Output   string            `short:"o" default:"auto" enum:"auto,tty,plain,json" help:"tty: live view, plain: lines, json: one object per line; auto: tty on a terminal."`
	Forks    int               `default:"20" help:"Hosts worked on at once."`
	Binary   map[string]string `placeholder:"OS/ARCH=PATH" help:"rmqctl for hosts of another kind than this machine."`
	LockWait time.Duration     `help:"Wait so long for another run to end."`
	Verbose  bool              `short:"v" help:"Show what held, too."`
}

// yesFlag is for what changes hosts.
type yesFlag struct {
	Yes bool `short:"y" help:"Do not ask."`
}

// load reads the inventory and prints its warnings.
func (f inventoryFlag) load(std *streams) (*inventory.Inventory, error) {
	inv, err := inventory.Load(f.Inventory)
	if err != nil {
		return nil, withCode(exitUsage, err)
	}
	for _, w := range inv.Warnings {
		fmt.Fprintln(std.err, "warning:", w)
	}
	return inv, nil
}

// job is one run of the engine, as the faces see it.
type job struct {
	title string
	flags runFlags
	inv   *inventory.Inventory
	std   *streams
	tty   bool
	view  *tea.Program // the live view while it runs, else nil
	opts  provision.Options
}

// job prepares a run: who may be asked, where events go.
func (f runFlags) job(std *streams, what string) (*job, error) {
	inv, err := f.load(std)
	if err != nil {
		return nil, err
	}
	return f.jobFor(std, what, inv)
}

func (f runFlags) jobFor(std *streams, what string, inv *inventory.Inventory) (*job, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	j := &job{title: what + " " + inv.Name, flags: f, inv: inv, std: std}
	j.tty = f.Output == "tty" || (f.Output == "auto" && isTerminal(std.out))
	j.opts = provision.Options{
		Inventory: inv, Self: self, Binaries: f.Binary, Version: version, Command: "rmqctl " + what + " " + f.Inventory,
		Forks: f.Forks, LockWait: f.LockWait, Getenv: os.Getenv,
	}
	j.opts.SSH.Home, _ = os.UserHomeDir()
	j.opts.SSH.AgentSock = os.Getenv("SSH_AUTH_SOCK")
	if isTerminal(std.in) {
		j.opts.Ask = j.askSecret
	}
	return j, nil
}

// result prints how a run ended and gives its exit code.
func (j *job) result(r *provision.Result, err error) error {
	if j.flags.Output == "json" {
		line := map[string]any{"result": r}
		if err != nil {
			line["error"] = err.Error()
		}
		_ = json.NewEncoder(j.std.out).Encode(line)
	}
	if errors.Is(err, provision.ErrDeclined) {
		return withCode(exitFailed, errors.New("not confirmed, nothing was changed"))
	}
	if err != nil {
		return withCode(provision.ExitCode(err), err)
	}
	if j.flags.Output == "json" {
		return nil
	}
	took := r.Took.Round(100 * time.Millisecond)
	if r.Nothing {
		fmt.Fprintf(j.std.out, "nothing to do (%d hosts, %d resources checked, %s)\n", r.Hosts, r.Checked, took)
		return nil
	}
	fmt.Fprintf(j.std.out, "done: %d changed, %d restarted, %d hosts, %s\n", r.Changed, r.Restarts, r.Hosts, took)
	return nil
}

// confirm shows the plan and asks. Without anybody to ask it says how to go on.
func (j *job) confirm(ctx context.Context, p *provision.Plan) (bool, error) {
	return j.question(ctx, p, "apply?")
}

func (j *job) question(ctx context.Context, p *provision.Plan, ask string) (bool, error) {
	var yes bool
	var err error
	j.pauseView(func() {
		fmt.Fprintln(j.std.out, p.Summary())
		for _, w := range p.Order {
			fmt.Fprintln(j.std.out, "  "+w)
		}
		in := bufio.NewReader(j.std.in)
		for {
			fmt.Fprintf(j.std.out, "%s [y/N/d = show differences] ", ask)
			var line string
			if line, err = in.ReadString('\n'); err != nil {
				fmt.Fprintln(j.std.out)
				err = errors.New("nobody is there to confirm: use -y")
				return
			}
			switch strings.ToLower(strings.TrimSpace(line)) {
			case "d":
				_ = p.WriteText(j.std.out, true)
				continue
			case "y", "yes":
				yes = true
			}
			return
		}
	})
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return yes, err
}

type deployCmd struct {
	runFlags
	yesFlag
	AcceptOutage bool `help:"Restart what serves alone although clients will notice."`
	SkipVerify   bool `help:"Send no probe messages at the end."`
}

func (c *deployCmd) Run(ctx context.Context, std *streams) error {
	j, err := c.job(std, "deploy")
	if err != nil {
		return err
	}
	j.opts.AcceptOutage, j.opts.SkipVerify = c.AcceptOutage, c.SkipVerify
	if !c.Yes {
		j.opts.Confirm = j.confirm
	}
	return j.result(j.watch(ctx, provision.Deploy))
}

type planCmd struct {
	runFlags
	ExitCode bool `help:"Exit with 4 when there is something to do."`
}

func (c *planCmd) Run(ctx context.Context, std *streams) error {
	j, err := c.job(std, "plan")
	if err != nil {
		return err
	}
	p, err := provision.MakePlan(ctx, j.opts)
	if err != nil {
		return withCode(provision.ExitCode(err), err)
	}
	if c.Output == "json" {
		err = json.NewEncoder(std.out).Encode(p)
	} else {
		err = p.WriteText(std.out, true)
	}
	switch {
	case err != nil:
		return err
	case len(p.Obstacles()) > 0:
		return withCode(exitCheck, errors.New("a deploy would not begin: see the obstacles above"))
	case c.ExitCode && !p.Empty():
		return withCode(exitPending, errQuiet)
	}
	return nil
}

type restartCmd struct {
	runFlags
	yesFlag
	AcceptOutage bool     `help:"Restart what serves alone although clients will notice."`
	Only         []string `help:"Only these nodes, groups or brokers (broker-a-s)."`
}

func (c *restartCmd) Run(ctx context.Context, std *streams) error {
	j, err := c.job(std, "restart")
	if err != nil {
		return err
	}
	j.opts.AcceptOutage, j.opts.Only = c.AcceptOutage, c.Only
	if !c.Yes {
		j.opts.Confirm = j.confirm
	}
	return j.result(j.watch(ctx, provision.Restart))
}

type startCmd struct {
	runFlags
	Only []string `help:"Only these nodes, groups or brokers."`
}

func (c *startCmd) Run(ctx context.Context, std *streams) error {
	j, err := c.job(std, "start")
	if err != nil {
		return err
	}
	j.opts.Only = c.Only
	return j.result(j.watch(ctx, provision.Start))
}

type stopCmd struct {
	runFlags
	yesFlag
	Only []string `help:"Only these nodes, groups or brokers."`
}

func (c *stopCmd) Run(ctx context.Context, std *streams) error {
	j, err := c.job(std, "stop")
	if err != nil {
		return err
	}
	j.opts.Only = c.Only
	if !c.Yes {
		j.opts.Confirm = j.confirm
	}
	return j.result(j.watch(ctx, provision.Stop))
}

type destroyCmd struct {
	runFlags
	Data bool   `help:"Delete the messages, too."`
	Name string `name:"yes-destroy" placeholder:"CLUSTER" help:"The cluster's name, instead of typing it."`
}

func (c *destroyCmd) Run(ctx context.Context, std *streams) error {
	j, err := c.job(std, "destroy")
	if err != nil {
		return err
	}
	typed := c.Name
	if typed == "" {
		what := "Everything that rmqctl put on the hosts is taken back; messages are kept."
		if c.Data {
			what = "Everything that rmqctl put on the hosts is taken back, MESSAGES INCLUDED."
		}
		fmt.Fprintf(std.out, "%s\nType the name of the cluster to go on: ", what)
		line, _ := bufio.NewReader(std.in).ReadString('\n')
		typed = strings.TrimSpace(line)
	}
	if typed != j.inv.Name {
		return withCode(exitFailed, fmt.Errorf("%q is not the name of the cluster: nothing was changed", typed))
	}
	return j.result(j.watch(ctx, func(ctx context.Context, o provision.Options) (*provision.Result, error) {
		return provision.Destroy(ctx, o, provision.DestroyOptions{Data: c.Data})
	}))
}

type checkCmd struct{ runFlags }

func (c *checkCmd) Run(ctx context.Context, std *streams) error {
	j, err := c.job(std, "check")
	if err != nil {
		return err
	}
	report, err := provision.Check(ctx, j.opts)
	if err != nil {
		return withCode(provision.ExitCode(err), err)
	}
	if c.Output == "json" {
		err = json.NewEncoder(std.out).Encode(report)
	} else {
		err = report.WriteText(std.out)
	}
	if err == nil && report.Failed() > 0 {
		return withCode(exitCheck, errors.New("check failed: see FAIL above"))
	}
	return err
}

type logsCmd struct {
	runFlags
	Only   []string `help:"Only these nodes, groups or brokers."`
	Lines  int      `short:"l" default:"50" help:"Lines of each process."`
	Follow bool     `short:"f" help:"Go on with what comes."`
}

func (c *logsCmd) Run(ctx context.Context, std *streams) error {
	j, err := c.job(std, "logs")
	if err != nil {
		return err
	}
	j.opts.Only = c.Only
	err = provision.Logs(ctx, j.opts, provision.LogOptions{Lines: c.Lines, Follow: c.Follow}, func(l provision.LogLine) {
		fmt.Fprintf(std.out, "%s %s | %s\n", l.Host, l.Role, l.Text)
	})
	if err != nil && ctx.Err() == nil {
		return withCode(provision.ExitCode(err), err)
	}
	return nil
}
