// A client asks any number of peers over one connection each. Peers may ask
// back: the client's router answers.
package remoting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"rmqctl/internal/clock"
	"rmqctl/internal/protocol"
)

// ClientOptions of a client. The zero value of each field has a meaning of its own.
type ClientOptions struct {
	Log            *slog.Logger
	Router         *Router // answers what peers ask; nil: nothing
	Clock          clock.Clock
	ConnectTimeout time.Duration // 0: 3 s
	Timeout        time.Duration // of a call whose context has no deadline; 0: 5 s
	IdleTimeout    time.Duration // 0: 120 s
	MaxBacklog     int           // 0: 64 MiB
	Encoding       protocol.Encoding
	Version        int32 // 0: protocol.CurrentVersion
	Dial           func(ctx context.Context, addr string) (net.Conn, error)
	OnConnClosed   func(*Conn)
}

// Client is a pool of connections, one per address, made when first needed.
type Client struct {
	hub     hub
	opts    ClientOptions
	mu      sync.Mutex // guards peers
	peers   map[string]*peer
	dialing sync.WaitGroup
}

type peer struct {
	ready chan struct{} // closed when conn or err is set
	conn  *Conn
	err   error
}

// NewClient makes a client.
func NewClient(o ClientOptions) *Client {
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = 3 * time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Dial == nil {
		var d net.Dialer
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	c := &Client{opts: o, peers: map[string]*peer{}, hub: hub{
		log: o.Log, clock: o.Clock, router: o.Router, idle: o.IdleTimeout, maxBacklog: o.MaxBacklog, version: o.Version,
		language: protocol.LanguageGo, encoding: o.Encoding, onClosed: o.OnConnClosed, sweepEvery: 500 * time.Millisecond,
	}}
	c.hub.init()
	return c
}

// Conn returns the connection to addr and makes it if there is none.
func (c *Client) Conn(ctx context.Context, addr string) (*Conn, error) {
	c.mu.Lock()
	p := c.peers[addr]
	if p == nil {
		p = &peer{ready: make(chan struct{})}
		c.peers[addr] = p
		c.dialing.Go(func() { c.dial(addr, p) })
	}
	c.mu.Unlock()
	select {
	case <-p.ready:
		return p.conn, p.err
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to %s: %w", addr, ctx.Err())
	}
}

// dial connects on behalf of all who wait; none of them can cancel it for the others.
func (c *Client) dial(addr string, p *peer) {
	ctx, cancel := context.WithTimeout(context.Background(), c.opts.ConnectTimeout)
	defer cancel()
	c.dialing.Go(func() {
		select {
		case <-c.hub.stop:
			cancel()
		case <-ctx.Done():
		}
	})
	nc, err := c.opts.Dial(ctx, addr)
	if err == nil {
		p.conn, err = c.hub.add(nc)
	}
	if err != nil {
		p.err = fmt.Errorf("connect to %s: %w", addr, err)
		c.drop(addr, p)
	} else {
		p.conn.OnClose(func() { c.drop(addr, p) })
	}
	close(p.ready)
}

func (c *Client) drop(addr string, p *peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peers[addr] == p {
		delete(c.peers, addr)
	}
}

// Invoke sends cmd to addr and waits for the answer, whatever its status.
func (c *Client) Invoke(ctx context.Context, addr string, cmd *protocol.Command) (*protocol.Command, error) {
	return c.invoke(ctx, addr, cmd, protocol.Header{}, nil)
}

func (c *Client) invoke(ctx context.Context, addr string, cmd *protocol.Command, h protocol.Header, body []byte) (*protocol.Command, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.opts.Timeout)
		defer cancel()
	}
	out := *cmd
	out.Version, out.Language, out.Encoding = c.hub.version, c.hub.language, c.opts.Encoding
	var lastErr error
	for range 2 { // a kept connection may have died while nobody looked
		conn, err := c.Conn(ctx, addr)
		if err != nil {
			return nil, err
		}
		if isClosed(conn.closed) {
			c.dropConn(addr, conn)
			lastErr = ErrClosed
			continue
		}
		resp, err := conn.call(ctx, &out, h, body)
		if err != nil {
			return nil, fmt.Errorf("%s at %s: %w", protocol.CodeName(cmd.Code), addr, err)
		}
		return resp, nil
	}
	return nil, fmt.Errorf("%s at %s: %w", protocol.CodeName(cmd.Code), addr, lastErr)
}

func (c *Client) dropConn(addr string, conn *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.peers[addr]; p != nil && isClosed(p.ready) && p.conn == conn {
		delete(c.peers, addr)
	}
}

// Oneway sends cmd to addr and wants no answer.
func (c *Client) Oneway(ctx context.Context, addr string, cmd *protocol.Command) error {
	conn, err := c.Conn(ctx, addr)
	if err != nil {
		return err
	}
	out := *cmd
	out.Version, out.Language, out.Encoding = c.hub.version, c.hub.language, c.opts.Encoding
	return conn.WriteOneway(&out)
}

// Disconnect closes the connection to addr, if there is one.
func (c *Client) Disconnect(addr string) {
	c.mu.Lock()
	p := c.peers[addr]
	delete(c.peers, addr)
	c.mu.Unlock()
	if p != nil && isClosed(p.ready) && p.conn != nil {
		_ = p.conn.Close()
	}
}

// Close closes all connections and waits for them to end.
func (c *Client) Close() error {
	c.hub.close()
	c.dialing.Wait()
	c.hub.router.rest.Close()
	return nil
}

// Do asks addr for a call. A status other than SUCCESS is a *protocol.Error in
// err's chain; header and body are filled then too, for the answers that carry
// both (pull 19, 20, 21; send 10, 11, 12).
func Do[Req, Resp any](ctx context.Context, c *Client, addr string, call *protocol.Call[Req, Resp], req *Req, body ...[]byte) (*Resp, []byte, error) {
	var b []byte
	switch len(body) {
	case 0:
	case 1:
		b = body[0]
	default:
		return nil, nil, errors.New("remoting: more than one body")
	}
	cmd := protocol.Command{Code: call.Code}
	answer, err := c.invoke(ctx, addr, &cmd, call.RequestHeader(req), b)
	if err != nil {
		return nil, nil, err
	}
	resp := new(Resp)
	if err := call.DecodeResponse(answer, resp); err != nil {
		return nil, nil, fmt.Errorf("%s at %s: %w", call.Name, addr, err)
	}
	return resp, answer.Body, answer.Err()
}
