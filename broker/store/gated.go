package store

// The rounds of a leader between their write and their commit.
//
//	wait: [ round 3 | round 4 | round 5 ]      the writer adds at the end, Commit and TruncateTo take away
//
// A round's messages are held in memory until it is committed or dropped, and count as held (slow.go): without a majority
// puts are refused soon. Whoever waits longer than MaxWaitAck is told that it failed, once; his message stays where it is.

import (
	"fmt"

	"rmqctl/broker/store/commitlog"
	"rmqctl/internal/clock"
)

// commitGated writes the open round and hands it over. Only the one who set committing calls it.
func (s *Store) commitGated() {
	g := s.gated
	s.mu.Lock()
	r, from, end := s.open, s.clog.Top(), s.end
	s.open, s.writing, s.crowd = s.newRound(), r, s.crowd-1
	if r.puts > 1 {
		s.crowd = crowded
	}
	s.mu.Unlock()
	s.slow.begin()
	keepChunks(r.runs)
	err := s.writeRuns(r.runs)
	s.slow.end()
	if err != nil {
		s.rollBack(r, err)
		s.mu.Lock()
		r.told, s.writing = true, nil
		s.mu.Unlock()
		s.tellFailed(r, err)
		s.mu.Lock()
		s.recycleLocked(r)
		s.mu.Unlock()
		return
	}
	g.runs = append(g.runs[:0], r.runs...) // r may be committed, and used again, as soon as all of it is handed over
	s.mu.Lock()
	r.down, r.from, r.end, s.writing = true, from, end, nil
	g.wait = append(g.wait, r)
	s.clog.SetTop(end)
	s.mu.Unlock()
	if !g.awake.Load() {
		select {
		case g.kick <- struct{}{}:
		default:
		}
	}
	for i := range g.runs {
		p := &g.runs[i]
		if p.chunk == nil { // what follows the blank are zeros in the file already
			whole := make([]byte, s.clog.Base(p.off)+s.o.SegmentSize-p.off)
			copy(whole, p.b)
			p.b = whole
		}
		g.gate.Written(p.off, p.b)
	}
	clear(g.runs)
}

// Commit makes everything below to visible, and tells whoever has put it. It returns when that is done.
func (s *Store) Commit(to int64) error {
	g := s.gated
	if g == nil {
		return ErrNotGated
	}
	s.raw.mu.Lock()
	defer s.raw.mu.Unlock()
	if to <= s.clog.Written() {
		return nil
	}
	if to > s.clog.Top() {
		return fmt.Errorf("%w: commit %d, the log ends at %d", ErrOutOfRange, to, s.clog.Top())
	}
	g.opened = false
	s.clog.Advance(to) // readers of a queue look at the end of the log first
	told, err := s.commitRounds(to)
	if err == nil && s.raw.at < to {
		err = s.commitRaw(to)
	}
	s.watch.tell(to)
	if f := s.o.Events.OnRound; f != nil && told {
		f()
	}
	return err
}

// commitRounds publishes what this member has written itself.
func (s *Store) commitRounds(to int64) (told bool, err error) {
	for {
		s.mu.Lock()
		r, recs := s.gated.takeLocked(to)
		s.mu.Unlock()
		if r == nil {
			return told, nil
		}
		if err := s.publish(recs); err != nil {
			return told, err
		}
		end := min(to, r.end)
		s.mu.Lock()
		s.published = end
		if n := len(recs); n > 0 {
			s.lastRecord, s.lastStored = recs[n-1].unit.Phys, recs[n-1].store
		}
		s.mu.Unlock()
		s.raw.at = end
		s.dispatch(recs)
		s.tellStored(recs)
		told = true
		s.mu.Lock()
		more := r.end <= to
		if more {
			s.gated.popLocked()
			s.recycleLocked(r)
		}
		s.mu.Unlock()
		if !more {
			return told, nil
		}
	}
}

// takeLocked takes from the oldest round that waits the messages below to: from now on nobody else tells of them.
func (g *gated) takeLocked(to int64) (*round, []rec) {
	if len(g.wait) == 0 || g.wait[0].from >= to {
		return nil, nil
	}
	r := g.wait[0]
	first := r.taken
	for r.taken < len(r.recs) && r.recs[r.taken].end() <= to {
		r.taken++
	}
	return r, r.recs[first:r.taken]
}

func (g *gated) popLocked() {
	n := copy(g.wait, g.wait[1:])
	g.wait[n] = nil
	g.wait = g.wait[:n]
	g.emptyLocked()
}

func (g *gated) emptyLocked() {
	if len(g.wait) == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// commitRaw publishes what other leaders have written.
func (s *Store) commitRaw(to int64) error {
	err := s.publishRaw(to, nil)
	if err == nil && s.raw.at != to {
		err = fmt.Errorf("%w: commit %d is within the record at %d", ErrBadStream, to, s.raw.at)
	}
	if err != nil {
		s.fail(err) // the group has agreed on it: there is no way on from here
	}
	s.dispatchRaw()
	return err
}

// dropFrom takes back what waits at and behind off, and returns who is to be told. The log is seized.
func (s *Store) dropFrom(off int64) (late []Done) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gated
	for n := len(g.wait); n > 0 && g.wait[n-1].end > off; n-- {
		r := g.wait[n-1]
		k := len(r.recs)
		for ; k > r.taken && r.recs[k-1].end() > off; k-- {
			if d := r.recs[k-1].done; d != nil {
				late = append(late, d)
			}
			r.recs[k-1] = rec{}
		}
		r.recs, r.end = r.recs[:k], off
		if r.from >= off {
			g.wait[n-1] = nil
			g.wait = g.wait[:n-1]
			s.recycleLocked(r)
		}
	}
	g.emptyLocked()
	return late
}

// refuseAll tells of a failure whose outcome is unknown: another member may have the message, and lead one day.
func refuseAll(late []Done, err error) {
	for _, d := range late {
		d.Stored(PutResult{Status: UnknownError}, err)
	}
}

// ackLoop looks after rounds that wait for their commit, while there are any.
func (s *Store) ackLoop() {
	g := s.gated
	waiting := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(g.wait) > 0
	}
	for {
		g.awake.Store(false)
		if !waiting() {
			select {
			case <-s.stop:
				return
			case <-g.kick:
			}
		}
		g.awake.Store(true)
		for more := true; more; more = waiting() {
			select {
			case <-s.stop:
				return
			case <-s.o.Clock.After(watchRounds):
			}
			s.refuseLate()
		}
	}
}

// refuseLate answers those who have waited for too long. Their messages may be committed later all the same.
func (s *Store) refuseLate() {
	limit := s.tune.Load().MaxWaitAck
	if limit <= 0 {
		return
	}
	before := clock.Mono(s.o.Clock) - limit
	var late []Done
	look := func(r *round) (on bool) {
		for ; r.late < len(r.recs); r.late++ {
			p := &r.recs[r.late]
			if p.done == nil {
				continue
			}
			if p.taken > before {
				return false
			}
			if r.late >= r.taken {
				late = append(late, p.done)
				p.done = nil
			}
		}
		return true
	}
	s.mu.Lock()
	on := true
	for _, r := range s.gated.wait {
		if on = on && look(r); !on {
			break
		}
	}
	if on && s.writing != nil && !s.writing.told {
		on = look(s.writing)
	}
	if on {
		look(s.open)
	}
	s.mu.Unlock()
	if len(late) > 0 {
		s.count.stalls.Add(1)
		refuseAll(late, ErrNotCommitted)
	}
}

// abandon tells all who still wait when the store is closed.
func (s *Store) abandon() {
	var late []Done
	s.mu.Lock()
	for _, r := range s.gated.wait {
		for i := r.taken; i < len(r.recs); i++ {
			if d := r.recs[i].done; d != nil {
				late = append(late, d)
				r.recs[i].done = nil
			}
		}
	}
	s.mu.Unlock()
	refuseAll(late, ErrClosed)
}

// keepChunks: what the gate holds stays as it is, whatever becomes of the tail.
func keepChunks(runs []run) {
	var last *commitlog.Chunk
	for i := range runs {
		if c := runs[i].chunk; c != nil && c != last {
			c.Keep()
			last = c
		}
	}
}
