package store

// The way back: records that were read from the log (recovery, replication) become units and index entries again.

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/index"
	"rmqctl/internal/message"
)

// restorer publishes records one after the other; index entries gather and go to the index in runs, on a goroutine of
// their own: it costs as much as all the rest.
type restorer struct {
	s    *Store
	keys []index.Put
	runs chan []index.Put
	used chan []index.Put
	done sync.WaitGroup
}

const (
	restoreRun  = 2048
	restoreRuns = 4
)

// restorer begins; close puts the last index entries in their place.
func (s *Store) restorer() *restorer {
	b := &restorer{s: s}
	if s.index == nil {
		return b
	}
	b.runs, b.used = make(chan []index.Put, restoreRuns), make(chan []index.Put, restoreRuns)
	for range restoreRuns {
		b.used <- make([]index.Put, 0, restoreRun+restoreRun/4)
	}
	b.keys = <-b.used
	b.done.Go(func() {
		for run := range b.runs {
			s.indexRun(run)
			b.used <- run[:0]
		}
	})
	return b
}

func (b *restorer) close() {
	if b.runs != nil {
		b.runs <- b.keys
		close(b.runs)
		b.done.Wait()
	}
}

func (b *restorer) record(r *message.Record) error {
	_, err := b.s.restore(r, &b.keys)
	if len(b.keys) >= restoreRun {
		b.runs <- b.keys
		b.keys = <-b.used
	}
	return err
}

// indexRun must not stop the broker: a message that could not be indexed is found by everything but its key.
func (s *Store) indexRun(run []index.Put) {
	if err := s.index.PutRun(run, s.now); err != nil && s.count.indexErrors.Add(1) == 1 {
		s.log.Error("index: messages are not findable by key", "offset", run[0].Phys, "err", err)
	}
}

// restore publishes a record to its queue if it has one and adds its index entries to keys.
func (s *Store) restore(r *message.Record, keys *[]index.Put) (Dispatch, error) {
	d := Dispatch{Queue: r.QueueID, MaxOffset: -1, StoreTimestamp: r.StoreTimestamp, PhysicalOffset: r.PhysicalOffset}
	if !validTopic(string(r.Topic)) || r.QueueID < 0 || r.QueueOffset < 0 || r.QueueOffset > maxQueueOffset {
		s.corrupt(fmt.Sprintf("a record for topic %q queue %d offset %d is left out", r.Topic, r.QueueID, r.QueueOffset), r.PhysicalOffset)
		return d, nil
	}
	p := propsOf(r.Properties)
	if hasQueue(r.SysFlag) {
		if err := s.restoreUnit(r, &p, &d); err != nil {
			return d, err
		}
	}
	if s.index != nil && r.SysFlag&message.SysTransactionMask != message.SysRollback {
		*keys = p.entries(*keys, r)
	}
	return d, nil
}

func (s *Store) restoreUnit(r *message.Record, p *known, d *Dispatch) error {
	u := consumequeue.Unit{Phys: r.PhysicalOffset, Size: r.Size, Tags: s.tagsCode(r, *p)}
	q := s.table.GetBytes(r.Topic, r.QueueID)
	out, err := q.Restore(r.QueueOffset, u)
	if err != nil {
		return fmt.Errorf("queue %s/%d: %w", q.Topic, q.ID, err)
	}
	switch out {
	case consumequeue.Padded:
		s.log.Warn("messages are missing from a queue", "topic", q.Topic, "queue", q.ID, "offset", r.QueueOffset)
	case consumequeue.Refused:
		s.corrupt(fmt.Sprintf("a record claims offset %d of queue %s/%d, which cannot be", r.QueueOffset, q.Topic, q.ID), r.PhysicalOffset)
		return nil
	case consumequeue.Restarted:
		if err := s.forgetEnds(); err != nil {
			return err
		}
		s.log.Info("queue numbered anew", "topic", q.Topic, "queue", q.ID, "offset", r.QueueOffset)
	}
	d.Topic, d.MaxOffset, d.TagsCode = q.Topic, r.QueueOffset+1, u.Tags
	return nil
}

// maxQueueOffset is beyond any queue and small enough to count in bytes.
const maxQueueOffset = 1 << 50

// validTopic: the name becomes a directory.
func validTopic(t string) bool {
	return t != "" && len(t) <= 255 && t != "." && t != ".." && !strings.ContainsAny(t, "/\\\x00")
}

// tagsCode is the third field of a unit: the tag's hash, or for delayed messages the time they are due.
func (s *Store) tagsCode(r *message.Record, p known) int64 {
	if string(r.Topic) == message.ScheduleTopic {
		if level, ok := delayLevel(r.Properties); ok {
			return s.deliverTime(level, r.StoreTimestamp)
		}
	}
	if p.tags != nil {
		return message.TagHash(string(p.tags))
	}
	return 0
}

// known is what the store itself reads of a message's properties.
type known struct{ tags, unique, keys []byte }

// propsOf finds them in one walk; of a name that comes twice the first counts, as everywhere.
func propsOf(b []byte) (p known) {
	for len(b) > 0 {
		entry := b
		if i := bytes.IndexByte(b, 2); i >= 0 {
			entry, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		switch {
		case len(entry) < 6:
		case p.tags == nil && string(entry[:5]) == message.PropTags+"\x01":
			p.tags = entry[5:]
		case p.keys == nil && string(entry[:5]) == message.PropKeys+"\x01":
			p.keys = entry[5:]
		case p.unique == nil && len(entry) > 9 && string(entry[:9]) == message.PropUniqKey+"\x01":
			p.unique = entry[9:]
		}
	}
	return p
}

// entries appends the index entries of r: one for its unique key, one for each of its keys.
func (p *known) entries(to []index.Put, r *message.Record) []index.Put {
	if p.unique != nil {
		to = append(to, index.Put{Hash: index.Hash(string(r.Topic), string(p.unique)), Phys: r.PhysicalOffset, At: r.StoreTimestamp})
	}
	for keys := p.keys; len(keys) > 0; {
		key := keys
		if i := bytes.IndexByte(keys, ' '); i >= 0 {
			key, keys = keys[:i], keys[i+1:]
		} else {
			keys = nil
		}
		if len(key) > 0 {
			to = append(to, index.Put{Hash: index.Hash(string(r.Topic), string(key)), Phys: r.PhysicalOffset, At: r.StoreTimestamp})
		}
	}
	return to
}
