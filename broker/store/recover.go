package store

// Recovery. What is true afterwards: the log ends behind its last good record and reads as zeros from there;
// every record has its unit and no unit points beyond; the index knows no message beyond. Doing it twice changes nothing.
//
// Where the scan begins:
//
//	clean stop, our checkpoint     at its safe offset: nothing is left to scan
//	clean stop, Java's checkpoint  at the third last segment, as Java does; known units are left alone
//	crash, our checkpoint          at its safe offset: log, queues and index are on the disk below
//	crash, Java's checkpoint       at the newest segment whose first record is older than the checkpoint's time
//
// After a crash all units and index entries at or behind that point are dropped and made again from the log.

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"rmqctl/internal/message"
)

func (s *Store) recover() error {
	_, err := s.fs.Stat(s.o.AbortFile)
	crashed := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ck, vouched, err := s.ck.read()
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := s.ck.settle(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	s.vouched = vouched
	if err := s.fillMissing(vouched); err != nil {
		return err
	}
	segs := s.clog.Segments()
	if len(segs) == 0 {
		return s.table.Limit(0, false)
	}
	start := time.Now()
	w := &walker{read: s.clog.ReadRaw, segment: s.o.SegmentSize, limit: segs[len(segs)-1].End(), block: 1 << 20, crc: true}
	from, exact, err := s.scanStart(w, &ck, crashed)
	if err != nil {
		return err
	}
	if crashed && !exact {
		if err := s.promiseLess(ck, from); err != nil {
			return err
		}
	}
	if err := s.knowEnds(&ck, exact); err != nil {
		return err
	}
	if err := s.prepareScan(from, crashed); err != nil {
		return err
	}
	visible, err := s.committed(w, &ck, from, exact, crashed)
	if err != nil {
		return err
	}
	end, err := s.scan(w, from, visible, exact, crashed)
	if err != nil {
		return err
	}
	s.progress(end-from, w.limit-from)
	if err := s.settle(end, from, crashed); err != nil {
		return err
	}
	s.log.Info("store recovered", "clean", !crashed, "scanned", end-from, "from", from, "end", end, "took", time.Since(start))
	return s.mendQueues()
}

// scanStart chooses where to begin. exact: everything below is known to be on the disk.
func (s *Store) scanStart(w *walker, ck *checkpoint, crashed bool) (from int64, exact bool, err error) {
	segs := s.clog.Segments()
	if ck.exact && ck.safe < segs[0].Base() { // retention has gone beyond it
		return segs[0].Base(), true, nil
	}
	if ck.exact {
		ok, err := s.standsAt(w, ck)
		if err != nil {
			return 0, false, err
		}
		if ok {
			s.lastRecord, s.lastStored = ck.lastRecord, ck.phys
			return ck.safe, true, nil
		}
	}
	if !crashed {
		return segs[max(len(segs)-3, 0)].Base(), false, nil
	}
	for i := len(segs) - 1; i > 0; i-- {
		var r message.Record
		_, bad, err := w.record(segs[i].Base(), &r)
		if err == nil && !bad && r.Size > 0 && r.StoreTimestamp > 0 && r.StoreTimestamp <= ck.minTime() {
			return segs[i].Base(), false, nil
		}
	}
	return segs[0].Base(), false, nil
}

// standsAt tells whether the checkpoint fits the log that is there: its last record is good and ends where it says, with
// at most a blank in between.
func (s *Store) standsAt(w *walker, ck *checkpoint) (bool, error) {
	segs := s.clog.Segments()
	if ck.safe < segs[0].Base() || ck.safe > w.limit {
		return false, nil
	}
	if ck.safe == segs[0].Base() {
		return true, nil
	}
	if ck.lastRecord < segs[0].Base() {
		return false, nil
	}
	var r message.Record
	n, bad, err := w.record(ck.lastRecord, &r)
	if err != nil || bad || r.Size == 0 {
		return false, ioOnly(err, bad)
	}
	at := ck.lastRecord + n
	if at < ck.safe {
		if n, bad, err = w.record(at, &r); err != nil || bad || r.Size != 0 {
			return false, ioOnly(err, bad)
		}
		at += n
	}
	return at == ck.safe, nil
}

// ioOnly keeps errors of the disk and drops what the bytes say about themselves.
func ioOnly(err error, bad bool) error {
	if bad || errors.Is(err, errEnd) || errors.Is(err, errNothing) {
		return nil
	}
	return err
}

// promiseLess makes the checkpoint speak of from, before queues are cut back to there: were it believed once more after
// another crash (it may have been torn in memory only), the units from there to its safe offset would be missing.
func (s *Store) promiseLess(c checkpoint, from int64) error {
	c.safe = from
	c.lastRecord, _ = s.lastBefore(from)
	c.exact = c.lastRecord > 0 || from == s.clog.Min()
	return s.unlessFull(s.ck.replace(c))
}

func (s *Store) prepareScan(from int64, crashed bool) error {
	if !crashed {
		return s.table.Limit(math.MaxInt64, false)
	}
	if err := s.table.Limit(from, true); err != nil {
		return explainLength(err, "mappedFileSizeConsumeQueue")
	}
	if s.index != nil {
		return s.index.Repair(from)
	}
	return nil
}

// committed is up to where a member of a raft group may publish what the scan finds; else all of it is published. The group
// has committed what was published before: nothing below the checkpoint, the mark, or a unit that is on the disk goes back.
func (s *Store) committed(w *walker, ck *checkpoint, from int64, exact, crashed bool) (int64, error) {
	if s.gated == nil {
		return math.MaxInt64, nil
	}
	to := max(s.o.Committed, s.vouched, from)
	if exact {
		to = max(to, ck.safe)
	} else if !crashed { // another broker closed it, one that publishes what it writes
		return math.MaxInt64, nil
	}
	look := w.fresh()
	for _, m := range s.table.Marks() {
		var r message.Record
		if m.Unit.Phys < to {
			continue
		}
		_, bad, err := look.record(m.Unit.Phys, &r)
		if err := ioOnly(err, bad); err != nil {
			return 0, err
		}
		if err == nil && !bad && r.Size == m.Unit.Size && r.QueueOffset == m.At && r.QueueID == m.ID && string(r.Topic) == m.Topic {
			to = m.Unit.Phys + int64(m.Unit.Size)
		}
	}
	return to, nil
}

// scan publishes every record from from on that ends at visible at most, and returns where the log ends.
func (s *Store) scan(w *walker, from, visible int64, exact, crashed bool) (int64, error) {
	safe := int64(-1)
	if exact {
		safe = from
	}
	s.published = from
	w.lookAhead(from)
	defer w.stopAhead()
	back := s.restorer()
	defer back.close()
	var r message.Record
	told := from
	for at := from; ; {
		if at <= visible {
			s.raw.at = at
		}
		n, bad, err := w.record(at, &r)
		if err != nil && !bad && !errors.Is(err, errEnd) && !errors.Is(err, errNothing) {
			return 0, err
		}
		if err != nil {
			if at >= w.limit || errors.Is(err, errNothing) && !crashed && safe >= 0 {
				return at, nil
			}
			next, err := s.stumble(w.fresh(), at, safe, err)
			if err != nil || next == at {
				return at, err
			}
			at = next
			continue
		}
		if r.Size > 0 && at+n <= visible {
			if err := back.record(&r); err != nil {
				return 0, err
			}
			s.lastRecord, s.lastStored = at, r.StoreTimestamp
		}
		if at += n; at <= visible {
			s.published = at
		}
		if at-told >= progressStep {
			told = at
			s.progress(at-from, w.limit-from)
		}
	}
}

func (s *Store) progress(done, total int64) {
	if f := s.o.Progress; f != nil {
		f(done, total)
	}
}

// progressStep is how often recovery says how far it is.
const progressStep = 1 << 20

// settle ends the log at end and makes everything else agree. After a crash the outcome is put on the disk at once, so that
// a second crash finds a checkpoint and repeats nothing.
func (s *Store) settle(end, from int64, crashed bool) error {
	shown := end // what readers see ends here
	if s.gated != nil {
		shown = min(s.raw.at, end)
	}
	s.clog.SetEnd(shown, min(from, shown))
	s.clog.SetTop(end)
	s.end, s.published = end, min(s.published, shown)
	s.raw.at = shown
	cut, err := s.endUnclean(end)
	if err != nil {
		return err
	}
	if cut || crashed { // a power cut may have left pages anywhere behind the end
		if err := s.clog.Cut(end, s.dropSegment); err != nil {
			return err
		}
	}
	if err := s.table.Limit(shown, false); err != nil {
		return err
	}
	if !crashed {
		if !cut {
			s.clog.SetEnd(shown, shown)
			s.clog.SetTop(end)
			if s.gated != nil && s.published > from { // committed since by the rest of the group
				return s.unlessFull(s.Checkpoint())
			}
			return nil
		}
		if err := s.table.CutFrom(shown); err != nil {
			return err
		}
		if s.index != nil {
			if err := s.index.Repair(shown); err != nil {
				return err
			}
		}
	}
	if s.gated != nil { // the member counts on what it finds
		if _, err := s.clog.SyncTo(end); err != nil {
			return err
		}
	}
	return s.unlessFull(s.Checkpoint())
}
