// A whole cluster on this machine in one command: deployed by the engine, used, hurt, and taken away again.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"rmqctl/cmd/rmqctl/tui"
	"rmqctl/examples"
	"rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/inventory"
	"rmqctl/provision"
)

const (
	demoTopic    = "DemoTopic"
	demoMessages = 1000
)

type demoCmd struct {
	Dir  string `type:"path" placeholder:"DIR" help:"Scratch directory; default is rmqctl-demo below the system's temporary folder."`
	Keep bool   `help:"Leave the cluster running at the end."`
}

// demo is one run of the demonstration.
type demo struct {
	std  *streams
	j    *job
	cl   *client.Client
	path string

	batch int // how many times 1,000 messages were sent
}

func (c *demoCmd) Run(ctx context.Context, std *streams) error {
	if c.Dir == "" {
		c.Dir = filepath.Join(os.TempDir(), "rmqctl-demo")
	}
	d := &demo{std: std, path: filepath.Join(c.Dir, "inventory.toml")}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(d.path, examples.Local, 0o644); err != nil {
		return err
	}
	inv, err := inventory.Load(d.path)
	if err != nil {
		return err
	}
	d.j, err = runFlags{inventoryFlag: inventoryFlag{d.path}, faceFlags: faceFlags{Output: "auto"}}.jobFor(std, "deploy", inv)
	if err != nil {
		return err
	}
	begun := time.Now()
	err = d.play(ctx)
	if c.Keep && err == nil {
		fmt.Fprintf(std.out, "\nThe cluster goes on running.\n")
		d.next()
		return nil
	}
	err = errors.Join(err, d.end())
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "\nAll of it took %s.\n", time.Since(begun).Round(100*time.Millisecond))
	d.next()
	return nil
}

// play is the story: deploy, 1,000 messages, one master killed, and the cluster goes on.
func (d *demo) play(ctx context.Context) error {
	d.say("Deploying %s: %d name servers, %d brokers, all on this machine, by the engine that deploys over SSH.", d.path, len(d.j.inv.NameServers), len(d.j.inv.Brokers()))
	if err := d.j.result(d.j.watch(ctx, provision.Deploy)); err != nil {
		return err
	}
	var err error
	if d.cl, err = client.New(client.Options{NameServers: client.ParseNameServers(d.j.inv.NamesrvAddr())}); err != nil {
		return err
	}
	defer d.cl.Close()
	d.say("Sending and receiving %d messages.", demoMessages)
	if err := d.sendAndReceive(ctx); err != nil {
		return err
	}
	if err := d.table(ctx); err != nil {
		return err
	}
	victim := d.j.inv.Groups[0].Brokers[0]
	d.say("Killing the master %s (kill -9).", victim.Member)
	if err := provision.Kill(ctx, d.j.opts, victim.Member); err != nil {
		return err
	}
	if err := d.waitGone(ctx, victim.Addr()); err != nil {
		return err
	}
	d.say("Sending %d more; a new consumer then reads everything, the dead master's share from its slave.", demoMessages)
	if err := d.sendAndReceive(ctx); err != nil {
		return err
	}
	return d.table(ctx)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.std.out, "\n== "+format+"\n", args...) }

// sendAndReceive sends 1,000 messages as a new batch. A new consumer group then wants to see exactly what all batches
// together hold, each message once, wherever its copies are.
func (d *demo) sendAndReceive(ctx context.Context) error {
	d.batch++
	begun := time.Now()
	p := d.cl.Producer("demo-producer")
	perBroker := map[string]int{}
	for i := range demoMessages {
		r, err := p.Send(ctx, client.Outgoing{Topic: demoTopic, Body: fmt.Appendf(nil, "batch %d message %d", d.batch, i)})
		if err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		perBroker[r.Queue.BrokerName]++
	}
	sent := time.Since(begun)
	from, err := d.receive(ctx, d.batch*demoMessages)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.std.out, "sent %d in %s: %s; received exactly %d: %s\n", demoMessages, sent.Round(time.Millisecond), shares(perBroker), d.batch*demoMessages, shares(from))
	return nil
}

func shares(m map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}

// receive reads as a new group and counts by broker name. Anything but want different messages, each once, is an error.
func (d *demo) receive(ctx context.Context, want int) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var mu sync.Mutex // guards seen, from
	seen, from := map[string]int{}, map[string]int{}
	enough := time.AfterFunc(time.Hour, cancel)
	defer enough.Stop()
	group := fmt.Sprintf("demo-consumer-%d", d.batch)
	err := d.cl.Consume(ctx, client.ConsumerOptions{Group: group, Topic: demoTopic, First: true, Handle: func(q protocol.MessageQueue, m *message.Message) error {
		mu.Lock()
		defer mu.Unlock()
		seen[string(m.Body)]++
		from[q.BrokerName]++
		if len(seen) == want {
			enough.Reset(500 * time.Millisecond) // long enough for a duplicate to show itself
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	mu.Lock()
	defer mu.Unlock()
	total := 0
	for _, n := range seen {
		total += n
	}
	if len(seen) != want || total != want {
		return nil, fmt.Errorf("wanted %d messages, received %d different ones, %d in all", want, len(seen), total)
	}
	return from, nil
}

// waitGone waits until no name server lists the address any more: then no producer will be sent there.
func (d *demo) waitGone(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		s, err := d.cl.Status(ctx)
		if err != nil {
			return err
		}
		listed := false
		for _, g := range s.Groups {
			for _, m := range g.Members {
				listed = listed || m.Addr == addr
			}
		}
		if !listed {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is still in the routes: %w", addr, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (d *demo) table(ctx context.Context) error {
	s, err := provision.LookAt(ctx, d.j.opts)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(d.std.out, "\n"+tui.Table(s))
	return err
}

// end takes the cluster away, also after a failure or Ctrl-C.
func (d *demo) end() error {
	d.say("Stopping and removing the cluster.")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	j, err := d.j.flags.jobFor(d.std, "destroy", d.j.inv)
	if err != nil {
		return err
	}
	return j.result(j.watch(ctx, func(ctx context.Context, o provision.Options) (*provision.Result, error) {
		return provision.Destroy(ctx, o, provision.DestroyOptions{Data: true})
	}))
}

func (d *demo) next() {
	fmt.Fprintf(d.std.out, `The inventory is %[1]s. Go on with:
  rmqctl deploy %[1]s      the same cluster again
  rmqctl status %[1]s      its live view
  rmqctl restart %[1]s     rolling restart
  rmqctl admin clusterList -n '%[2]s'
`, d.path, d.j.inv.NamesrvAddr())
}
