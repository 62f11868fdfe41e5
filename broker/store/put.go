package store

// Appending. One open round collects the messages of all callers; whoever finds nobody writing becomes the leader:
//
//	caller   lock; take offsets; encode into the tail chunk; join the open round; unlock
//	leader   take the round; write it with one pwrite per piece; publish the units; wake everybody of the round
//
// The leader does this for one round only; if more has gathered meanwhile, the committer goroutine goes on. So a single
// caller never waits for another goroutine, and under load rounds grow by themselves.

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"

	"rmqctl/broker/store/commitlog"
	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/index"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// appender is the state of the log's end. All of it is guarded by Store.mu.
type appender struct {
	end   int64 // where the next record goes
	chunk *commitlog.Chunk
	fill  int // bytes used of chunk
	open  *round
	idle  *round // a used round without waiters, for the next time

	gen       int64 // changes when the queues' Next must be learned anew
	exclusive bool  // raw bytes are being written: no appends
	published int64 // end of the last record that is in its queue and in the index
}

// round is what is written together.
type round struct {
	recs []rec
	runs []run
	done chan struct{} // made when somebody waits; closed when the round is written or has failed
	err  error         // valid after done
}

// rec is what must be published about one record.
type rec struct {
	queue *consumequeue.Queue // nil: prepared and rollback messages have no place in a queue
	at    int64               // queue offset
	unit  consumequeue.Unit
	store int64 // store timestamp
	keys  keyHashes
}

// keyHashes are the index hashes of one message. Few messages have more than four keys.
type keyHashes struct {
	n    int
	few  [4]int32
	more []int32
}

func (k *keyHashes) add(h int32) {
	if k.n < len(k.few) {
		k.few[k.n] = h
	} else {
		k.more = append(k.more, h)
	}
	k.n++
}

func (k *keyHashes) list() []int32 {
	if len(k.more) == 0 {
		return k.few[:k.n]
	}
	return append(append(make([]int32, 0, k.n), k.few[:]...), k.more...)
}

// run is one contiguous piece of log to be written.
type run struct {
	off   int64
	b     []byte
	chunk *commitlog.Chunk // nil: a blank
	from  int              // position of b in chunk
	last  bool             // the appender has left the chunk
}

func (r *round) wait() chan struct{} {
	if r.done == nil {
		r.done = make(chan struct{})
	}
	return r.done
}

func (s *Store) newRound() *round {
	if r := s.idle; r != nil {
		s.idle = nil
		return r
	}
	return &round{}
}

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

// prepare does outside the lock what needs no offset: checksum, hashes.
func (s *Store) prepare(m *message.Message, r *rec) {
	m.BodyCRC = message.BodyCRC(m.Body)
	if tags := message.PropertyBytes(m.Properties, message.PropTags); tags != nil {
		r.unit.Tags = message.TagHash(string(tags))
	}
	s.keysOf(m.Topic, m.Properties, m.SysFlag, &r.keys)
}

// keysOf collects the index hashes of a message: UNIQ_KEY and each of KEYS; nothing for a rollback.
func (s *Store) keysOf(topic string, props []byte, sysFlag int32, k *keyHashes) {
	if s.index == nil || sysFlag&message.SysTransactionMask == message.SysRollback {
		return
	}
	if u := message.PropertyBytes(props, message.PropUniqKey); u != nil {
		k.add(index.Hash(topic, string(u)))
	}
	keys := message.PropertyBytes(props, message.PropKeys)
	for len(keys) > 0 {
		i := 0
		for i < len(keys) && keys[i] != ' ' {
			i++
		}
		if i > 0 {
			k.add(index.Hash(topic, string(keys[:i])))
		}
		keys = keys[min(i+1, len(keys)):]
	}
}

// hasQueue tells whether a message takes a place in its queue.
func hasQueue(sysFlag int32) bool {
	t := sysFlag & message.SysTransactionMask
	return t != message.SysPrepared && t != message.SysRollback
}

func (s *Store) queueFor(m *message.Message) *consumequeue.Queue {
	if !hasQueue(m.SysFlag) {
		return nil
	}
	return s.table.Ensure(m.Topic, m.QueueID)
}

// enterLocked checks what may have changed since refuse, and learns the queue's end at its first append.
func (s *Store) enterLocked(q *consumequeue.Queue) error {
	if s.closed || !s.started {
		return ErrClosed
	}
	if s.exclusive {
		return ErrReplicating
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

// recordLocked gives m its offsets and times and encodes it into dst.
func (s *Store) recordLocked(m *message.Message, q *consumequeue.Queue, r *rec, dst []byte) {
	size := message.RecordSize(m)
	m.StoreTimestamp = s.now().UnixMilli()
	m.PhysicalOffset, m.QueueOffset, m.Size = s.end, 0, int32(size)
	if q != nil {
		m.QueueOffset = q.Next
		q.Next++
	}
	message.AppendRecord(dst, m)
	r.queue, r.at, r.store = q, m.QueueOffset, m.StoreTimestamp
	r.unit.Phys, r.unit.Size = s.end, int32(size)
	if m.Topic == message.ScheduleTopic {
		if level, ok := delayLevel(m.Properties); ok {
			r.unit.Tags = s.deliverTime(level, m.StoreTimestamp)
		}
	}
	s.open.recs = append(s.open.recs, *r)
	s.end += int64(size)
}

func delayLevel(props []byte) (int, bool) {
	b := message.PropertyBytes(props, message.PropDelay)
	if b == nil {
		return 0, false
	}
	n, err := strconv.Atoi(string(b))
	return n, err == nil && n > 0
}

func (s *Store) deliverTime(level int, at int64) int64 {
	if s.o.DeliverTime == nil {
		return at + 1000
	}
	return s.o.DeliverTime(level, at)
}

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

// commitLocked sees to it that the open round is written, and waits for that. It releases mu.
func (s *Store) commitLocked() error {
	r := s.open
	if s.committing {
		done := r.wait()
		s.mu.Unlock()
		<-done
		return r.err
	}
	s.committing = true
	s.mu.Unlock()
	runtime.Gosched() // callers that are ready to run join this round
	err := s.commitRound()
	s.mu.Lock()
	if len(s.open.runs) > 0 {
		select {
		case s.commit <- struct{}{}:
		default:
		}
	} else {
		s.restLocked()
	}
	s.mu.Unlock()
	return err
}

// commitLoop writes the rounds that leaders leave behind.
func (s *Store) commitLoop() {
	for {
		select {
		case <-s.commit:
		case <-s.stop: // Close waits for the last round first
			return
		}
		for more := true; more; {
			_ = s.commitRound() // its callers get the error
			s.mu.Lock()
			if more = len(s.open.runs) > 0; !more {
				s.restLocked()
			}
			s.mu.Unlock()
		}
	}
}

// commitRound writes the open round, publishes it and wakes its callers. Only the one who set committing calls it.
func (s *Store) commitRound() error {
	s.mu.Lock()
	r := s.open
	s.open = s.newRound()
	end := s.end
	s.mu.Unlock()
	err := s.writeRuns(r.runs)
	if err == nil {
		s.clog.Advance(end)
		err = s.publish(r.recs)
	} else {
		s.rollBack(err)
	}
	r.err = err
	if err == nil {
		s.afterRound(r, end)
	}
	s.mu.Lock()
	if n := len(r.recs); err == nil && n > 0 {
		s.published, s.lastRecord, s.lastStored = end, r.recs[n-1].unit.Phys, r.recs[n-1].store
	}
	if r.done != nil {
		close(r.done)
	} else if s.idle == nil { // nobody else looks at r: use it again
		clear(r.recs)
		clear(r.runs)
		*r = round{recs: r.recs[:0], runs: r.runs[:0]}
		s.idle = r
	}
	s.mu.Unlock()
	return err
}

func (s *Store) writeRuns(runs []run) error {
	for i := range runs {
		if err := s.clog.WriteAt(runs[i].b, runs[i].off); err != nil {
			return err
		}
	}
	for i := range runs {
		r := &runs[i]
		if r.chunk == nil {
			continue
		}
		r.chunk.Publish(r.from + len(r.b))
		if r.last {
			r.chunk.Release()
		}
	}
	return nil
}

// publish makes the units of a round visible and indexes its messages. A failure leaves the record in the log, where the
// next recovery finds it; the store stops taking appends.
func (s *Store) publish(recs []rec) error {
	for i := range recs {
		r := &recs[i]
		if r.queue == nil {
			continue
		}
		if err := r.queue.Publish(r.at, r.unit); err != nil {
			s.fail(fmt.Errorf("publish: %w", err))
			return err
		}
	}
	for i := range recs {
		if recs[i].keys.n > 0 {
			s.indexPut(recs[i].keys.list(), recs[i].unit.Phys, recs[i].store)
		}
	}
	return nil
}

// indexPut must not stop the broker: a message that could not be indexed is found by everything but its key.
func (s *Store) indexPut(hashes []int32, phys, at int64) {
	if err := s.index.Put(hashes, phys, at, s.now()); err != nil && s.count.indexErrors.Add(1) == 1 {
		s.log.Error("index: messages are not findable by key", "offset", phys, "err", err)
	}
}

func (s *Store) afterRound(r *round, end int64) {
	if f := s.o.Events.OnDispatch; f != nil {
		for i := range r.recs {
			if p := &r.recs[i]; p.queue != nil {
				f(Dispatch{Topic: p.queue.Topic, Queue: p.queue.ID, MaxOffset: p.at + 1, TagsCode: p.unit.Tags,
					StoreTimestamp: p.store, PhysicalOffset: p.unit.Phys})
			}
		}
	}
	s.watch.tell(end)
}

// rollBack takes back a round that could not be written, and everything that gathered behind it.
func (s *Store) rollBack(err error) {
	s.mu.Lock()
	later := s.open
	s.open = s.newRound()
	s.end = s.clog.Written()
	s.chunk = nil
	s.gen++ // every queue learns its next offset again
	s.clog.Tail.CutFrom(s.end)
	if later.err = err; later.done != nil {
		close(later.done)
	}
	s.mu.Unlock()
	if cerr := s.clog.Cut(s.end, nil); cerr != nil {
		err = errors.Join(err, cerr)
		s.fail(err)
		return
	}
	if vfs.IsNoSpace(err) {
		s.state.full(s, err)
		return
	}
	s.fail(err)
}

func (s *Store) failedStatus(err error) Status {
	if errors.Is(err, ErrClosed) || vfs.IsNoSpace(err) || s.Writable() != nil {
		return ServiceNotAvailable
	}
	return UnknownError
}

// counters are what Stats shows.
type counters struct {
	messages, bytes, gets, got atomic.Int64
	indexErrors, disk          atomic.Int64

	mu      sync.Mutex      // guards failing
	failing map[string]bool // background work whose last try failed
}

func (c *counters) put(_ string, n, size int) {
	c.messages.Add(int64(n))
	c.bytes.Add(int64(size))
}
