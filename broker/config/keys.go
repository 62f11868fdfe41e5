package config

// This file is the table of the keys that act.

import (
	"time"

	"rmqctl/internal/conf"
)

// Keys is every key a broker knows, bound to the fields of c.
func (c *Config) Keys() conf.Set {
	return conf.Join(
		conf.Section("Identity and addresses", c.identity()...),
		conf.Section("Registration", c.registration()...),
		conf.Section("Topics and groups", c.topics()...),
		conf.Section("Requests", c.requests()...),
		conf.Section("Store: paths and sizes", c.storage()...),
		conf.Section("Store: flushing", c.flushing()...),
		conf.Section("Store: retention", c.retention()...),
		conf.Section("Store: reading", c.reading()...),
		conf.Section("Replication", c.replication()...),
		known(),
	)
}

func (c *Config) identity() conf.Set {
	return conf.Set{
		conf.String(&c.BrokerName, "brokerName", "", "Name of the group of master and slaves; the host name if unset."),
		conf.String(&c.BrokerClusterName, "brokerClusterName", "DefaultCluster", "Cluster the broker belongs to."),
		conf.Int64(&c.BrokerID, "brokerId", 0, "0 for the master, greater for a slave, unique within the group. Masters get 0 whatever is set.").Range(0, 1<<62),
		conf.Enum(&c.BrokerRole, "brokerRole", AsyncMaster, "Acknowledge alone, acknowledge when a slave has the message, or be a slave.", SyncMaster, Slave),
		conf.String(&c.BrokerIP1, "brokerIP1", "", "Address that clients are told; the host's own if unset."),
		conf.String(&c.BrokerIP2, "brokerIP2", "", "Address that slaves are told; brokerIP1 if unset."),
		conf.String(&c.BindAddress, "bindAddress", "0.0.0.0", "Address that all ports of the broker listen on."),
		conf.Int(&c.ListenPort, "listenPort", 10911, "Port that clients connect to; two below it a second one is opened for clients that use the VIP channel and for slaves. 0 lets the system choose.").Range(0, 65534),
		conf.Int(&c.HAListenPort, "haListenPort", 0, "Port that slaves copy the log from; listenPort + 1 if 0.").Range(0, 65535),
		conf.String(&c.NamesrvAddr, "namesrvAddr", "", "Name servers, host:port with ; between.").FromEnv("NAMESRV_ADDR").Check(checkAddresses),
		conf.Int(&c.BrokerPermission, "brokerPermission", 6, "2 lets producers write, 4 lets consumers read, 6 both.").Range(0, 7).IsLive(),
		conf.String(&c.RegionID, "regionId", "DefaultRegion", "Region named in the replies to producers."),
		conf.Bool(&c.TraceOn, "traceOn", true, "Tell producers that their messages may be traced.").IsLive(),
	}
}

func (c *Config) registration() conf.Set {
	return conf.Set{
		conf.Millis(&c.RegisterNameServerPeriod, "registerNameServerPeriod", 30*time.Second, "Pause between two registrations, held between 10 s and 60 s."),
		conf.Millis(&c.RegisterBrokerTimeout, "registerBrokerTimeoutMills", 6*time.Second, "Longest wait for a name server's answer to a registration.").IsLive(),
		conf.Bool(&c.ForceRegister, "forceRegister", true, "Register every time, not only when a name server's data is old.").IsLive(),
		conf.Bool(&c.CompressedRegister, "compressedRegister", false, "Compress registrations.").IsLive(),
	}
}

func (c *Config) topics() conf.Set {
	return conf.Set{
		conf.Int(&c.DefaultTopicQueueNums, "defaultTopicQueueNums", 8, "Queues of a topic that is created on its first message.").Range(1, 65535).IsLive(),
		conf.Bool(&c.AutoCreateTopicEnable, "autoCreateTopicEnable", true, "Create topics on their first message.").IsLive(),
		conf.Bool(&c.AutoCreateSubscriptionGroup, "autoCreateSubscriptionGroup", true, "Create consumer groups when they first appear.").IsLive(),
		conf.Bool(&c.ClusterTopicEnable, "clusterTopicEnable", true, "Let the topic named as the cluster be read and written."),
		conf.Bool(&c.BrokerTopicEnable, "brokerTopicEnable", true, "Let the topic named as the broker be read and written."),
		conf.Bool(&c.TraceTopicEnable, "traceTopicEnable", false, "Create the topic for message traces."),
		conf.String(&c.MsgTraceTopicName, "msgTraceTopicName", "RMQ_SYS_TRACE_TOPIC", "Name of the topic for message traces."),
		conf.Millis(&c.FlushConsumerOffsetInterval, "flushConsumerOffsetInterval", 5*time.Second, "Pause between two writings of the consumer offsets to disk.").Range(1, 1<<31-1),
	}
}

func (c *Config) requests() conf.Set {
	return conf.Set{
		conf.Int(&c.SendMessageThreadPoolNums, "sendMessageThreadPoolNums", 0, "Sends worked on at the same time; min(processors, 4) if 0.").Range(0, 65535),
		conf.Int(&c.PullMessageThreadPoolNums, "pullMessageThreadPoolNums", 0, "Pulls worked on at the same time; 16 + 2 x processors if 0.").Range(0, 65535),
		conf.Int(&c.SendThreadPoolQueueCapacity, "sendThreadPoolQueueCapacity", 10000, "Sends that wait for a worker; more are answered SYSTEM_BUSY.").Range(1, 1<<31-1),
		conf.Int(&c.PullThreadPoolQueueCapacity, "pullThreadPoolQueueCapacity", 100000, "Pulls that wait for a worker; more are answered SYSTEM_BUSY.").Range(1, 1<<31-1),
		conf.Millis(&c.WaitTimeInSendQueue, "waitTimeMillsInSendQueue", 200*time.Millisecond, "A send that waited longer for a worker is answered SYSTEM_BUSY.").IsLive(),
		conf.Bool(&c.BrokerFastFailureEnable, "brokerFastFailureEnable", true, "Give up on requests that waited too long.").IsLive(),
		conf.Int64(&c.StartAcceptSendRequestAt, "startAcceptSendRequestTimeStamp", 0, "Refuse sends before this time, in ms since 1970.").IsLive(),
		conf.Bool(&c.RejectTransactionMessage, "rejectTransactionMessage", false, "Refuse transactional messages.").IsLive(),
		conf.Bool(&c.LongPollingEnable, "longPollingEnable", true, "Hold a pull that finds nothing until a message arrives or the client's limit is over.").IsLive(),
		conf.Millis(&c.ShortPollingTime, "shortPollingTimeMills", time.Second, "How long a pull is held without long polling.").IsLive(),
		conf.Bool(&c.NotifyConsumerIDsChangedEnable, "notifyConsumerIdsChangedEnable", true, "Tell consumers at once when the members of their group change.").IsLive(),
		conf.Bool(&c.SlaveReadEnable, "slaveReadEnable", true, "Send consumers that lag far behind to a slave.").IsLive(),
		conf.Bool(&c.DisableConsumeIfReadSlowly, "disableConsumeIfConsumerReadSlowly", false, "Switch a group off that lags more than consumerFallbehindThreshold.").IsLive(),
		conf.Bytes(&c.ConsumerFallbehindThreshold, "consumerFallbehindThreshold", 16<<30, "Lag at which disableConsumeIfConsumerReadSlowly acts.").IsLive(),
		conf.Seconds(&c.ServerChannelMaxIdleTime, "serverChannelMaxIdleTimeSeconds", 120*time.Second, "A connection without traffic is closed after it.").Range(1, 1<<31-1),
	}
}

func (c *Config) storage() conf.Set {
	return conf.Set{
		conf.String(&c.StorePathRootDir, "storePathRootDir", "", "Directory of the store; $HOME/store if unset."),
		conf.String(&c.StorePathCommitLog, "storePathCommitLog", "", "Directory of the commit log; commitlog below the root if unset."),
		conf.String(&c.StorePathConsumeQueue, "storePathConsumeQueue", "", "Directory of the consume queues; consumequeue below the root if unset."),
		conf.String(&c.StorePathIndex, "storePathIndex", "", "Directory of the index; index below the root if unset."),
		conf.String(&c.StoreCheckpoint, "storeCheckpoint", "", "Checkpoint file; checkpoint below the root if unset."),
		conf.String(&c.AbortFile, "abortFile", "", "File that exists while the store is open; abort below the root if unset."),
		conf.Bytes(&c.MappedFileSizeCommitLog, "mappedFileSizeCommitLog", 1<<30, "Size of a commit log file.").Alias("mapedFileSizeCommitLog").Range(4096, 1<<31-1),
		conf.Bytes(&c.MappedFileSizeConsumeQueue, "mappedFileSizeConsumeQueue", 6_000_000, "Size of a consume queue file, rounded up to whole entries of 20 bytes.").Alias("mapedFileSizeConsumeQueue").Range(20, 1<<31-1),
		conf.Bool(&c.MessageIndexEnable, "messageIndexEnable", true, "Keep an index of message keys and ids."),
		conf.Int(&c.MaxHashSlotNum, "maxHashSlotNum", 5_000_000, "Hash slots of an index file.").Range(1, 1<<28),
		conf.Int(&c.MaxIndexNum, "maxIndexNum", 20_000_000, "Entries of an index file.").Range(2, 1<<26),
		conf.Int(&c.MaxMessageSize, "maxMessageSize", 4<<20, "Largest body of a message, in bytes.").Range(1, 16<<20).IsLive(),
		conf.String(&c.MessageDelayLevel, "messageDelayLevel", "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h", "Delays of levels 1, 2, 3 and so on.").Check(checkDelayLevels),
		conf.Millis(&c.FlushDelayOffsetInterval, "flushDelayOffsetInterval", 10*time.Second, "Pause between two writings of the delay offsets to disk.").Range(1, 1<<31-1),
	}
}

func (c *Config) flushing() conf.Set {
	return conf.Set{
		conf.Enum(&c.FlushDiskType, "flushDiskType", AsyncFlush, "When an append counts: after the write, or after the disk has it.", SyncFlush),
		conf.Millis(&c.FlushIntervalCommitLog, "flushIntervalCommitLog", 500*time.Millisecond, "Pause between two flushes of the commit log under ASYNC_FLUSH.").Range(1, 1<<31-1).IsLive(),
		conf.Int(&c.FlushCommitLogLeastPages, "flushCommitLogLeastPages", 4, "A flush needs so many dirty pages of 4 KiB, unless the thorough interval is over.").Range(0, 1<<31-1).IsLive(),
		conf.Millis(&c.FlushCommitLogThoroughInterval, "flushCommitLogThoroughInterval", 10*time.Second, "However few pages are dirty, they are flushed after it.").IsLive(),
		conf.Millis(&c.FlushIntervalConsumeQueue, "flushIntervalConsumeQueue", time.Second, "Pause between two flushes of the consume queues.").Range(1, 1<<31-1).IsLive(),
		conf.Int(&c.FlushConsumeQueueLeastPages, "flushConsumeQueueLeastPages", 2, "As flushCommitLogLeastPages, for consume queues.").Range(0, 1<<31-1).IsLive(),
		conf.Millis(&c.FlushConsumeQueueThoroughInterval, "flushConsumeQueueThoroughInterval", time.Minute, "As flushCommitLogThoroughInterval, for consume queues.").IsLive(),
		conf.Millis(&c.SyncFlushTimeout, "syncFlushTimeout", 5*time.Second, "Longest wait of a send for the disk under SYNC_FLUSH; over it the answer is FLUSH_DISK_TIMEOUT.").IsLive(),
	}
}

func (c *Config) retention() conf.Set {
	return conf.Set{
		conf.String(&c.DeleteWhen, "deleteWhen", "04", "Hours of the day at which old files are deleted, with ; between.").Check(checkHours).IsLive(),
		conf.Hours(&c.FileReservedTime, "fileReservedTime", 72*time.Hour, "Files whose last message is older are deleted.").Range(0, 1<<20).IsLive(),
		conf.Int(&c.DiskMaxUsedSpaceRatio, "diskMaxUsedSpaceRatio", 75, "Percentage of the disk beyond which old files are deleted at any hour; held between 10 and 95.").Range(0, 100).IsLive(),
		conf.Int(&c.DiskSpaceCleanForciblyRatio, "diskSpaceCleanForciblyRatio", 85, "Percentage of the disk beyond which files are deleted whatever their age.").Range(10, 100).IsLive(),
		conf.Int(&c.DiskSpaceWarningLevelRatio, "diskSpaceWarningLevelRatio", 90, "Percentage of the disk beyond which no message is taken.").Range(10, 100).IsLive(),
		conf.Bool(&c.CleanFileForciblyEnable, "cleanFileForciblyEnable", true, "Delete files whatever their age when the disk is nearly full.").IsLive(),
		conf.Millis(&c.CleanResourceInterval, "cleanResourceInterval", 10*time.Second, "Pause between two looks for old files.").Range(1, 1<<31-1),
		conf.Millis(&c.DeleteCommitLogFilesInterval, "deleteCommitLogFilesInterval", 100*time.Millisecond, "Pause between two deletions of commit log files.").IsLive(),
		conf.Millis(&c.DestroyMappedFileForcibly, "destroyMapedFileIntervalForcibly", 2*time.Minute, "A file that is still being read is deleted after it all the same.").Alias("destroyMappedFileIntervalForcibly").IsLive(),
		conf.Millis(&c.RedeleteHangedFileInterval, "redeleteHangedFileInterval", 2*time.Minute, "Pause before a deletion that did not succeed is tried again.").IsLive(),
	}
}

func (c *Config) reading() conf.Set {
	return conf.Set{
		conf.Int(&c.MaxTransferBytesOnMessageInMemory, "maxTransferBytesOnMessageInMemory", 256<<10, "Most bytes of one pull when the messages are recent.").Range(1, 16<<20).IsLive(),
		conf.Int(&c.MaxTransferCountOnMessageInMemory, "maxTransferCountOnMessageInMemory", 32, "Most messages of one pull when they are recent.").Range(1, 1<<31-1).IsLive(),
		conf.Int(&c.MaxTransferBytesOnMessageInDisk, "maxTransferBytesOnMessageInDisk", 64<<10, "Most bytes of one pull when the messages must be read from disk.").Range(1, 16<<20).IsLive(),
		conf.Int(&c.MaxTransferCountOnMessageInDisk, "maxTransferCountOnMessageInDisk", 8, "Most messages of one pull when they must be read from disk.").Range(1, 1<<31-1).IsLive(),
		conf.Int(&c.AccessMessageInMemoryMaxRatio, "accessMessageInMemoryMaxRatio", 40, "Percentage of the memory that recent messages are thought to fill.").Range(0, 100).IsLive(),
		conf.Int(&c.DefaultQueryMaxNum, "defaultQueryMaxNum", 32, "Most messages of a query by key.").Range(1, 1<<31-1).IsLive(),
		conf.Int(&c.MaxMsgsNumBatch, "maxMsgsNumBatch", 64, "Most index entries of a query by key.").Range(1, 1<<31-1).IsLive(),
		conf.Bool(&c.OffsetCheckInSlave, "offsetCheckInSlave", false, "Let a slave, too, correct a consumer's offset that lies outside the queue.").IsLive(),
	}
}

func (c *Config) replication() conf.Set {
	return conf.Set{
		conf.String(&c.HAMasterAddress, "haMasterAddress", "", "The master's host:port of replication; what the name server says if unset.").Check(checkAddresses),
		conf.Millis(&c.HASendHeartbeatInterval, "haSendHeartbeatInterval", 5*time.Second, "Pause after which a sign of life is sent.").Range(1, 1<<31-1).IsLive(),
		conf.Millis(&c.HAHousekeepingInterval, "haHousekeepingInterval", 20*time.Second, "A replication connection that is silent for so long is closed.").Range(1, 1<<31-1).IsLive(),
		conf.Int(&c.HATransferBatchSize, "haTransferBatchSize", 32<<10, "Most bytes of the log in one packet.").Range(1, 16<<20).IsLive(),
		conf.Bytes(&c.HASlaveFallbehindMax, "haSlaveFallbehindMax", 256<<20, "A slave that lags more does not count for SYNC_MASTER.").Alias("haMaxGapNotInSync").IsLive(),
		conf.Millis(&c.SlaveTimeout, "slaveTimeout", 3*time.Second, "Longest wait of a send for a slave under SYNC_MASTER; over it the answer is FLUSH_SLAVE_TIMEOUT.").IsLive(),
		conf.Int(&c.InSyncReplicas, "inSyncReplicas", 2, "Under SYNC_MASTER, how many brokers have a message before it is acknowledged, the master included. RocketMQ 4.9 knows only 2, which is the default here; 5.x has 1: no slave is waited for.").Range(1, 64).IsLive(),
		conf.Int(&c.MinInSyncReplicas, "minInSyncReplicas", 1, "Under SYNC_MASTER, with fewer brokers in sync, the master included, a message is not stored: \"in-sync replicas not enough\".").Range(1, 64).IsLive(),
		conf.Bool(&c.AllAckInSyncStateSet, "allAckInSyncStateSet", false, "Under SYNC_MASTER, wait for every slave that is in sync, however many inSyncReplicas says.").IsLive(),
		conf.Bool(&c.EnableAutoInSyncReplicas, "enableAutoInSyncReplicas", false, "Under SYNC_MASTER, wait for as many as are in sync, no more than inSyncReplicas and no fewer than minInSyncReplicas.").IsLive(),
		conf.Bool(&c.HAFlowControlEnable, "haFlowControlEnable", false, "Hold what is sent to one slave to maxHaTransferByteInSecond.").IsLive(),
		conf.Bytes(&c.MaxHATransferByteInSecond, "maxHaTransferByteInSecond", 100<<20, "Most bytes a second to one slave, with haFlowControlEnable.").Range(1<<10, 1<<40).IsLive(),
		conf.Bool(&c.EnableDLegerCommitLog, "enableDLegerCommitLog", false, "Be a member of a raft group: its leader is elected, and a message is acknowledged when a majority has it. brokerRole and brokerId are not used."),
		conf.String(&c.DLegerGroup, "dLegerGroup", "", "Name of the raft group, the same at all its members."),
		conf.String(&c.DLegerPeers, "dLegerPeers", "", "First members of the raft group, id-host:port with ; between: n0-10.0.0.1:40911;n1-10.0.0.2:40911;n2-10.0.0.3:40911. Later changes are the group's own, see rmqctl member."),
		conf.String(&c.DLegerSelfID, "dLegerSelfId", "", "This broker's id in the raft group: n0. While it follows, its brokerId is the number and one more."),
		conf.String(&c.PreferredLeaderID, "preferredLeaderId", "", "Members that should lead, with ; between: the first that has been level for 45 s is made leader."),
		conf.Bool(&c.RaftJoin, "raftJoin", false, "Join a raft group that exists: with an empty directory, wait to be added instead of forming the group that dLegerPeers names. Not a key of RocketMQ."),
	}
}
