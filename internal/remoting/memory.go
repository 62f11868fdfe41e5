// A listener without a network, for tests.
package remoting

import (
	"context"
	"net"
	"sync"
)

// MemListener is a net.Listener whose connections are pipes in memory.
type MemListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func NewMemListener() *MemListener {
	return &MemListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *MemListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *MemListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *MemListener) Addr() net.Addr { return memAddr{} }

// Dial has the signature of ClientOptions.Dial; the address does not matter.
func (l *MemListener) Dial(ctx context.Context, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type memAddr struct{}

func (memAddr) Network() string { return "memory" }
func (memAddr) String() string  { return "memory" }
