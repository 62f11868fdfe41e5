package store

// Putting things on the disk: the log (group commit for SYNC_FLUSH, by interval for ASYNC_FLUSH), then consume queues, the
// index and the checkpoint.

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/internal/clock"
	"rmqctl/internal/message"
)

const pageSize = 4096

// flusher holds those who wait for the disk.
type flusher struct {
	mu       sync.Mutex // guards waiting and watching
	waiting  []flushWait
	watching bool

	wake   chan struct{}
	failed atomic.Pointer[error] // set once: no flush after it proves anything
	last   atomic.Int64          // when the log was last flushed, clock.Mono
	flush  atomic.Int64          // number of flushes
	s      *Store
}

type flushWait struct {
	next     int64
	deadline time.Time
	done     func(error)
}

func (f *flusher) init(s *Store) {
	f.s, f.wake = s, make(chan struct{}, 1)
	f.last.Store(int64(clock.Mono(s.o.Clock) - time.Hour)) // the first flush is due
}

func (f *flusher) kick() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// AwaitFlushed calls done once everything below next is on the disk: at once when it is already, else from the flusher.
// After the timeout done gets ErrTimeout; after a failed flush ErrFlushFailed, and the store takes no more appends. It never
// blocks; done must not either.
func (s *Store) AwaitFlushed(next int64, timeout time.Duration, done func(error)) {
	if err := s.flush.failure(); err != nil {
		done(err)
		return
	}
	if s.clog.Flushed() >= next {
		done(nil)
		return
	}
	f := &s.flush
	f.mu.Lock()
	f.waiting = append(f.waiting, flushWait{next, s.now().Add(timeout), done})
	watch := !f.watching
	f.watching = true
	f.mu.Unlock()
	if watch {
		go f.watchDeadlines(timeout)
	}
	f.kick()
}

func (f *flusher) failure() error {
	if e := f.failed.Load(); e != nil {
		return *e
	}
	return nil
}

// watchDeadlines lives while somebody waits and wakes about once per timeout.
func (f *flusher) watchDeadlines(d time.Duration) {
	for {
		select {
		case <-f.s.o.Clock.After(d):
		case <-f.s.stop:
			return
		}
		now := f.s.now()
		var late []flushWait
		f.mu.Lock()
		keep := f.waiting[:0]
		next := now.Add(time.Hour)
		for _, w := range f.waiting {
			if !w.deadline.After(now) {
				late = append(late, w)
				continue
			}
			if w.deadline.Before(next) {
				next = w.deadline
			}
			keep = append(keep, w)
		}
		clear(f.waiting[len(keep):])
		f.waiting = keep
		f.watching = len(keep) > 0
		again := f.watching
		f.mu.Unlock()
		for _, w := range late {
			w.done(ErrTimeout)
		}
		if !again {
			return
		}
		d = max(next.Sub(now), 100*time.Millisecond)
	}
}

// settle calls those whose bytes are on the disk.
func (f *flusher) settle(flushed int64) {
	f.mu.Lock()
	var ready []flushWait
	keep := f.waiting[:0]
	for _, w := range f.waiting {
		if w.next <= flushed {
			ready = append(ready, w)
		} else {
			keep = append(keep, w)
		}
	}
	clear(f.waiting[len(keep):])
	f.waiting = keep
	f.mu.Unlock()
	for _, w := range ready {
		w.done(nil)
	}
}

func (f *flusher) failAll(err error) {
	f.mu.Lock()
	all := f.waiting
	f.waiting = nil
	f.mu.Unlock()
	for _, w := range all {
		w.done(err)
	}
}

func (f *flusher) someoneWaits() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.waiting) > 0
}

// flushLoop flushes at once while somebody waits, else by the intervals of ASYNC_FLUSH.
func (s *Store) flushLoop() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.flush.wake:
		case <-s.o.Clock.After(s.tune.Load().FlushInterval):
		}
		for s.flush.someoneWaits() && s.flush.failure() == nil {
			before := s.clog.Flushed()
			if s.Flush() != nil || s.clog.Flushed() == before {
				break // nothing new: the rest waits for bytes that are not written yet
			}
		}
		if s.flushDue() {
			_ = s.Flush()
		}
	}
}

// flushDue applies LeastPages and ThoroughInterval.
func (s *Store) flushDue() bool {
	t := s.tune.Load()
	from, to := s.clog.Flushed(), s.clog.Written()
	if from >= to || s.flush.failure() != nil {
		return false
	}
	if clock.Mono(s.o.Clock)-time.Duration(s.flush.last.Load()) >= t.FlushThoroughInterval {
		return true
	}
	return to/pageSize-from/pageSize >= int64(t.FlushLeastPages)
}

// Flush puts all of the log on the disk now. A failure is final: the kernel may have dropped the pages it could not write,
// so no later success could be believed.
func (s *Store) Flush() error {
	return s.flushed(s.clog.Flush)
}

// flushTo puts everything below end on the disk and lets readers see it only then.
func (s *Store) flushTo(end int64) error {
	return s.flushed(func() (int64, error) { return end, s.clog.Commit(end) })
}

func (s *Store) flushed(flush func() (int64, error)) error {
	if err := s.flush.failure(); err != nil {
		return err
	}
	before := s.clog.Flushed()
	flushed, err := flush()
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrFlushFailed, err)
		s.flush.failed.CompareAndSwap(nil, &err)
		s.fail(err)
		s.flush.failAll(err)
		return err
	}
	s.flush.last.Store(int64(clock.Mono(s.o.Clock)))
	if flushed > before {
		s.flush.flush.Add(1)
		s.flush.settle(flushed)
		s.ck.mark(flushed, s.o.SegmentSize, s.now(), s.publishedTo)
		if f := s.o.Events.OnFlush; f != nil {
			f(flushed)
		}
	}
	return nil
}

func (s *Store) publishedTo() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published
}

// saveSoon has the queues of delayed messages written to their files within milliseconds. After a kill the units of other
// queues are made again from the log by any broker; Java's 4.9 makes those with the tag where the time of delivery
// belongs, and would deliver the messages at once.
func (s *Store) saveSoon() {
	select {
	case s.hurry <- struct{}{}:
	default:
	}
}

// queueLoop saves consume queues and the index by their intervals and writes the checkpoint.
func (s *Store) queueLoop() {
	thorough := s.now()
	for {
		t := s.tune.Load()
		select {
		case <-s.stop:
			return
		case <-s.hurry:
			if s.state.failure() == nil {
				s.count.told(s.log, "save consume queues", s.table.SaveTopic(message.ScheduleTopic))
			}
			continue
		case <-s.o.Clock.After(t.QueueFlushInterval):
		}
		if s.state.failure() != nil {
			continue
		}
		if s.now().Sub(thorough) >= t.QueueFlushThoroughInterval || s.toScan() >= checkpointBytes*int64(1+s.table.Dirty()/cheapQueues) {
			thorough = s.now()
			s.count.told(s.log, "checkpoint", s.Checkpoint())
			continue
		}
		least := t.QueueFlushLeastPages * pageSize
		if s.table.PendingBytes() > 64<<20 {
			least = 0
		}
		s.count.told(s.log, "save consume queues", s.table.Save(least, false))
		if s.index != nil && s.index.Waiting() > 0 {
			s.count.told(s.log, "save index", s.index.Save(false))
		}
	}
}

// checkpointBytes of log are scanned by a recovery at most, and what a second brings: so a broker is ready again soon after a
// kill however fast it was fed.
const checkpointBytes = 1 << 30

// cheapQueues: a checkpoint writes every queue that has grown, each to a file of its own; so for many of them it waits longer.
const cheapQueues = 4096

// toScan is how much of the log lies behind the checkpoint.
func (s *Store) toScan() int64 {
	s.ckMu.Lock()
	safe := s.ck.last.safe
	s.ckMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published - safe
}

// Checkpoint puts everything that is visible now on the disk (log, queues, index) and then says so in the checkpoint file,
// in this order: the file never promises what a power cut could take.
func (s *Store) Checkpoint() error {
	s.ckMu.Lock()
	defer s.ckMu.Unlock()
	if err := s.flush.failure(); err != nil {
		return err
	}
	var ends pastEnds
	due := s.ends.due(s.now())
	if due { // before anything is put on the disk: all of it will be
		ends = s.endsNow()
	}
	c := s.visible()
	if err := s.Flush(); err != nil {
		return err
	}
	if err := s.table.Save(0, true); err != nil {
		return err
	}
	if s.index != nil {
		if err := s.index.Save(true); err != nil {
			return err
		}
	}
	if c != s.ck.last { // only who holds ckMu writes it
		if err := s.ck.write(c); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
	}
	if due {
		ends.safe = c.safe
		return s.saveEnds(ends)
	}
	return nil
}

// visible is the checkpoint for everything that is published at this moment.
func (s *Store) visible() checkpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.lastStored
	c := checkpoint{phys: at, logics: at, safe: s.published, lastRecord: s.lastRecord, exact: true}
	if s.index != nil {
		_, c.index = s.index.End()
	}
	return c
}

// told logs an error once until the same work succeeds again.
func (c *counters) told(log logger, what string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failing == nil {
		c.failing = map[string]bool{}
	}
	switch was := c.failing[what]; {
	case err != nil && !was && !errors.Is(err, ErrFlushFailed):
		c.failing[what] = true
		log.Error("store: "+what, "err", err)
	case err == nil && was:
		delete(c.failing, what)
		log.Info("store: " + what + " works again")
	}
}

type logger interface {
	Error(string, ...any)
	Info(string, ...any)
}
