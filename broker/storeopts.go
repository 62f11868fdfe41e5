// What a broker's configuration means to its store, at the start and when it changes.

package broker

import (
	"rmqctl/broker/config"
	"rmqctl/broker/longpoll"
	"rmqctl/broker/store"
	"rmqctl/internal/message"
)

// storeOptions is the store's share of the configuration.
func (b *Broker) storeOptions(cfg *config.Config) store.Options {
	t := tunables(cfg)
	return store.Options{
		Dir: cfg.StorePathRootDir, CommitLogDir: cfg.StorePathCommitLog, ConsumeQueueDir: cfg.StorePathConsumeQueue,
		IndexDir: cfg.StorePathIndex, CheckpointFile: cfg.StoreCheckpoint, AbortFile: cfg.AbortFile,
		SegmentSize: cfg.MappedFileSizeCommitLog, QueueSegmentSize: cfg.ConsumeQueueFileSize(), NoIndex: !cfg.MessageIndexEnable,
		IndexSlots: int32(cfg.MaxHashSlotNum), IndexEntries: int32(cfg.MaxIndexNum),
		DeliverTime: b.deliverTime, Tunables: &t, Clock: b.o.Clock, Log: b.log.With("part", "store"), Progress: b.o.Progress,
		Events: store.Events{
			OnDispatch: b.dispatched,
			OnRound:    b.roundTold,
			OnCorrupt:  func(what string, at int64) { b.log.Error("store damaged", "what", what, "offset", at) },
			OnFailure:  func(err error) { b.log.Error("store takes no more messages", "err", err) },
		},
	}
}

// roundTold sends the answers of a round.
func (b *Broker) roundTold() {
	if p := b.send.Load(); p != nil {
		p.EndRound()
	}
}

// deliverTime is when a delayed message is due, in the steady time by which they are delivered; stored is what the clock says.
func (b *Broker) deliverTime(level int, stored int64) int64 {
	return b.levels.DeliverTime(level, stored-b.steady.Skew().Milliseconds())
}

// dispatched wakes who waits for the queue that has just grown.
func (b *Broker) dispatched(d store.Dispatch) {
	b.polls.Notify(longpoll.Queue{Topic: d.Topic, ID: d.Queue}, d.MaxOffset, d.TagsCode)
	if d.Topic == message.ScheduleTopic {
		b.delay.Arrived(d.Queue)
	}
	switch {
	case b.raft != nil && d.Topic == changesTopic:
		b.raft.changes.arrived()
	case !b.role.Takes() && b.tables != nil:
		b.tables.Arrived(d.Topic, d.Queue)
	}
}

// watchConfig hands live settings on to the parts that keep a copy.
func (b *Broker) watchConfig() {
	for _, key := range new(config.Config).Keys() {
		if key.Live {
			b.o.Config.OnChange(key.Name, func(c *config.Config) {
				b.store.Tune(tunables(c))
				if m := b.master.Load(); m != nil {
					m.SetRules(rules(c))
				}
			})
		}
	}
}

// tunables is what the store may be told while it runs.
func tunables(c *config.Config) store.Tunables {
	t := store.DefaultTunables()
	t.FlushInterval, t.FlushLeastPages, t.FlushThoroughInterval = c.FlushIntervalCommitLog, c.FlushCommitLogLeastPages, c.FlushCommitLogThoroughInterval
	t.SyncFlush, t.SyncFlushTimeout = c.FlushDiskType == config.SyncFlush, c.SyncFlushTimeout
	t.QueueFlushInterval, t.QueueFlushLeastPages = c.FlushIntervalConsumeQueue, c.FlushConsumeQueueLeastPages
	t.QueueFlushThoroughInterval = c.FlushConsumeQueueThoroughInterval
	t.MaxMessageSize = c.MaxMessageSize
	t.MaxBytesInMemory, t.MaxCountInMemory = c.MaxTransferBytesOnMessageInMemory, c.MaxTransferCountOnMessageInMemory
	t.MaxBytesOnDisk, t.MaxCountOnDisk = c.MaxTransferBytesOnMessageInDisk, c.MaxTransferCountOnMessageInDisk
	t.InMemoryRatio = c.AccessMessageInMemoryMaxRatio
	t.CleanInterval, t.DeleteWhen, t.FileReserved = c.CleanResourceInterval, c.DeleteHours(), c.FileReservedTime
	t.DeletePause, t.DestroyForcibly, t.RedeleteHanged = c.DeleteCommitLogFilesInterval, c.DestroyMappedFileForcibly, c.RedeleteHangedFileInterval
	t.CleanForcibly, t.DiskMaxUsedRatio = c.CleanFileForciblyEnable, c.DiskMaxUsedSpaceRatio
	t.DiskWarningRatio, t.DiskCleanForciblyRatio = c.DiskSpaceWarningLevelRatio, c.DiskSpaceCleanForciblyRatio
	return t
}
