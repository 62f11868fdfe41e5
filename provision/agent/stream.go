// A connection from the host to a name server or broker, carried inside the agent's own session: so the engine talks to
// a cluster whose firewall shuts the operator's machine out, through one SSH connection per host.
//
//	client → agent   open (id, address)      then send (id, data) …     and cancel (id)
//	agent → client   id, more, "open"        then id, more, data …      and id, without more: closed

package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// streams are the agent's open connections.
type streams struct {
	mu    sync.Mutex // guards conns
	conns map[int64]net.Conn
}

const streamWrite = 10 * time.Second

func (s *server) open(ctx context.Context, q *request) error {
	limit := time.Duration(q.Limit) * time.Millisecond
	if limit <= 0 {
		limit = 3 * time.Second
	}
	d := net.Dialer{Timeout: limit}
	c, err := d.DialContext(ctx, "tcp", q.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	s.streams.mu.Lock()
	s.streams.conns[q.ID] = c
	s.streams.mu.Unlock()
	defer func() {
		s.streams.mu.Lock()
		delete(s.streams.conns, q.ID)
		s.streams.mu.Unlock()
	}()
	if err := s.write(&response{ID: q.ID, More: true, Text: "open"}); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if err := s.write(&response{ID: q.ID, More: true, Data: buf[:n]}); err != nil {
				return err
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
	}
}

// feed writes to a stream. It is called by the reading loop itself, so the bytes keep their order; a peer that takes
// none for ten seconds loses the connection rather than stop the agent.
func (s *server) feed(q *request) {
	s.streams.mu.Lock()
	c := s.streams.conns[q.ID]
	s.streams.mu.Unlock()
	if c == nil {
		return // it has ended; the client will hear
	}
	c.SetWriteDeadline(time.Now().Add(streamWrite))
	if _, err := c.Write(q.Data); err != nil {
		c.Close()
	}
}

// DialHost opens a connection from the host to addr.
func (c *Client) DialHost(ctx context.Context, addr string) (net.Conn, error) {
	q := &request{Op: "open", Addr: addr, Limit: 3000}
	ch, err := c.begin(q)
	if err != nil {
		return nil, err
	}
	select {
	case r, ok := <-ch:
		switch {
		case !ok:
			return nil, c.gone()
		case r.Err != nil:
			return nil, r.Err.unwire(addr)
		case !r.More:
			return nil, io.ErrUnexpectedEOF
		}
		return &stream{c: c, id: q.ID, in: ch, to: addr, wake: make(chan struct{}, 1), closed: make(chan struct{})}, nil
	case <-ctx.Done():
		go c.callOff(q.ID)
		return nil, ctx.Err()
	}
}

// stream is the client's end.
type stream struct {
	c      *Client
	id     int64
	in     chan *response
	to     string
	rest   []byte
	err    error // why in has ended
	once   sync.Once
	closed chan struct{}
	mu     sync.Mutex // guards until
	until  time.Time
	wake   chan struct{} // the deadline moved
}

func (s *stream) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		select {
		case <-s.closed: // before the deadline, which may also have passed
			return 0, net.ErrClosed
		default:
		}
		s.mu.Lock()
		until := s.until
		s.mu.Unlock()
		var late <-chan time.Time
		if !until.IsZero() {
			t := time.NewTimer(time.Until(until))
			defer t.Stop()
			late = t.C
		}
		select {
		case r, ok := <-s.in:
			switch {
			case !ok:
				s.err = s.c.gone()
			case r.Err != nil:
				s.err = r.Err.unwire(s.to)
			case !r.More:
				s.err = io.EOF
			default:
				s.rest = r.Data
			}
		case <-late:
			return 0, os.ErrDeadlineExceeded
		case <-s.wake:
		case <-s.closed:
			return 0, net.ErrClosed
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *stream) Write(b []byte) (int, error) {
	select {
	case <-s.closed:
		return 0, net.ErrClosed
	default:
	}
	for at := 0; at < len(b); at += 1 << 20 {
		part := b[at:min(at+1<<20, len(b))]
		s.c.wmu.Lock()
		err := writeFrame(s.c.conn, &request{ID: s.id, Op: "send", Data: part})
		s.c.wmu.Unlock()
		if err != nil {
			return at, err
		}
	}
	return len(b), nil
}

func (s *stream) Close() error {
	s.once.Do(func() {
		close(s.closed)
		go s.c.callOff(s.id)
	})
	return nil
}

type hostAddr string

func (hostAddr) Network() string  { return "tcp" }
func (a hostAddr) String() string { return string(a) }

func (s *stream) LocalAddr() net.Addr  { return hostAddr("127.0.0.1:0") }
func (s *stream) RemoteAddr() net.Addr { return hostAddr(s.to) }

// SetReadDeadline also wakes a Read that waits.
func (s *stream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	s.until = t
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

func (s *stream) SetWriteDeadline(time.Time) error { return nil }
func (s *stream) SetDeadline(t time.Time) error    { return s.SetReadDeadline(t) }
