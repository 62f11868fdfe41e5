// A broker's end of the replication: the log and, on a slave, the master's tables.

package broker

import (
	"context"

	"rmqctl/broker/config"
	"rmqctl/broker/ha"
	"rmqctl/broker/slavesync"
)

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
