// Package client asks a RocketMQ cluster, ours or Java's, in RocketMQ's own protocol. Tools, the live view and the deploy
// engine reach brokers and name servers through it and through nothing else.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// ErrNoNameServer: the options name no name server.
var ErrNoNameServer = errors.New("no name server given: use -n HOST:9876 or set NAMESRV_ADDR")

// Options of a client.
type Options struct {
	NameServers []string      // host:port; asked in turn until one answers
	Timeout     time.Duration // of one request; 0: 5 s
	Log         *slog.Logger  // nil: silent
	ClientID    string        // how brokers list this client; "": address@pid
	// Remoting lets a caller bring its own connections; nil: the client makes and closes its own.
	Remoting *remoting.Client
}

// Client is safe for use by many goroutines.
type Client struct {
	opts Options
	rc   *remoting.Client
	own  bool
	ids  *message.UniqIDs

	mu       sync.Mutex // guards prefer, groups
	prefer   int        // index of the name server that answered last
	notified map[string]chan struct{}
}

// New makes a client; nothing is connected yet.
func New(o Options) (*Client, error) {
	if len(o.NameServers) == 0 {
		return nil, ErrNoNameServer
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.ClientID == "" {
		o.ClientID = "127.0.0.1@" + strconv.Itoa(os.Getpid()) + "#" + strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	c := &Client{opts: o, rc: o.Remoting, ids: message.NewUniqIDs(netip.MustParseAddr("127.0.0.1"), os.Getpid()), notified: map[string]chan struct{}{}}
	if c.rc == nil {
		c.own = true
		router := remoting.NewRouter(remoting.On(protocol.NotifyConsumerIdsChanged, c.idsChanged))
		c.rc = remoting.NewClient(remoting.ClientOptions{Log: o.Log, Timeout: o.Timeout, Router: router})
	}
	return c, nil
}

// Close closes the connections that the client made.
func (c *Client) Close() error {
	if c.own {
		return c.rc.Close()
	}
	return nil
}

// Remoting is the connection pool, for calls that have no method here.
func (c *Client) Remoting() *remoting.Client { return c.rc }

// NameServers are the addresses given, in their order.
func (c *Client) NameServers() []string { return c.opts.NameServers }

// ParseNameServers splits "a:9876;b:9876" (commas and blanks are taken too).
func ParseNameServers(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ';' || r == ',' || r == ' ' })
}

// Call asks one address and gives it the client's time limit.
func Call[Req, Resp any](ctx context.Context, c *Client, addr string, call *protocol.Call[Req, Resp], req *Req, body ...[]byte) (*Resp, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	return remoting.Do(ctx, c.rc, addr, call, req, body...)
}

// Ask asks the name servers in turn, the one that answered last first. A refusal is an answer; only silence moves on.
func Ask[Req, Resp any](ctx context.Context, c *Client, call *protocol.Call[Req, Resp], req *Req) (*Resp, []byte, error) {
	c.mu.Lock()
	first := c.prefer
	c.mu.Unlock()
	var errs []error
	for i := range c.opts.NameServers {
		at := (first + i) % len(c.opts.NameServers)
		resp, body, err := Call(ctx, c, c.opts.NameServers[at], call, req)
		var refused *protocol.Error
		if err == nil || errors.As(err, &refused) {
			c.mu.Lock()
			c.prefer = at
			c.mu.Unlock()
			return resp, body, err
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, nil, fmt.Errorf("no name server answers: %w", errors.Join(errs...))
}

// AskJSON is Ask for an answer whose body is JSON.
func AskJSON[Req, Resp, T any](ctx context.Context, c *Client, call *protocol.Call[Req, Resp], req *Req) (*T, error) {
	_, body, err := Ask(ctx, c, call, req)
	return decode[T](call.Name, body, err)
}

// CallJSON is Call for an answer whose body is JSON.
func CallJSON[T any, Req, Resp any](ctx context.Context, c *Client, addr string, call *protocol.Call[Req, Resp], req *Req, body ...[]byte) (*T, error) {
	_, b, err := Call(ctx, c, addr, call, req, body...)
	return decode[T](call.Name+" at "+addr, b, err)
}

func decode[T any](what string, body []byte, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	v := new(T)
	if len(body) == 0 {
		return v, nil
	}
	if err := protocol.Unmarshal(body, v); err != nil {
		return nil, fmt.Errorf("%s: answer not understood: %w", what, err)
	}
	return v, nil
}
