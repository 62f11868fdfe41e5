package store

// A disk that takes its time: what is held in memory stays bounded, puts are refused while a write or flush hangs, and
// under SyncFlush who waits too long is told so although his round is still under way.
//
// Somebody looks after rounds every watchRounds while there are any, and sleeps otherwise.

import (
	"sync/atomic"
	"time"

	"rmqctl/internal/clock"
)

const (
	watchRounds = 100 * time.Millisecond
	// maxHeld bounds the messages that are taken and not told yet.
	maxHeld = 64 << 20
	// hanging: a write this old keeps new puts out; osPageCacheBusyTimeOutMills of RocketMQ.
	hanging = time.Second
)

// slow is what is known about how slow the disk is just now.
type slow struct {
	held   atomic.Int64 // bytes of rounds that are not told yet
	stuck  atomic.Bool  // the round under way has been so for too long
	rounds atomic.Int64 // begun
	awake  atomic.Bool  // the watcher looks by itself
	busy   atomic.Bool  // a round is under way
	wake   chan struct{}
}

// refuses says that the disk cannot take more now.
func (w *slow) refuses() bool { return w.stuck.Load() || w.held.Load() > maxHeld }

// begin and end are called around the writing of a round.
func (w *slow) begin() {
	w.rounds.Add(1)
	w.busy.Store(true)
	if !w.awake.Load() {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *slow) end() {
	w.busy.Store(false)
	if w.stuck.Load() {
		w.stuck.Store(false)
	}
}

// watchLoop looks after the rounds.
func (s *Store) watchLoop() {
	w := &s.slow
	for {
		w.awake.Store(false)
		if !w.busy.Load() { // else a round began before it could see that nobody is awake
			select {
			case <-s.stop:
				return
			case <-w.wake:
			}
		}
		w.awake.Store(true)
		for seen, since := int64(-1), s.now(); ; {
			n := w.rounds.Load()
			if n == seen && !w.busy.Load() {
				break
			}
			if n != seen {
				seen, since = n, s.now()
			}
			select {
			case <-s.stop:
				return
			case <-s.o.Clock.After(watchRounds):
			}
			if age := s.now().Sub(since); w.rounds.Load() == seen && w.busy.Load() && age >= watchRounds {
				s.overdue(age)
			}
		}
	}
}

// overdue deals with a round that has been under way for so long.
func (s *Store) overdue(age time.Duration) {
	w, t, limit := &s.slow, s.tune.Load(), hanging
	if t.SyncFlush { // a flush may take its time; beyond this who comes now would not be answered well either
		limit = max(limit, t.SyncFlushTimeout)
	}
	if age >= limit && !w.stuck.Swap(true) {
		s.count.stalls.Add(1)
		s.log.Warn("the disk does not answer: puts are refused until it does", "took", age)
		if !w.busy.Load() { // it has just ended, and may have looked at stuck before
			w.stuck.Store(false)
		}
	}
	if s.gated != nil || !t.SyncFlush || t.SyncFlushTimeout <= 0 || age < min(t.SyncFlushTimeout, hanging) {
		return
	}
	type late struct {
		done Done
		res  PutResult
	}
	var all []late
	before := clock.Mono(s.o.Clock) - t.SyncFlushTimeout
	s.mu.Lock()
	for _, r := range []*round{s.writing, s.open} {
		if r == nil || r.told {
			continue
		}
		for i := range r.recs {
			if p := &r.recs[i]; p.done != nil && p.taken <= before {
				all = append(all, late{p.done, p.result()})
				p.done = nil
			}
		}
	}
	s.mu.Unlock()
	for i := range all {
		all[i].res.Status = FlushDiskTimeout
		all[i].done.Stored(all[i].res, nil)
	}
}
