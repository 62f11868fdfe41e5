package store

// Damage: what recovery does with bytes that are no good record. Nothing that may be worth something is thrown away: it is
// skipped inside the log, and kept aside at its end.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"rmqctl/broker/store/segment"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// lostDir, under the store's directory, takes what recovery removes from the log although it may be worth something.
const lostDir = "lost+found"

// lostName is a free name in lost+found.
func (s *Store) lostName(name string) (string, error) {
	dir := filepath.Join(s.o.Dir, lostDir)
	if err := vfs.MakeDirs(s.fs, dir, 0o755); err != nil {
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
	s.count.damages.Add(1)
	s.count.lastDamage.Store(&what)
	if f := s.o.Events.OnCorrupt; f != nil {
		f(what, off)
	}
}

// stumble decides what to do at a place that holds no good record. It returns where to go on, or at itself when the log
// ends there.
//
// Below what the checkpoint file vouches for, the damage is inside the log: it is skipped, nothing is thrown away. Behind
// it the log ends here: a write may have been stopped by a power cut, and going on would leave a hole. If good records
// follow all the same they were never promised to be on the disk, and are kept aside. Where nobody vouches (a Java broker
// wrote last), a segment with records behind this one is taken for a promise.
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
	case at == segs[0].Base() && found && errors.Is(why, errNothing) && (s.vouched < 0 || at < s.vouched):
		return behind, nil
	case at < max(safe, s.vouched) || later && s.vouched < 0:
		to := next
		if found {
			to = behind
		}
		s.corrupt(fmt.Sprintf("%d damaged bytes in the commit log are skipped (%s: %v)", to-at, s.placeOf(at), why), at)
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
	if err := seg.Rename(to); err != nil {
		return err
	}
	return s.fs.SyncDir(filepath.Dir(to))
}

func allZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}
