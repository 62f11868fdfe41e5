// A server accepts connections and answers requests from its router.
package remoting

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"rmqctl/internal/clock"
	"rmqctl/internal/protocol"
)

// Options of a server. The zero value of each field has a meaning of its own.
type Options struct {
	Log          *slog.Logger
	Router       *Router
	Clock        clock.Clock
	IdleTimeout  time.Duration     // close after so long without a byte; 0: 120 s
	MaxBacklog   int               // close a peer with more unread bytes; 0: 64 MiB
	Version      int32             // reported in answers; 0: protocol.CurrentVersion
	Language     protocol.Language // reported in answers; 0: JAVA
	OnConnOpened func(*Conn)
	OnConnClosed func(*Conn) // after the connection's own OnClose hooks
	// OnBurst is called by a connection's reader when it has handled all frames
	// of one read, before the answers are written.
	OnBurst func(*Conn)
}

// Server answers on any number of listeners.
type Server struct {
	hub hub

	mu        sync.Mutex // guards listeners, closed
	listeners []net.Listener
	closed    bool
}

// NewServer makes a server; Serve gives it a listener.
func NewServer(o Options) *Server {
	s := &Server{hub: hub{
		log: o.Log, clock: o.Clock, router: o.Router, idle: o.IdleTimeout, maxBacklog: o.MaxBacklog, version: o.Version,
		language: o.Language, onOpened: o.OnConnOpened, onClosed: o.OnConnClosed, onBurst: o.OnBurst, sweepEvery: 5 * time.Second,
	}}
	s.hub.init()
	return s
}

// Serve accepts until Close; then it returns ErrClosed.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.listeners = append(s.listeners, ln)
	}
	s.mu.Unlock()
	if closed { // StopListening has been through the list already
		_ = ln.Close()
		return ErrClosed
	}
	for {
		nc, err := ln.Accept()
		if err == nil {
			s.hub.stats.accepted.Add(1)
			if _, err = s.hub.add(nc); err == nil {
				continue
			}
		}
		if isClosed(s.hub.stop) || errors.Is(err, net.ErrClosed) {
			return ErrClosed
		}
		// Out of file descriptors, or the peer left before we took it: neither ends a server.
		s.hub.log.Warn("accept failed", "err", err)
		select {
		case <-s.hub.clock.After(100 * time.Millisecond):
		case <-s.hub.stop:
			return ErrClosed
		}
	}
}

// StopListening ends Serve and leaves the connections alone: the first half of
// an orderly stop.
func (s *Server) StopListening() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, ln := range s.listeners {
		_ = ln.Close()
	}
}

// Close closes listeners and connections and waits until all of it has ended.
// It does not wait for pools: whoever made them closes them.
func (s *Server) Close() error {
	s.StopListening()
	s.hub.close()
	s.hub.router.rest.Close()
	return nil
}

// Conns returns the connections of this moment.
func (s *Server) Conns() []*Conn { return s.hub.all() }

// ServerStats are totals since the start.
type ServerStats struct {
	Accepted, BytesIn, BytesOut, Writes int64
	Conns                               int
}

func (s *Server) Stats() ServerStats {
	st := &s.hub.stats
	s.hub.mu.Lock()
	n := len(s.hub.conns)
	s.hub.mu.Unlock()
	return ServerStats{st.accepted.Load(), st.bytesIn.Load(), st.bytesOut.Load(), st.writes.Load(), n}
}
