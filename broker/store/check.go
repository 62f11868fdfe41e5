package store

// Check holds the log, the queues and the index against each other. It is for tests and for an operator's doubt; it reads
// everything.

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// Check returns what does not fit, one line each; nothing when all is well. Nobody may append meanwhile.
func (s *Store) Check() []string {
	var wrong []string
	say := func(format string, a ...any) { wrong = append(wrong, fmt.Sprintf(format, a...)) }
	if s.clog.Flushed() > s.clog.Written() {
		say("flushed %d is beyond written %d", s.clog.Flushed(), s.clog.Written())
	}
	ends, units := s.checkRecords(say)
	for _, key := range slices.Sorted(maps.Keys(units)) {
		wrong = append(wrong, units[key]...)
	}
	for _, topic := range s.Topics() {
		for _, id := range s.Queues(topic) {
			s.checkQueue(topic, id, ends, say)
		}
	}
	return wrong
}

// checkRecords walks over the log and looks for every record's unit and keys. What is wrong with units comes by queue: a
// record with offset 0 voids all before it, for then the topic was deleted and made anew.
func (s *Store) checkRecords(say func(string, ...any)) (ends map[string]int64, units map[string][]string) {
	ends, units = map[string]int64{}, map[string][]string{}
	w := &walker{read: s.read, segment: s.o.SegmentSize, limit: s.clog.Written(), block: 1 << 20, crc: true}
	for at := s.clog.Min(); at < w.limit; {
		var r message.Record
		n, bad, err := w.record(at, &r)
		if errors.Is(err, errEnd) {
			return ends, units
		}
		if err != nil || bad {
			say("log at %d: %v", at, err)
			next, found, rerr := w.resync(at, s.o.SegmentSize)
			if rerr != nil {
				say("log at %d: %v", at, rerr)
				return ends, units
			}
			if !found {
				next = s.clog.Base(at) + s.o.SegmentSize
			}
			at = next
			continue
		}
		if r.Size > 0 && hasQueue(r.SysFlag) {
			key := fmt.Sprint(string(r.Topic), "/", r.QueueID)
			if r.QueueOffset == 0 {
				delete(units, key)
			}
			if wrong := s.checkRecord(&r); wrong != "" {
				units[key] = append(units[key], wrong)
			}
			ends[key] = at + n
		}
		at += n
	}
	return ends, units
}

func (s *Store) checkRecord(r *message.Record) string {
	q := s.table.Get(string(r.Topic), r.QueueID)
	if q == nil {
		return "" // deleted topic
	}
	if end, err := q.End(); err == nil && end == 0 {
		return "" // deleted, and what was made anew is gone
	}
	want := consumequeue.Unit{Phys: r.PhysicalOffset, Size: r.Size, Tags: s.tagsCode(r, propsOf(r.Properties))}
	u, ok := s.unit(q, r.QueueOffset)
	if (!ok || u != want) && (!ok || u.Phys < want.Phys) { // a newer one: the topic was made anew
		return fmt.Sprintf("record at %d: %s/%d has %+v at %d, want %+v", r.PhysicalOffset, r.Topic, r.QueueID, u, r.QueueOffset, want)
	}
	return ""
}

// checkQueue looks whether units grow and none points beyond the log.
func (s *Store) checkQueue(topic string, id int32, ends map[string]int64, say func(string, ...any)) {
	first, end := s.offsets(topic, id)
	q := s.table.Get(topic, id)
	last := int64(-1)
	for i := first; i < end; i++ {
		u, ok := s.unit(q, i)
		if !ok {
			continue
		}
		if u.Phys <= last || u.Phys+int64(u.Size) > s.clog.Written() {
			say("%s/%d unit %d: %+v after %d, log ends at %d", topic, id, i, u, last, s.clog.Written())
		}
		last = u.Phys
	}
	if want, ok := ends[fmt.Sprint(topic, "/", id)]; ok && last >= 0 {
		if u, ok := s.unit(q, end-1); ok && u.Phys+int64(u.Size) != want {
			say("%s/%d ends at log offset %d, its newest record at %d", topic, id, u.Phys+int64(u.Size), want)
		}
	}
}

// CheckpointInfo is what a checkpoint file says, for those who look at a store from outside.
type CheckpointInfo struct {
	Found               bool  // the file is there
	Phys, Logics, Index int64 // RocketMQ's store timestamps
	Exact               bool  // our own part is whole and nobody else has written since
	Safe, LastRecord    int64 // when Exact: everything below Safe is on the disk; its last record starts at LastRecord
}

// ReadCheckpoint reads a checkpoint file; a missing one is no error.
func ReadCheckpoint(fsys vfs.FS, name string) (CheckpointInfo, error) {
	if _, err := fsys.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return CheckpointInfo{}, nil
	}
	c, err := readCheckpoint(fsys, name)
	if err != nil {
		return CheckpointInfo{}, err
	}
	return CheckpointInfo{Found: true, Phys: c.phys, Logics: c.logics, Index: c.index, Exact: c.exact, Safe: c.safe, LastRecord: c.lastRecord}, nil
}
