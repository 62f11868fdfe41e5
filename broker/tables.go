// The tables beside the store (topics, groups, offsets): loaded at the start, written when they have changed.

package broker

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/ha/epoch"
	"rmqctl/broker/topic"
)

func (b *Broker) load(cfg *config.Config) error {
	if err := b.o.FS.MkdirAll(cfg.ConfigDir(), 0o755); err != nil {
		return err
	}
	if err := writeIdentity(b.o.FS, cfg); err != nil {
		return err
	}
	for _, name := range []string{"topics.json", "subscriptionGroup.json", "consumerOffset.json", "delayOffset.json"} {
		b.tellDoubts(b.file(name))
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
	if b.raft != nil {
		return b.raft.changes.load()
	}
	var err error
	if b.epochs, err = epoch.Open(b.o.FS, cfg.StorePathRootDir); err != nil {
		return err
	}
	return b.loadKept()
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

// saveNames writes topics and groups, which until then may be in their journals only: a Java broker that takes over this
// directory knows what was made up to tablesPause ago.
func (b *Broker) saveNames() error {
	if b.raft != nil {
		return b.raft.changes.save(b.writeNames)
	}
	return b.writeNames()
}

func (b *Broker) writeNames() error {
	return errors.Join(b.topics.Save(b.o.FS, b.file("topics.json")), b.groups.Save(b.o.FS, b.file("subscriptionGroup.json")))
}

// tablesPause is how often.
const tablesPause = 5 * time.Second

func (b *Broker) saveDelays() error { return b.delay.Save(b.o.FS, b.file("delayOffset.json")) }

// saveTables writes every table that has changed.
func (b *Broker) saveTables() error {
	return errors.Join(b.saveNames(), b.saveOffsets(), b.saveDelays())
}
