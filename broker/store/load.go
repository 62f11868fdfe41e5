package store

// Loading: opening what is in the directories, before recovery makes it agree.

import (
	"errors"
	"fmt"
	"path/filepath"

	"rmqctl/broker/store/commitlog"
	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/index"
	"rmqctl/broker/store/segment"
)

func (s *Store) load() error {
	cache := s.cache()
	chunk := int(min(1<<20, max(s.o.SegmentSize/4, 64<<10)))
	tail := commitlog.NewTail(s.o.TailBytes, chunk)
	var err error
	var strangers []string
	if s.clog, strangers, err = commitlog.Open(s.fs, s.o.CommitLogDir, s.o.SegmentSize, cache, tail); err != nil {
		return explainLength(err, "mappedFileSizeCommitLog")
	}
	if err := s.fillMissing(0); err != nil {
		return err
	}
	if len(strangers) > 0 {
		s.log.Warn("files in the commit log directory that do not belong there", "files", strangers)
	}
	if err := s.setAsideQueuesWithoutLog(); err != nil {
		return err
	}
	if s.table, err = consumequeue.Open(s.o.ConsumeQueueDir, s.o.QueueSegmentSize, cache); err != nil {
		return err
	}
	s.table.Member = s.gated != nil
	if !s.o.NoIndex {
		var aside []error
		if s.index, aside, err = index.Open(s.fs, s.o.IndexDir, s.o.IndexSlots, s.o.IndexEntries); err != nil {
			return err
		}
		for _, a := range aside {
			s.log.Warn("index file left out", "err", a)
		}
	}
	return s.recover()
}

// explainLength turns a length that does not fit into advice.
func explainLength(err error, key string) error {
	if errors.Is(err, segment.ErrLength) {
		return fmt.Errorf("%w; set %s to the size the files have", err, key)
	}
	return err
}

// setAsideQueuesWithoutLog: queues and index of a log that is gone say nothing, and would number new messages wrongly.
func (s *Store) setAsideQueuesWithoutLog() error {
	if len(s.clog.Segments()) > 0 {
		return nil
	}
	for _, dir := range []string{s.o.ConsumeQueueDir, s.o.IndexDir} {
		entries, err := s.fs.ReadDir(dir)
		if err != nil || len(entries) == 0 {
			continue
		}
		to, err := s.lostName(filepath.Base(dir))
		if err != nil {
			return err
		}
		if err := s.fs.Rename(dir, to); err != nil {
			return err
		}
		for _, parent := range []string{filepath.Dir(to), filepath.Dir(dir)} {
			if err := s.fs.SyncDir(parent); err != nil {
				return err
			}
		}
		s.corrupt(fmt.Sprintf("the commit log is empty: %s was moved to %s", dir, to), 0)
	}
	return nil
}
