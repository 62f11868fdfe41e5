// Serving: the processors, what each of them is given, and the menu on both ports.

package broker

import (
	"rmqctl/broker/config"
	"rmqctl/broker/group"
	"rmqctl/broker/processor"
	"rmqctl/broker/topic"
	"rmqctl/internal/remoting"
)

// serve opens the menu on both ports.
func (b *Broker) serve(cfg *config.Config) {
	p := b.processors(cfg)
	options := remoting.Options{
		Log: b.log, Clock: b.o.Clock, IdleTimeout: cfg.ServerChannelMaxIdleTime, OnConnClosed: b.clients.Disconnected,
		OnBurst: p.Send.EndBurst,
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
	o := b.o
	maker := &processor.Maker{
		Config: o.Config, Clock: o.Clock, Log: b.log, Topics: b.topics, Groups: b.groups,
		SaveTopics: func() error { return b.topics.Commit(o.FS, b.file("topics.json"), o.Clock.Now()) },
		SaveGroups: func() error { return b.groups.Commit(o.FS, b.file("subscriptionGroup.json"), o.Clock.Now()) },
		Announce:   b.registrar.Announce, Role: b.role,
	}
	if b.raft != nil {
		maker.Record = b.raft.changes.record
	}
	send := &processor.Send{
		Config: o.Config, Clock: o.Clock, Store: b.store, Maker: maker, Stats: b.stats, Levels: b.levels, Host: b.advertise,
		Stopping: b.stopping.Load, Tasks: b.tasks, Role: b.role, Replicas: replicas{b}, Elsewhere: b.sendElsewhere,
	}
	b.send.Store(send)
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
			Offsets: b.offsets, Polls: b.polls, Stats: b.stats, Readers: b.pools.Pull, Host: b.advertise,
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
			Delay: b.delay, Master: b.master.Load, Slave: b.slave.Load, Pools: b.pools, Started: b.started, Register: b.reregister, Group: b.roleLines,
		},
		Replication: &processor.ReplicationAdmin{
			Log: b.log, State: b.replicationState, Role: b.ChangeRole, Transfer: b.TransferLeadership, Member: b.ChangeMember,
		},
		Pools: b.pools,
	}
}

// reregister tells the name servers everything again: they take topics only from a version they do not know.
func (b *Broker) reregister() {
	b.topics.Touch(b.o.Clock.Now())
	b.registrar.Kick()
}
