// Package namesrv is a name server: it knows which brokers there are and tells clients. Name servers know nothing of
// each other; every broker registers at every one of them.
package namesrv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/logging"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/internal/vfs"
	"rmqctl/namesrv/config"
	"rmqctl/namesrv/kv"
	"rmqctl/namesrv/processor"
	"rmqctl/namesrv/route"
)

// Options are what a name server is made of. Config is required; the rest has a zero value that works.
type Options struct {
	Config   *conf.Live[config.Config]
	FS       vfs.FS       // default: the operating system's
	Log      *slog.Logger // default: none
	Clock    clock.Clock  // default: the machine's
	Version  string       // of this program, for the log
	Ready    func()       // called once requests are answered
	Listener net.Listener // default: a socket on the configured address
}

// Server is one name server.
type Server struct {
	opts   Options
	server *remoting.Server
	answer *processor.Processors

	ln    net.Listener
	stop  chan struct{}
	once  sync.Once
	group sync.WaitGroup // accepting and the scan; Close waits
}

// New puts a name server together. It opens nothing but the key-value file.
func New(opts Options) (*Server, error) {
	if opts.Config == nil {
		return nil, errors.New("name server: no configuration")
	}
	if opts.FS == nil {
		opts.FS = vfs.OS
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Clock == nil {
		opts.Clock = clock.System
	}
	cfg := opts.Config.Load()
	store, err := kv.Open(opts.FS, cfg.KVConfigPath)
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, stop: make(chan struct{})}
	s.answer = &processor.Processors{Table: route.New(), KV: store, Config: opts.Config, FS: opts.FS, Clock: opts.Clock,
		Log: opts.Log, Started: opts.Clock.Now()}
	s.server = remoting.NewServer(remoting.Options{
		Log: opts.Log, Clock: opts.Clock, Router: remoting.NewRouter(s.answer.Routes()...),
		IdleTimeout: cfg.ServerChannelMaxIdleTime, Version: protocol.CurrentVersion, OnConnClosed: s.disconnected,
	})
	return s, nil
}

// silent finds a host that went away without a word within 9 s. Its broker then leaves the routes at once, instead of
// after the 120 s without a registration that a closed connection saves Java's name server too. silentFor is the same for
// a connection on which an answer is under way: there the system asks by sending it again, for a quarter of an hour.
var silent = net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: 2 * time.Second, Count: 3}

const silentFor = 9 * time.Second

// Start listens and answers until Close. It returns as soon as requests are answered.
func (s *Server) Start(ctx context.Context) error {
	s.ln = s.opts.Listener
	if s.ln == nil {
		listen := net.ListenConfig{KeepAliveConfig: silent, Control: giveUpAfter(silentFor)}
		ln, err := listen.Listen(ctx, "tcp", s.opts.Config.Load().Addr())
		if err != nil {
			return fmt.Errorf("name server: %w", err)
		}
		s.ln = ln
	}
	s.group.Go(func() {
		if err := s.server.Serve(s.ln); !errors.Is(err, remoting.ErrClosed) {
			s.opts.Log.Error("name server accepts no more connections", "err", err)
		}
	})
	s.group.Go(s.scan)
	s.opts.Log.Info("name server started", "address", s.ln.Addr().String(), "version", s.opts.Version)
	logging.Boot(s.opts.Log, "The Name Server boot success. serializeType=JSON")
	if s.opts.Ready != nil {
		s.opts.Ready()
	}
	return nil
}

// scan looks for brokers that have fallen silent.
func (s *Server) scan() {
	t := s.opts.Clock.NewTicker(s.opts.Config.Load().ScanNotActiveBrokerInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.answer.Expire()
		case <-s.stop:
			return
		}
	}
}

// disconnected drops brokers, unless it is us who hang up.
func (s *Server) disconnected(c *remoting.Conn) {
	select {
	case <-s.stop:
	default:
		s.answer.Disconnected(c)
	}
}

// Addr is the address requests are answered on, once Start has returned.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Close stops answering and returns when nothing of the server runs any more.
func (s *Server) Close() error {
	var err error
	s.once.Do(func() {
		close(s.stop)
		err = s.server.Close()
		s.group.Wait()
	})
	return err
}
