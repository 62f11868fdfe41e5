package commitlog

// Missing segments.

import (
	"rmqctl/broker/store/segment"
)

// FillGaps makes an empty segment, one that holds a blank only, for each that is missing between the first and the last, and
// behind the last up to below. It returns where those begin that it has made. Nobody else uses the log yet.
func (l *Log) FillGaps(below int64) (made []int64, err error) {
	segs := l.Segments()
	if len(segs) == 0 {
		return nil, nil
	}
	var all []*segment.File
	next := segs[0].Base()
	fill := func(to int64) error {
		for ; next < to; next += l.size {
			s, err := l.blankSegment(next)
			if err != nil {
				return err
			}
			all, made = append(all, s), append(made, next)
		}
		return nil
	}
	for _, s := range segs {
		if err := fill(s.Base()); err != nil {
			return made, err
		}
		all, next = append(all, s), s.End()
	}
	if err := fill(below); err != nil {
		return made, err
	}
	l.mu.Lock()
	l.segs = all
	l.mu.Unlock()
	return made, nil
}

func (l *Log) blankSegment(base int64) (*segment.File, error) {
	s, err := l.cache.Create(l.dir, base, l.size)
	if err != nil {
		return nil, err
	}
	if err := s.WriteAt(Blank(l.size), 0); err != nil {
		return nil, err
	}
	if err := s.Sync(); err != nil {
		return nil, err
	}
	return s, l.cache.FS.SyncDir(l.dir)
}
