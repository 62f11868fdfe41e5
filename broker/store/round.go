package store

// Rounds: how appends share one write. One open round collects the messages of all callers; whoever finds nobody writing
// becomes the leader:
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

	"rmqctl/broker/store/commitlog"
	"rmqctl/internal/vfs"
)

// round is what is written together.
type round struct {
	recs []rec
	runs []run
	done chan struct{} // made when somebody waits; closed when the round is written or has failed
	err  error         // valid after done
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
