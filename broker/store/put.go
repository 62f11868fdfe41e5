package store

// Putting, one message or batch at a time: Append waits for its round. Who has many puts them through a Stage (stage.go).

import (
	"errors"
	"fmt"

	"rmqctl/broker/store/commitlog"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// Done is told once what became of a put that was taken. With PutOK it is called by whoever wrote the round, one call at a
// time and in the order of the log, after the message became visible and before Events.OnRound; with any other status from
// any goroutine. It must be quick, and must not put anything itself.
type Done interface {
	Stored(PutResult, error)
}

// Append writes m to the log and returns when it is visible in its queue: under SyncFlush also on the disk. The status says
// what became of it; the error is set when a write failed.
func (s *Store) Append(m *message.Message) (PutResult, error) {
	g, w := s.NewStage(), s.newWait()
	status, err := g.Add(m, w)
	res, err := w.put(s, g, status, err)
	if res.Status != PutOK {
		return res, err
	}
	m.QueueOffset, m.PhysicalOffset, m.StoreTimestamp, m.Size = res.QueueOffset, res.PhysicalOffset, res.StoreTimestamp, int32(res.Size)
	res.MessageIDs = message.OffsetID(m.StoreHost, res.PhysicalOffset)
	return res, nil
}

// AppendBatch writes one record per item, with consecutive queue offsets and in one piece. m gives what they have in
// common; its properties are added to each item's, as 4.9 does.
func (s *Store) AppendBatch(m *message.Message, items []message.BatchItem) (PutResult, error) {
	g, w := s.NewStage(), s.newWait()
	status, err := g.AddBatch(m, items, w)
	res, err := w.put(s, g, status, err)
	if res.Status == PutOK {
		m.QueueOffset, m.PhysicalOffset, m.StoreTimestamp = res.QueueOffset, res.PhysicalOffset, res.StoreTimestamp
	}
	return res, err
}

// AppendAll is Append for several messages, in one stage. It returns how many of them, from the first on, are stored, and
// why the next one is not.
func (s *Store) AppendAll(ms []*message.Message) (stored int, err error) {
	g, waits := s.NewStage(), make([]*wait, 0, len(ms))
	for _, m := range ms {
		w := s.newWait()
		status, refused := g.Add(m, w)
		if status != PutOK {
			err = notStored(status, refused)
			break
		}
		waits = append(waits, w)
	}
	g.Put()
	for i, w := range waits { // all are told, whatever became of the first
		<-w.told
		if stored == i && (w.err != nil || w.res.Status != PutOK && w.res.Status != FlushDiskTimeout) {
			err = notStored(w.res.Status, w.err)
		} else if stored == i {
			stored++
		}
	}
	return stored, err
}

func notStored(status Status, err error) error {
	if err == nil {
		err = fmt.Errorf("store: not stored: %v", status)
	}
	return err
}

// wait is a Done for who waits.
type wait struct {
	told chan struct{}
	res  PutResult
	err  error
}

// newWait: the pool is the store's own, as its channels belong to its time (testing/synctest).
func (s *Store) newWait() *wait {
	if w, ok := s.waits.Get().(*wait); ok {
		return w
	}
	return &wait{told: make(chan struct{}, 1)}
}

func (w *wait) Stored(res PutResult, err error) {
	w.res, w.err = res, err
	w.told <- struct{}{}
}

// put ends what Add began, and waits for the round.
func (w *wait) put(s *Store, g *Stage, status Status, err error) (PutResult, error) {
	g.Put()
	if status != PutOK {
		return PutResult{Status: status}, err
	}
	<-w.told
	res, err := w.res, w.err
	w.err = nil
	s.waits.Put(w)
	return res, err
}

// refuse looks at everything that can be known before an offset is taken. before is the size of the batch so far.
func (s *Store) refuse(t *Tunables, m *message.Message, before int) (Status, error) {
	if err := s.Writable(); err != nil {
		return ServiceNotAvailable, err
	}
	switch {
	case s.slow.refuses():
		return PageCacheBusy, nil
	case !validTopic(m.Topic) || m.QueueID < 0 ||
		len(m.Topic) > message.MaxTopicV1 && !(message.IsRetryTopic(m.Topic) || message.IsDLQTopic(m.Topic)) ||
		len(m.Properties) > 0 && m.Properties[len(m.Properties)-1] == 0:
		return MessageIllegal, nil
	case len(m.Properties) > message.MaxProperties:
		return PropertiesSizeExceeded, nil
	case len(m.Body) > t.MaxMessageSize:
		return MessageIllegal, nil
	case int64(before+message.RecordSize(m)+commitlog.BlankSize) > s.o.SegmentSize:
		return MessageIllegal, nil
	}
	return PutOK, nil
}

func (s *Store) failedStatus(err error) Status {
	if errors.Is(err, ErrClosed) || errors.Is(err, ErrReplicating) || errors.Is(err, ErrFollowing) || vfs.IsNoSpace(err) || s.Writable() != nil {
		return ServiceNotAvailable
	}
	return UnknownError
}
