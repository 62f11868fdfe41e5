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
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/delay"
	"rmqctl/broker/group"
	"rmqctl/broker/ha"
	"rmqctl/broker/longpoll"
	"rmqctl/broker/offset"
	"rmqctl/broker/processor"
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

	master *ha.Master       // nil on a slave
	slave  *ha.Slave        // nil on a master
	tables *slavesync.Slave // nil on a master

	client    *remoting.Client
	registrar *registrar
	clients   *processor.Clients
	pools     *processor.Pools
	servers   []*remoting.Server
	listeners []net.Listener // main, VIP, HA
	advertise netip.AddrPort
	started   time.Time
	stopping  atomic.Bool
	serving   bool
	loops     sync.WaitGroup
	stop      context.CancelFunc
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
		tasks: &processor.Tasks{}, started: o.Clock.Now(),
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
	b.delay = &delay.Service{Levels: b.levels, Clock: b.o.Clock, Log: b.log}
	st, err := store.Open(b.o.FS, b.storeOptions(cfg))
	if err != nil {
		return fmt.Errorf("open store %s: %w", cfg.StorePathRootDir, err)
	}
	b.store, b.delay.Store = st, st
	err = b.load(cfg)
	if err != nil {
		err = errors.Join(err, st.Close())
	}
	return err
}

func (b *Broker) load(cfg *config.Config) error {
	if err := b.o.FS.MkdirAll(cfg.ConfigDir(), 0o755); err != nil {
		return err
	}
	if err := writeIdentity(b.o.FS, cfg); err != nil {
		return err
	}
	for _, err := range []error{
		b.topics.Load(b.o.FS, b.file("topics.json")),
		b.groups.Load(b.o.FS, b.file("subscriptionGroup.json")),
		b.offsets.Load(b.o.FS, b.file("consumerOffset.json")),
		b.delay.Load(b.o.FS, b.file("delayOffset.json")),
	} {
		if err != nil {
			return err
		}
	}
	if !cfg.IsMaster() {
		b.offsets.Track()
		return nil
	}
	b.topics.AddSystem(b.names(cfg), b.o.Clock.Now())
	b.groups.AddSystem(b.o.Clock.Now())
	return b.saveTables()
}

func (b *Broker) names(cfg *config.Config) topic.Names {
	n := topic.Names{
		Cluster: cfg.BrokerClusterName, Broker: cfg.BrokerName, DefaultQueues: int32(cfg.DefaultTopicQueueNums),
		AutoCreate: cfg.AutoCreateTopicEnable, ClusterTopic: cfg.ClusterTopicEnable, BrokerTopic: cfg.BrokerTopicEnable,
		DelayLevels: int32(b.levels.Max()),
	}
	if cfg.TraceTopicEnable {
		n.Trace = cfg.MsgTraceTopicName
	}
	return n
}

func (b *Broker) file(name string) string {
	return filepath.Join(b.o.Config.Load().ConfigDir(), name)
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
	b.stop = stop
	if err := b.listen(cfg); err != nil {
		return err
	}
	if err := b.store.Start(); err != nil {
		return err
	}
	b.client = remoting.NewClient(remoting.ClientOptions{
		Log: b.log, Clock: b.o.Clock, Dial: dial, OnConnClosed: func(*remoting.Conn) { b.registrar.Kick() },
	})
	b.registrar = &registrar{
		config: b.o.Config, clock: b.o.Clock, log: b.log, client: b.client, topics: b.topics,
		addr: b.Addr(), haAddr: b.haAddr(cfg), onMaster: b.masterIs, ready: b.announceReady, kick: make(chan struct{}, 1),
		failed: map[string]bool{},
	}
	b.replicate(cfg)
	if cfg.IsMaster() {
		b.takeOver(ctx, cfg)
		b.delay.Start()
	}
	b.serve(cfg)
	b.watchConfig()
	b.registrar.stopped.Go(func() { b.registrar.run(loopCtx) })
	b.loops.Go(func() {
		b.persist(loopCtx, "consumer offsets", func(c *config.Config) time.Duration { return c.FlushConsumerOffsetInterval }, b.saveOffsets)
	})
	b.loops.Go(func() {
		b.persist(loopCtx, "delay offsets", func(c *config.Config) time.Duration { return c.FlushDelayOffsetInterval }, b.saveDelays)
	})
	b.loops.Go(func() { b.pulse(loopCtx) })
	if b.tables != nil {
		b.loops.Go(func() { b.tables.Run(loopCtx) })
	}
	return nil
}

// dial connects to name servers and to the master. A host that lost its power is noticed within seconds, and a name
// server that came back on it is told of this broker then, not at the next period.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: 3 * time.Second, Count: 3}}
	return d.DialContext(ctx, "tcp", addr)
}

// listen opens the three ports before anything else, so that a port in use is found before anything has begun.
func (b *Broker) listen(cfg *config.Config) error {
	ports := []int{cfg.ListenPort, cfg.VIPPort(), cfg.HAListenPort}
	if !cfg.IsMaster() {
		ports = ports[:2]
	}
	for _, port := range ports {
		ln, err := net.Listen("tcp", net.JoinHostPort(cfg.BindAddress, strconv.Itoa(port)))
		if err != nil {
			return fmt.Errorf("open port %d: %w", port, err)
		}
		b.listeners = append(b.listeners, ln)
	}
	ip, err := advertised(cfg)
	if err != nil {
		return err
	}
	b.advertise = netip.AddrPortFrom(ip, uint16(portOf(b.listeners[0])))
	return nil
}

func portOf(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

// replicate makes this broker's end of the replication.
func (b *Broker) replicate(cfg *config.Config) {
	log := b.log.With("part", "ha")
	if cfg.IsMaster() {
		b.master = ha.NewMaster(ha.MasterOptions{
			Log: b.store, Logger: log, Clock: b.o.Clock, BatchSize: cfg.HATransferBatchSize, Heartbeat: cfg.HASendHeartbeatInterval,
			Housekeeping: cfg.HAHousekeepingInterval, FallBehindMax: cfg.HASlaveFallbehindMax,
		})
		b.loops.Go(func() {
			if err := b.master.Serve(b.listeners[2]); err != nil && !b.stopping.Load() {
				log.Error("serve slaves", "err", err)
			}
		})
		return
	}
	o := ha.SlaveOptions{
		Log: b.store, Logger: log, Clock: b.o.Clock, Heartbeat: cfg.HASendHeartbeatInterval, Housekeeping: cfg.HAHousekeepingInterval,
	}
	if cfg.FlushDiskType == config.SyncFlush { // an acknowledgement then means this slave's disk
		o.Durable = func(next int64, done func(error)) { b.store.AwaitFlushed(next, cfg.HAHousekeepingInterval, done) }
	}
	b.slave = ha.NewSlave(o)
	b.slave.SetMaster(cfg.HAMasterAddress)
	b.tables = &slavesync.Slave{
		Client: b.client, Clock: b.o.Clock, Log: b.log, Topics: b.topics, Groups: b.groups, Offsets: b.offsets, Delay: b.delay,
		Save: b.saveTables, Lost: b.registrar.Kick,
	}
}

// masterIs is what a registration told this slave. A configured HA address stands against the name server's.
func (b *Broker) masterIs(addr, haAddr string) {
	if b.o.Config.Load().HAMasterAddress == "" && haAddr != "" {
		b.slave.SetMaster(haAddr)
	}
	b.tables.SetMaster(addr)
}

// takeOver asks the slaves for consumer offsets that were committed to them while this master was away.
func (b *Broker) takeOver(ctx context.Context, cfg *config.Config) {
	r := slavesync.Returning{
		Client: b.client, Log: b.log, NameServers: cfg.NameServers(), Cluster: cfg.BrokerClusterName, Broker: cfg.BrokerName, Offsets: b.offsets,
	}
	if n := r.Raise(ctx); n > 0 {
		b.log.Info("consumer offsets taken over from slaves", "offsets", n)
	}
}

// serve opens the menu on both ports.
func (b *Broker) serve(cfg *config.Config) {
	p := b.processors(cfg)
	options := remoting.Options{
		Log: b.log, Clock: b.o.Clock, IdleTimeout: cfg.ServerChannelMaxIdleTime, OnConnClosed: b.clients.Disconnected,
	}
	for i, routes := range [][]remoting.Route{p.Routes(), p.VIPRoutes()} {
		options.Router = remoting.NewRouter(routes...)
		server := remoting.NewServer(options)
		b.servers = append(b.servers, server)
		b.loops.Go(func() { _ = server.Serve(b.listeners[i]) })
	}
	b.serving = true
}

func (b *Broker) processors(cfg *config.Config) *processor.Processors {
	o, isSlave := b.o, func() bool { return !b.o.Config.Load().IsMaster() }
	maker := &processor.Maker{
		Config: o.Config, Clock: o.Clock, Log: b.log, Topics: b.topics, Groups: b.groups,
		SaveTopics: func() error { return b.topics.Save(o.FS, b.file("topics.json")) },
		SaveGroups: func() error { return b.groups.Save(o.FS, b.file("subscriptionGroup.json")) },
		Announce:   b.registrar.Announce, Slave: isSlave,
	}
	send := &processor.Send{
		Config: o.Config, Clock: o.Clock, Store: b.store, Maker: maker, Stats: b.stats, Levels: b.levels, Host: b.advertise,
		Stopping: b.stopping.Load, Tasks: b.tasks,
	}
	if b.master != nil {
		send.Replicas = b.master
	}
	b.pools = processor.NewPools(cfg)
	b.clients = &processor.Clients{
		Config: o.Config, Clock: o.Clock, Log: b.log, Maker: maker, Consumers: b.consumers, Producers: b.producers,
		Locks: group.NewLocks(), Polls: b.polls,
	}
	return &processor.Processors{
		Send:  send,
		Reply: &processor.Reply{Send: send, Producers: b.producers},
		Pull: &processor.Pull{
			Config: o.Config, Clock: o.Clock, Store: b.store, Topics: b.topics, Maker: maker, Consumers: b.consumers,
			Offsets: b.offsets, Polls: b.polls, Stats: b.stats, Host: b.advertise,
		},
		Query:   &processor.Query{Config: o.Config, Store: b.store},
		Clients: b.clients,
		Offset:  &processor.Offset{Store: b.store, Offsets: b.offsets, Topics: b.topics, Delay: b.delay},
		TopicAdmin: &processor.TopicAdmin{
			Config: o.Config, Clock: o.Clock, Store: b.store, Topics: b.topics, Maker: maker, Consumers: b.consumers,
			Offsets: b.offsets, Stats: b.stats, System: topic.SystemNames(b.names(cfg)),
		},
		GroupAdmin: &processor.GroupAdmin{
			Config: o.Config, Clock: o.Clock, Store: b.store, Topics: b.topics, Maker: maker, Consumers: b.consumers,
			Producers: b.producers, Offsets: b.offsets, Stats: b.stats, Addr: b.Addr,
		},
		OffsetAdmin: &processor.OffsetAdmin{
			Config: o.Config, Clock: o.Clock, Store: b.store, Topics: b.topics, Consumers: b.consumers, Offsets: b.offsets,
		},
		Relay: &processor.Relay{Config: o.Config, Store: b.store, Topics: b.topics, Consumers: b.consumers, Offsets: b.offsets},
		Broker: &processor.BrokerAdmin{
			Config: o.Config, ConfigFile: o.ConfigFile, FS: o.FS, Clock: o.Clock, Log: b.log, Store: b.store, Stats: b.stats,
			Delay: b.delay, Master: b.master, Slave: b.slave, Pools: b.pools, Started: b.started, Register: b.reregister,
		},
		Pools: b.pools,
	}
}

// reregister tells the name servers everything again: they take topics only from a version they do not know.
func (b *Broker) reregister() {
	b.topics.Touch(b.o.Clock.Now())
	b.registrar.Kick()
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

// Addr is the address clients are told, VIPAddr the port beside it, HAAddr where slaves connect ("" on a slave).
func (b *Broker) Addr() string { return b.advertise.String() }
func (b *Broker) VIPAddr() string {
	return netip.AddrPortFrom(b.advertise.Addr(), uint16(portOf(b.listeners[1]))).String()
}
func (b *Broker) HAAddr() string {
	if len(b.listeners) < 3 {
		return ""
	}
	return b.haAddr(b.o.Config.Load())
}

func (b *Broker) haAddr(cfg *config.Config) string {
	port := cfg.HAListenPort
	if len(b.listeners) > 2 {
		port = portOf(b.listeners[2])
	}
	host := cfg.BrokerIP2
	if host == "" {
		host = b.advertise.Addr().String()
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// persist writes a table every so often that changes without a request waiting for it.
func (b *Broker) persist(ctx context.Context, what string, period func(*config.Config) time.Duration, save func() error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.o.Clock.After(period(b.o.Config.Load())):
		}
		if err := save(); err != nil {
			b.log.Error("save "+what, "err", err)
		}
	}
}

func (b *Broker) saveOffsets() error { return b.offsets.Save(b.o.FS, b.file("consumerOffset.json")) }
func (b *Broker) saveDelays() error  { return b.delay.Save(b.o.FS, b.file("delayOffset.json")) }

// saveTables writes every table that has changed.
func (b *Broker) saveTables() error {
	return errors.Join(
		b.topics.Save(b.o.FS, b.file("topics.json")),
		b.groups.Save(b.o.FS, b.file("subscriptionGroup.json")),
		b.saveOffsets(),
		b.saveDelays(),
	)
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
	if b.stop != nil {
		b.stop()
	}
	if b.serving {
		b.leaveRoutes()
	}
	b.stopping.Store(true)
	b.polls.Close()
	b.tasks.Wait(b.o.Clock.After(cfg.SlaveTimeout + cfg.SyncFlushTimeout))
	b.delay.Close()
	for _, s := range b.servers {
		_ = s.Close()
	}
	for _, ln := range b.listeners {
		_ = ln.Close()
	}
	if b.pools != nil {
		b.pools.Close()
	}
	if b.master != nil {
		_ = b.master.Close()
	}
	if b.slave != nil {
		_ = b.slave.Close()
	}
	b.loops.Wait()
	if b.client != nil {
		_ = b.client.Close()
	}
	return errors.Join(b.saveTables(), b.store.Close())
}

// leaveRoutes waits for the registration under way first: one after the farewell would bring this broker back.
func (b *Broker) leaveRoutes() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	b.registrar.stopped.Wait()
	b.registrar.unregister(ctx)
}
