// A broker's ends of the replication between master and slave: the log and, on a slave, the master's tables. Which of them
// there are is decided by the role; see roles.go.

package broker

import (
	"context"
	"fmt"
	"net"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/ha"
	"rmqctl/broker/ha/decide"
	"rmqctl/broker/slavesync"
)

// replicas is the master of the moment, for sends that wait for slaves.
type replicas struct{ b *Broker }

// Await calls done when a slave has the log up to next, or has not had it in time.
func (r replicas) Await(next int64, timeout time.Duration, done func(ha.Status)) {
	if m := r.b.master.Load(); m != nil {
		m.Await(next, timeout, done)
		return
	}
	done(ha.SlaveNotAvailable)
}

// Admit says whether an append may be stored at all.
func (r replicas) Admit() ha.Status {
	if m := r.b.master.Load(); m != nil {
		return m.Admit()
	}
	return ha.Replicated
}

func (b *Broker) haIdentity(cfg *config.Config, id int64) decide.Identity {
	return decide.Identity{Cluster: cfg.BrokerClusterName, Broker: cfg.BrokerName, ID: id, Addr: b.Addr()}
}

// rules is how many copies an acknowledgement means, and how fast slaves are fed.
func rules(c *config.Config) decide.Rules {
	r := decide.Rules{
		InSyncReplicas: c.InSyncReplicas, MinInSyncReplicas: c.MinInSyncReplicas, AllAck: c.AllAckInSyncStateSet,
		AutoInSync: c.EnableAutoInSyncReplicas, MaxGap: c.HASlaveFallbehindMax,
	}
	if c.HAFlowControlEnable {
		r.BytesPerSecond = c.MaxHATransferByteInSecond
	}
	return r
}

// serveSlaves opens the HA port, unless it is open, and sends the log to whoever connects.
func (b *Broker) serveSlaves(cfg *config.Config) error {
	ln := b.haListener
	if b.haListener = nil; ln == nil {
		var err error
		if ln, err = b.openPort(cfg, cfg.HAListenPort); err != nil {
			return err
		}
		b.haPort.Store(int64(portOf(ln)))
	}
	log := b.log.With("part", "ha")
	m := ha.NewMaster(ha.MasterOptions{
		Log: b.store, Logger: log, Clock: b.o.Clock, BatchSize: cfg.HATransferBatchSize, Heartbeat: cfg.HASendHeartbeatInterval,
		Housekeeping: cfg.HAHousekeepingInterval, Rules: rules(cfg), Self: b.haIdentity(cfg, 0), Epochs: b.epochs,
		OnNewer: func(epoch int64, slave decide.Identity) { go b.deposed(slave.Addr, epoch) },
	})
	b.master.Store(m)
	b.loops.Go(func() {
		if err := m.Serve(ln); err != nil && b.master.Load() == m && !b.stopping.Load() {
			log.Error("serve slaves", "err", err)
		}
	})
	return nil
}

// leaveSlaves ends what serveSlaves began. Who waits for a slave is answered.
func (b *Broker) leaveSlaves() {
	if m := b.master.Swap(nil); m != nil {
		_ = m.Close()
	}
}

// follow copies the log of the master at haAddr, as soon as one is known, and the tables of the one at addr.
func (b *Broker) follow(cfg *config.Config, addr, haAddr string) {
	o := ha.SlaveOptions{
		Self: b.haIdentity(cfg, b.role.Load().ID), Epochs: b.epochs,
		Keep: func(from, to int64) (string, error) {
			return ha.KeepTail(b.o.FS, cfg.StorePathRootDir, b.store, from, to)
		},
		Log: b.store, Logger: b.log.With("part", "ha"), Clock: b.o.Clock, Heartbeat: cfg.HASendHeartbeatInterval, Housekeeping: cfg.HAHousekeepingInterval,
	}
	if cfg.FlushDiskType == config.SyncFlush { // an acknowledgement then means this slave's disk
		o.Durable = func(next int64, done func(error)) { b.store.AwaitFlushed(next, cfg.HAHousekeepingInterval, done) }
	}
	s := ha.NewSlave(o)
	if cfg.HAMasterAddress != "" {
		haAddr = cfg.HAMasterAddress
	}
	s.SetMaster(haAddr)
	b.slave.Store(s)
	b.copyTables(addr)
}

// leaveMaster ends what follow began. Nothing is appended any more when it returns.
func (b *Broker) leaveMaster() {
	b.leaveTables()
	if s := b.slave.Swap(nil); s != nil {
		_ = s.Close()
	}
}

// copyTables keeps this broker's tables level with those of the broker at addr; "" while it is not known.
func (b *Broker) copyTables(addr string) {
	b.leaveTables()
	b.tables.SetMaster(addr)
	ctx, stop := context.WithCancel(b.running)
	done := make(chan struct{})
	b.stopTables = func() { stop(); <-done }
	b.loops.Go(func() { defer close(done); b.tables.Run(ctx) })
}

func (b *Broker) leaveTables() {
	if b.stopTables != nil {
		b.stopTables()
		b.stopTables = nil
	}
}

// masterIs is what a registration told this slave. A configured HA address stands against the name server's.
func (b *Broker) masterIs(addr, haAddr string) {
	if b.raft != nil {
		if b.tables.Master() == "" { // else the leader itself has said where it is
			b.tables.SetMaster(addr)
		}
		return
	}
	if s := b.slave.Load(); s != nil && b.o.Config.Load().HAMasterAddress == "" && haAddr != "" {
		s.SetMaster(haAddr)
	}
	b.tables.SetMaster(addr)
}

// takeOver asks the group's other brokers for what they know further than this one: consumer offsets that were committed to
// them, and delayed messages that were delivered.
func (b *Broker) takeOver(ctx context.Context, cfg *config.Config, more ...string) {
	r := slavesync.Returning{
		Client: b.client, Log: b.log, NameServers: cfg.NameServers(), Cluster: cfg.BrokerClusterName, Broker: cfg.BrokerName, Self: b.Addr(),
		More: more, Offsets: b.offsets, Delay: b.delay,
	}
	if n := r.Raise(ctx); n > 0 {
		b.log.Info("consumer offsets taken over from others of the group", "offsets", n)
	}
}

// openPort listens on the broker's address; 0 lets the system choose.
func (b *Broker) openPort(cfg *config.Config, port int) (net.Listener, error) {
	ln, err := socket.Listen(context.Background(), "tcp", net.JoinHostPort(unbracket(cfg.BindAddress), fmt.Sprint(port)))
	if err != nil {
		return nil, fmt.Errorf("open port %d: %w", port, err)
	}
	return ln, nil
}
