package store

// Loading and recovery. What is true afterwards: the log ends behind its last good record and reads as zeros from there;
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
	"os"
	"path/filepath"
	"time"

	"rmqctl/broker/store/commitlog"
	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/index"
	"rmqctl/broker/store/segment"
	"rmqctl/internal/message"
)

// lostDir, under the store's directory, takes what recovery removes from the log although it may be worth something.
const lostDir = "lost+found"

func (s *Store) load() error {
	cache := s.cache()
	chunk := int(min(1<<20, max(s.o.SegmentSize/4, 64<<10)))
	tail := commitlog.NewTail(s.o.TailBytes, chunk)
	var err error
	var strangers []string
	if s.clog, strangers, err = commitlog.Open(s.fs, s.o.CommitLogDir, s.o.SegmentSize, cache, tail); err != nil {
		return explainLength(err, "mappedFileSizeCommitLog")
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
		s.corrupt(fmt.Sprintf("the commit log is empty: %s was moved to %s", dir, to), 0)
	}
	return nil
}

// lostName is a free name in lost+found.
func (s *Store) lostName(name string) (string, error) {
	dir := filepath.Join(s.o.Dir, lostDir)
	if err := s.fs.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for n := 0; ; n++ {
		to := filepath.Join(dir, name)
		if n > 0 {
			to = fmt.Sprintf("%s.%d", to, n)
		}
		if _, err := s.fs.Stat(to); errors.Is(err, fs.ErrNotExist) {
			return to, nil
		} else if err != nil {
			return "", err
		}
	}
}

func (s *Store) corrupt(what string, off int64) {
	s.log.Error("store: "+what, "offset", off)
	if f := s.o.Events.OnCorrupt; f != nil {
		f(what, off)
	}
}

func (s *Store) recover() error {
	_, err := s.fs.Stat(s.o.AbortFile)
	crashed := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ck, err := readCheckpoint(s.fs, s.o.CheckpointFile)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
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
	if err := s.prepareScan(from, crashed); err != nil {
		return err
	}
	end, err := s.scan(w, from, exact, crashed)
	if err != nil {
		return err
	}
	if err := s.settle(end, from, crashed); err != nil {
		return err
	}
	s.log.Info("store recovered", "clean", !crashed, "scanned", end-from, "from", from, "end", end, "took", time.Since(start))
	return nil
}

// scanStart chooses where to begin. exact: everything below is known to be on the disk.
func (s *Store) scanStart(w *walker, ck *checkpoint, crashed bool) (from int64, exact bool, err error) {
	segs := s.clog.Segments()
	if ck.exact {
		ok, err := s.standsAt(w, ck)
		if err != nil {
			return 0, false, err
		}
		if ok {
			s.ckLast = *ck
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

// scan publishes every record from from on and returns where the log ends.
func (s *Store) scan(w *walker, from int64, exact, crashed bool) (int64, error) {
	var r message.Record
	safe := int64(-1)
	if exact {
		safe = from
	}
	s.published = from
	for at := from; ; {
		n, bad, err := w.record(at, &r)
		if err != nil && !bad && !errors.Is(err, errEnd) && !errors.Is(err, errNothing) {
			return 0, err
		}
		if err != nil {
			if at >= w.limit || errors.Is(err, errNothing) && !crashed && safe >= 0 {
				return at, nil
			}
			next, err := s.stumble(w, at, safe, err)
			if err != nil || next == at {
				return at, err
			}
			at = next
			continue
		}
		if r.Size > 0 {
			if _, err := s.restore(&r); err != nil {
				return 0, err
			}
			s.lastRecord, s.lastStored = at, r.StoreTimestamp
		}
		at += n
		s.published = at
		if f := s.o.Progress; f != nil {
			f(at-from, w.limit-from)
		}
	}
}

// stumble decides what to do at a place that holds no good record. It returns where to go on, or at itself when the log
// ends there.
//
// In a segment that is followed by another with records, the damage is inside the log: it is skipped, nothing is thrown
// away. In the last one the log ends here; if good records follow all the same they were never promised to be on the disk,
// and are kept aside.
func (s *Store) stumble(w *walker, at, safe int64, why error) (int64, error) {
	segs := s.clog.Segments()
	patience := int64(zeroRun)
	if at == segs[0].Base() {
		patience = s.o.SegmentSize // a slave's first segment may begin with nothing
	}
	behind, found, err := w.resync(at, patience)
	if err != nil {
		return 0, err
	}
	next := at - at%s.o.SegmentSize + s.o.SegmentSize
	later := false
	for _, seg := range segs {
		var r message.Record
		if seg.Base() > at && !later {
			_, bad, err := w.record(seg.Base(), &r)
			later = err == nil && !bad
		}
	}
	switch {
	case at == segs[0].Base() && found && errors.Is(why, errNothing):
		return behind, nil
	case later || at < safe:
		to := next
		if found {
			to = behind
		}
		s.corrupt(fmt.Sprintf("%d damaged bytes in the commit log are skipped (%v)", to-at, why), at)
		return to, nil
	case found:
		return at, s.keepTail(w, at, behind)
	}
	return at, nil
}

// keepTail copies the rest of the segment at at aside before it is cut off.
func (s *Store) keepTail(w *walker, at, behind int64) error {
	to, err := s.lostName(fmt.Sprintf("%s.from.%d", segment.Name(s.clog.Base(at)), at))
	if err != nil {
		return err
	}
	f, err := s.fs.OpenFile(to, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	end := s.clog.Base(at) + s.o.SegmentSize
	for off := at; off < end; {
		n := int(min(1<<20, end-off))
		b, err := w.bytes(off, n)
		if err != nil {
			return err
		}
		if !allZero(b) {
			if _, err := f.WriteAt(b, off-at); err != nil {
				return err
			}
		}
		off += int64(n)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	s.corrupt(fmt.Sprintf("the log ends at a damaged record, but a good one lies behind it at %d: the rest of the segment was copied to %s and is cut off", behind, to), at)
	return s.fs.SyncDir(filepath.Dir(to))
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// settle ends the log at end and makes everything else agree. After a crash the outcome is put on the disk at once, so that
// a second crash finds a checkpoint and repeats nothing.
func (s *Store) settle(end, from int64, crashed bool) error {
	s.clog.SetEnd(end, min(from, end))
	s.end, s.published = end, min(s.published, end)
	s.raw.at = end
	cut, err := s.endUnclean(end)
	if err != nil {
		return err
	}
	if cut || crashed { // a power cut may have left pages anywhere behind the end
		if err := s.clog.Cut(end, s.dropSegment); err != nil {
			return err
		}
	}
	if err := s.table.Limit(end, false); err != nil {
		return err
	}
	if !crashed {
		if !cut {
			s.clog.SetEnd(end, end)
			return nil
		}
		if err := s.table.CutFrom(end); err != nil {
			return err
		}
		if s.index != nil {
			if err := s.index.Repair(end); err != nil {
				return err
			}
		}
	}
	return s.Checkpoint()
}

// endUnclean looks whether anything was written right behind end. After a clean stop nothing should be.
func (s *Store) endUnclean(end int64) (bool, error) {
	for _, seg := range s.clog.Segments() {
		if seg.End() <= end {
			continue
		}
		at := max(end, seg.Base())
		b := make([]byte, min(64<<10, seg.End()-at))
		if err := seg.ReadAt(b, at-seg.Base()); err != nil {
			return false, err
		}
		if !allZero(b) || seg.Base() >= end {
			return true, nil
		}
	}
	return false, nil
}

// dropSegment removes a segment behind the end of the log: an unused one is deleted, one with bytes is kept aside.
func (s *Store) dropSegment(seg *segment.File) error {
	b := make([]byte, min(64<<10, seg.Size()))
	if err := seg.ReadAt(b, 0); err != nil {
		return err
	}
	if allZero(b) {
		return seg.Remove(true)
	}
	to, err := s.lostName(segment.Name(seg.Base()))
	if err != nil {
		return err
	}
	s.corrupt(fmt.Sprintf("segment %s lies behind the end of the log and was moved to %s", seg.Path(), to), seg.Base())
	return seg.Rename(to)
}
