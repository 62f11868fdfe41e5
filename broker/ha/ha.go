// Package ha replicates the bytes of the commit log from a master to its slaves with RocketMQ's DefaultHA protocol:
// raw TCP on the HA port, no framing beyond what stands here, so a Java 4.x or 5.x broker may be at either end.
//
//	slave → master, whenever its log has grown and at least every heartbeat:
//	    | max offset of the slave's log i64 |
//	master → slave, data or (size 0) a heartbeat:
//	    | offset of the first byte i64 | size i32 | size bytes of the log, never across a segment |
//
// The first report on a connection says where the master has to begin; 0 says the slave has nothing.
// What brokers of ours say beyond it stands in hello.go; why, in DESIGN.md.
package ha

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

const (
	reportSize = 8
	headerSize = 12

	// DefaultBatchSize is haTransferBatchSize, the largest body of a frame.
	DefaultBatchSize = 32 << 10
	// MaxBatchSize is what a Java slave can take: its read buffer of 4 MiB holds one whole frame.
	MaxBatchSize = 4<<20 - headerSize
	// inlineBytes is how much a writer of the log sends itself when an append waits for it: waking the sender takes longer.
	inlineBytes = 16 << 10
	// gatherBytes is about what goes into one write to the socket, in several frames.
	gatherBytes = 256 << 10

	// DefaultHeartbeat is haSendHeartbeatInterval, DefaultHousekeeping haHousekeepingInterval.
	DefaultHeartbeat    = 5 * time.Second
	DefaultHousekeeping = 20 * time.Second
)

// Source is the log of a master.
type Source interface {
	MinPhysical() int64
	MaxPhysical() int64
	// SegmentSize is the length of a file of the log.
	SegmentSize() int64
	// ReadLog reads at off without crossing a segment or the end of the log; 0, nil at the end.
	ReadLog(off int64, buf []byte) (int, error)
	// QueueEnds says where the queues stand at off, the beginning of the log: a slave that begins there gives no queue offset
	// twice when it becomes master.
	QueueEnds(off int64) ([]byte, error)
	// Watch calls grown after each round of appends, one call at a time, until stop is called.
	Watch(grown func(maxPhysical int64)) (stop func())
}

// Sink is the log of a slave.
type Sink interface {
	MinPhysical() int64
	MaxPhysical() int64
	SegmentSize() int64
	ReadLog(off int64, buf []byte) (int, error)
	// AppendRaw appends at exactly MaxPhysical, or at any offset if the log is empty. Bytes may end inside a record.
	AppendRaw(off int64, b []byte) error
	// TruncateTo ends the log at off, the start of a record. A power cut does not bring back what was behind it.
	TruncateTo(off int64) error
	// Reset drops the whole log: it is empty and goes on at from, with the ends of queues that QueueEnds of its master tells.
	Reset(from int64, ends []byte) error
}

// Status is how an append stands with the slaves, in RocketMQ's words.
type Status uint8

const (
	// Replicated: as many slaves have it as the rules ask for.
	Replicated Status = iota
	// SlaveNotAvailable: no slave is connected, or every one is too far behind to be waited for.
	SlaveNotAvailable
	// FlushSlaveTimeout: a slave is connected and did not acknowledge in time.
	FlushSlaveTimeout
	// InSyncReplicasNotEnough: fewer slaves are near than an append may be stored with. Only Admit answers it.
	InSyncReplicasNotEnough
)

func (s Status) String() string {
	return [...]string{"replicated", "slave not available", "flush slave timeout", "in sync replicas not enough"}[s]
}

// errFrame: the peer does not speak this protocol.
var errFrame = errors.New("not a replication frame")

func putHeader(b []byte, off int64, size int) {
	binary.BigEndian.PutUint64(b, uint64(off))
	binary.BigEndian.PutUint32(b[8:], uint32(size))
}

// parseHeader decodes what a master sends before each body.
func parseHeader(b []byte) (off int64, size int, err error) {
	if len(b) < headerSize {
		return 0, 0, errFrame
	}
	off = int64(binary.BigEndian.Uint64(b))
	n := int32(binary.BigEndian.Uint32(b[8:]))
	if off < 0 || n < 0 || n > MaxBatchSize {
		return 0, 0, fmt.Errorf("%w: offset %d size %d", errFrame, off, n)
	}
	return off, int(n), nil
}

// reports collects the stream of a slave: only the newest complete report counts.
type reports struct {
	part [reportSize]byte
	n    int // bytes of part
}

// feed takes what was read and returns the newest report completed by it, if one was.
func (r *reports) feed(b []byte) (off int64, ok bool) {
	if len(b) >= reportSize+(reportSize-r.n)%reportSize {
		// Skip to the last complete word without looking at those before it.
		whole := (r.n + len(b)) / reportSize * reportSize // bytes of the stream, counted from part's start
		last := whole - reportSize - r.n
		off, ok = int64(binary.BigEndian.Uint64(b[last:])), true
		r.n = copy(r.part[:], b[last+reportSize:])
		return off, ok
	}
	for _, c := range b {
		r.part[r.n] = c
		if r.n++; r.n == reportSize {
			off, ok, r.n = int64(binary.BigEndian.Uint64(r.part[:])), true, 0
		}
	}
	return off, ok
}
