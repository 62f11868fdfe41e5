package store

// A member of a raft group that follows: bytes are written and cut off; Commit (gated.go) makes them visible.

import "fmt"

// appendGated is AppendRaw of a follower: the bytes are written, and become visible by Commit.
func (s *Store) appendGated(off int64, b []byte) error {
	if err := s.state.failure(); err != nil {
		return err
	}
	s.raw.mu.Lock()
	defer s.raw.mu.Unlock()
	if err := s.seizeFollower(); err != nil {
		return err
	}
	defer s.letGo()
	if off != s.end {
		return fmt.Errorf("%w: %d after %d", ErrNotNext, off, s.end)
	}
	s.gated.opened = false
	if err := s.writeRaw(off, b); err != nil {
		s.rollBack(nil, err)
		return err
	}
	end := off + int64(len(b))
	s.clog.SetTop(end)
	s.mu.Lock()
	s.end = end
	s.mu.Unlock()
	return nil
}

// truncateGated is TruncateTo of a follower: nothing that is visible goes, so queues and index stay as they are. Only right
// after the start it may: a power cut has left the group's index shorter than the log, or no entry whole at its end.
func (s *Store) truncateGated(off int64) error {
	s.raw.mu.Lock()
	defer s.raw.mu.Unlock()
	if err := s.seizeFollower(); err != nil {
		return err
	}
	late, err := s.cutGated(off)
	s.letGo()
	refuseAll(late, ErrDropped)
	return err
}

func (s *Store) cutGated(off int64) ([]Done, error) {
	switch {
	case off < s.clog.Written() && s.gated.opened && off >= s.clog.Min():
		if err := s.cutTo(off); err != nil {
			s.fail(fmt.Errorf("cut the log at %d: %w", off, err))
			return nil, err
		}
		return nil, nil
	case off < s.clog.Written():
		return nil, fmt.Errorf("%w: %d, committed up to %d", ErrCommitted, off, s.clog.Written())
	case off > s.clog.Top():
		return nil, fmt.Errorf("%w: %d, the log ends at %d", ErrOutOfRange, off, s.clog.Top())
	}
	late := s.dropFrom(off)
	s.mu.Lock()
	s.chunk = nil
	s.end = off
	s.mu.Unlock()
	err := s.clog.Cut(off, nil)
	if err != nil {
		s.fail(fmt.Errorf("cut the log at %d: %w", off, err))
	}
	return late, err
}

func (s *Store) seizeFollower() error {
	if err := s.seize(); err != nil {
		return err
	}
	s.mu.Lock()
	leading := s.gated.leading
	s.mu.Unlock()
	if leading {
		s.letGo()
		return ErrLeading
	}
	return nil
}

// ReadWritten is ReadLog up to End.
func (s *Store) ReadWritten(off int64, buf []byte) (int, error) {
	end := s.clog.Top()
	if off == end {
		return 0, nil
	}
	if off < s.clog.Min() || off > end {
		return 0, fmt.Errorf("%w: %d, the log is %d to %d", ErrOutOfRange, off, s.clog.Min(), end)
	}
	n := min(int64(len(buf)), end-off, s.clog.Base(off)+s.o.SegmentSize-off)
	return int(n), s.readWritten(buf[:n], off)
}

func (s *Store) readWritten(p []byte, off int64) error {
	if n := s.clog.Tail.Copy(p, off); n == len(p) {
		return nil
	}
	return s.clog.ReadRaw(p, off)
}

// Sync puts everything written below to on the disk. A failure is final, as of every flush.
func (s *Store) Sync(to int64) error {
	return s.flushed(func() (int64, error) { return s.clog.SyncTo(min(to, s.clog.Top())) })
}
