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
	mu     sync.Mutex // one round at a time; guards all below
	ages   ages
	hanged time.Time // the oldest segment could not be deleted since
	tried  time.Time
	min    int64 // the log's min that queues and index were cleaned for

	kick chan struct{} // the disk was found full: look soon
}

// lookForRoom is how often the disk is looked at while it is full.
const lookForRoom = time.Second

func (s *Store) cleanLoop() {
	s.clean.mu.Lock()
	s.clean.ages.begin(s)
	s.checkDisk()
	s.clean.mu.Unlock()
	for {
		pause := s.tune.Load().CleanInterval
		if s.state.noRoom.Load() != nil {
			pause = min(pause, lookForRoom)
		}
		select {
		case <-s.stop:
			s.clean.mu.Lock()
			s.clean.ages.save(s)
			s.clean.mu.Unlock()
			return
		case <-s.clean.kick:
			continue // with the shorter pause
		case <-s.o.Clock.After(pause):
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
	s.clean.ages.begin(s)
	s.clean.ages.look(s)
	t := s.tune.Load()
	used := s.checkDisk()
	why := s.reason(t, used.percent, asked)
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
		return fmt.Sprintf("the disk is %d%% full, beyond %d%% (diskMaxUsedSpaceRatio)", used, t.DiskMaxUsedRatio)
	case slices.Contains(t.DeleteWhen, s.now().Local().Hour()):
		return fmt.Sprintf("it is the hour of deletion, %02d (deleteWhen)", s.now().Local().Hour())
	}
	return ""
}

// diskUse is how full a disk is.
type diskUse struct {
	dir         string
	percent     int // -1: not measured
	total, free int64
}

// roomy: enough is free to take messages again after the disk was full; a hundredth of it, 64 MiB of a large one.
func (u diskUse) roomy() bool { return u.free >= min(u.total/100, 64<<20) }

func (s *Store) diskUse(dir string) (diskUse, error) {
	total, free, err := s.fs.DiskUsage(dir)
	if err != nil || total <= 0 {
		return diskUse{dir: dir, percent: -1}, err
	}
	return diskUse{dir, int(((total-free)*100 + total - 1) / total), total, free}, nil
}

// checkDisk measures the fuller of the two disks and refuses or allows appends. A disk that cannot be measured changes
// nothing.
func (s *Store) checkDisk() diskUse {
	t := s.tune.Load()
	worst := diskUse{percent: -1}
	for _, dir := range []string{s.o.CommitLogDir, s.o.ConsumeQueueDir} {
		u, err := s.diskUse(dir)
		s.count.told(s.log, "measure disk", err)
		if err == nil && u.percent > worst.percent {
			worst = u
		}
	}
	s.count.disk.Store(int64(worst.percent))
	switch {
	case worst.percent > t.DiskWarningRatio:
		s.state.full(s, fmt.Errorf("%s is on a disk that is %d%% full, %s of %s are free; messages are taken up to %d%% (diskSpaceWarningLevelRatio)",
			worst.dir, worst.percent, amount(worst.free), amount(worst.total), t.DiskWarningRatio))
	case worst.percent >= 0 && worst.roomy():
		s.state.room(s)
	}
	return worst
}

// amount is a number of bytes for people.
func amount(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// cleanLog deletes the oldest segments: those older than FileReserved, or any when the disk is too full. Never the last.
func (s *Store) cleanLog(t *Tunables, why string, used diskUse) int {
	n := 0
	for n < t.DeleteBatch {
		segs := s.clog.Segments()
		if len(segs) < 2 || segs[0].End() > s.clog.Flushed() {
			break
		}
		forcibly := used.percent > t.DiskCleanForciblyRatio && t.CleanForcibly
		age := s.clean.ages.of(s, segs[0].Base())
		old := age >= t.FileReserved
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
		delete(s.clean.ages.sealed, segs[0].Base())
		rule := fmt.Sprintf("last written %s ago, kept for %s (fileReservedTime); %s", age.Round(time.Second), t.FileReserved, why)
		if !old {
			rule = fmt.Sprintf("last written %s ago, before its time: the disk is %d%% full, beyond %d%% (diskSpaceCleanForciblyRatio)",
				age.Round(time.Second), used.percent, t.DiskCleanForciblyRatio)
		}
		s.deleted(segs[0].Path(), s.o.SegmentSize, rule)
		if forcibly {
			used = s.checkDisk()
		}
	}
	return n
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
	found := func(size int64) func(string) {
		return func(file string) {
			n++
			s.deleted(file, size, fmt.Sprintf("its messages are deleted: the log begins at %d", logMin))
		}
	}
	err := s.table.Save(0, false) // a queue's last file is never deleted: it should be the one with its last units
	err = errors.Join(err, s.table.RemoveBefore(logMin, found(s.o.QueueSegmentSize)))
	if s.index != nil {
		err = errors.Join(err, s.index.RemoveBefore(logMin, found(40+4*int64(s.o.IndexSlots)+20*int64(s.o.IndexEntries))))
	}
	s.count.told(s.log, "delete queue and index files", err)
	if err == nil {
		s.clean.min = logMin
	}
	return n
}

// deleted says what is gone and why.
func (s *Store) deleted(file string, size int64, why string) {
	s.log.Info("file deleted", "file", file, "size", amount(size), "why", why)
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
