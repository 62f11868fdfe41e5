package commitlog

import (
	"errors"

	"rmqctl/broker/store/segment"
)

// Commit puts everything below end, which must be written, on the disk and then lets readers see it: Flush before Advance,
// for logs that show nothing a power cut could take. On an error readers see no more than before.
func (l *Log) Commit(end int64) error {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	if err := l.sync(l.Flushed(), end); err != nil {
		return err
	}
	l.Advance(end)
	l.flushed.Store(end)
	return nil
}

// sync puts the bytes from..to on the disk.
func (l *Log) sync(from, to int64) error {
	for base := l.Base(from); base < to; base += l.size {
		s := l.find(base)
		if s == nil {
			continue // deleted by retention meanwhile
		}
		if err := s.Sync(); err != nil && !errors.Is(err, segment.ErrRemoved) {
			return err
		}
	}
	return nil
}
