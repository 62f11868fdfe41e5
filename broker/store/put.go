package store

// Putting: what is refused up front, and the way of a message or a batch into the open round (round.go).

import (
	"errors"

	"rmqctl/broker/store/commitlog"
	"rmqctl/broker/store/consumequeue"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// Append writes m to the log and makes it visible in its queue; it does not wait for the disk (AwaitFlushed does). It sets
// m's QueueOffset, PhysicalOffset, StoreTimestamp, BodyCRC and Size. The status says what became of it; the error is set
// when a write failed.
func (s *Store) Append(m *message.Message) (PutResult, error) {
	if res, err := s.refuse(m, 0); res.Status != PutOK {
		return res, err
	}
	var r rec
	s.prepare(m, &r)
	size := message.RecordSize(m)
	q := s.queueFor(m)
	s.mu.Lock()
	if err := s.enterLocked(q); err != nil {
		s.mu.Unlock()
		return PutResult{Status: ServiceNotAvailable}, err
	}
	dst := s.reserveLocked(size)
	s.recordLocked(m, q, &r, dst)
	res := PutResult{PhysicalOffset: m.PhysicalOffset, Size: size, NextOffset: s.end, QueueOffset: m.QueueOffset,
		StoreTimestamp: m.StoreTimestamp, Count: 1}
	if err := s.commitLocked(); err != nil {
		return PutResult{Status: s.failedStatus(err)}, err
	}
	res.MessageIDs = message.OffsetID(m.StoreHost, m.PhysicalOffset)
	s.count.put(m.Topic, 1, size)
	return res, nil
}

// AppendBatch writes one record per item, with consecutive queue offsets and in one piece. m gives what they have in
// common; its properties are added to each item's, as 4.9 does.
func (s *Store) AppendBatch(m *message.Message, items []message.BatchItem) (PutResult, error) {
	if len(items) == 0 || message.PropertyBytes(m.Properties, message.PropDelay) != nil || message.IsRetryTopic(m.Topic) {
		return PutResult{Status: MessageIllegal}, nil
	}
	msgs := make([]message.Message, len(items))
	recs := make([]rec, len(items))
	total := 0
	for i, it := range items {
		msgs[i] = *m
		msgs[i].Flag, msgs[i].Body, msgs[i].BodyCRC = it.Flag, it.Body, 0
		msgs[i].Properties = message.AppendProperties(append([]byte(nil), it.Properties...), m.Properties)
		if res, err := s.refuse(&msgs[i], total); res.Status != PutOK {
			return res, err
		}
		s.prepare(&msgs[i], &recs[i])
		total += message.RecordSize(&msgs[i])
	}
	if total > s.tune.Load().MaxMessageSize {
		return PutResult{Status: MessageIllegal}, nil
	}
	q := s.queueFor(m)
	s.mu.Lock()
	if err := s.enterLocked(q); err != nil {
		s.mu.Unlock()
		return PutResult{Status: ServiceNotAvailable}, err
	}
	s.roomLocked(total)
	for i := range msgs {
		s.recordLocked(&msgs[i], q, &recs[i], s.reserveLocked(message.RecordSize(&msgs[i])))
	}
	m.QueueOffset, m.PhysicalOffset, m.StoreTimestamp = msgs[0].QueueOffset, msgs[0].PhysicalOffset, msgs[0].StoreTimestamp
	res := PutResult{PhysicalOffset: m.PhysicalOffset, Size: total, NextOffset: s.end, QueueOffset: m.QueueOffset,
		StoreTimestamp: m.StoreTimestamp, Count: len(items)}
	if err := s.commitLocked(); err != nil {
		return PutResult{Status: s.failedStatus(err)}, err
	}
	ids := make([]byte, 0, len(items)*33)
	for i := range msgs {
		if i > 0 {
			ids = append(ids, ',')
		}
		ids = message.AppendOffsetID(ids, m.StoreHost, msgs[i].PhysicalOffset)
	}
	res.MessageIDs = string(ids)
	s.count.put(m.Topic, len(items), total)
	return res, nil
}

// refuse looks at everything that can be known before an offset is taken. before is the size of the batch so far.
func (s *Store) refuse(m *message.Message, before int) (PutResult, error) {
	if err := s.Writable(); err != nil {
		return PutResult{Status: ServiceNotAvailable}, err
	}
	t := s.tune.Load()
	switch {
	case !validTopic(m.Topic) || m.QueueID < 0 ||
		len(m.Topic) > message.MaxTopicV1 && !(message.IsRetryTopic(m.Topic) || message.IsDLQTopic(m.Topic)) ||
		len(m.Properties) > 0 && m.Properties[len(m.Properties)-1] == 0:
		return PutResult{Status: MessageIllegal}, nil
	case len(m.Properties) > message.MaxProperties:
		return PutResult{Status: PropertiesSizeExceeded}, nil
	case len(m.Body) > t.MaxMessageSize:
		return PutResult{Status: MessageIllegal}, nil
	case int64(before+message.RecordSize(m)+commitlog.BlankSize) > s.o.SegmentSize:
		return PutResult{Status: MessageIllegal}, nil
	}
	return PutResult{}, nil
}

func (s *Store) queueFor(m *message.Message) *consumequeue.Queue {
	if !hasQueue(m.SysFlag) {
		return nil
	}
	return s.table.Ensure(m.Topic, m.QueueID)
}

func (s *Store) failedStatus(err error) Status {
	if errors.Is(err, ErrClosed) || vfs.IsNoSpace(err) || s.Writable() != nil {
		return ServiceNotAvailable
	}
	return UnknownError
}
