package store

// A member of a raft group, or a slave, that starts anew: another's oldest file begins behind the end of its own log, so its
// own log, queues and index go. What is to be done is written down first, in a file that a crash leaves whole or not at all:
//
//	reset: | magic 8 | from 8 | queues 4 | each: topic length 2 | topic | id 4 | first offset 8 | ... | crc 4 |
//
// While it is there every start does all of it again, from the beginning. So a crash leaves the old store or the new one.
// Queues whose messages lie before the file go on where they were: a leader gives no offset twice.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/internal/vfs"
)

const resetMagic = 0x524D5143544C5253 // "RMQCTLRS"

// reset is what the file says.
type reset struct {
	from   int64
	queues []consumequeue.First
}

func (s *Store) resetName() string { return filepath.Join(s.o.Dir, "reset") }

// QueueEnds says where the queues stand at off, the beginning of the log or later, for a Reset on another member.
func (s *Store) QueueEnds(off int64) ([]byte, error) {
	list, err := s.table.Firsts(off)
	if err != nil {
		return nil, err
	}
	return reset{from: off, queues: list}.encode(), nil
}

func (r reset) encode() []byte {
	be := binary.BigEndian
	b := be.AppendUint64(nil, resetMagic)
	b = be.AppendUint64(b, uint64(r.from))
	b = be.AppendUint32(b, uint32(len(r.queues)))
	for _, q := range r.queues {
		b = append(be.AppendUint16(b, uint16(len(q.Topic))), q.Topic...)
		b = be.AppendUint32(b, uint32(q.ID))
		b = be.AppendUint64(b, uint64(q.At))
	}
	return be.AppendUint32(b, crc32.ChecksumIEEE(b))
}

var errReset = errors.New("store: these are no queue ends")

func decodeReset(b []byte) (r reset, err error) {
	be := binary.BigEndian
	if len(b) < 24 || be.Uint64(b) != resetMagic || be.Uint32(b[len(b)-4:]) != crc32.ChecksumIEEE(b[:len(b)-4]) {
		return r, errReset
	}
	r.from = int64(be.Uint64(b[8:]))
	n := be.Uint32(b[16:])
	b = b[20 : len(b)-4]
	for range n {
		if len(b) < 2 {
			return reset{}, errReset
		}
		size := int(be.Uint16(b))
		if len(b) < 2+size+12 {
			return reset{}, errReset
		}
		q := consumequeue.First{Topic: string(b[2 : 2+size])}
		b = b[2+size:]
		q.ID, q.At = int32(be.Uint32(b)), int64(be.Uint64(b[4:]))
		b = b[12:]
		if !validTopic(q.Topic) || q.ID < 0 || q.At <= 0 || q.At > maxQueueOffset {
			return reset{}, errReset
		}
		r.queues = append(r.queues, q)
	}
	if len(b) > 0 || r.from < 0 {
		return reset{}, errReset
	}
	return r, nil
}

// Reset empties a follower's store, or a slave's, whose log begins and ends at from then, the base of a segment. ends is what QueueEnds
// said for from on the member whose log comes next; nil: there are no queues. What was written before is gone when it
// returns, and does not come back.
func (s *Store) Reset(from int64, ends []byte) error {
	r := reset{from: from}
	if ends != nil {
		var err error
		if r, err = decodeReset(ends); err != nil {
			return err
		}
		if r.from != from {
			return fmt.Errorf("%w: for %d, not for %d", errReset, r.from, from)
		}
	}
	if from < 0 || from%s.o.SegmentSize != 0 {
		return fmt.Errorf("%w: %d is not the base of a segment", ErrOutOfRange, from)
	}
	s.raw.mu.Lock()
	defer s.raw.mu.Unlock()
	var late []Done
	if s.gated == nil {
		if err := s.seize(); err != nil {
			return err
		}
	} else {
		if err := s.seizeFollower(); err != nil {
			return err
		}
		late = s.dropFrom(0)
	}
	err := s.resetTo(r)
	if err != nil {
		s.fail(fmt.Errorf("start anew at %d: %w", from, err)) // the next start goes on with it
	}
	s.letGo()
	refuseAll(late, ErrDropped)
	return err
}

func (s *Store) resetTo(r reset) error {
	s.clean.mu.Lock() // no file is deleted for its age meanwhile
	defer s.clean.mu.Unlock()
	if err := s.noteReset(r); err != nil {
		return err
	}
	s.log.Info("the log starts anew: what there was is behind the group's oldest file", "was", s.clog.Top(), "from", r.from)
	if err := s.emptyAll(r.from); err != nil {
		return err
	}
	s.anew = &r
	return s.endReset()
}

// emptyAll makes the running store an empty one at from.
func (s *Store) emptyAll(from int64) error {
	s.ckMu.Lock()
	defer s.ckMu.Unlock()
	if err := s.forgetEnds(); err != nil {
		return err
	}
	if err := s.table.Clear(); err != nil {
		return err
	}
	if s.index != nil {
		if err := s.index.Clear(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.end, s.published, s.raw.at = from, from, from
	s.lastRecord, s.lastStored = 0, 0
	s.chunk = nil
	s.gen++
	s.mu.Unlock()
	s.healer.forget()
	if err := s.clog.Reset(from); err != nil {
		return err
	}
	return s.ck.lower(0, checkpoint{safe: from, exact: true})
}

// noteReset writes down what is to be done.
func (s *Store) noteReset(r reset) error {
	tmp := s.resetName() + ".tmp"
	f, err := s.fs.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(r.encode(), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.fs.Rename(tmp, s.resetName()); err != nil {
		return err
	}
	return s.fs.SyncDir(s.o.Dir)
}

// goOnReset looks, before anything is loaded, whether a Reset was cut off, and empties the store again.
func (s *Store) goOnReset() error {
	if err := s.fs.Remove(s.resetName() + ".tmp"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b, err := vfs.ReadFile(s.fs, s.resetName())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r, err := decodeReset(b)
	if err != nil { // it had its name only when it was whole
		return fmt.Errorf("%s is damaged: this member was starting anew; empty its store directory to let it begin from nothing", s.resetName())
	}
	s.log.Info("starting anew goes on", "from", r.from)
	s.anew = &r
	if err := s.fs.SyncDir(s.o.Dir); err != nil { // a process that was killed may have given it its name
		return err
	}
	for _, dir := range []string{s.o.CommitLogDir, s.o.ConsumeQueueDir, s.o.IndexDir} {
		if err := s.emptyDir(dir); err != nil {
			return err
		}
	}
	if err := s.forgetEnds(); err != nil {
		return err
	}
	if err := vfs.MakeDirs(s.fs, s.o.CommitLogDir, 0o755); err != nil {
		return err
	}
	if _, err := s.cache().CreateDurable(s.o.CommitLogDir, r.from, s.o.SegmentSize); err != nil {
		return err
	}
	if _, _, err := s.ck.read(); err != nil {
		return err
	}
	return s.ck.lower(0, checkpoint{safe: r.from, exact: true})
}

// emptyDir removes what is in dir, which may be a disk of its own, and leaves what its file system keeps there.
func (s *Store) emptyDir(dir string) error {
	list, err := s.fs.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Name() == lostDir {
			continue
		}
		if err := s.fs.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return s.fs.SyncDir(dir)
}

// endReset puts the queues where they go on, all of it on the disk, and ends the matter.
func (s *Store) endReset() error {
	if s.anew == nil {
		return nil
	}
	r := s.anew
	s.anew = nil
	if err := s.table.Begin(r.queues); err != nil {
		return err
	}
	if err := s.Checkpoint(); err != nil {
		return err
	}
	if err := s.fs.Remove(s.resetName()); err != nil {
		return err
	}
	return s.fs.SyncDir(s.o.Dir)
}
