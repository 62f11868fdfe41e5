// Package remoting carries protocol commands over connections: a server that
// routes requests to handlers, a client that asks, and the connection both
// share, on which either side may ask the other.
//
// One goroutine reads a connection. It handles every frame that one read
// brought and then writes all answers at once. Answers from other goroutines
// gather in the same out-buffer.
package remoting

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/internal/clock"
	"rmqctl/internal/protocol"
)

var (
	// ErrClosed: the connection or its server or client is closed.
	ErrClosed = errors.New("connection closed")
	// ErrTimeout: no answer in time.
	ErrTimeout = errors.New("no answer in time")
	// ErrBacklog: the peer does not read what it asked for.
	ErrBacklog = errors.New("peer reads too slowly")
	errIdle    = errors.New("idle")
)

// Conn is one connection, of a server or of a client.
type Conn struct {
	nc            net.Conn
	hub           *hub
	remote, local netip.AddrPort

	sock socket // reads and writes without waiting, where nc allows it

	in    protocol.Interner // reader only
	cmd   protocol.Command  // reader only: the frame in hand
	now   time.Time         // reader only: when the burst in hand arrived
	Burst any               // reader only: what fast handlers gather until Options.OnBurst
	relay relay

	wmu      sync.Mutex // guards out, inflight, writing, werr
	drained  sync.Cond  // on wmu: the backlog shrank, or the connection died
	out      *buffer
	inflight int
	writing  bool // one goroutine writes; it looks at out again before it stops
	werr     error
	dirty    atomic.Bool // waits in the hub's flusher
	bursting atomic.Bool // waits in a Burst

	cmu    sync.Mutex // guards calls, opaque
	calls  map[int32]*call
	opaque int32

	amu   sync.Mutex // guards attrs, hooks, gone
	attrs map[any]any
	hooks []func()
	gone  bool

	peer     atomic.Uint64 // version<<8 | language of the last request
	lastSeen atomic.Int64  // clock.Mono at the last read or write
	cause    atomic.Pointer[error]
	closed   chan struct{}
	once     sync.Once
}

type call struct {
	done     func(*protocol.Command, error)
	deadline time.Time
}

func newConn(nc net.Conn, h *hub) *Conn {
	c := &Conn{nc: nc, hub: h, closed: make(chan struct{}), remote: addrPort(nc.RemoteAddr()), local: addrPort(nc.LocalAddr())}
	c.drained.L = &c.wmu
	c.sock.init(nc)
	c.now = h.clock.Now()
	c.lastSeen.Store(int64(clock.MonoOf(c.now)))
	return c
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }
func (c *Conn) LocalAddr() net.Addr  { return c.nc.LocalAddr() }

// Remote and Local are the same without allocating, an IPv4 address always as
// one; zero for connections that are no sockets.
func (c *Conn) Remote() netip.AddrPort { return c.remote }
func (c *Conn) Local() netip.AddrPort  { return c.local }

// Closed is closed when the connection is.
func (c *Conn) Closed() <-chan struct{} { return c.closed }

// Version and Language are those of the last request that arrived.
func (c *Conn) Version() int32              { return int32(c.peer.Load() >> 8) }
func (c *Conn) Language() protocol.Language { return protocol.Language(c.peer.Load()) }

// Attach keeps v under key for as long as the connection lives.
func (c *Conn) Attach(key, v any) {
	c.amu.Lock()
	defer c.amu.Unlock()
	if c.attrs == nil {
		c.attrs = map[any]any{}
	}
	c.attrs[key] = v
}

// Value returns what was attached under key, or nil.
func (c *Conn) Value(key any) any {
	c.amu.Lock()
	defer c.amu.Unlock()
	return c.attrs[key]
}

// OnClose calls fn once when the connection has ended, at once if it has already.
func (c *Conn) OnClose(fn func()) {
	c.amu.Lock()
	if !c.gone {
		c.hooks = append(c.hooks, fn)
		c.amu.Unlock()
		return
	}
	c.amu.Unlock()
	fn()
}

// Close ends the connection. Calls under way fail with ErrClosed.
func (c *Conn) Close() error { c.fail(ErrClosed); return nil }

// fail ends the connection for a reason, which the reader logs.
func (c *Conn) fail(why error) {
	c.once.Do(func() {
		c.cause.Store(&why)
		close(c.closed)
		_ = c.nc.Close()
		c.wmu.Lock()
		c.werr = ErrClosed
		c.drained.Broadcast()
		c.wmu.Unlock()
	})
}

// run reads until the end and then clears up. It is the connection's goroutine.
func (c *Conn) run(from cursor) {
	err := c.read(from)
	if err == errRelieved {
		return
	}
	c.fail(err)
	why := *c.cause.Load()
	log := c.hub.log.With("remote", c.RemoteAddr().String())
	switch {
	case errors.Is(why, protocol.ErrFrame), errors.Is(why, ErrBacklog):
		log.Warn("connection closed", "err", why)
	case errors.Is(why, io.EOF), errors.Is(why, ErrClosed):
		log.Debug("connection closed")
	default:
		log.Debug("connection closed", "err", why)
	}
	c.failCalls()
	c.amu.Lock()
	hooks := c.hooks
	c.gone, c.hooks = true, nil
	c.amu.Unlock()
	for i := len(hooks) - 1; i >= 0; i-- {
		hooks[i]()
	}
	c.hub.forget(c)
}

func (c *Conn) failCalls() {
	c.cmu.Lock()
	calls := c.calls
	c.calls = nil
	c.opaque = -1 << 31 // no further calls: see register
	c.cmu.Unlock()
	for _, k := range calls {
		k.done(nil, ErrClosed)
	}
}

// Call asks the peer and waits for the answer. A failure status is no error
// here: see (*protocol.Command).Err.
func (c *Conn) Call(ctx context.Context, cmd *protocol.Command) (*protocol.Command, error) {
	return c.call(ctx, cmd, protocol.Header{})
}

func (c *Conn) call(ctx context.Context, cmd *protocol.Command, h protocol.Header, bodies ...[]byte) (*protocol.Command, error) {
	type result struct {
		cmd *protocol.Command
		err error
	}
	got := make(chan result, 1)
	opaque, err := c.start(cmd, h, time.Time{}, func(r *protocol.Command, err error) {
		if r != nil {
			r = r.Clone()
		}
		got <- result{r, err}
	}, bodies...)
	if err != nil {
		return nil, err
	}
	c.flush()
	select {
	case r := <-got:
		return r.cmd, r.err
	case <-ctx.Done():
		c.forgetCall(opaque)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, ErrTimeout
		}
		return nil, ctx.Err()
	}
}

// Go asks the peer and returns; done is called once, with a command that is
// valid only until done returns, on the goroutine that reads the connection (or
// that found the call expired). It must not wait.
//
// Calls made in a row leave in few writes: the flusher takes what has gathered.
func (c *Conn) Go(cmd *protocol.Command, timeout time.Duration, done func(*protocol.Command, error)) error {
	_, err := c.start(cmd, protocol.Header{}, c.hub.clock.Now().Add(timeout), done)
	if err == nil {
		c.hub.later(c)
	}
	return err
}

// Start is Go for a declared call. The header handed to done is the caller's to
// keep; the body ends with done. As with Do, both are there beside a failure status.
func Start[Req, Resp any](c *Conn, call *protocol.Call[Req, Resp], req *Req, body []byte, timeout time.Duration, done func(*Resp, []byte, error)) error {
	cmd := protocol.Command{Code: call.Code, Language: c.hub.language, Version: c.hub.version, Encoding: c.hub.encoding}
	_, err := c.start(&cmd, call.RequestHeader(req), c.hub.clock.Now().Add(timeout), func(answer *protocol.Command, err error) {
		if err != nil {
			done(nil, nil, err)
			return
		}
		resp := new(Resp)
		if err := call.DecodeResponse(answer, resp); err != nil {
			done(nil, nil, err)
			return
		}
		done(resp, answer.Body, answer.Err())
	}, body)
	if err == nil {
		c.hub.later(c)
	}
	return err
}

// start registers a call and appends its frame; the caller sees to the write.
func (c *Conn) start(cmd *protocol.Command, h protocol.Header, deadline time.Time, done func(*protocol.Command, error), bodies ...[]byte) (int32, error) {
	opaque, ok := c.register(&call{done, deadline})
	if !ok {
		return 0, ErrClosed
	}
	out := *cmd
	out.Opaque = opaque
	out.Flag &^= protocol.FlagResponse | protocol.FlagOneway
	if err := c.append(&out, h, bodies); err != nil {
		c.forgetCall(opaque)
		return 0, err
	}
	return opaque, nil
}

func (c *Conn) register(k *call) (int32, bool) {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	if c.opaque < 0 {
		return 0, false
	}
	if c.calls == nil {
		c.calls = map[int32]*call{}
	}
	c.opaque++
	if c.opaque == 1<<31-1 {
		c.opaque = 1
	}
	c.calls[c.opaque] = k
	return c.opaque, true
}

func (c *Conn) forgetCall(opaque int32) *call {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	k := c.calls[opaque]
	delete(c.calls, opaque)
	return k
}

// expire fails the calls whose deadline has passed.
func (c *Conn) expire(now time.Time) {
	var late []*call
	c.cmu.Lock()
	for opaque, k := range c.calls {
		if !k.deadline.IsZero() && now.After(k.deadline) {
			late = append(late, k)
			delete(c.calls, opaque)
		}
	}
	c.cmu.Unlock()
	for _, k := range late {
		k.done(nil, ErrTimeout)
	}
}

// WriteOneway sends a request that wants no answer.
func (c *Conn) WriteOneway(cmd *protocol.Command) error {
	return c.oneway(cmd, protocol.Header{})
}

func (c *Conn) oneway(cmd *protocol.Command, h protocol.Header, bodies ...[]byte) error {
	out := *cmd
	out.Flag = out.Flag&^protocol.FlagResponse | protocol.FlagOneway
	c.cmu.Lock()
	if c.opaque >= 0 {
		c.opaque = (c.opaque + 1) & (1<<31 - 1)
	}
	out.Opaque = c.opaque
	c.cmu.Unlock()
	if err := c.append(&out, h, bodies); err != nil {
		return err
	}
	c.flush()
	return nil
}

// handle takes one frame.
func (c *Conn) handle(frame []byte) error {
	cmd := &c.cmd
	if err := protocol.Parse(frame, cmd); err != nil {
		return err
	}
	if cmd.IsResponse() {
		if k := c.forgetCall(cmd.Opaque); k != nil {
			k.done(cmd, nil)
		}
		return nil
	}
	if peer := uint64(uint32(cmd.Version))<<8 | uint64(cmd.Language); c.peer.Load() != peer {
		c.peer.Store(peer)
	}
	c.hub.router.serve(c, cmd)
	return nil
}

func (c *Conn) String() string { return fmt.Sprintf("%v", c.nc.RemoteAddr()) }
