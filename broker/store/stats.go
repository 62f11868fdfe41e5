package store

// The store's numbers.

import (
	"sync"
	"sync/atomic"
)

// Stats are the store's numbers at one moment.
type Stats struct {
	Messages, Bytes    int64 // put since the start
	Gets, GotMessages  int64
	MinPhysical        int64
	MaxPhysical        int64
	FlushedPhysical    int64
	DispatchedPhysical int64
	ToFlush            int64 // bytes of log not on the disk
	DispatchBehind     int64 // bytes of log not in the queues
	QueueBytesPending  int64 // bytes of queues in memory only
	Flushes            int64
	IndexErrors        int64
	Stalls             int64  // times puts were refused because the disk did not answer
	DiskUsedPercent    int    // of the fuller disk; -1 not measured
	LastStored         int64  // store timestamp of the newest message, ms
	Damages            int64  // damaged places found since the start
	LastDamage         string // the newest of them
}

// Stats reads the numbers.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	published, stored := s.published, s.lastStored
	s.mu.Unlock()
	end, flushed := s.clog.Written(), s.clog.Flushed()
	return Stats{
		Messages: s.count.messages.Load(), Bytes: s.count.bytes.Load(),
		Gets: s.count.gets.Load(), GotMessages: s.count.got.Load(),
		MinPhysical: s.clog.Min(), MaxPhysical: end, FlushedPhysical: flushed, DispatchedPhysical: published,
		ToFlush: end - flushed, DispatchBehind: max(end-published, 0), QueueBytesPending: s.table.PendingBytes(),
		Flushes: s.flush.flush.Load(), IndexErrors: s.count.indexErrors.Load(), Stalls: s.count.stalls.Load(),
		DiskUsedPercent: int(s.count.disk.Load()), LastStored: stored,
		Damages: s.count.damages.Load(), LastDamage: s.count.damage(),
	}
}

// counters are what Stats shows.
type counters struct {
	messages, bytes, gets, got atomic.Int64
	indexErrors, disk, stalls  atomic.Int64
	damages                    atomic.Int64
	lastDamage                 atomic.Pointer[string]

	mu      sync.Mutex         // guards failing and hurt
	failing map[string]bool    // background work whose last try failed
	hurt    map[int64]struct{} // damaged records that were told of
}

func (c *counters) damage() string {
	if what := c.lastDamage.Load(); what != nil {
		return *what
	}
	return ""
}

// firstDamage remembers a damaged record; false: it was told of, or too many were.
func (c *counters) firstDamage(phys int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, told := c.hurt[phys]; told || len(c.hurt) >= 1000 {
		return false
	}
	if c.hurt == nil {
		c.hurt = map[int64]struct{}{}
	}
	c.hurt[phys] = struct{}{}
	return true
}

func (c *counters) put(n, size int) {
	c.messages.Add(int64(n))
	c.bytes.Add(int64(size))
}
