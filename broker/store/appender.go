package store

// The end of the log: where the next record goes, and how it gets its place and its offsets there.

import (
	"rmqctl/broker/store/commitlog"
	"rmqctl/broker/store/consumequeue"
	"rmqctl/internal/message"
)

// appender is the state of the log's end. All of it is guarded by Store.mu.
type appender struct {
	end   int64 // where the next record goes
	chunk *commitlog.Chunk
	fill  int // bytes used of chunk

	open    *round // takes puts
	writing *round // is being written, or nil
	idle    *round // used ones, for the next time
	idles   int    // how many
	crowd   int    // > 0: a round had several callers lately; for the one who set committing

	gen       int64 // changes when the queues' Next must be learned anew
	exclusive bool  // raw bytes are being written: no appends
	published int64 // end of the last record that is in its queue and in the index
}

// enterLocked checks what may have changed since refuse, and learns the queue's end at its first append.
func (s *Store) enterLocked(q *consumequeue.Queue) error {
	if s.closed || !s.started {
		return ErrClosed
	}
	if s.exclusive {
		return ErrReplicating
	}
	if s.fenced || s.gated != nil && !s.gated.leading {
		return ErrFollowing
	}
	if q != nil && q.Gen != s.gen {
		end, err := q.End()
		if err != nil {
			return err
		}
		q.Next, q.Gen = end, s.gen
	}
	return nil
}

// recordLocked gives m its place, offset and time, and encodes it there.
func (s *Store) recordLocked(m *message.Message, r *rec, size int, now int64) {
	dst := s.reserveLocked(size)
	m.StoreTimestamp = now
	m.PhysicalOffset, m.QueueOffset, m.Size = s.end, 0, int32(size)
	if q := r.queue; q != nil {
		m.QueueOffset = q.Next
		q.Next++
	}
	message.AppendRecord(dst, m)
	r.at, r.store = m.QueueOffset, now
	r.unit.Phys, r.unit.Size = s.end, int32(size)
	if m.Topic == message.ScheduleTopic {
		if level, ok := delayLevel(m.Properties); ok {
			r.unit.Tags = s.deliverTime(level, now)
		}
	}
	s.open.recs = append(s.open.recs, *r)
	s.open.cost += int64(size) + recCost
	s.end += int64(size)
}

// recCost is about what a message holds in memory until it is told, beside its bytes.
const recCost = 1024

// roomLocked makes sure that total bytes fit into the current segment and chunk in one piece.
func (s *Store) roomLocked(total int) {
	left := s.o.SegmentSize - s.end%s.o.SegmentSize
	if int64(total+commitlog.BlankSize) > left {
		s.open.runs = append(s.open.runs, run{off: s.end, b: commitlog.Blank(left)})
		s.end += left
		s.leaveChunkLocked()
	}
	if s.chunk == nil || s.fill+total > s.chunk.Cap() {
		s.leaveChunkLocked()
		s.chunk, s.fill = s.clog.Tail.New(s.end, total), 0
	}
}

// leaveChunkLocked ends the use of the current chunk. Our reference to it goes when its last piece is written.
func (s *Store) leaveChunkLocked() {
	if s.chunk == nil {
		return
	}
	for i := len(s.open.runs) - 1; i >= 0; i-- {
		if s.open.runs[i].chunk == s.chunk {
			s.open.runs[i].last = true
			s.chunk = nil
			return
		}
	}
	if !s.committing { // else a round on its way may still write from it: the collector gets it
		s.chunk.Release()
	}
	s.chunk = nil
}

// reserveLocked gives the place for the next size bytes.
func (s *Store) reserveLocked(size int) []byte {
	s.roomLocked(size)
	dst := s.chunk.Room(s.fill)
	runs := s.open.runs
	if n := len(runs); n > 0 && runs[n-1].chunk == s.chunk && runs[n-1].off+int64(len(runs[n-1].b)) == s.end {
		runs[n-1].b = s.chunk.Bytes(runs[n-1].from, s.fill+size)
	} else {
		s.open.runs = append(runs, run{off: s.end, b: s.chunk.Bytes(s.fill, s.fill+size), chunk: s.chunk, from: s.fill})
	}
	s.fill += size
	return dst
}
