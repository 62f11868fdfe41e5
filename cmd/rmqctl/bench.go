// Load on a running cluster, ours or Java's: throughput and latency percentiles.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

type benchCmd struct {
	namesrvFlag
	What        string        `arg:"" enum:"produce,consume" help:"produce or consume."`
	Topic       string        `short:"t" default:"BenchmarkTest" help:"Topic."`
	Size        int           `default:"1024" help:"Body size in bytes."`
	Connections int           `default:"8" help:"Connections to each broker."`
	InFlight    int           `default:"16" help:"Requests under way on each connection."`
	Rate        int           `help:"Messages per second in all, timed from when each was due; 0: as many as possible."`
	Duration    time.Duration `default:"10s" help:"How long."`
	Warmup      time.Duration `default:"2s" help:"Left out of the figures."`
	Group       string        `default:"rmqctl-bench" help:"Group of the consumers."`
	Output      string        `default:"plain" enum:"plain,json" help:"Form of the result."`
}

// benchResult is what --output json prints. Latencies are microseconds.
type benchResult struct {
	What       string  `json:"what"`
	Messages   int64   `json:"messages"`
	Failed     int64   `json:"failed"`
	Seconds    float64 `json:"seconds"`
	PerSecond  float64 `json:"messagesPerSecond"`
	MBPerSec   float64 `json:"megabytesPerSecond"`
	P50        int64   `json:"p50Micros"`
	P90        int64   `json:"p90Micros"`
	P99        int64   `json:"p99Micros"`
	P999       int64   `json:"p999Micros"`
	Max        int64   `json:"maxMicros"`
	FirstError string  `json:"firstError,omitempty"`
}

func (c *benchCmd) Run(ctx context.Context, std *streams) error {
	if c.Connections < 1 || c.InFlight < 1 || c.Size < 0 || c.Rate < 0 {
		return withCode(exitUsage, fmt.Errorf("bench: connections and in-flight must be at least 1, size and rate not negative"))
	}
	m := &meter{histo: hdrhistogram.New(1, 60_000_000, 3)}
	load := c.produce
	if c.What == "consume" {
		load = c.consume
	}
	ctx, cancel := context.WithTimeout(ctx, c.Warmup+c.Duration)
	defer cancel()
	if c.Warmup > 0 {
		time.AfterFunc(c.Warmup, m.begin)
	} else { // a timer, even one of no time, would leave out the first
		m.begin()
	}
	if err := load(ctx, m); err != nil {
		return err
	}
	r := m.result(c.What, c.Size)
	if err := r.print(std.out, c.Output); err != nil {
		return err
	}
	if r.Failed > 0 || r.Messages == 0 {
		return withCode(exitFailed, fmt.Errorf("bench: %d messages, %d failed: %s", r.Messages, r.Failed, r.FirstError))
	}
	return nil
}

// produce keeps connections x in-flight senders busy. With a rate, each send is timed from the moment it was due, so a
// stall counts for all that waited behind it.
func (c *benchCmd) produce(ctx context.Context, m *meter) error {
	body := []byte(strings.Repeat("x", c.Size))
	var due atomic.Int64
	start := time.Now()
	var senders sync.WaitGroup
	for range c.Connections {
		cl, err := c.client()
		if err != nil {
			return withCode(exitUsage, err)
		}
		defer cl.Close()
		p := cl.Producer("rmqctl-bench")
		for range c.InFlight {
			senders.Go(func() {
				for ctx.Err() == nil {
					from := time.Now()
					if c.Rate > 0 {
						from = start.Add(time.Duration(due.Add(1)) * time.Second / time.Duration(c.Rate))
						if !sleepUntil(ctx, from) {
							return
						}
					}
					_, err := p.Send(ctx, client.Outgoing{Topic: c.Topic, Body: body})
					if ctx.Err() == nil {
						m.record(time.Since(from), err)
					}
				}
			})
		}
	}
	senders.Wait()
	return nil
}

// consume measures from the broker's store time to the handler; clocks of both must agree for that to mean anything.
func (c *benchCmd) consume(ctx context.Context, m *meter) error {
	cl, err := c.client()
	if err != nil {
		return withCode(exitUsage, err)
	}
	defer cl.Close()
	return cl.Consume(ctx, client.ConsumerOptions{Group: c.Group, Topic: c.Topic, First: true, Handle: func(_ protocol.MessageQueue, msg *message.Message) error {
		m.record(time.Since(time.UnixMilli(msg.StoreTimestamp)), nil)
		return nil
	}})
}

func sleepUntil(ctx context.Context, t time.Time) bool {
	wait := time.Until(t)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// meter counts after begin was called.
type meter struct {
	mu     sync.Mutex // guards all
	on     bool
	since  time.Time
	ok     int64
	failed int64
	first  error
	histo  *hdrhistogram.Histogram
}

func (m *meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on, m.since = true, time.Now()
}

func (m *meter) record(took time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.on {
		return
	}
	if err != nil {
		if m.failed++; m.first == nil {
			m.first = err
		}
		return
	}
	m.ok++
	_ = m.histo.RecordValue(min(max(took.Microseconds(), 1), m.histo.HighestTrackableValue()))
}

func (m *meter) result(what string, size int) benchResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := benchResult{What: what, Messages: m.ok, Failed: m.failed}
	if m.on {
		r.Seconds = time.Since(m.since).Seconds()
		r.PerSecond = float64(m.ok) / r.Seconds
		r.MBPerSec = r.PerSecond * float64(size) / 1e6
	}
	q := m.histo.ValueAtQuantile
	r.P50, r.P90, r.P99, r.P999, r.Max = q(50), q(90), q(99), q(99.9), m.histo.Max()
	if m.first != nil {
		r.FirstError = m.first.Error()
	}
	return r
}

func (r benchResult) print(w io.Writer, form string) error {
	if form == "json" {
		return json.NewEncoder(w).Encode(r)
	}
	us := func(v int64) string { return (time.Duration(v) * time.Microsecond).String() }
	_, err := fmt.Fprintf(w, "%s  %d messages in %.1f s  %.0f/s  %.1f MB/s  failed %d\nlatency  p50 %s  p90 %s  p99 %s  p99.9 %s  max %s\n",
		r.What, r.Messages, r.Seconds, r.PerSecond, r.MBPerSec, r.Failed, us(r.P50), us(r.P90), us(r.P99), us(r.P999), us(r.Max))
	return err
}
