package store

// Filling blocks ahead of the log's end with zeros, in SYNC_FLUSH only (commitlog/fill.go says what for).

// fillLoop sleeps until appends have come near the end of what is filled.
func (s *Store) fillLoop() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.clog.FillWanted():
		}
		for s.roomToFill() {
			pause := s.clog.FillSome()
			if pause == 0 {
				break
			}
			select {
			case <-s.stop:
				return
			case <-s.o.Clock.After(pause):
			}
		}
	}
}

// roomToFill: a disk that is nearly full is left to messages.
func (s *Store) roomToFill() bool {
	return s.state.noRoom.Load() == nil && int(s.count.disk.Load()) < s.tune.Load().DiskMaxUsedRatio
}
