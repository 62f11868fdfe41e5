// First messages from the shell: produce, consume.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"rmqctl/cmd/rmqctl/admin"
	"rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

// namesrvFlag is shared by everything that talks to a running cluster.
type namesrvFlag struct {
	NamesrvAddr string `short:"n" name:"namesrvAddr" env:"NAMESRV_ADDR" required:"" placeholder:"A:9876;B:9876" help:"Name servers."`
}

func (f namesrvFlag) client() (*client.Client, error) {
	return client.New(client.Options{NameServers: client.ParseNameServers(f.NamesrvAddr)})
}

type produceCmd struct {
	namesrvFlag
	Topic string   `short:"t" required:"" help:"Topic; made by itself where the brokers allow it."`
	Body  []string `arg:"" optional:"" help:"Messages; none: every line of standard input is one."`
	Tags  string   `help:"Tag of every message."`
	Keys  string   `help:"Keys of every message, blank-separated."`
	Delay int      `placeholder:"LEVEL" help:"Delay level 1-18 (1s 5s 10s 30s 1m ... 2h)."`
	Count int      `default:"1" help:"Send the messages so many times; '%' in a message becomes the number."`
	Group string   `default:"rmqctl-produce" help:"Producer group."`
	Quiet bool     `short:"q" help:"Print only the totals."`
}

func (c *produceCmd) Run(ctx context.Context, std *streams) error {
	cl, err := c.client()
	if err != nil {
		return withCode(exitUsage, err)
	}
	defer cl.Close()
	p := cl.Producer(c.Group)
	sent, begun := 0, time.Now()
	err = c.bodies(std.in, func(body string) error {
		r, err := p.Send(ctx, client.Outgoing{Topic: c.Topic, Tags: c.Tags, Keys: c.Keys, DelayLevel: c.Delay, Body: []byte(body)})
		if err != nil {
			return err
		}
		sent++
		if !c.Quiet {
			fmt.Fprintf(std.out, "%s  %s  %s queue %d offset %d\n", r.StatusName(), r.MsgID, r.Queue.BrokerName, r.Queue.QueueID, r.QueueOffset)
		}
		return nil
	})
	fmt.Fprintf(std.out, "sent %d in %s\n", sent, time.Since(begun).Round(time.Millisecond))
	return err
}

// bodies calls send for each message of the arguments or of in.
func (c *produceCmd) bodies(in io.Reader, send func(string) error) error {
	if len(c.Body) == 0 {
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			if err := send(lines.Text()); err != nil {
				return err
			}
		}
		return lines.Err()
	}
	for i := range c.Count {
		for _, b := range c.Body {
			if err := send(strings.ReplaceAll(b, "%", fmt.Sprint(i))); err != nil {
				return err
			}
		}
	}
	return nil
}

type consumeCmd struct {
	namesrvFlag
	Topic string        `short:"t" required:"" help:"Topic."`
	Group string        `short:"g" default:"rmqctl-consume" help:"Consumer group; members share the queues."`
	Tags  string        `default:"*" help:"Tags wanted: 'A || B', '*' for all."`
	Count int           `short:"c" help:"End after so many messages; 0: never."`
	Idle  time.Duration `help:"End when nothing came for so long; 0: never."`
	Last  bool          `help:"A new group starts with what comes next instead of the oldest message."`
	JSON  bool          `name:"json" help:"One JSON object per message."`
	Quiet bool          `short:"q" help:"Print only the total."`
}

// errEnough ends a consumer that has what it was asked for.
var errEnough = errors.New("enough")

func (c *consumeCmd) Run(ctx context.Context, std *streams) error {
	cl, err := c.client()
	if err != nil {
		return withCode(exitUsage, err)
	}
	defer cl.Close()
	got, err := c.receive(ctx, cl, std.out)
	fmt.Fprintf(std.out, "received %d\n", got)
	if err == nil && c.Count > 0 && got < c.Count {
		return withCode(exitFailed, fmt.Errorf("%d of %d messages came", got, c.Count))
	}
	return err
}

func (c *consumeCmd) receive(ctx context.Context, cl *client.Client, out io.Writer) (int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex // guards got, out
	got := 0
	idle := newIdleTimer(c.Idle, func() { cancel(errEnough) })
	defer idle.stop()
	err := cl.Consume(ctx, client.ConsumerOptions{Group: c.Group, Topic: c.Topic, Tags: c.Tags, First: !c.Last, Handle: func(q protocol.MessageQueue, m *message.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if c.Count > 0 && got >= c.Count {
			return nil
		}
		got++
		idle.touch()
		if c.Count > 0 && got >= c.Count {
			cancel(errEnough)
		}
		if c.Quiet {
			return nil
		}
		return c.print(out, q, m)
	}})
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, errEnough) && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return got, err
}

func (c *consumeCmd) print(out io.Writer, q protocol.MessageQueue, m *message.Message) error {
	body, err := client.Plain(m)
	if err != nil {
		return err
	}
	if !c.JSON {
		_, err = fmt.Fprintf(out, "%s/%d@%d  %s\n", q.BrokerName, q.QueueID, m.QueueOffset, body)
		return err
	}
	return json.NewEncoder(out).Encode(map[string]any{
		"topic": m.Topic, "broker": q.BrokerName, "queue": q.QueueID, "offset": m.QueueOffset, "bornTimestamp": m.BornTimestamp,
		"storeTimestamp": m.StoreTimestamp, "reconsumeTimes": m.ReconsumeTimes, "properties": message.DecodeProperties(m.Properties), "body": string(body),
	})
}

// idleTimer calls end once when touch was not called for d; d = 0 never.
type idleTimer struct {
	d time.Duration
	t *time.Timer
}

func newIdleTimer(d time.Duration, end func()) *idleTimer {
	if d <= 0 {
		return &idleTimer{}
	}
	return &idleTimer{d, time.AfterFunc(d, end)}
}

func (i *idleTimer) touch() {
	if i.t != nil {
		i.t.Reset(i.d)
	}
}

func (i *idleTimer) stop() {
	if i.t != nil {
		i.t.Stop()
	}
}

type adminCmd struct {
	Args []string `arg:"" optional:"" passthrough:"" help:"Command and options, as for mqadmin; 'help' lists them."`
}

func (c *adminCmd) Run(ctx context.Context, std *streams) error {
	return runAdmin(ctx, c.Args, os.Getenv("NAMESRV_ADDR"), std)
}

// runAdmin gives the admin commands their name servers and turns a wrong command line into its exit code.
func runAdmin(ctx context.Context, args []string, namesrv string, std *streams) error {
	err := admin.Run(ctx, args, namesrv, std.out, std.err)
	if errors.Is(err, admin.ErrUsage) {
		return withCode(exitUsage, errQuiet)
	}
	return err
}
