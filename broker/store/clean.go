package store

// Retention: which files go, when, and saying so.

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"rmqctl/broker/store/segment"
)

// cleaner remembers between rounds.
type cleaner struct {
	mu     sync.Mutex // one round at a time
	hanged time.Time  // the oldest segment could not be deleted since
	tried  time.Time
	min    int64 // the log's min that queues and index were cleaned for
}

func (s *Store) cleanLoop() {
	s.checkDisk()
	for {
		select {
		case <-s.stop:
			return
		case <-s.o.Clock.After(s.tune.Load().CleanInterval):
		}
		s.cleanRound(false)
	}
}

// CleanExpired runs one round of retention now, as if its hour had come. It returns how many files it deleted.
func (s *Store) CleanExpired() int { return s.cleanRound(true) }

// cleanRound deletes what may go. asked: an operator wants it now.
func (s *Store) cleanRound(asked bool) int {
	s.clean.mu.Lock()
	defer s.clean.mu.Unlock()
	t := s.tune.Load()
	used := s.checkDisk()
	why := s.reason(t, used, asked)
	n := 0
	if why != "" {
		n = s.cleanLog(t, why, used)
		s.checkDisk()
	}
	return n + s.cleanBehind()
}

// reason says why files may be deleted now, or "".
func (s *Store) reason(t *Tunables, used int, asked bool) string {
	switch {
	case asked:
		return "asked for"
	case used > t.DiskMaxUsedRatio:
		return fmt.Sprintf("disk is %d%% full", used)
	case slices.Contains(t.DeleteWhen, s.now().Local().Hour()):
		return "hour of deletion"
	}
	return ""
}

// checkDisk measures the fuller of the two disks and refuses or allows appends. A disk that cannot be measured changes
// nothing.
func (s *Store) checkDisk() int {
	t := s.tune.Load()
	used := -1
	for _, dir := range []string{s.o.CommitLogDir, s.o.ConsumeQueueDir} {
		p, err := s.diskRatio(dir)
		s.count.told(s.log, "measure disk", err)
		if err == nil {
			used = max(used, p)
		}
	}
	s.count.disk.Store(int64(used))
	switch {
	case used > t.DiskWarningRatio:
		s.state.full(s, fmt.Errorf("%d%% used, limit %d%%", used, t.DiskWarningRatio))
	case used >= 0:
		s.state.room(s)
	}
	return used
}

// cleanLog deletes the oldest segments: those older than FileReserved, or any when the disk is too full. Never the last.
func (s *Store) cleanLog(t *Tunables, why string, used int) int {
	n := 0
	for n < t.DeleteBatch {
		segs := s.clog.Segments()
		if len(segs) < 2 || segs[0].End() > s.clog.Flushed() {
			break
		}
		forcibly := used > t.DiskCleanForciblyRatio && t.CleanForcibly
		age, old := s.age(segs[0], t)
		if !old && !forcibly {
			break
		}
		if n > 0 {
			s.pause(t.DeletePause)
		}
		if !s.removeFirst(segs[0], t) {
			break
		}
		n++
		text := fmt.Sprintf("%s: last written %s ago, kept for %s", why, age.Round(time.Second), t.FileReserved)
		if !old {
			text = why + ": deleted before its time"
		}
		s.deleted(segs[0].Path(), text)
		if forcibly {
			used = s.checkDisk()
		}
	}
	return n
}

func (s *Store) age(seg *segment.File, t *Tunables) (time.Duration, bool) {
	mod, err := seg.ModTime()
	if err != nil {
		s.count.told(s.log, "look at "+seg.Path(), err)
		return 0, false
	}
	age := s.now().Sub(mod)
	return age, age >= t.FileReserved
}

// removeFirst deletes the oldest segment. While somebody reads it, it is only closed to new readers: it is tried again
// after RedeleteHanged, and goes in any case DestroyForcibly after the first try; readers then finish on the unlinked file.
func (s *Store) removeFirst(seg *segment.File, t *Tunables) bool {
	c, now := &s.clean, s.now()
	if !c.hanged.IsZero() && now.Sub(c.tried) < t.RedeleteHanged && now.Sub(c.hanged) < t.DestroyForcibly {
		return false
	}
	force := !c.hanged.IsZero() && now.Sub(c.hanged) >= t.DestroyForcibly
	err := s.clog.RemoveFirst(force)
	c.tried = now
	if errors.Is(err, segment.ErrBusy) {
		if c.hanged.IsZero() {
			c.hanged = now
		}
		s.log.Warn("segment is still being read, deleting it later", "file", seg.Path())
		return false
	}
	s.count.told(s.log, "delete segment", err)
	c.hanged = time.Time{}
	return err == nil
}

// cleanBehind deletes the queue and index files that only point before the start of the log.
func (s *Store) cleanBehind() int {
	logMin := s.clog.Min()
	if logMin == s.clean.min {
		return 0
	}
	n := 0
	found := func(file string) {
		n++
		s.deleted(file, "its messages are deleted")
	}
	err := s.table.RemoveBefore(logMin, found)
	if s.index != nil {
		err = errors.Join(err, s.index.RemoveBefore(logMin, found))
	}
	s.count.told(s.log, "delete queue and index files", err)
	if err == nil {
		s.clean.min = logMin
	}
	return n
}

func (s *Store) deleted(file, why string) {
	s.log.Info("deleted", "file", file, "why", why)
	if f := s.o.Events.OnDelete; f != nil {
		f(file, why)
	}
}

func (s *Store) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-s.o.Clock.After(d):
	case <-s.stop:
	}
}
