package store

// Segments of the commit log that are gone: what is left of the log is served, and offsets are not given twice.

import (
	"fmt"

	"rmqctl/broker/store/segment"
)

// fillMissing puts an empty segment in the place of each that is missing, inside the log or at its end below vouched: an
// empty one holds nothing but a blank, which everybody who walks over the log gets past.
func (s *Store) fillMissing(vouched int64) error {
	made, err := s.clog.FillGaps(vouched)
	for _, base := range made {
		s.corrupt(fmt.Sprintf("segment %s/%s is missing: its messages are lost, an empty one takes its place", s.o.CommitLogDir, segment.Name(base)), base)
	}
	return err
}
