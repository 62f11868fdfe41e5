package consumequeue

// One queue: what it holds in memory, publishing to it and reading from it.

import (
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"rmqctl/broker/store/segment"
	"rmqctl/internal/vfs"
)

// Queue is one queue of one topic. Units are published to memory and saved to files later:
//
//	files: [first ............ saved)      pread
//	tail:                     [saved, end)  memory
//
// A queue is loaded from its directory at its first use. The files of a queue that is not used cost nothing.
type Queue struct {
	Topic string
	ID    int32

	// Next is the offset the next message gets: end plus what is appended but not yet published. It belongs to whoever
	// holds the store's append lock; it is learned from End again whenever Gen is not the store's.
	Next, Gen int64

	t   *Table
	dir string

	attention atomic.Pointer[atomic.Int32] // nil until somebody waits for the first time

	mu      sync.RWMutex // guards everything below
	loaded  bool
	files   []*segment.File
	end     int64 // units published
	saved   int64 // units written to the files
	tail    []byte
	last    int64 // end in the log of the newest unit: what is below is no news
	lastAt  int64 // start in the log of the newest unit
	lastOff int64 // its offset in the queue
	dirty   bool  // in the table's list
	unsync  []*segment.File
	newDir  bool // files were created since the directory was synced
	min     int64
	minFor  int64 // the log's min that min was computed for
	gone    bool  // topic deleted
}

// rlock locks for reading and makes sure the queue is loaded.
func (q *Queue) rlock() error {
	q.mu.RLock()
	if q.loaded {
		return nil
	}
	q.mu.RUnlock()
	q.mu.Lock()
	err := q.load()
	q.mu.Unlock()
	if err != nil {
		return err
	}
	q.mu.RLock()
	return nil
}

// End is the offset behind the newest unit.
func (q *Queue) End() (int64, error) {
	if err := q.rlock(); err != nil {
		return 0, err
	}
	defer q.mu.RUnlock()
	return q.end, nil
}

// Publish adds the unit at offset at, which must be the end of the queue.
func (q *Queue) Publish(at int64, u Unit) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.gone { // the topic was deleted since
		return nil
	}
	if err := q.load(); err != nil {
		return err
	}
	if at != q.end {
		return fmt.Errorf("consumequeue: %s/%d: unit %d published at end %d", q.Topic, q.ID, at, q.end)
	}
	q.publish(u)
	return nil
}

func (q *Queue) publish(u Unit) {
	q.tail = Append(q.tail, u)
	q.end++
	if !u.Filler() {
		q.last, q.lastAt, q.lastOff = u.Phys+int64(u.Size), u.Phys, q.end-1
	}
	if !q.dirty && !q.gone {
		q.dirty = true
		q.t.markDirty(q)
	}
}

// rlockCached is rlock that does not go to the disk if cached is set.
func (q *Queue) rlockCached(cached bool) error {
	if !cached {
		return q.rlock()
	}
	q.mu.RLock()
	if q.loaded {
		return nil
	}
	q.mu.RUnlock()
	return vfs.ErrCold
}

// Read copies up to n units from offset at into dst and returns them. ErrRemoved means retention was faster; ErrCold that
// it should not wait for the disk and would have to.
func (q *Queue) Read(dst []byte, at int64, n int, cached bool) ([]byte, error) {
	if err := q.rlockCached(cached); err != nil {
		return nil, err
	}
	end := min(q.end, at+int64(n))
	if at >= end || at < 0 {
		q.mu.RUnlock()
		return dst[:0], nil
	}
	dst = append(dst[:0], make([]byte, (end-at)*UnitSize)...)
	fromFile := max(0, min(end, q.saved)-at)
	if end > q.saved {
		copy(dst[fromFile*UnitSize:], q.tail[(at+fromFile-q.saved)*UnitSize:(end-q.saved)*UnitSize])
	}
	files := q.files
	q.mu.RUnlock()
	for got := int64(0); got < fromFile; {
		pos := (at + got) * UnitSize
		if len(files) == 0 || pos < files[0].Base() {
			return dst[:0], segment.ErrRemoved
		}
		f := files[(pos-files[0].Base())/q.t.segSize]
		k := min(fromFile-got, (f.End()-pos)/UnitSize)
		read := f.ReadAt
		if cached {
			read = f.ReadCached
		}
		if err := read(dst[got*UnitSize:(got+k)*UnitSize], pos-f.Base()); err != nil {
			return dst[:0], err
		}
		got += k
	}
	return dst, nil
}

// Range is the first offset whose record is still in a log that starts at logMin, and the end. With cached it does not go
// to the disk: ErrCold.
func (q *Queue) Range(logMin int64, cached bool) (first, end int64, err error) {
	if err := q.rlockCached(cached); err != nil {
		return 0, 0, err
	}
	first, end = q.min, q.end
	fresh := q.minFor == logMin && q.min >= q.first()
	q.mu.RUnlock()
	if fresh {
		return first, end, nil
	}
	if cached {
		return 0, 0, vfs.ErrCold
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	lo, hi := q.first(), q.end
	for lo < hi {
		mid := (lo + hi) / 2
		isOld, err := q.old(mid, logMin)
		if err != nil {
			return 0, 0, err
		}
		if isOld {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	q.min, q.minFor = lo, logMin
	return q.min, q.end, nil
}

// old tells whether unit i lies before the first one to be read. Units of lost messages go with their successor.
func (q *Queue) old(i, logMin int64) (bool, error) {
	for ; i < q.end; i++ {
		u, err := q.unit(i)
		if err != nil {
			return false, err
		}
		if u != lost {
			return u == leading || u.Phys < logMin, nil
		}
	}
	return false, nil
}

func (q *Queue) first() int64 {
	if len(q.files) == 0 {
		return q.saved
	}
	return q.files[0].Base() / UnitSize
}

// unit reads one unit. Called with mu held.
func (q *Queue) unit(i int64) (Unit, error) {
	var b [UnitSize]byte
	if i >= q.saved {
		return At(q.tail, int(i-q.saved)), nil
	}
	f := q.file(i)
	if f == nil {
		return Unit{}, segment.ErrRemoved
	}
	if err := f.ReadAt(b[:], i*UnitSize-f.Base()); err != nil {
		return Unit{}, err
	}
	return At(b[:], 0), nil
}

func (q *Queue) file(i int64) *segment.File {
	if len(q.files) == 0 || i*UnitSize < q.files[0].Base() {
		return nil
	}
	k := (i*UnitSize - q.files[0].Base()) / q.t.segSize
	if k >= int64(len(q.files)) {
		return nil
	}
	return q.files[k]
}

func (q *Queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, f := range q.files {
		f.Close()
	}
}

func queueDir(root, topic string, id int32) string {
	return filepath.Join(root, topic, strconv.Itoa(int(id)))
}

// Watched tells whether somebody waits for news of the queue: whoever publishes tells of nothing else.
func (q *Queue) Watched() bool {
	n := q.attention.Load()
	return n != nil && n.Load() > 0
}
