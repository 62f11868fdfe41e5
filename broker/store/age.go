package store

// How old a segment is, without believing the clock: one that was set, or is wrong after a start, must not make a file look
// older than it is. What counts is time that passed while the broker ran. It is kept in ages.json between runs:
//
//	{"ages":{"0":86400,"1073741824":3600}}    seconds since each segment was last written, by its first offset
//
// Without that file, as in a directory that a Java broker made, the age of a file at the start is what its time says, at most
// up to offTime after the newest message. Files are kept too long rather than too short: for as long as the broker was off,
// and for a few minutes after a kill.

import (
	"encoding/json"
	"path/filepath"
	"time"

	"rmqctl/broker/store/segment"
	"rmqctl/internal/clock"
	"rmqctl/internal/jsonfile"
)

const (
	// offTime is how long before the start the newest message may have been stored without the clock being doubted.
	offTime = 10 * time.Minute
	// notableSkew is how far a clock may be set before the log says so.
	notableSkew = time.Minute
	// saveAges is how often they are saved.
	saveAges = 10 * time.Minute
)

// ages knows when segments were last written, in time that cannot be set (clock.Mono). The cleaner alone uses it.
type ages struct {
	sealed map[int64]time.Duration // by base; the last segment is not there
	steady *clock.Steady
	skew   time.Duration // of the clock, when it was last spoken of
	saved  time.Duration
}

type agesFile struct {
	Ages map[int64]int64 `json:"ages"`
}

func (s *Store) agesFile() string { return filepath.Join(s.o.Dir, "ages.json") }

// begin takes over what is known of the files found at the start, the first time it is called; after recovery.
func (a *ages) begin(s *Store) {
	if a.steady != nil {
		return
	}
	a.sealed, a.steady = map[int64]time.Duration{}, clock.NewSteady(s.o.Clock)
	now := clock.Mono(s.o.Clock)
	a.saved = now
	var file agesFile
	known, err := jsonfile.Load(s.fs, s.agesFile(), func(b []byte) error { return json.Unmarshal(b, &file) })
	if err != nil {
		s.log.Warn("the ages of the log's files are not known: they count as new", "err", err)
		known = true
	}
	at := s.plausible()
	limit := time.Duration(1<<63 - 1) // no segment is older than one before it
	segs := s.sealed()
	for i := range segs {
		age := time.Duration(file.Ages[segs[i].Base()]) * time.Second
		if !known {
			if mod, err := segs[i].ModTime(); err == nil {
				age = at.Sub(mod)
			}
		}
		limit = min(limit, max(age, 0))
		a.sealed[segs[i].Base()] = now - limit
	}
}

// sealed are the segments that will not be written any more. The next one is made when the current is half full, so being
// last but one does not mean that.
func (s *Store) sealed() []*segment.File {
	segs, end := s.clog.Segments(), s.clog.Written()
	for len(segs) > 0 && segs[len(segs)-1].End() > end {
		segs = segs[:len(segs)-1]
	}
	return segs
}

// plausible is the time at the start: the clock's, but not long after the newest message.
func (s *Store) plausible() time.Time {
	s.mu.Lock()
	newest := s.lastStored
	s.mu.Unlock()
	now := s.now().Round(0)
	if at := time.UnixMilli(newest).Add(offTime); newest > 0 && now.After(at) {
		return at
	}
	return now
}

// look notes segments that have come to their end, and says once that the clock was set.
func (a *ages) look(s *Store) {
	now := clock.Mono(s.o.Clock)
	for _, seg := range s.sealed() {
		if _, known := a.sealed[seg.Base()]; !known {
			a.sealed[seg.Base()] = now
		}
	}
	if skew := a.steady.Skew(); (skew - a.skew).Abs() >= notableSkew {
		s.log.Warn("the clock was set, or the machine slept: retention goes by the time that has passed", "by", (skew - a.skew).Round(time.Second), "now", s.now())
		a.skew = skew
	}
	if now-a.saved >= saveAges {
		a.save(s)
	}
}

// of is how long ago a segment was last written.
func (a *ages) of(s *Store, base int64) time.Duration {
	at, known := a.sealed[base]
	if !known {
		return 0
	}
	return clock.Mono(s.o.Clock) - at
}

// save keeps the ages for the next start.
func (a *ages) save(s *Store) {
	now := clock.Mono(s.o.Clock)
	file := agesFile{Ages: map[int64]int64{}}
	for _, seg := range s.clog.Segments() {
		if at, known := a.sealed[seg.Base()]; known {
			file.Ages[seg.Base()] = int64((now - at) / time.Second)
		}
	}
	b, err := json.Marshal(file)
	if err == nil {
		err = jsonfile.Save(s.fs, s.agesFile(), b)
	}
	s.count.told(s.log, "save the ages of files", err)
	a.saved = now
}
