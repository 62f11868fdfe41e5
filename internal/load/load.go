// Package load puts load on brokers, ours or Java's, and measures what comes of it. It speaks remoting over plain TCP
// with frames rendered once, so that its own cost stays under 2 µs a message and the broker is what is measured.
//
// A connection is worked by one goroutine that reads a burst of answers and sends as many new requests with one write
// (or, with OneWrite, each with its own, as stock clients do). With a Rate one thread sends on a schedule and
// latency counts from the moment a message was due, so that a stall counts for all that waited behind it.
//
// Every body begins with who wrote it and ends in the same bytes, which is what Verify reads:
//
//	| run 4 | connection 4 | number 8 | due 8, ns on the run's clock | filling |
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"rmqctl/internal/protocol"
)

// Target is one broker and how many queues each topic has there.
type Target struct {
	Addr   string
	Queues int32
}

// Options of a run. Targets and Topics must be there; New says what else is wrong.
type Options struct {
	Targets     []Target
	Topics      []string // all of one length
	Size        int      // of a body
	Connections int      // to each target; 0: 1
	InFlight    int      // requests under way on each connection; 0: 1
	OneWrite    bool     // one write for each request
	Encoding    protocol.Encoding
	Rate        int           // messages a second in all; 0: as many as possible
	Count       int64         // messages in all; 0: until the time is over
	Warmup      time.Duration // left out of the figures
	Duration    time.Duration // measured, after the warm-up
	Group       string        // "": rmqctl-bench
	Pull        int32         // most messages of one pull; 0: 32
	Repeat      bool          // Consume begins again at the first message when it has read the last
	Record      bool          // Produce keeps a Ledger, for Verify
	Patience    time.Duration // of Verify with a broker that has not shown everything yet; 0: 10 s
	Pids        []int         // brokers on this machine whose cost is wanted
}

// headLen is what the bodies begin with.
const headLen = 24

// grace is how long answers may take after the time is over.
const grace = 10 * time.Second

var (
	errTargets = errors.New("no broker to put load on")
	errTopics  = errors.New("topic names must all have one length")
	errSize    = fmt.Errorf("a body needs %d bytes for its number and time", headLen)
)

func (o *Options) check() error {
	if len(o.Targets) == 0 {
		return errTargets
	}
	for _, t := range o.Targets {
		if t.Queues < 1 {
			return fmt.Errorf("%s: no queue to use", t.Addr)
		}
	}
	for _, t := range o.Topics {
		if len(t) != len(o.Topics[0]) {
			return errTopics
		}
	}
	if len(o.Topics) == 0 || o.Topics[0] == "" {
		return errTopics
	}
	o.Connections, o.InFlight = max(o.Connections, 1), max(o.InFlight, 1)
	if o.Group == "" {
		o.Group = "rmqctl-bench"
	}
	if o.Pull == 0 {
		o.Pull = 32
	}
	return nil
}

// TopicNames are n names of one length that begin with prefix; one is the prefix itself.
func TopicNames(prefix string, n int) []string {
	if n <= 1 {
		return []string{prefix}
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%05d", prefix, i)
	}
	return names
}

// run is what the workers of one run share; they only read it.
type run struct {
	Options
	id    uint32
	base  time.Time
	begin int64 // ns since base: what ends from here on counts
	end   int64
	fill  []byte // a body
	ctx   context.Context
	late  *meter // of the pacer
}

func newRun(ctx context.Context, o Options) (*run, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	r := &run{Options: o, id: rand.Uint32(), ctx: ctx, fill: filling(o.Size)}
	return r, nil
}

// start sets the clock. Workers begin after it.
func (r *run) start() {
	r.base = time.Now()
	r.begin = int64(r.Warmup)
	if r.Warmup == 0 {
		r.begin = -1
	}
	r.end = int64(r.Warmup + r.Duration)
}

func (r *run) now() int64 { return int64(time.Since(r.base)) }

// filling is the same for every run, so that a body read back can be compared. It does not compress.
func filling(size int) []byte {
	b := make([]byte, size)
	src := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(src.Uint32())
	}
	return b
}

func (r *run) dial(addr string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(r.ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}
