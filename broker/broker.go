// Package broker is one broker: a store, the tables beside it, what it answers, its replication and its registration.
//
// broker.go is the assembly: what a broker is made of, the order in which it starts, and the reverse in which it stops.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/delay"
	"rmqctl/broker/group"
	"rmqctl/broker/ha"
	"rmqctl/broker/ha/epoch"
	"rmqctl/broker/longpoll"
	"rmqctl/broker/offset"
	"rmqctl/broker/processor"
	"rmqctl/broker/role"
	"rmqctl/broker/slavesync"
	"rmqctl/broker/stats"
	"rmqctl/broker/store"
	"rmqctl/broker/topic"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/logging"
	"rmqctl/internal/remoting"
	"rmqctl/internal/vfs"
)

// Options are what a broker is given.
type Options struct {
	Config     *conf.Live[config.Config]
	ConfigFile string // where changed settings are written; "" = broker.properties among the tables
	FS         vfs.FS
	Log        *slog.Logger
	Clock      clock.Clock
	Version    string                  // of this program, for the log
	Ready      func()                  // called once the name servers have been told, or when there are none
	Progress   func(done, total int64) // bytes of log scanned by recovery
}

// Broker is one broker. New opens its store, Start serves, Close ends it cleanly.
type Broker struct {
	o      Options
	log    *slog.Logger
	levels delay.Levels
	steady *clock.Steady // for what must come neither early nor late when the clock is set

	store     *store.Store
	topics    *topic.Table
	groups    *group.Configs
	offsets   *offset.Table
	delay     *delay.Service
	consumers *group.Consumers
	producers *group.Producers
	polls     *longpoll.Table
	stats     *stats.Set
	tasks     *processor.Tasks

	role         *role.Holder
	roleMu       sync.Mutex // one change of role at a time; guards kept, stopTables, haListener
	kept         kept
	former       atomic.Int64              // of a promoted master: its id before
	epochs       *epoch.File               // of a group without raft
	raft         *raft                     // nil without one
	master       atomic.Pointer[ha.Master] // nil on a slave
	slave        atomic.Pointer[ha.Slave]  // nil on a master
	tables       *slavesync.Slave          // copies tables while this broker is no master
	stopTables   func()                    // nil while it does not
	haListener   net.Listener              // open, and not yet served
	crashed      bool                      // the store was not closed by its last user
	raftListener net.Listener              // of the peer port
	haPort       atomic.Int64              // once it was open

	client    *remoting.Client
	registrar *registrar
	clients   *processor.Clients
	send      atomic.Pointer[processor.Send] // nil before it serves
	pools     *processor.Pools
	servers   []*remoting.Server
	listeners []net.Listener // main, VIP
	advertise netip.AddrPort
	started   time.Time
	stopping  atomic.Bool
	serving   bool
	loops     sync.WaitGroup
	running   context.Context // ends when Close begins
	stop      context.CancelFunc
	quit      chan struct{} // closed when Close is called
	closed    sync.Once
	closeErr  error
}

// New takes the store's lock, recovers the store and loads the tables. Nothing is served before Start.
func New(o Options) (*Broker, error) {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ready == nil {
		o.Ready = func() {}
	}
	cfg := o.Config.Load()
	if o.ConfigFile == "" {
		o.ConfigFile = filepath.Join(cfg.ConfigDir(), "broker.properties")
	}
	b := &Broker{
		o: o, log: o.Log.With("broker", cfg.BrokerName), levels: cfg.DelayLevels(),
		topics: &topic.Table{}, groups: &group.Configs{}, offsets: offset.New(),
		consumers: group.NewConsumers(), producers: group.NewProducers(), polls: longpoll.New(o.Clock), stats: stats.New(cfg.BrokerClusterName),
		tasks: &processor.Tasks{}, started: o.Clock.Now(), quit: make(chan struct{}), role: role.New(role.State{ID: cfg.BrokerID, Why: whyStarting}),
	}
	if err := b.open(cfg); err != nil {
		return nil, err
	}
	return b, nil
}

// open refuses a foreign store before it touches anything in it.
func (b *Broker) open(cfg *config.Config) error {
	if err := checkIdentity(b.o.FS, cfg); err != nil {
		return err
	}
	if err := checkReadable(b.o.FS, cfg); err != nil {
		return err
	}
	b.steady = clock.NewSteady(b.o.Clock)
	b.delay = &delay.Service{Levels: b.levels, Clock: b.steady, Log: b.log}
	o := b.storeOptions(cfg)
	if cfg.EnableDLegerCommitLog {
		if err := b.openRaft(cfg, &o); err != nil {
			return err
		}
	}
	b.crashed = b.leftRunning(cfg)
	st, err := store.Open(b.o.FS, o)
	if err != nil {
		return fmt.Errorf("open store %s: %w", cfg.StorePathRootDir, err)
	}
	b.store, b.delay.Store = st, st
	for _, what := range inherited(b.o.FS, cfg, st) {
		b.log.Warn("left by a Java broker and not served", "what", what)
	}
	err = b.load(cfg)
	if err != nil {
		err = errors.Join(err, st.Close())
	}
	return err
}

// Start serves. It returns when the ports are open; Ready is called when the name servers know.
func (b *Broker) Start(ctx context.Context) error {
	if err := b.start(ctx); err != nil {
		return errors.Join(err, b.Close())
	}
	return nil
}

func (b *Broker) start(ctx context.Context) error {
	cfg := b.o.Config.Load()
	loopCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.running, b.stop = loopCtx, stop
	if err := b.listen(cfg); err != nil {
		return err
	}
	b.client = remoting.NewClient(remoting.ClientOptions{
		Log: b.log, Clock: b.o.Clock, Dial: dial, OnConnClosed: func(*remoting.Conn) { b.registrar.Kick() },
	})
	b.registrar = &registrar{
		config: b.o.Config, clock: b.o.Clock, log: b.log, client: b.client, topics: b.topics, role: b.role,
		addr: b.Addr(), haAddr: b.haAddr, onMaster: b.masterIs, onDeposed: b.deposed, alone: b.alone, ready: b.announceReady,
		kick: make(chan struct{}, 1), failed: map[string]bool{},
	}
	b.tables = &slavesync.Slave{
		Client: b.client, Clock: b.o.Clock, Log: b.log, Topics: b.topics, Groups: b.groups, Offsets: b.offsets, Delay: b.delay,
		Save: b.saveTables, Lost: b.registrar.Kick,
	}
	if b.raft != nil {
		b.tables.Copied = b.raft.changes.redo
	}
	if err := b.store.Start(); err != nil {
		return err
	}
	begin := b.begin
	if b.raft != nil {
		begin = b.makeMember
	}
	if err := begin(ctx, cfg); err != nil {
		return err
	}
	b.serve(cfg)
	if b.raft != nil {
		if err := b.joinGroup(); err != nil {
			return err
		}
	}
	b.watchConfig()
	b.registrar.stopped.Go(func() { b.registrar.run(loopCtx) })
	b.loops.Go(func() {
		b.persist(loopCtx, "consumer offsets", func(c *config.Config) time.Duration { return c.FlushConsumerOffsetInterval }, b.saveOffsets)
	})
	b.loops.Go(func() {
		b.persist(loopCtx, "topics and groups", func(*config.Config) time.Duration { return tablesPause }, b.saveNames)
	})
	b.loops.Go(func() {
		b.persist(loopCtx, "delay offsets", func(c *config.Config) time.Duration { return c.FlushDelayOffsetInterval }, b.saveDelays)
	})
	b.loops.Go(func() { b.pulse(loopCtx) })
	return nil
}

func (b *Broker) announceReady() {
	cfg := b.o.Config.Load()
	line := fmt.Sprintf("The broker[%s, %s] boot success. serializeType=JSON", cfg.BrokerName, b.Addr())
	if cfg.NamesrvAddr != "" {
		line += " and name server is " + cfg.NamesrvAddr
	}
	logging.Boot(b.o.Log, line)
	b.o.Ready()
}

// pulse cuts the statistics once a second and looks for silent clients every ten.
func (b *Broker) pulse(ctx context.Context) {
	b.stats.Sample(b.o.Clock.Now())
	tick := b.o.Clock.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			b.stats.Sample(now)
		}
		if n%10 == 0 {
			b.clients.Sweep()
		}
	}
}

// Close ends the broker: it leaves the routes, refuses new messages, answers who still waits, writes everything down and
// closes the store. It may be called at any moment after New, more than once.
func (b *Broker) Close() error {
	b.closed.Do(func() { b.closeErr = b.close() })
	return b.closeErr
}

func (b *Broker) close() error {
	cfg := b.o.Config.Load()
	close(b.quit)
	b.handOver()
	b.stopping.Store(true)
	b.roleMu.Lock() // a change of role under way ends first, and none begins
	defer b.roleMu.Unlock()
	if b.stop != nil {
		b.stop()
	}
	if b.serving {
		b.leaveRoutes()
	}
	b.polls.Close()
	settle := cfg.SyncFlushTimeout
	if b.raft != nil { // what is not committed by now will not be while this broker lives
		settle = 100 * time.Millisecond
	}
	b.store.Settle(b.o.Clock.After(settle))
	b.tasks.Wait(b.o.Clock.After(cfg.SlaveTimeout + cfg.SyncFlushTimeout))
	b.delay.Close()
	for _, s := range b.servers {
		_ = s.Close()
	}
	for _, ln := range b.listeners {
		_ = ln.Close()
	}
	for _, ln := range []net.Listener{b.haListener, b.raftListener} {
		if ln != nil {
			_ = ln.Close()
		}
	}
	if b.pools != nil {
		b.pools.Close()
	}
	b.leaveSlaves()
	if s := b.slave.Load(); s != nil {
		_ = s.Close()
	}
	b.loops.Wait()
	if b.client != nil {
		_ = b.client.Close()
	}
	return errors.Join(b.saveTables(), b.topics.Close(), b.groups.Close(), b.store.Close())
}

// leaveRoutes waits for the registration under way first: one after the farewell would bring this broker back.
func (b *Broker) leaveRoutes() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	b.registrar.stopped.Wait()
	b.registrar.unregister(ctx)
}
