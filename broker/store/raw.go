package store

// The replication door: the log as bytes.

import (
	"errors"
	"fmt"
	"sync"

	"rmqctl/broker/store/index"
	"rmqctl/internal/message"
)

// rawAppender is the state of a store that follows a master.
type rawAppender struct {
	mu   sync.Mutex // one raw append at a time
	at   int64      // records below are published
	walk walker

	found []Dispatch  // of one append
	keys  []index.Put // of one append
}

// ReadLog reads log bytes from off into buf: what is written, never across the end of a segment, blanks included. It
// returns 0 at the end of the log and ErrOutOfRange outside of it.
func (s *Store) ReadLog(off int64, buf []byte) (int, error) {
	end := s.clog.Written()
	if off == end {
		return 0, nil
	}
	if off < s.clog.Min() || off > end {
		return 0, fmt.Errorf("%w: %d, the log is %d to %d", ErrOutOfRange, off, s.clog.Min(), end)
	}
	n := min(int64(len(buf)), end-off, s.clog.Base(off)+s.o.SegmentSize-off)
	return int(n), s.read(buf[:n], off)
}

// read fills p from memory as far as it reaches, and from the file.
func (s *Store) read(p []byte, off int64) error {
	if n := s.clog.Tail.Copy(p, off); n == len(p) {
		return nil
	}
	return s.clog.ReadAt(p, off)
}

// AppendRaw of a gated store writes what must begin at End and is visible only when committed. Else it
// writes a master's log bytes, which must begin exactly at MaxPhysical; an empty store takes any first offset.
// The bytes may begin and end anywhere in a record and cross segments. Every complete record is published. Bytes that are
// no log are taken back, and ErrBadStream says so.
func (s *Store) AppendRaw(off int64, b []byte) error {
	if s.gated != nil {
		return s.appendGated(off, b)
	}
	if err := s.Writable(); err != nil {
		return err
	}
	s.raw.mu.Lock()
	defer s.raw.mu.Unlock()
	if err := s.seize(); err != nil {
		return err
	}
	defer s.letGo()
	if s.end == 0 && s.clog.Written() == 0 && off > 0 {
		if err := s.beginAt(off); err != nil {
			return err
		}
	}
	if off != s.end {
		return fmt.Errorf("%w: %d after %d", ErrNotNext, off, s.end)
	}
	if err := s.writeRaw(off, b); err != nil {
		s.rollBack(nil, err)
		return err
	}
	end := off + int64(len(b))
	if s.tune.Load().SyncFlush { // a slave, too, shows nothing that a power cut could take
		if err := s.flushTo(end); err != nil {
			return err
		}
	} else {
		s.clog.Advance(end)
	}
	s.mu.Lock()
	s.end = end
	s.mu.Unlock()
	err := s.publishRaw(off, b)
	s.dispatchRaw()
	s.watch.tell(s.clog.Written())
	return err
}

// seize waits until no round is being written and keeps new ones out.
func (s *Store) seize() error {
	for {
		s.mu.Lock()
		if s.closed || !s.started {
			s.mu.Unlock()
			return ErrClosed
		}
		if !s.committing {
			s.committing, s.exclusive = true, true
			s.gen++
			s.mu.Unlock()
			return nil
		}
		if s.quiet == nil {
			s.quiet = make(chan struct{})
		}
		c := s.quiet
		s.mu.Unlock()
		<-c
	}
}

func (s *Store) letGo() {
	s.mu.Lock()
	s.exclusive = false
	s.restLocked()
	s.mu.Unlock()
}

// beginAt lets an empty log begin at off. The checkpoint says so first: else a start would take the nothing before off for
// what a power cut has left of the log.
func (s *Store) beginAt(off int64) error {
	s.ckMu.Lock()
	defer s.ckMu.Unlock()
	if err := s.ck.write(checkpoint{safe: off, exact: true}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end, s.published, s.raw.at = off, off, off
	s.chunk = nil
	s.clog.SetEnd(off, off)
	return nil
}

func (s *Store) writeRaw(off int64, b []byte) error {
	for len(b) > 0 {
		n := min(int64(len(b)), s.clog.Base(off)+s.o.SegmentSize-off)
		if err := s.clog.WriteAt(b[:n], off); err != nil {
			return err
		}
		s.keepInMemory(off, b[:n])
		b, off = b[n:], off+n
	}
	return nil
}

func (s *Store) keepInMemory(off int64, b []byte) {
	if s.chunk == nil || s.chunk.Base()+int64(s.fill) != off || s.fill+len(b) > s.chunk.Cap() {
		if s.chunk != nil {
			s.chunk.Release()
		}
		s.chunk, s.fill = s.clog.Tail.New(off, len(b)), 0
	}
	copy(s.chunk.Bytes(s.fill, s.fill+len(b)), b)
	s.fill += len(b)
	s.chunk.Publish(s.fill)
}

// publishRaw publishes the records that b, now the last bytes of the log, has completed: the first may have begun before
// b, and is read back; the others are looked at where they lie. On bytes that are no record it cuts the log back to the
// last one that is.
func (s *Store) publishRaw(off int64, b []byte) (err error) {
	w := &s.raw.walk
	w.read, w.segment, w.limit, w.block, w.crc = s.read, s.o.SegmentSize, off+int64(len(b)), 4<<10, true
	w.buf = nil
	if b == nil { // a commit: all of it is read back
		w.block = 64 << 10
	}
	s.raw.found, s.raw.keys = s.raw.found[:0], s.raw.keys[:0]
	at, last, stored, bytes := s.raw.at, int64(-1), int64(0), 0
	var r message.Record
	for {
		if at >= off {
			w.buf, w.off = b, off
		}
		n, bad, werr := w.record(at, &r)
		if errors.Is(werr, errEnd) {
			break
		}
		if bad || errors.Is(werr, errNothing) {
			err = fmt.Errorf("%w: at %d: %w", ErrBadStream, at, werr)
			s.corrupt(err.Error(), at)
			break
		}
		if err = werr; err != nil {
			break
		}
		if r.Size > 0 {
			d, rerr := s.restore(&r, &s.raw.keys)
			if err = rerr; err != nil {
				s.fail(err)
				break
			}
			s.raw.found = append(s.raw.found, d)
			last, stored, bytes = at, r.StoreTimestamp, bytes+int(r.Size)
		}
		at += n
	}
	if len(s.raw.keys) > 0 {
		s.indexRun(s.raw.keys)
	}
	s.raw.at = at
	s.mu.Lock()
	s.published = at
	if last >= 0 {
		s.lastRecord, s.lastStored = last, stored
	}
	s.mu.Unlock()
	s.count.put(len(s.raw.found), bytes)
	if errors.Is(err, ErrBadStream) && s.gated == nil {
		return errors.Join(err, s.cutTo(at))
	}
	return err
}

// dispatchRaw tells of the records that were published.
func (s *Store) dispatchRaw() {
	f := s.o.Events.OnDispatch
	for i := range s.raw.found {
		d := &s.raw.found[i]
		if d.Topic == message.ScheduleTopic {
			s.saveSoon()
		}
		if f != nil && d.MaxOffset >= 0 {
			f(*d)
		}
	}
}

// TruncateTo of a gated store drops what is not committed; it does not come back once TruncateTo has returned. Else it
// ends the log at off, which must be the start of a record or the end: the tail of a slave that is ahead of its
// master. Units, index entries and the checkpoint follow. What is cut off is gone.
func (s *Store) TruncateTo(off int64) error {
	if s.gated != nil {
		return s.truncateGated(off)
	}
	s.raw.mu.Lock()
	defer s.raw.mu.Unlock()
	if err := s.seize(); err != nil {
		return err
	}
	if off < s.clog.Min() || off > s.clog.Written() {
		s.letGo()
		return fmt.Errorf("%w: %d", ErrOutOfRange, off)
	}
	err := s.cutTo(off)
	s.letGo()
	return err
}

// cutTo is TruncateTo for who has seized the log. Queues and index are cut before the log: a crash in between finds units
// missing, which it makes again, never units too many.
func (s *Store) cutTo(off int64) error {
	s.ckMu.Lock()
	defer s.ckMu.Unlock()
	if s.ck.promises(off) { // it must not promise what goes now
		if err := s.forgetEnds(); err != nil {
			return err
		}
		c := s.ck.last
		if c.exact && c.safe > off {
			c.safe = off
			c.lastRecord, c.phys = s.lastBefore(off)
			c.logics = c.phys
		}
		if err := s.ck.lower(off, c); err != nil {
			return err
		}
	}
	if err := s.table.CutFrom(off); err != nil {
		return err
	}
	if s.index != nil {
		if err := s.index.Save(false); err != nil {
			return err
		}
		if err := s.index.Repair(off); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.chunk = nil
	s.end, s.raw.at, s.published = off, off, min(s.published, off)
	s.gen++
	if s.lastRecord >= off {
		s.lastRecord, s.lastStored = s.lastBefore(off)
	}
	s.mu.Unlock()
	return s.clog.Cut(off, nil)
}

// lastBefore finds the record that ends at off, walking its segment. 0, 0 when there is none.
func (s *Store) lastBefore(off int64) (at, stored int64) {
	w := walker{read: s.clog.ReadRaw, segment: s.o.SegmentSize, limit: off, block: 1 << 20}
	for base := s.clog.Base(max(off-1, 0)); ; base = max(base, s.clog.Min()) {
		found := false
		for p := max(base, s.clog.Min()); p < off; {
			var r message.Record
			n, bad, err := w.record(p, &r)
			if err != nil || bad {
				break
			}
			if r.Size > 0 {
				at, stored, found = p, r.StoreTimestamp, true
			}
			p += n
		}
		if found || base <= s.clog.Min() {
			return at, stored
		}
		base -= s.o.SegmentSize
	}
}
