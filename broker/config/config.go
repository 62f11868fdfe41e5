// Package config is the broker's configuration: every key of RocketMQ's broker, store and server settings is a row
// of one table (keys.go for those that act, known.go for the rest), and every row that acts has a field here.
package config

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"rmqctl/internal/conf"
)

// Role is what a broker does in its group.
type Role string

const (
	AsyncMaster Role = "ASYNC_MASTER" // acknowledges when it has the message itself
	SyncMaster  Role = "SYNC_MASTER"  // acknowledges when a slave has it too
	Slave       Role = "SLAVE"        // copies its master, takes no messages
)

// FlushMode is when an append counts.
type FlushMode string

const (
	AsyncFlush FlushMode = "ASYNC_FLUSH" // when it is written
	SyncFlush  FlushMode = "SYNC_FLUSH"  // when the disk has it
)

// Config is one snapshot. It is never changed once it is loaded.
type Config struct {
	// Who this broker is and where it is found.
	BrokerName        string
	BrokerClusterName string
	BrokerID          int64
	BrokerRole        Role
	BrokerIP1         string // the address clients are told; "" = found by the assembly
	BrokerIP2         string // the address slaves are told; "" = BrokerIP1
	BindAddress       string
	ListenPort        int
	HAListenPort      int
	NamesrvAddr       string
	BrokerPermission  int
	RegionID          string
	TraceOn           bool

	// Registration at the name servers.
	RegisterNameServerPeriod time.Duration
	RegisterBrokerTimeout    time.Duration
	ForceRegister            bool
	CompressedRegister       bool

	// Topics and groups.
	DefaultTopicQueueNums       int
	AutoCreateTopicEnable       bool
	AutoCreateSubscriptionGroup bool
	ClusterTopicEnable          bool
	BrokerTopicEnable           bool
	TraceTopicEnable            bool
	MsgTraceTopicName           string
	FlushConsumerOffsetInterval time.Duration

	// Requests.
	SendMessageThreadPoolNums      int
	PullMessageThreadPoolNums      int
	SendThreadPoolQueueCapacity    int
	PullThreadPoolQueueCapacity    int
	WaitTimeInSendQueue            time.Duration
	BrokerFastFailureEnable        bool
	StartAcceptSendRequestAt       int64 // ms since 1970; sends are refused before it
	RejectTransactionMessage       bool
	LongPollingEnable              bool
	ShortPollingTime               time.Duration
	NotifyConsumerIDsChangedEnable bool
	SlaveReadEnable                bool
	DisableConsumeIfReadSlowly     bool
	ConsumerFallbehindThreshold    int64
	ServerChannelMaxIdleTime       time.Duration

	// Where the store lies.
	StorePathRootDir      string
	StorePathCommitLog    string
	StorePathConsumeQueue string
	StorePathIndex        string
	StoreCheckpoint       string
	AbortFile             string

	// What the store writes.
	MappedFileSizeCommitLog    int64
	MappedFileSizeConsumeQueue int64
	MessageIndexEnable         bool
	MaxHashSlotNum             int
	MaxIndexNum                int
	MaxMessageSize             int
	MessageDelayLevel          string
	FlushDelayOffsetInterval   time.Duration

	// When it reaches the disk.
	FlushDiskType                     FlushMode
	FlushIntervalCommitLog            time.Duration
	FlushCommitLogLeastPages          int
	FlushCommitLogThoroughInterval    time.Duration
	FlushIntervalConsumeQueue         time.Duration
	FlushConsumeQueueLeastPages       int
	FlushConsumeQueueThoroughInterval time.Duration
	SyncFlushTimeout                  time.Duration

	// How long it stays.
	DeleteWhen                   string
	FileReservedTime             time.Duration
	DiskMaxUsedSpaceRatio        int
	DiskSpaceCleanForciblyRatio  int
	DiskSpaceWarningLevelRatio   int
	CleanFileForciblyEnable      bool
	CleanResourceInterval        time.Duration
	DeleteCommitLogFilesInterval time.Duration
	DestroyMappedFileForcibly    time.Duration
	RedeleteHangedFileInterval   time.Duration

	// What one answer may carry.
	MaxTransferBytesOnMessageInMemory int
	MaxTransferCountOnMessageInMemory int
	MaxTransferBytesOnMessageInDisk   int
	MaxTransferCountOnMessageInDisk   int
	AccessMessageInMemoryMaxRatio     int
	DefaultQueryMaxNum                int
	MaxMsgsNumBatch                   int
	OffsetCheckInSlave                bool

	// Replication.
	HAMasterAddress         string
	HASendHeartbeatInterval time.Duration
	HAHousekeepingInterval  time.Duration
	HATransferBatchSize     int
	HASlaveFallbehindMax    int64
	SlaveTimeout            time.Duration

	// How many copies an acknowledgement means, and how fast a slave is filled.
	InSyncReplicas            int
	MinInSyncReplicas         int
	AllAckInSyncStateSet      bool
	EnableAutoInSyncReplicas  bool
	HAFlowControlEnable       bool
	MaxHATransferByteInSecond int64

	// Raft groups.
	EnableDLegerCommitLog bool
	DLegerGroup           string
	DLegerPeers           string
	DLegerSelfID          string
	PreferredLeaderID     string
	RaftJoin              bool
}

// Load makes a configuration of layers of settings: a later layer wins. Callers put Surroundings first, the file
// next, the command line last, as RocketMQ does.
func Load(layers ...[]conf.Prop) (*conf.Live[Config], []conf.Warning, error) {
	return conf.NewLive((*Config).Keys, layers...)
}

// Surroundings is the layer below the file: what the host and its environment say.
func Surroundings(hostname, home string, lookup func(string) (string, bool)) []conf.Prop {
	props := new(Config).Keys().Environment(lookup)
	return append(props,
		conf.Prop{Key: "brokerName", Value: hostname, File: "host name"},
		conf.Prop{Key: "storePathRootDir", Value: filepath.Join(home, "store"), File: "home directory"})
}

// IsMaster tells whether the broker takes messages from producers.
func (c *Config) IsMaster() bool { return c.BrokerRole != Slave }

// NameServers is namesrvAddr as a list.
func (c *Config) NameServers() []string { return splitList(c.NamesrvAddr) }

// VIPPort is the port beside listenPort that old clients and all slaves use; 0 when the main port is chosen by the system.
func (c *Config) VIPPort() int { return max(0, c.ListenPort-2) }

// ConfigDir is where topics.json and its like lie.
func (c *Config) ConfigDir() string { return filepath.Join(c.StorePathRootDir, "config") }

// ConsumeQueueFileSize is a whole number of 20-byte units.
func (c *Config) ConsumeQueueFileSize() int64 {
	const unit = 20
	return (c.MappedFileSizeConsumeQueue + unit - 1) / unit * unit
}

// DeleteHours are the hours of the day, 0 to 23, in which old files are deleted.
func (c *Config) DeleteHours() []int {
	hours, _ := parseHours(c.DeleteWhen)
	return hours
}

// DelayLevels are the delays of levels 1, 2, 3 and so on.
func (c *Config) DelayLevels() []time.Duration {
	levels, _ := parseDelayLevels(c.MessageDelayLevel)
	return levels
}

// defaultSendThreads and defaultPullThreads follow RocketMQ.
func defaultSendThreads() int { return min(runtime.NumCPU(), 4) }
func defaultPullThreads() int { return 16 + 2*runtime.NumCPU() }

func parseHours(s string) ([]int, error) {
	var hours []int
	for _, word := range splitList(s) {
		h, err := strconv.Atoi(word)
		if err != nil || h < 0 || h > 23 {
			return nil, fmt.Errorf("%q is not an hour of the day, 00 to 23", word)
		}
		hours = append(hours, h)
	}
	if len(hours) == 0 {
		return nil, fmt.Errorf("want an hour of the day, or several with ; between")
	}
	return slices.Compact(slices.Sorted(slices.Values(hours))), nil
}

var delayUnits = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}

func parseDelayLevels(s string) ([]time.Duration, error) {
	var levels []time.Duration
	for _, word := range strings.Fields(s) {
		unit, ok := delayUnits[word[len(word)-1]]
		n, err := strconv.Atoi(word[:len(word)-1])
		if !ok || err != nil || n <= 0 || n > 100_000 {
			return nil, fmt.Errorf("%q is not a delay such as 30s, 5m, 2h or 1d", word)
		}
		levels = append(levels, time.Duration(n)*unit)
	}
	if len(levels) == 0 {
		return nil, fmt.Errorf("want delays such as 1s 5s 10s")
	}
	return levels, nil
}

func splitList(s string) []string {
	var out []string
	for _, part := range strings.Split(s, ";") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
