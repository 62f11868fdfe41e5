// What a server and a client have in common: their connections, the flusher
// that writes answers given by other goroutines, and the sweeper that closes
// idle connections and expires calls.
package remoting

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/internal/clock"
	"rmqctl/internal/protocol"
)

const (
	defaultIdle       = 120 * time.Second
	defaultMaxBacklog = 64 << 20
)

type hub struct {
	log        *slog.Logger
	clock      clock.Clock
	router     *Router
	idle       time.Duration
	sweepEvery time.Duration
	maxBacklog int
	version    int32
	language   protocol.Language
	encoding   protocol.Encoding // of what a client asks; answers follow the request
	onOpened   func(*Conn)
	onClosed   func(*Conn)
	onBurst    func(*Conn)
	stats      struct{ bytesIn, bytesOut, writes, accepted atomic.Int64 }

	mu     sync.Mutex // guards conns, closed
	conns  map[*Conn]struct{}
	closed bool
	tasks  sync.WaitGroup // readers, writers, flusher, sweeper, minder
	stop   chan struct{}

	minding atomic.Bool // the minder looks by itself
	mind    chan struct{}

	dmu   sync.Mutex // guards dirty
	dirty []*Conn
	wake  chan struct{}
}

func (h *hub) init() {
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.clock == nil {
		h.clock = clock.System
	}
	if h.router == nil {
		h.router = NewRouter()
	}
	if h.idle == 0 {
		h.idle = defaultIdle
	}
	if h.maxBacklog == 0 {
		h.maxBacklog = defaultMaxBacklog
	}
	if h.version == 0 {
		h.version = protocol.CurrentVersion
	}
	h.router.setLog(h.log)
	h.conns = map[*Conn]struct{}{}
	h.stop = make(chan struct{})
	h.wake = make(chan struct{}, 1)
	h.mind = make(chan struct{}, 1)
	h.tasks.Go(h.flusher)
	if h.onBurst != nil {
		h.tasks.Go(h.minder)
	}
	h.tasks.Go(h.sweeper)
}

// add starts a connection, or closes nc when the hub is closed.
func (h *hub) add(nc net.Conn) (*Conn, error) {
	c := newConn(nc, h)
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		_ = nc.Close()
		return nil, ErrClosed
	}
	h.conns[c] = struct{}{}
	h.tasks.Go(func() {
		if h.onOpened != nil {
			h.onOpened(c)
		}
		c.run(cursor{})
	})
	h.mu.Unlock()
	return c, nil
}

// start runs fn on a goroutine that close waits for; false: too late.
func (h *hub) start(fn func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.tasks.Go(fn)
	return true
}

func (h *hub) forget(c *Conn) {
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
	if h.onClosed != nil {
		h.onClosed(c)
	}
}

func (h *hub) all() []*Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	cs := make([]*Conn, 0, len(h.conns))
	for c := range h.conns {
		cs = append(cs, c)
	}
	return cs
}

// close ends all connections and waits for every goroutine of the hub.
func (h *hub) close() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		h.tasks.Wait()
		return
	}
	h.closed = true
	close(h.stop)
	h.mu.Unlock()
	for _, c := range h.all() {
		c.flush() // answers that are ready go out, as far as the peer takes them at once
		c.fail(ErrClosed)
	}
	h.tasks.Wait()
}

// later has the flusher write c's out-buffer. Answers given until it gets
// there, by whomever, leave in one write.
func (h *hub) later(c *Conn) {
	if c.dirty.Swap(true) {
		return
	}
	h.dmu.Lock()
	h.dirty = append(h.dirty, c)
	h.dmu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hub) flusher() {
	var batch []*Conn
	for {
		select {
		case <-h.stop:
			return
		case <-h.wake:
		}
		h.dmu.Lock()
		batch, h.dirty = h.dirty, batch[:0]
		h.dmu.Unlock()
		for i, c := range batch {
			c.dirty.Store(false) // before the flush: what comes now is written now or marks anew
			c.flush()
			batch[i] = nil
		}
	}
}

func (h *hub) sweeper() {
	t := h.clock.NewTicker(h.sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-t.C:
		}
		now := h.clock.Now()
		for _, c := range h.all() {
			c.expire(now)
			if clock.MonoOf(now)-time.Duration(c.lastSeen.Load()) > h.idle {
				c.fail(errIdle)
			}
		}
	}
}
