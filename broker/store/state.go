package store

// May the store be written? A failed flush or write says no until the next start; a full disk says no until there is room.

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"rmqctl/internal/vfs"
)

type state struct {
	failed atomic.Pointer[error] // for good
	noRoom atomic.Pointer[error] // until the cleaner finds room
}

func (st *state) failure() error {
	if e := st.failed.Load(); e != nil {
		return *e
	}
	return nil
}

// Writable is nil when the store takes appends, else the reason why not.
func (s *Store) Writable() error {
	if e := s.state.failed.Load(); e != nil {
		return *e
	}
	if e := s.state.noRoom.Load(); e != nil {
		return *e
	}
	return nil
}

// fail makes the store unwritable for good, and says so once.
func (s *Store) fail(err error) {
	if !s.state.failed.CompareAndSwap(nil, &err) {
		return
	}
	s.log.Error("store is read-only until the next start", "err", err)
	if f := s.o.Events.OnFailure; f != nil {
		f(err)
	}
}

// full refuses appends until room clears it, and says so once.
func (st *state) full(s *Store, err error) {
	err = fmt.Errorf("%w: %w", ErrDiskFull, err)
	if st.noRoom.Swap(&err) == nil {
		s.log.Error("store takes no messages until there is room on the disk", "err", err)
		select {
		case s.clean.kick <- struct{}{}:
		default:
		}
	}
}

func (st *state) room(s *Store) {
	if st.noRoom.Swap(nil) != nil {
		s.log.Info("store takes messages again: there is room on the disk")
	}
}

// unlessFull lets a start go on without what could not be written for want of room: it is written later, and the next start
// recovers again if need be. Messages are refused meanwhile.
func (s *Store) unlessFull(err error) error {
	if vfs.IsNoSpace(err) {
		s.state.full(s, err)
		return nil
	}
	return err
}

// markRunning makes the abort file: whoever finds it at start knows that the store was not closed.
func (s *Store) markRunning() error {
	f, err := s.fs.OpenFile(s.o.AbortFile, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return s.fs.SyncDir(filepath.Dir(s.o.AbortFile))
}

func (s *Store) markStopped() error {
	if s.state.failure() != nil {
		return nil
	}
	if err := s.fs.Remove(s.o.AbortFile); err != nil {
		return err
	}
	return s.fs.SyncDir(filepath.Dir(s.o.AbortFile))
}
