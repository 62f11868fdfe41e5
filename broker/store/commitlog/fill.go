package commitlog

// Filling: for SYNC_FLUSH, zeros are written to the blocks ahead of the end of the log before they are needed. An fdatasync of
// blocks that were written once writes the data and nothing else; on new blocks it waits for the file system's journal too.
//
//	[ log ... reach )[ margin )[ zeros ... done )[ hole ... end of the segment )
//
// A hole reads as zeros and so does what is filled, so no crash can tell one from the other. The filler never waits for an
// append; when appends are faster, it goes on ahead of them. An append waits for the filler only if it has come all the way
// through the margin while one slice was being written.

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/broker/store/segment"
)

// Pauses of the filler: after a slice, which makes about 60 MB/s; and while the log grows faster than that. Then zeros would
// not stay ahead of it, cost as much as a tenth of a put, and matter little: a flush is shared by hundreds of messages.
const (
	fillPace = 4 * time.Millisecond
	fillRest = 250 * time.Millisecond
)

// smallestFilled: segments below are those of tests and toys.
const smallestFilled = 64 << 20

// filler is the state of filling. The zero value does nothing.
type filler struct {
	on                    atomic.Bool
	wake                  chan struct{}
	slice, margin, window int64

	reach  atomic.Int64 // end of the newest write
	done   atomic.Int64 // zeros were written up to here, or were not needed
	mu     sync.Mutex   // held while a slice is written
	at     atomic.Int64 // start of that slice
	failed atomic.Bool  // the disk refuses: leave it alone until the next start
	seen   int64        // reach at the last look; guarded by mu
	rested bool         // the last look was after a rest; guarded by mu
	zeros  []byte
}

const nowhere = math.MaxInt64

func (f *filler) init(size int64) {
	f.wake = make(chan struct{}, 1)
	f.slice, f.margin, f.window = 256<<10, 1<<20, 16<<20
	f.at.Store(nowhere)
	f.failed.Store(size < smallestFilled)
}

// Fill says whether blocks are to be filled; FillWanted tells when FillSome has something to do.
func (l *Log) Fill(on bool)                { l.fill.on.Store(on && !l.fill.failed.Load()) }
func (l *Log) FillWanted() <-chan struct{} { return l.fill.wake }

// claim is what every write to the log begins with: from now on the bytes below end are not the filler's.
func (f *filler) claim(end int64) {
	f.reach.Store(end)
	if end > f.at.Load() { // either we see the slice here, or the filler sees reach
		f.mu.Lock()
		//lint:ignore SA2001 waiting is all
		f.mu.Unlock()
	}
	if f.on.Load() && end+f.window/2 > f.done.Load() {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// restart: the log ends at off now.
func (f *filler) restart(off int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reach.Store(off)
	f.done.Store(0)
}

// FillSome writes one slice of zeros and tells how long to pause before the next; 0: until FillWanted says so.
func (l *Log) FillSome() time.Duration {
	f := &l.fill
	if !f.on.Load() {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	reach := f.reach.Load()
	moved := reach - f.seen
	if f.seen = reach; moved > f.slice {
		if f.rested = !f.rested; f.rested {
			return fillRest
		}
		return fillPace // to see how fast it is now
	}
	from := max(f.done.Load(), (reach+f.margin+f.slice-1)/f.slice*f.slice)
	if from >= reach+f.window {
		return 0
	}
	s := l.find(from)
	if s == nil {
		return 0 // the next segment is made when this one is half full
	}
	f.at.Store(from)
	defer f.at.Store(nowhere)
	if f.reach.Load() > from {
		return fillPace
	}
	if f.zeros == nil {
		f.zeros = make([]byte, f.slice)
	}
	n := min(f.slice, s.End()-from)
	if err := s.Fill(f.zeros[:n], from-s.Base()); err != nil {
		if !errors.Is(err, segment.ErrRemoved) {
			f.failed.Store(true)
			f.on.Store(false)
		}
		return 0
	}
	f.done.Store(from + n)
	return fillPace
}
