// The operator's side of the agent. A Client is a step.Writer.

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"

	"rmqctl/provision/step"
)

// ErrGone means that the agent does not answer any more: it died, or the connection did.
var ErrGone = errors.New("the agent has gone")

// Client asks one agent.
type Client struct {
	Hello Hello

	conn io.ReadWriteCloser
	wmu  sync.Mutex // one frame is written at a time
	mu   sync.Mutex // guards next, waiting, err
	next int64
	wait map[int64]chan *response
	err  error
	done chan struct{}
	cut  *atomic.Int64 // tests only
}

// Dial waits for the agent's hello on a connection to it.
func Dial(ctx context.Context, conn io.ReadWriteCloser) (*Client, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var r response
	if err := readFrame(conn, &r); err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("agent's hello: %w", err)
	}
	if r.Hello == nil || r.Hello.Proto != protoVersion {
		conn.Close()
		return nil, errors.New("agent's hello: it is of another version")
	}
	c := &Client{Hello: *r.Hello, conn: conn, wait: map[int64]chan *response{}, done: make(chan struct{})}
	go c.read()
	return c, nil
}

// Child starts the agent as a child process of this machine, for a local node.
func Child(ctx context.Context, bin string, args ...string) (*Client, error) {
	cmd := exec.Command(bin, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	detach(cmd) // Ctrl-C in the terminal is the engine's to handle
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return Dial(ctx, &child{WriteCloser: in, Reader: out, cmd: cmd})
}

type child struct {
	io.WriteCloser
	io.Reader
	cmd  *exec.Cmd
	once sync.Once
	err  error
}

// Close ends the agent's input and waits for it: it finishes what it is doing.
func (c *child) Close() error {
	c.once.Do(func() {
		c.WriteCloser.Close()
		c.err = c.cmd.Wait()
	})
	return c.err
}

func (c *Client) read() {
	defer close(c.done)
	for {
		r := new(response)
		err := readFrame(c.conn, r)
		c.mu.Lock()
		if err != nil {
			c.err = fmt.Errorf("%w (%w)", ErrGone, err)
			for id, ch := range c.wait {
				close(ch)
				delete(c.wait, id)
			}
			c.mu.Unlock()
			return
		}
		ch := c.wait[r.ID]
		if !r.More {
			delete(c.wait, r.ID)
		}
		c.mu.Unlock()
		if ch != nil {
			ch <- r
		}
	}
}

// Close lets the agent finish and end.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

// Gone says that the agent does not answer any more.
func (c *Client) Gone() bool { return c.gone() != nil }

func (c *Client) begin(q *request) (chan *response, error) {
	ch := make(chan *response, 16)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return nil, c.err
	}
	c.next++
	q.ID = c.next
	c.wait[q.ID] = ch
	c.mu.Unlock()
	err := c.spend(q)
	if err == nil {
		c.wmu.Lock()
		err = writeFrame(c.conn, q)
		c.wmu.Unlock()
	}
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrGone, err)
	}
	return ch, nil
}

func (c *Client) gone() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *Client) call(ctx context.Context, q *request) (*response, error) {
	ch, err := c.begin(q)
	if err != nil {
		return nil, err
	}
	select {
	case r, ok := <-ch:
		if !ok {
			return nil, c.gone()
		}
		if r.Err != nil {
			return r, r.Err.unwire(q.Path)
		}
		return r, nil
	case <-ctx.Done():
		go c.callOff(q.ID)
		return nil, ctx.Err()
	}
}

func (c *Client) callOff(id int64) {
	c.mu.Lock()
	ch := c.wait[id]
	c.mu.Unlock()
	c.wmu.Lock()
	err := writeFrame(c.conn, &request{ID: id, Op: "cancel"})
	c.wmu.Unlock()
	if err != nil || ch == nil {
		return
	}
	for r := range ch { // the reader must not block on what nobody waits for
		if !r.More {
			return
		}
	}
}

// Host is the agent as a step sees it: its questions end with ctx.
type Host struct {
	c   *Client
	ctx context.Context
}

// Host gives the step.Writer of this agent.
func (c *Client) Host(ctx context.Context) *Host { return &Host{c: c, ctx: ctx} }

// ReadFile is step.Reader's.
func (h *Host) ReadFile(path string) ([]byte, error) {
	r, err := h.c.call(h.ctx, &request{Op: "read", Path: path})
	if err != nil {
		return nil, err
	}
	return r.Data, nil
}

// Stat is step.Reader's.
func (h *Host) Stat(path string) (step.Info, error) {
	r, err := h.c.call(h.ctx, &request{Op: "stat", Path: path})
	if err != nil {
		return step.Info{}, err
	}
	return *r.Info, nil
}

// Query is step.Reader's.
func (h *Host) Query(q step.Query) (string, error) {
	r, err := h.c.call(h.ctx, &request{Op: "query", Argv: q.Argv()})
	if r == nil {
		return "", err
	}
	return strings.TrimSpace(r.Text), err
}

// WriteFile is step.Writer's.
func (h *Host) WriteFile(path string, data []byte, mode fs.FileMode) error {
	_, err := h.c.call(h.ctx, &request{Op: "write", Path: path, Data: data, Mode: uint32(mode)})
	return err
}

// Mkdir is step.Writer's.
func (h *Host) Mkdir(path string, mode fs.FileMode) error {
	_, err := h.c.call(h.ctx, &request{Op: "mkdir", Path: path, Mode: uint32(mode)})
	return err
}

// Remove is step.Writer's.
func (h *Host) Remove(path string) error {
	_, err := h.c.call(h.ctx, &request{Op: "remove", Path: path})
	return err
}

// Run is step.Writer's.
func (h *Host) Run(cmd step.Command) error {
	_, err := h.c.call(h.ctx, &request{Op: "run", Argv: cmd.Argv, Data: cmd.Stdin, Limit: cmd.Limit.Milliseconds()})
	return err
}

// RemoveAll takes a directory and all in it away: destroy's, not a step's.
func (c *Client) RemoveAll(ctx context.Context, path string) error {
	_, err := c.call(ctx, &request{Op: "removeall", Path: path})
	return err
}

// Copy brings a file of this machine to a local node.
func (c *Client) Copy(ctx context.Context, from, to string, mode fs.FileMode) error {
	_, err := c.call(ctx, &request{Op: "copy", Argv: []string{from}, Path: to, Mode: uint32(mode)})
	return err
}

// Append adds a line to a file and makes it last.
func (c *Client) Append(ctx context.Context, path string, line []byte) error {
	_, err := c.call(ctx, &request{Op: "append", Path: path, Data: line, Mode: 0o644})
	return err
}

// Lock takes the lock or answers a *LockedError. The agent's end gives it back.
func (c *Client) Lock(ctx context.Context, path string, h Holder) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, &request{Op: "lock", Path: path, Data: b})
	return err
}

// Unlock gives the lock back.
func (c *Client) Unlock(ctx context.Context, path string) error {
	_, err := c.call(ctx, &request{Op: "unlock", Path: path})
	return err
}

// Listen opens addresses for the reachability matrix; the answer names those that could not be opened.
func (c *Client) Listen(ctx context.Context, addrs []string) (string, error) {
	r, err := c.call(ctx, &request{Op: "listen", Addrs: addrs})
	if err != nil {
		return "", err
	}
	return r.Text, nil
}

// Unlisten closes them.
func (c *Client) Unlisten(ctx context.Context) error {
	_, err := c.call(ctx, &request{Op: "unlisten"})
	return err
}

// Follow hands over a growing log (a file, or a program's output) until ctx ends.
func (c *Client) Follow(ctx context.Context, path string, argv []string, out func([]byte)) error {
	q := &request{Op: "follow", Path: path, Argv: argv}
	ch, err := c.begin(q)
	if err != nil {
		return err
	}
	for {
		select {
		case r, ok := <-ch:
			switch {
			case !ok:
				return c.gone()
			case r.Err != nil:
				return r.Err.unwire(path)
			case !r.More:
				return nil
			}
			out(r.Data)
		case <-ctx.Done():
			go c.callOff(q.ID)
			return nil
		}
	}
}
