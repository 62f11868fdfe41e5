// Package commitlog is the sequence of bytes that all messages of a broker are appended to, cut into segment files, with
// its newest part also in memory (tail.go).
package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"

	"rmqctl/broker/store/segment"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// Log is the commit log. One goroutine at a time writes (the caller sees to that); any number read.
type Log struct {
	dir   string
	size  int64
	cache *segment.Cache

	mu       sync.RWMutex // guards segs and making
	segs     []*segment.File
	making   chan struct{} // closed when the segment being prepared is there
	makingAt int64
	wg       sync.WaitGroup
	ahead    atomic.Int64 // the segment that was last made, or tried, before it was needed

	Tail *Tail
	fill filler

	// written: readers may see everything below. flushed: a power cut takes nothing below. flushed never passes written.
	written atomic.Int64
	flushed atomic.Int64
	flushMu sync.Mutex // one flush at a time

	// For logs whose readers see less than is written: where that ends, and up to where it is on the disk (top.go).
	top    atomic.Int64
	synced atomic.Int64
}

// ErrOutside: the offset is not in the log.
var ErrOutside = errors.New("commitlog: offset is outside of the log")

// Open lists the segments in dir. It reads none of them: recovery decides where the log ends and calls SetEnd. Where one is
// missing FillGaps must be called first.
func Open(fsys vfs.FS, dir string, size int64, cache *segment.Cache, tail *Tail) (*Log, []string, error) {
	if err := vfs.MakeDirs(fsys, dir, 0o755); err != nil {
		return nil, nil, err
	}
	if err := cache.RemoveHalfMade(dir); err != nil {
		return nil, nil, err
	}
	segs, strangers, err := cache.List(dir, size)
	if err != nil {
		return nil, nil, err
	}
	l := &Log{dir: dir, size: size, cache: cache, segs: segs, Tail: tail}
	l.fill.init(size)
	return l, strangers, nil
}

// SegmentSize is the length of every segment file.
func (l *Log) SegmentSize() int64 { return l.size }

// Base is the start of the segment that holds off.
func (l *Log) Base(off int64) int64 { return off - off%l.size }

// Min is the offset of the first byte kept; Written the end for readers; Flushed the end that a power cut leaves.
func (l *Log) Min() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.segs) == 0 {
		return l.written.Load()
	}
	return l.segs[0].Base()
}
func (l *Log) Written() int64 { return l.written.Load() }
func (l *Log) Flushed() int64 { return l.flushed.Load() }

// Advance lets readers see everything below end.
func (l *Log) Advance(end int64) { l.written.Store(end) }

// SetEnd is recovery's word on where the log ends and what of it is surely on the disk.
func (l *Log) SetEnd(written, flushed int64) {
	l.written.Store(written)
	l.flushed.Store(min(written, flushed))
	l.top.Store(0)
	l.synced.Store(0)
}

// Segments lists the segments, oldest first.
func (l *Log) Segments() []*segment.File {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return append([]*segment.File(nil), l.segs...)
}

func (l *Log) find(off int64) *segment.File {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.findLocked(off)
}

func (l *Log) findLocked(off int64) *segment.File {
	if len(l.segs) == 0 || off < l.segs[0].Base() {
		return nil
	}
	if i := (off - l.segs[0].Base()) / l.size; i < int64(len(l.segs)) {
		return l.segs[i]
	}
	return nil
}

// WriteAt writes b at off, which must lie in one segment; the segment is made when it is not there. Readers do not see the
// bytes before Advance.
func (l *Log) WriteAt(b []byte, off int64) error {
	l.fill.claim(off + int64(len(b)))
	s, err := l.ensure(off)
	if err != nil {
		return err
	}
	if err := s.WriteAt(b, off-s.Base()); err != nil {
		return err
	}
	if off+int64(len(b))-s.Base() >= l.size/2 && l.ahead.Swap(s.End()) != s.End() {
		l.prepare(s.End())
	}
	return nil
}

// ensure is find, making the segment behind the last one (or the very first) when needed.
func (l *Log) ensure(off int64) (*segment.File, error) {
	if s := l.find(off); s != nil {
		return s, nil
	}
	l.mu.RLock()
	making, at := l.making, l.makingAt
	l.mu.RUnlock()
	if making != nil && at == l.Base(off) {
		<-making
		if s := l.find(off); s != nil {
			return s, nil
		}
	}
	return l.create(l.Base(off))
}

func (l *Log) create(base int64) (*segment.File, error) {
	if err := vfs.MakeDirs(l.cache.FS, l.dir, 0o755); err != nil {
		return nil, err
	}
	s, err := l.cache.CreateDurable(l.dir, base, l.size)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.segs); n > 0 && l.segs[n-1].End() != base {
		return nil, fmt.Errorf("%w: %d does not follow %d", ErrOutside, base, l.segs[n-1].End())
	}
	l.segs = append(l.segs, s)
	return s, nil
}

// prepare makes the next segment in the background, so that rolling over costs an append nothing. A failure shows when the
// append tries again itself.
func (l *Log) prepare(base int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.making != nil || l.findLocked(base) != nil {
		return
	}
	done := make(chan struct{})
	l.making, l.makingAt = done, base
	l.wg.Add(1)
	go func() {
		defer l.wg.Done()
		_, _ = l.create(base)
		l.mu.Lock()
		l.making = nil
		l.mu.Unlock()
		close(done)
	}()
}

// ReadAt fills p from off. The bytes must be written and in one segment.
func (l *Log) ReadAt(p []byte, off int64) error {
	if off+int64(len(p)) > l.Written() {
		return fmt.Errorf("%w: %d bytes at %d, end %d", ErrOutside, len(p), off, l.Written())
	}
	return l.ReadRaw(p, off)
}

// ReadRaw is ReadAt without looking at the end of the log: recovery looks at bytes nobody has vouched for.
func (l *Log) ReadRaw(p []byte, off int64) error {
	s := l.find(off)
	if s == nil {
		return fmt.Errorf("%w: %d", ErrOutside, off)
	}
	return s.ReadAt(p, off-s.Base())
}

// Flush puts everything written so far on the disk and returns up to where. On an error nothing more is known to be on the
// disk than before: the kernel may have dropped the pages, so a later success proves nothing.
func (l *Log) Flush() (int64, error) {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	from, to := l.Flushed(), l.Written()
	if from >= to {
		return from, nil
	}
	if err := l.sync(max(from, l.synced.Load()), to); err != nil {
		return from, err
	}
	l.flushed.Store(to)
	return to, nil
}

// Cut ends the log at off, for good: what lies behind reads as zeros, later segments are handed to drop (nil: deleted).
func (l *Log) Cut(off int64, drop func(*segment.File) error) error {
	l.wg.Wait()
	l.fill.restart(off)
	l.ahead.Store(0)
	l.Tail.CutFrom(off)
	l.written.Store(min(l.written.Load(), off))
	l.flushed.Store(min(l.flushed.Load(), off))
	l.top.Store(min(l.top.Load(), off))
	l.synced.Store(min(l.synced.Load(), off))
	l.mu.Lock()
	i := sort.Search(len(l.segs), func(i int) bool { return l.segs[i].Base() >= off })
	if i == 0 && len(l.segs) > 0 && l.segs[0].Base() == off {
		i = 1 // empty from now on, and all that knows where the log stands
	}
	var later []*segment.File
	later = append(later, l.segs[i:]...)
	l.segs = l.segs[:i:i]
	l.mu.Unlock()
	for j := len(later) - 1; j >= 0; j-- { // newest first: a crash in between leaves no gap
		var err error
		if drop != nil {
			err = drop(later[j])
		} else {
			err = later[j].Remove(true)
		}
		if err == nil { // each by itself: a power cut leaves no gap either
			err = l.cache.FS.SyncDir(l.dir)
		}
		if err != nil {
			return err
		}
	}
	if s := l.find(off); s != nil {
		return s.EndAt(off - s.Base())
	}
	return nil
}

// RemoveFirst deletes the oldest segment, never the last one. See segment.File.Remove for force.
func (l *Log) RemoveFirst(force bool) error {
	l.mu.RLock()
	if len(l.segs) < 2 {
		l.mu.RUnlock()
		return nil
	}
	first := l.segs[0]
	l.mu.RUnlock()
	if err := first.Remove(force); err != nil {
		return err
	}
	l.mu.Lock()
	l.segs = l.segs[1:]
	l.mu.Unlock()
	if err := l.cache.FS.SyncDir(l.dir); err != nil { // before the next goes: a power cut leaves no gap
		return err
	}
	return nil
}

// Close waits for background work and gives descriptors back. An unused segment that was made ahead is deleted, as Java does.
func (l *Log) Close() {
	l.wg.Wait()
	end := l.Top()
	for i, s := range l.Segments() {
		if i > 0 && s.Base() >= end && end > 0 { // not the first: it knows where the log stands
			_ = s.Remove(true)
			continue
		}
		s.Close()
	}
}

// Blank is what fills the end of a segment when the next record does not fit: the number of bytes left, and a magic.
//
//	| remaining 4 | magic 4 = MagicBlank | anything |
func Blank(remaining int64) []byte {
	b := make([]byte, 0, BlankSize)
	b = binary.BigEndian.AppendUint32(b, uint32(remaining))
	return binary.BigEndian.AppendUint32(b, message.MagicBlank)
}

// BlankSize is what every segment keeps free for its blank.
const BlankSize = 8
