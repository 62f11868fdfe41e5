package store

// Everything that is asked about messages besides pulling them.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sort"
	"sync/atomic"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/index"
	"rmqctl/broker/store/segment"
	"rmqctl/internal/message"
)

// Topics are the names of all topics that have queues here, Queues the ids of one topic's.
func (s *Store) Topics() []string            { return s.table.Topics() }
func (s *Store) Queues(topic string) []int32 { return s.table.Queues(topic) }

// Attention is a counter that OnDispatch goes by: it is called for the messages of a queue while that is not zero.
func (s *Store) Attention(topic string, queue int32) *atomic.Int32 {
	return s.table.Attention(topic, queue)
}

// MinOffset is the first offset of a queue whose message is still there; 0 for an unknown queue.
func (s *Store) MinOffset(topic string, queue int32) int64 {
	first, _ := s.offsets(topic, queue)
	return first
}

// MaxOffset is the offset the next message will get; 0 for an unknown queue.
func (s *Store) MaxOffset(topic string, queue int32) int64 {
	_, end := s.offsets(topic, queue)
	return end
}

func (s *Store) offsets(topic string, queue int32) (first, end int64) {
	q := s.table.Get(topic, queue)
	if q == nil {
		return 0, 0
	}
	first, end, err := q.Range(s.clog.Min(), false)
	if err != nil {
		s.log.Error("offsets of a queue", "topic", topic, "queue", queue, "err", err)
		return 0, 0
	}
	return first, end
}

// unit is one entry of a queue; ok is false when there is none, or it stands for no message.
func (s *Store) unit(q *consumequeue.Queue, offset int64) (u consumequeue.Unit, ok bool) {
	var buf [consumequeue.UnitSize]byte
	b, err := q.Read(buf[:0], offset, 1, false)
	if err != nil || len(b) == 0 {
		return u, false
	}
	u = consumequeue.At(b, 0)
	return u, !u.Filler()
}

// storeTime reads the store timestamp of the record at u.
func (s *Store) storeTime(u consumequeue.Unit) (int64, bool) {
	if u.Size < message.MinRecord || u.Phys < s.clog.Min() {
		return 0, false
	}
	var b [76]byte
	if err := s.read(b[:], u.Phys); err != nil {
		return 0, false
	}
	at := 56
	if binary.BigEndian.Uint32(b[36:])&message.SysBornHostV6 != 0 {
		at = 68
	}
	return int64(binary.BigEndian.Uint64(b[at:])), true
}

// StoreTime is when the message at a queue offset was stored, in ms.
func (s *Store) StoreTime(topic string, queue int32, offset int64) (int64, bool) {
	q := s.table.Get(topic, queue)
	if q == nil {
		return 0, false
	}
	u, ok := s.unit(q, offset)
	if !ok {
		return 0, false
	}
	return s.storeTime(u)
}

// EarliestStoreTime is the store time of the oldest message of a queue, -1 when there is none.
func (s *Store) EarliestStoreTime(topic string, queue int32) int64 {
	first, end := s.offsets(topic, queue)
	if first >= end {
		return -1
	}
	if t, ok := s.StoreTime(topic, queue, first); ok {
		return t
	}
	return -1
}

// OffsetByTime finds the message stored at t (ms): exactly then (the first of several), else the nearer of its neighbours,
// the earlier one when both are as near. Earlier than all gives the first, later than all the last, an empty queue 0.
func (s *Store) OffsetByTime(topic string, queue int32, t int64) int64 {
	q := s.table.Get(topic, queue)
	first, end := s.offsets(topic, queue)
	if q == nil || first >= end {
		return 0
	}
	timeAt := func(i int64) int64 {
		for ; i < end; i++ { // an unreadable message counts as its successor
			if u, ok := s.unit(q, i); ok {
				if at, ok := s.storeTime(u); ok {
					return at
				}
			}
		}
		return math.MaxInt64
	}
	n := first + int64(sort.Search(int(end-first), func(i int) bool { return timeAt(first+int64(i)) >= t }))
	switch {
	case n >= end:
		return end - 1
	case n == first:
		return first
	}
	after := timeAt(n)
	if after == t || after-t < t-timeAt(n-1) {
		return n
	}
	return n - 1
}

// LookMessage reads the record at a log offset.
func (s *Store) LookMessage(phys int64) ([]byte, error) {
	if phys < s.clog.Min() || phys+message.MinRecord > s.clog.Written() {
		return nil, fmt.Errorf("%w: %d", ErrNotFound, phys)
	}
	var head [36]byte
	if err := s.read(head[:], phys); err != nil {
		return nil, s.lookError(phys, err)
	}
	u := consumequeue.Unit{Phys: phys, Size: int32(binary.BigEndian.Uint32(head[:]))}
	left := s.clog.Base(phys) + s.o.SegmentSize - phys
	if u.Size < message.MinRecord || int64(u.Size) > left || phys+int64(u.Size) > s.clog.Written() {
		return nil, fmt.Errorf("%w: %d", ErrNotFound, phys)
	}
	b := make([]byte, u.Size)
	if err := s.read(b, phys); err != nil {
		return nil, s.lookError(phys, err)
	}
	var r message.Record
	if _, err := r.Parse(b, message.Options{CheckCRC: true}); err != nil || r.PhysicalOffset != phys {
		if errors.Is(err, message.ErrBadCRC) { // else there may be no record at all
			s.damaged(phys, err)
		}
		return nil, fmt.Errorf("%w: %d", ErrNotFound, phys)
	}
	return b, nil
}

func (s *Store) lookError(phys int64, err error) error {
	if errors.Is(err, segment.ErrRemoved) || errors.Is(err, segment.ErrRange) {
		return fmt.Errorf("%w: %d", ErrNotFound, phys)
	}
	return err
}

// Newest is the newest record of the log, for a broker that wants to know whose store this is.
func (s *Store) Newest() (message.Message, bool) {
	s.mu.Lock()
	at := s.lastRecord
	s.mu.Unlock()
	b, err := s.LookMessage(at)
	if err != nil {
		return message.Message{}, false
	}
	m, _, err := message.Decode(b, message.Options{})
	return m, err == nil
}

// Query finds up to most messages of a topic by a key (UNIQ_KEY, or one of KEYS) stored between begin and end (ms), newest
// first. Every message is looked at: another one with the same hash is not given.
func (s *Store) Query(topic, key string, most int, begin, end int64) (QueryResult, error) {
	var res QueryResult
	if s.index == nil {
		return res, nil
	}
	res.LastUpdatePhys, res.LastUpdateTime = s.index.End()
	seen := map[int64]bool{}
	var failed error
	err := s.index.Find(index.Hash(topic, key), begin, end, func(phys int64) bool {
		if len(res.Messages) >= most {
			return false
		}
		if seen[phys] {
			return true
		}
		seen[phys] = true
		b, err := s.LookMessage(phys)
		if err != nil {
			if !errors.Is(err, ErrNotFound) {
				failed = err
			}
			return failed == nil
		}
		if s.hasKey(b, topic, key, begin, end) {
			res.Messages = append(res.Messages, b)
		}
		return true
	})
	return res, errors.Join(err, failed)
}

func (s *Store) hasKey(b []byte, topic, key string, begin, end int64) bool {
	var r message.Record
	if _, err := r.Parse(b, message.Options{}); err != nil || string(r.Topic) != topic {
		return false
	}
	if r.StoreTimestamp < begin || r.StoreTimestamp > end {
		return false
	}
	if string(message.PropertyBytes(r.Properties, message.PropUniqKey)) == key {
		return true
	}
	keys, _ := message.Property(r.Properties, message.PropKeys)
	for _, k := range message.Keys(keys) {
		if k == key {
			return true
		}
	}
	return false
}

// DeleteTopic forgets a topic: its queues and their files. Its messages stay in the log until retention takes them, but a
// later recovery does not bring them back: the checkpoint is moved behind them.
func (s *Store) DeleteTopic(topic string) error {
	if err := s.Checkpoint(); err != nil { // a crash finds no record of it to make again
		return err
	}
	if err := s.deleteQueues(topic); err != nil {
		return fmt.Errorf("delete topic %s: %w", topic, err)
	}
	return s.Checkpoint()
}

// deleteQueues: no checkpoint in between may say of the queues where they end.
func (s *Store) deleteQueues(topic string) error {
	s.ckMu.Lock()
	defer s.ckMu.Unlock()
	if err := s.forgetEnds(); err != nil {
		return err
	}
	return s.table.Delete(topic)
}
