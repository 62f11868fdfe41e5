// Package store keeps a broker's messages in RocketMQ's own files: one commit log shared by all topics, a consume queue
// per topic and queue that points into it, and an index by key. It knows nothing of the network.
//
// DESIGN.md says what holds at every moment and why.
package store

import (
	"errors"
	"log/slog"
	"strconv"
	"time"

	"rmqctl/broker/store/commitlog"
	"rmqctl/internal/clock"
	"rmqctl/internal/vfs"
)

// Status is the outcome of a put.
type Status int

const (
	PutOK Status = iota
	FlushDiskTimeout
	FlushSlaveTimeout
	SlaveNotAvailable
	ServiceNotAvailable
	CreateMappedFileFailed
	MessageIllegal
	PropertiesSizeExceeded
	PageCacheBusy
	UnknownError
)

var statusNames = [...]string{"PUT_OK", "FLUSH_DISK_TIMEOUT", "FLUSH_SLAVE_TIMEOUT", "SLAVE_NOT_AVAILABLE",
	"SERVICE_NOT_AVAILABLE", "CREATE_MAPPED_FILE_FAILED", "MESSAGE_ILLEGAL", "PROPERTIES_SIZE_EXCEEDED",
	"OS_PAGE_CACHE_BUSY", "UNKNOWN_ERROR"}

// String is upstream's name.
func (s Status) String() string {
	if s < 0 || int(s) >= len(statusNames) {
		return "Status(" + strconv.Itoa(int(s)) + ")"
	}
	return statusNames[s]
}

// PutResult tells where a message, or a batch, went.
type PutResult struct {
	Status         Status
	PhysicalOffset int64  // of the first record
	Size           int    // of all records
	NextOffset     int64  // end of the last record: what flush and replication must reach
	QueueOffset    int64  // of the first record
	MessageIDs     string // of a batch, comma-joined; of one message only from Append
	StoreTimestamp int64
	Count          int
}

// GetStatus is the outcome of a Get.
type GetStatus int

const (
	Found GetStatus = iota
	NoMatchedMessage
	MessageWasRemoving
	OffsetFoundNull
	OffsetOverflowBadly
	OffsetOverflowOne
	OffsetTooSmall
	NoMatchedLogicQueue
	NoMessageInQueue
)

var getStatusNames = [...]string{"FOUND", "NO_MATCHED_MESSAGE", "MESSAGE_WAS_REMOVING", "OFFSET_FOUND_NULL",
	"OFFSET_OVERFLOW_BADLY", "OFFSET_OVERFLOW_ONE", "OFFSET_TOO_SMALL", "NO_MATCHED_LOGIC_QUEUE", "NO_MESSAGE_IN_QUEUE"}

// String is upstream's name.
func (s GetStatus) String() string {
	if s < 0 || int(s) >= len(getStatusNames) {
		return "GetStatus(" + strconv.Itoa(int(s)) + ")"
	}
	return getStatusNames[s]
}

// GetLimit bounds one Get from the client's side; zero means no bound beyond the store's own.
type GetLimit struct {
	Messages int
	Bytes    int
	Cached   bool // do not wait for the disk: ErrCold instead
}

// Match says which messages a Get wants. A nil function wants all.
type Match struct {
	Unit   func(tagsCode int64) bool // asked first, from the consume queue
	Record func(record []byte) bool  // asked with the whole stored record
}

// GetResult is what Get found. Next, Min and Max are always set. Call Release when the messages are no longer used.
type GetResult struct {
	Status       GetStatus
	Messages     [][]byte // whole records, exactly as stored
	Bytes        int
	Next         int64
	Min, Max     int64
	SuggestSlave bool // the reader is farther behind than memory reaches

	held  []*commitlog.Chunk
	arena []byte // holds what came from files
}

// arenaSize is what a result keeps for messages read one by one.
const arenaSize = 64 << 10

// Release gives the memory behind Messages back. Calling it late or never costs memory, nothing else.
func (r *GetResult) Release() {
	for i, c := range r.held {
		c.Release()
		r.held[i] = nil
	}
	clear(r.Messages)
	r.held, r.Messages, r.arena = r.held[:0], r.Messages[:0], r.arena[:0]
	if cap(r.arena) > arenaSize {
		r.arena = nil
	}
}

// Trim gives back, after Release, what a result keeps for its next use and that is large: for those who keep it idle.
func (r *GetResult) Trim() { r.arena = nil }

// QueryResult is what Query found.
type QueryResult struct {
	Messages       [][]byte
	LastUpdateTime int64 // indexLastUpdateTimestamp
	LastUpdatePhys int64 // indexLastUpdatePhyoffset
}

// Dispatch says that a message has become visible in its queue.
type Dispatch struct {
	Topic          string
	Queue          int32
	MaxOffset      int64 // of the queue, now
	TagsCode       int64
	StoreTimestamp int64
	PhysicalOffset int64
}

// Events are calls out of the store. They run without any lock of the store held, but on its own goroutines or on an
// appender's: they must be quick and must not append.
type Events struct {
	OnDispatch func(Dispatch)                  // after the unit is visible; in log order; see Attention
	OnRound    func()                          // everybody whose message was in one round has been told: see Done
	OnFlush    func(flushed int64)             // the log is on disk up to here
	OnCorrupt  func(what string, offset int64) // damaged bytes were found, skipped or set aside
	OnDelete   func(file string, why string)   // a file was deleted by retention
	OnFailure  func(err error)                 // the store has become unwritable, said once
}

// Tunables may change while the store runs; see Tune.
type Tunables struct {
	FlushInterval         time.Duration // flushIntervalCommitLog
	FlushLeastPages       int           // flushCommitLogLeastPages
	FlushThoroughInterval time.Duration // flushCommitLogThoroughInterval
	SyncFlush             bool          // flushDiskType: nothing is visible or acknowledged before the disk has it
	SyncFlushTimeout      time.Duration // syncFlushTimeout: then who still waits gets FlushDiskTimeout
	MaxWaitAck            time.Duration // of a member of a raft group: what is not committed by then is answered as failed

	QueueFlushInterval         time.Duration // flushIntervalConsumeQueue
	QueueFlushLeastPages       int           // flushConsumeQueueLeastPages
	QueueFlushThoroughInterval time.Duration // flushConsumeQueueThoroughInterval

	MaxMessageSize int // maxMessageSize: bytes of body; a batch as a whole has the same bound

	MaxBytesInMemory, MaxCountInMemory int // maxTransferBytesOnMessageInMemory, maxTransferCountOnMessageInMemory
	MaxBytesOnDisk, MaxCountOnDisk     int // maxTransferBytesOnMessageInDisk, maxTransferCountOnMessageInDisk
	InMemoryRatio                      int // accessMessageInMemoryMaxRatio, percent of Options.MemoryBytes
	MaxFilterBytes                     int // maxFilterMessageSize: bytes of units scanned by one Get

	CleanInterval          time.Duration // cleanResourceInterval
	DeleteWhen             []int         // hours of the local day
	FileReserved           time.Duration // fileReservedTime
	DeletePause            time.Duration // deleteCommitLogFilesInterval
	DeleteBatch            int           // deleteFileBatchMax
	DestroyForcibly        time.Duration // destroyMapedFileIntervalForcibly
	RedeleteHanged         time.Duration // redeleteHangedFileInterval
	CleanForcibly          bool          // cleanFileForciblyEnable
	DiskMaxUsedRatio       int           // diskMaxUsedSpaceRatio, percent
	DiskWarningRatio       int           // diskSpaceWarningLevelRatio: beyond it writes are refused
	DiskCleanForciblyRatio int           // diskSpaceCleanForciblyRatio
}

// DefaultTunables are RocketMQ 4.9.8's defaults.
func DefaultTunables() Tunables {
	return Tunables{
		FlushInterval: 500 * time.Millisecond, FlushLeastPages: 4, FlushThoroughInterval: 10 * time.Second,
		SyncFlushTimeout: 5 * time.Second, MaxWaitAck: 2500 * time.Millisecond,
		QueueFlushInterval: time.Second, QueueFlushLeastPages: 2, QueueFlushThoroughInterval: time.Minute,
		MaxMessageSize:   4 << 20,
		MaxBytesInMemory: 256 << 10, MaxCountInMemory: 32, MaxBytesOnDisk: 64 << 10, MaxCountOnDisk: 8,
		InMemoryRatio: 40, MaxFilterBytes: 16000,
		CleanInterval: 10 * time.Second, DeleteWhen: []int{4}, FileReserved: 72 * time.Hour,
		DeletePause: 100 * time.Millisecond, DeleteBatch: 10, DestroyForcibly: 2 * time.Minute,
		RedeleteHanged: 2 * time.Minute, CleanForcibly: true,
		DiskMaxUsedRatio: 75, DiskWarningRatio: 90, DiskCleanForciblyRatio: 85,
	}
}

// Options say where a store is and how its files are shaped. Zero values take RocketMQ's defaults.
type Options struct {
	Dir             string // storePathRootDir
	CommitLogDir    string // storePathCommitLog; "" = Dir/commitlog
	ConsumeQueueDir string // storePathConsumeQueue; "" = Dir/consumequeue
	IndexDir        string // storePathIndex; "" = Dir/index
	CheckpointFile  string // storeCheckpoint; "" = Dir/checkpoint
	AbortFile       string // abortFile; "" = Dir/abort

	SegmentSize      int64 // mappedFileSizeCommitLog, 1 GiB
	QueueSegmentSize int64 // mappedFileSizeConsumeQueue, 6000000; rounded up to whole units
	NoIndex          bool  // messageIndexEnable=false
	IndexSlots       int32 // maxHashSlotNum, 5000000
	IndexEntries     int32 // maxIndexNum, 20000000

	MemoryBytes int64 // what counts as this machine's memory; 0 = ask the machine
	TailBytes   int64 // newest log bytes kept in memory for readers, 32 MiB
	OpenFiles   int   // files kept open, 1024

	// DeliverTime gives the time at which a message of SCHEDULE_TOPIC_XXXX with this delay level is due. nil: one second later.
	DeliverTime func(level int, storeTimestamp int64) int64

	Gate      Gate  // not nil: the store is a member of a raft group, see gate.go
	Committed int64 // of a member: the group has committed the log up to here, as far as is known

	Tunables *Tunables // nil = DefaultTunables
	Events   Events
	Clock    clock.Clock
	Log      *slog.Logger
	Progress func(done, total int64) // bytes of log scanned by recovery
}

// Errors of the store.
var (
	ErrClosed      = errors.New("store: closed")
	ErrLocked      = errors.New("store: the directory is in use by another broker")
	ErrNotFound    = errors.New("store: no message at this offset")
	ErrCold        = vfs.ErrCold // a Get that must not wait for the disk would have to
	ErrOutOfRange  = errors.New("store: outside of the log")
	ErrNotNext     = errors.New("store: bytes do not continue the log")
	ErrBadStream   = errors.New("store: bytes are not a commit log")
	ErrTimeout     = errors.New("store: not on disk in time")
	ErrReplicating = errors.New("store: a master's bytes are being written")
	ErrDiskFull    = errors.New("store: the disk is full")
	ErrFlushFailed = errors.New("store: a flush has failed")
)
