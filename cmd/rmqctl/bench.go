// Load on running brokers, ours or Java's: throughput, latency percentiles, and what it cost.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rmqctl/internal/client"
	"rmqctl/internal/load"
	"rmqctl/internal/protocol"
)

type benchCmd struct {
	What        string        `arg:"" enum:"produce,consume,e2e" help:"produce: send; consume: read what is there, from the first message; e2e: send at a rate and receive, timed from when each was due."`
	NamesrvAddr string        `short:"n" name:"namesrvAddr" env:"NAMESRV_ADDR" placeholder:"A:9876;B:9876" help:"Name servers; their masters carry the load."`
	Broker      []string      `sep:";" placeholder:"HOST:10911" help:"These brokers, without a name server."`
	Topic       string        `short:"t" default:"BenchmarkTest" help:"Topic; made where it is missing."`
	Topics      int           `default:"1" help:"So many topics, TOPIC-00000 and on."`
	Queues      int32         `default:"8" help:"Queues of a topic that is made."`
	AutoCreate  bool          `help:"Do not make the topics: the first message to each does, where the broker allows it."`
	Size        int           `default:"1024" help:"Body size in bytes."`
	Connections int           `default:"8" help:"Connections to each broker."`
	InFlight    int           `default:"16" help:"Requests under way on each connection; for consume: pulls, at most one a queue."`
	OneWrite    bool          `help:"One write a request, as stock clients do, instead of one for all that can go."`
	Header      string        `default:"json" enum:"json,binary" help:"Header encoding."`
	Rate        int           `help:"Messages per second in all, timed from when each was due; 0: as many as possible."`
	Count       int64         `help:"End after so many messages; 0: when the time is over."`
	Duration    time.Duration `default:"10s" help:"How long, after the warm-up."`
	Warmup      time.Duration `default:"2s" help:"Left out of the figures."`
	Group       string        `default:"rmqctl-bench" help:"Group of producers and consumers."`
	Repeat      bool          `help:"consume: begin again when everything is read, until the time is over."`
	Verify      bool          `help:"produce: read everything afterwards and look for each acknowledged message, whole and once."`
	BrokerPid   []int         `placeholder:"PID" help:"Brokers on this machine whose processor time and memory are wanted."`
	Output      string        `default:"plain" enum:"plain,json" help:"Form of the result; json is one line."`
}

func (c *benchCmd) Run(ctx context.Context, std *streams) error {
	if err := c.check(); err != nil {
		return withCode(exitUsage, fmt.Errorf("bench: %w", err))
	}
	o, err := c.options(ctx)
	if err != nil {
		return err
	}
	r, err := c.load(ctx, o)
	if err != nil {
		return err
	}
	if err := r.Print(std.out, c.Output); err != nil {
		return err
	}
	if r.Failed > 0 || r.Messages == 0 {
		return withCode(exitFailed, fmt.Errorf("bench: %d messages, %d failed: %s", r.Messages, r.Failed, r.FirstError))
	}
	if v := r.Verify; v != nil && !v.OK() {
		return withCode(exitFailed, fmt.Errorf("bench: of %d acknowledged messages %d are missing, %d corrupt, %d there twice %s", v.Acked, v.Missing, v.Corrupt, v.Duplicates, v.FirstError))
	}
	return nil
}

func (c *benchCmd) check() error {
	switch {
	case c.Connections < 1 || c.InFlight < 1 || c.Size < 0 || c.Rate < 0 || c.Count < 0:
		return errors.New("connections and in-flight must be at least 1, size, rate and count not negative")
	case c.Topics < 1 || c.Queues < 1:
		return errors.New("topics and queues must be at least 1")
	case c.NamesrvAddr == "" && len(c.Broker) == 0:
		return fmt.Errorf("%w, or --broker HOST:10911", client.ErrNoNameServer)
	case c.What == "e2e" && c.Rate == 0:
		return errors.New("e2e needs a --rate")
	case c.Verify && c.What != "produce":
		return errors.New("only what was produced can be verified: produce --verify")
	}
	return nil
}

func (c *benchCmd) options(ctx context.Context) (load.Options, error) {
	o := load.Options{
		Topics: load.TopicNames(c.Topic, c.Topics), Size: c.Size, Connections: c.Connections, InFlight: c.InFlight, OneWrite: c.OneWrite,
		Rate: c.Rate, Count: c.Count, Warmup: c.Warmup, Duration: c.Duration, Group: c.Group, Repeat: c.Repeat, Record: c.Verify, Pids: c.BrokerPid,
	}
	if c.Header == "binary" {
		o.Encoding = protocol.Binary
	}
	there := false
	if len(c.Broker) > 0 {
		for _, b := range c.Broker {
			o.Targets = append(o.Targets, load.Target{Addr: b, Queues: c.Queues})
		}
	} else {
		var err error
		if o.Targets, there, err = c.masters(ctx, o.Topics[0]); err != nil {
			return o, err
		}
	}
	if c.AutoCreate || c.What == "consume" || there && c.Topics == 1 {
		return o, nil
	}
	return o, load.CreateTopics(ctx, o)
}

// masters are where the topic is, or, when it is nowhere, all there are.
func (c *benchCmd) masters(ctx context.Context, topic string) (ts []load.Target, there bool, err error) {
	cl, err := client.New(client.Options{NameServers: client.ParseNameServers(c.NamesrvAddr)})
	if err != nil {
		return nil, false, withCode(exitUsage, err)
	}
	defer cl.Close()
	route, err := cl.Route(ctx, topic)
	if err == nil {
		for _, q := range route.QueueDatas {
			for _, b := range route.BrokerDatas {
				if b.BrokerName == q.BrokerName && client.Master(b) != "" && q.WriteQueueNums > 0 {
					ts = append(ts, load.Target{Addr: client.Master(b), Queues: q.WriteQueueNums})
				}
			}
		}
		return ts, true, nil
	}
	if !errors.Is(err, client.ErrNoRoute) || c.What == "consume" {
		return nil, false, err
	}
	info, err := cl.ClusterInfo(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, b := range info.BrokerAddrTable {
		if m := client.Master(b); m != "" {
			ts = append(ts, load.Target{Addr: m, Queues: c.Queues})
		}
	}
	slices.SortFunc(ts, func(a, b load.Target) int { return strings.Compare(a.Addr, b.Addr) })
	return ts, false, nil
}

func (c *benchCmd) load(ctx context.Context, o load.Options) (*load.Result, error) {
	switch c.What {
	case "consume":
		return load.Consume(ctx, o)
	case "e2e":
		return load.EndToEnd(ctx, o)
	}
	r, l, err := load.Produce(ctx, o)
	if err != nil || !c.Verify {
		return r, err
	}
	r.Verify, err = load.Verify(ctx, o, l)
	return r, err
}
