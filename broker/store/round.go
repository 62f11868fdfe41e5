package store

// Rounds: how puts share one write. One open round collects what all callers put; whoever finds nobody writing becomes the
// leader:
//
//	caller   lock; take offsets; encode into the tail chunk; join the open round; unlock
//	leader   take the round; write it with one pwrite per piece; [SyncFlush: fdatasync]; let readers see it; publish the
//	         units; tell everybody of the round
//
// The leader does this for one round only; if more has gathered meanwhile, the committer goroutine goes on. So a single
// caller never waits for another goroutine, and under load rounds grow by themselves, with the time of a write or a flush.

import (
	"errors"
	"fmt"
	"runtime"

	"rmqctl/broker/store/commitlog"
	"rmqctl/broker/store/index"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// round is what is written together.
type round struct {
	next *round // of those that are idle
	recs []rec
	runs []run
	puts int   // calls of Put that it consists of
	cost int64 // memory held until it is told
	told bool  // guarded by mu: the writer tells now, nobody else may
	down bool  // its bytes are in the file, whatever became of the flush

	// Of a leader's round that waits for its commit; guarded by mu.
	from, end int64
	taken     int // messages before are committed
	late      int // those before were looked at: they have waited too long, or nobody waits
}

// run is one contiguous piece of log to be written.
type run struct {
	off   int64
	b     []byte
	chunk *commitlog.Chunk // nil: a blank
	from  int              // position of b in chunk
	last  bool             // the appender has left the chunk
}

// keepRecs bounds what an idle round keeps.
const keepRecs = 1 << 14

// keepRounds is how many idle rounds are kept: more than two are under way only while they wait for a commit.
const keepRounds = 8

func (s *Store) newRound() *round {
	if r := s.idle; r != nil {
		s.idle, r.next = r.next, nil
		s.idles--
		return r
	}
	return &round{}
}

// recycleLocked ends the use of a round.
func (s *Store) recycleLocked(r *round) {
	s.slow.held.Add(-r.cost)
	if clear(r.recs); cap(r.recs) > keepRecs {
		r.recs = nil
	}
	clear(r.runs)
	*r = round{recs: r.recs[:0], runs: r.runs[:0]}
	if s.idles < keepRounds {
		r.next, s.idle = s.idle, r
		s.idles++
	}
}

// crowded: for so many rounds after one with several callers others are expected to come.
const crowded = 64

// leadLocked says whether the caller has to write the open round, with lead; else somebody is writing, who goes on with it.
func (s *Store) leadLocked() bool {
	if s.committing || len(s.open.runs) == 0 {
		return false
	}
	s.committing = true
	return true
}

// lead writes one round.
func (s *Store) lead() {
	if s.crowd > 0 { // who is ready to run joins this round; alone, giving way costs a wake-up and gains nothing
		runtime.Gosched()
	}
	s.commitRound()
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
			s.commitRound()
			s.mu.Lock()
			if more = len(s.open.runs) > 0; !more {
				s.restLocked()
			}
			s.mu.Unlock()
		}
	}
}

// commitRound writes the open round, publishes it and tells its callers. Only the one who set committing calls it.
func (s *Store) commitRound() {
	if s.gated != nil {
		s.commitGated()
		return
	}
	s.mu.Lock()
	r, end := s.open, s.end
	s.open, s.writing, s.crowd = s.newRound(), r, s.crowd-1
	if r.puts > 1 {
		s.crowd = crowded
	}
	s.mu.Unlock()
	s.slow.begin()
	err := s.writeRound(r, end)
	s.slow.end()
	s.mu.Lock()
	r.told, s.writing = true, nil
	if n := len(r.recs); err == nil && n > 0 {
		s.published, s.lastRecord, s.lastStored = end, r.recs[n-1].unit.Phys, r.recs[n-1].store
	}
	s.mu.Unlock()
	if err == nil {
		s.dispatch(r.recs)
	}
	s.tell(r, err)
	s.mu.Lock()
	s.recycleLocked(r)
	s.mu.Unlock()
}

// writeRound puts a round where it belongs: into the log, on the disk if that is asked for, into queues and index.
func (s *Store) writeRound(r *round, end int64) error {
	if err := s.writeRuns(r.runs); err != nil {
		s.rollBack(r, err)
		return err
	}
	r.down = true
	if s.tune.Load().SyncFlush {
		if err := s.flushTo(end); err != nil {
			s.dropOpen(err)
			return err
		}
	} else {
		s.clog.Advance(end)
	}
	s.watch.tell(end) // slaves read while we publish
	return s.publish(r.recs)
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
	keys := s.keys[:0]
	for i := range recs {
		r := &recs[i]
		if r.queue != nil {
			if err := r.queue.Publish(r.at, r.unit); err != nil {
				s.fail(fmt.Errorf("publish: %w", err))
				return err
			}
			if r.queue.Topic == message.ScheduleTopic {
				s.saveSoon()
			}
		}
		for k := range r.keys.n {
			keys = append(keys, index.Put{Hash: r.keys.at(k), Phys: r.unit.Phys, At: r.store})
		}
	}
	if s.keys = keys; len(keys) > 0 {
		s.indexRun(keys)
	}
	return nil
}

func (s *Store) dispatch(recs []rec) {
	f := s.o.Events.OnDispatch
	if f == nil {
		return
	}
	for i := range recs {
		if p := &recs[i]; p.queue != nil && (p.queue.Watched() || p.queue.Topic == message.ScheduleTopic) {
			f(Dispatch{Topic: p.queue.Topic, Queue: p.queue.ID, MaxOffset: p.at + 1, TagsCode: p.unit.Tags,
				StoreTimestamp: p.store, PhysicalOffset: p.unit.Phys})
		}
	}
}

// tell says to everybody of a round what became of it.
func (s *Store) tell(r *round, err error) {
	if err == nil {
		err = s.state.failure() // a flush beside this round has failed: what it holds may never reach the disk
	}
	if err != nil {
		s.tellFailed(r, err)
		return
	}
	s.tellStored(r.recs)
	if f := s.o.Events.OnRound; f != nil {
		f()
	}
}

func (s *Store) tellStored(recs []rec) {
	bytes := 0
	for i := range recs {
		p := &recs[i]
		bytes += int(p.unit.Size)
		if p.done != nil {
			p.done.Stored(p.result(), nil)
		}
	}
	s.count.put(len(recs), bytes)
}

// tellFailed: what was never written is refused. What was written and not flushed may be there after the next start, so it
// is not refused: whoever sent it knows only that it is not safe.
func (s *Store) tellFailed(r *round, err error) {
	for i := range r.recs {
		p := &r.recs[i]
		switch {
		case p.done == nil:
		case r.down:
			res := p.result()
			res.Status = FlushDiskTimeout
			p.done.Stored(res, err)
		default:
			p.done.Stored(PutResult{Status: s.failedStatus(err)}, err)
		}
	}
}

// rollBack takes back a round that could not be written (nil: raw bytes), and everything that gathered behind it.
func (s *Store) rollBack(r *round, err error) {
	s.mu.Lock()
	s.end = s.clog.Top()
	s.chunk = nil
	s.clog.Tail.CutFrom(s.end)
	later := s.takeOpenLocked() // with the same breath: nothing may get a place behind what is taken back
	s.nextLocked(r, later)
	s.mu.Unlock()
	s.refuseRound(later, err)
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

// nextLocked gives back the queue offsets of rounds that are taken back, the newest.
func (s *Store) nextLocked(rounds ...*round) {
	if s.gated == nil {
		s.gen++ // every queue learns its next offset again
		return
	}
	for _, r := range rounds { // others were written, and wait
		if r == nil {
			continue
		}
		for i := range r.recs {
			if q := r.recs[i].queue; q != nil && q.Gen == s.gen {
				q.Next--
			}
		}
	}
}

// takeOpenLocked ends the open round: it will not be written.
func (s *Store) takeOpenLocked() *round {
	later := s.open
	s.open, later.told = s.newRound(), true
	return later
}

// dropOpen refuses what has gathered behind a round that failed.
func (s *Store) dropOpen(err error) {
	s.mu.Lock()
	later := s.takeOpenLocked()
	s.mu.Unlock()
	s.refuseRound(later, err)
}

func (s *Store) refuseRound(later *round, err error) {
	s.slow.held.Add(-later.cost)
	for i := range later.recs {
		if d := later.recs[i].done; d != nil {
			d.Stored(PutResult{Status: s.failedStatus(err)}, err)
		}
	}
}
