package segment

import (
	"fmt"

	"rmqctl/internal/vfs"
)

// ReadCached is ReadAt for who must not wait: vfs.ErrCold when the bytes are not in memory or the file is not open.
func (s *File) ReadCached(p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > s.size {
		return fmt.Errorf("%w: %d bytes at %d of %s", ErrRange, len(p), off, s.path)
	}
	s.mu.Lock()
	if s.gone {
		s.mu.Unlock()
		return ErrRemoved
	}
	f := s.f
	if f == nil {
		s.mu.Unlock()
		return vfs.ErrCold
	}
	s.refs++
	s.mu.Unlock()
	defer s.release()
	s.cache.touch(s)
	return vfs.ReadCached(f, p, off)
}
