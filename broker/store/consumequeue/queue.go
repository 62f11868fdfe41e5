package consumequeue

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync"

	"rmqctl/broker/store/segment"
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

	mu     sync.RWMutex // guards everything below
	loaded bool
	files  []*segment.File
	end    int64 // units published
	saved  int64 // units written to the files
	tail   []byte
	last   int64 // end in the log of the newest unit: what is below is no news
	lastAt int64 // start in the log of the newest unit
	dirty  bool  // in the table's list
	unsync []*segment.File
	newDir bool // files were created since the directory was synced
	min    int64
	minFor int64 // the log's min that min was computed for
	gone   bool  // topic deleted
}

// load reads the directory. Called with mu held for writing.
func (q *Queue) load() error {
	if q.loaded {
		return nil
	}
	files, _, err := q.t.cache.List(q.dir, q.t.segSize)
	if err != nil {
		return err
	}
	if files, err = q.contiguous(files); err != nil {
		return err
	}
	q.files, q.minFor = files, -1
	if err := q.findEnd(); err != nil {
		return err
	}
	q.loaded = true
	return nil
}

// contiguous looks for a gap between the files. After a crash it means that a file's name did not reach the disk: what lies
// behind was not promised and is made again from the log. Else what lies before cannot be reached.
func (q *Queue) contiguous(files []*segment.File) ([]*segment.File, error) {
	for i := 1; i < len(files); i++ {
		if files[i].Base() == files[i-1].End() {
			continue
		}
		if !q.t.walk {
			return q.contiguous(files[i:])
		}
		for _, f := range files[i:] {
			if err := f.Remove(true); err != nil {
				return nil, err
			}
		}
		return files[:i], nil
	}
	return files, nil
}

func (q *Queue) first() int64 {
	if len(q.files) == 0 {
		return q.saved
	}
	return q.files[0].Base() / UnitSize
}

// findEnd looks for the last unit that was written and lies below the cut of the table.
func (q *Queue) findEnd() error {
	q.end, q.last, q.lastAt = 0, 0, 0
	for i := len(q.files) - 1; i >= 0; i-- {
		f := q.files[i]
		n, err := q.validUnits(f)
		if err != nil {
			return err
		}
		if n == 0 && i > 0 {
			continue
		}
		q.end = f.Base()/UnitSize + n
		break
	}
	q.saved, q.tail = q.end, nil
	return q.cutToPhys(q.t.cut)
}

// validUnits counts the written units at the start of f. After a clean stop they are followed by zeros only, so halving
// finds the end; after a crash only a walk does.
func (q *Queue) validUnits(f *segment.File) (int64, error) {
	total := f.Size() / UnitSize
	if q.t.walk {
		return q.walkUnits(f, total)
	}
	var b [UnitSize]byte
	lo, hi := int64(0), total // units below lo are valid, hi and behind are not
	for lo < hi {
		mid := (lo + hi) / 2
		if err := f.ReadAt(b[:], mid*UnitSize); err != nil {
			return 0, err
		}
		if At(b[:], 0).valid() {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, nil
}

func (q *Queue) walkUnits(f *segment.File, total int64) (int64, error) {
	buf := make([]byte, 0, 1024*UnitSize)
	highest := int64(-1)
	for n := int64(0); n < total; {
		k := min(total-n, 1024)
		buf = buf[:k*UnitSize]
		if err := f.ReadAt(buf, n*UnitSize); err != nil {
			return 0, err
		}
		for i := range int(k) {
			u := At(buf, i)
			if !u.valid() || !u.Filler() && u.Phys <= highest {
				return n + int64(i), nil
			}
			if !u.Filler() {
				highest = u.Phys
			}
		}
		n += k
	}
	return total, nil
}

// cutToPhys drops the units of records that do not end at or below phys.
func (q *Queue) cutToPhys(phys int64) error {
	n := q.end
	for n > q.first() {
		u, err := q.unit(n - 1)
		if err != nil {
			return err
		}
		if u.Filler() || u.Phys+int64(u.Size) > phys {
			if !u.Filler() && q.end-n >= 64 { // far behind: halve instead of walking
				m, err := q.firstFrom(phys, n)
				if err != nil {
					return err
				}
				n = min(m, n-1)
				continue
			}
			n--
			continue
		}
		q.last, q.lastAt = u.Phys+int64(u.Size), u.Phys
		break
	}
	if n == q.end {
		return nil
	}
	if n <= q.first() {
		return q.resetLocked()
	}
	return q.cutUnits(n)
}

// firstFrom is the first unit below hi whose record lies at or behind phys.
func (q *Queue) firstFrom(phys, hi int64) (int64, error) {
	lo := q.first()
	for lo < hi {
		mid := (lo + hi) / 2
		u, err := q.unit(mid)
		if err != nil {
			return 0, err
		}
		if !u.Filler() && u.Phys >= phys {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, nil
}

// cutUnits ends the queue at unit n.
func (q *Queue) cutUnits(n int64) error {
	if n >= q.saved {
		q.tail = append([]byte(nil), q.tail[:(n-q.saved)*UnitSize]...)
		q.end = n
		return nil
	}
	at := n * UnitSize
	for i := len(q.files) - 1; i >= 0 && q.files[i].Base() >= at; i-- {
		if err := q.files[i].Remove(true); err != nil {
			return err
		}
		q.files = q.files[:i]
	}
	q.end, q.saved, q.tail = n, n, nil
	if k := len(q.files); k > 0 && at < q.files[k-1].End() {
		return q.files[k-1].Cut(at - q.files[k-1].Base())
	}
	return nil
}

// resetLocked empties the queue; its next unit may have any offset.
func (q *Queue) resetLocked() error {
	for i := len(q.files) - 1; i >= 0; i-- {
		if err := q.files[i].Remove(true); err != nil {
			return err
		}
	}
	q.files, q.unsync, q.tail = nil, nil, nil
	q.end, q.saved, q.last, q.lastAt, q.minFor = 0, 0, 0, 0, -1
	return nil
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
		q.last, q.lastAt = u.Phys+int64(u.Size), u.Phys
	}
	if !q.dirty && !q.gone {
		q.dirty = true
		q.t.markDirty(q)
	}
}

// Outcome of Restore.
type Outcome int

const (
	Known     Outcome = iota // the unit was there
	Added                    // the unit is new and was next
	Padded                   // offsets were missing before it: they hold fillers now
	Restarted                // the queue is numbered anew from 0: its old units are gone
	Refused                  // the offset cannot be right; nothing was changed
)

// smallest is the least a record takes in the log: between two records at most so many others can be missing.
const smallest = 91

// Restore puts the unit of a record that is read back from the log (recovery, replication). A newer record with offset 0
// means that the topic was deleted and made again in between. No checksum covers a record's offset: one that would leave a
// gap wider than the log has room for, or step back elsewhere, is refused.
func (q *Queue) Restore(at int64, u Unit) (Outcome, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.load(); err != nil {
		return Known, err
	}
	if u.Phys < q.last && q.end > q.first() {
		return Known, nil
	}
	out := Added
	switch {
	case q.end == q.first() && len(q.tail) == 0 && at != q.end:
		q.startAt(at)
	case at > q.end && at-q.end > (u.Phys-q.last)/smallest, at < q.end && at > 0:
		return Refused, nil
	case at > q.end:
		out = Padded
		for q.end < at {
			q.publish(lost)
		}
	case at < q.end:
		out = Restarted
		q.mu.Unlock()
		q.t.saveMu.Lock() // a save must not write what is being cut; its lock comes before ours
		q.mu.Lock()
		err := q.restart(at)
		q.t.saveMu.Unlock()
		if err != nil {
			return out, err
		}
	}
	q.publish(u)
	return out, nil
}

func (q *Queue) restart(at int64) error {
	if at > q.first() {
		q.minFor = -1
		return q.cutUnits(at)
	}
	if err := q.resetLocked(); err != nil {
		return err
	}
	q.startAt(at)
	return nil
}

// startAt lets an empty queue begin at unit at: the rest of its segment before it becomes fillers, as Java writes them.
func (q *Queue) startAt(at int64) {
	perFile := q.t.segSize / UnitSize
	from := at - at%perFile
	q.end, q.saved, q.tail, q.files, q.minFor = from, from, nil, nil, -1
	for q.end < at {
		q.publish(leading)
	}
}

// Read copies up to n units from offset at into dst and returns them. ErrRemoved means retention was faster.
func (q *Queue) Read(dst []byte, at int64, n int) ([]byte, error) {
	if err := q.rlock(); err != nil {
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
		if err := f.ReadAt(dst[got*UnitSize:(got+k)*UnitSize], pos-f.Base()); err != nil {
			return dst[:0], err
		}
		got += k
	}
	return dst, nil
}

// Range is the first offset whose record is still in a log that starts at logMin, and the end.
func (q *Queue) Range(logMin int64) (first, end int64, err error) {
	if err := q.rlock(); err != nil {
		return 0, 0, err
	}
	first, end = q.min, q.end
	fresh := q.minFor == logMin && q.min >= q.first()
	q.mu.RUnlock()
	if fresh {
		return first, end, nil
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

// RemoveBefore deletes the files whose units all lie below logMin, never the last, and returns their names.
func (q *Queue) RemoveBefore(logMin int64) ([]string, error) {
	if err := q.rlock(); err != nil {
		return nil, err
	}
	n := len(q.files)
	q.mu.RUnlock()
	if n < 2 {
		return nil, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	var gone []string
	for len(q.files) > 1 {
		f := q.files[0]
		u, err := q.unit(f.End()/UnitSize - 1)
		if err != nil || u.Filler() || u.Phys >= logMin {
			return gone, err
		}
		if err := f.Remove(true); err != nil {
			return gone, err
		}
		gone = append(gone, f.Path())
		q.files = append([]*segment.File(nil), q.files[1:]...)
		q.minFor = -1
	}
	return gone, nil
}

// pending is how many bytes wait to be saved.
func (q *Queue) pending() int {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return int(q.end-q.saved) * UnitSize
}

// save writes the tail to the files. Only one save of a queue runs at a time (the table's); publishing goes on meanwhile.
func (q *Queue) save() error {
	q.mu.RLock()
	from, to, b, gone := q.saved, q.end, q.tail, q.gone
	q.mu.RUnlock()
	if gone || from == to {
		return nil
	}
	b = b[:(to-from)*UnitSize]
	for pos := from * UnitSize; len(b) > 0; {
		f, err := q.fileFor(pos)
		if err != nil {
			return err
		}
		k := min(int64(len(b)), f.End()-pos)
		if err := f.WriteAt(b[:k], pos-f.Base()); err != nil {
			return err
		}
		b, pos = b[k:], pos+k
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.saved != from { // cut meanwhile
		return nil
	}
	n := copy(q.tail, q.tail[(to-from)*UnitSize:])
	q.tail, q.saved = q.tail[:n], to
	if n == 0 && cap(q.tail) > 4096 {
		q.tail = nil
	}
	return nil
}

// fileFor is the segment that holds byte position pos, made if needed, noted as not synced.
func (q *Queue) fileFor(pos int64) (*segment.File, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f := q.file(pos / UnitSize)
	if f == nil {
		if q.gone {
			return nil, segment.ErrRemoved
		}
		if err := q.t.cache.FS.MkdirAll(q.dir, 0o755); err != nil {
			return nil, err
		}
		var err error
		if f, err = q.t.cache.Create(q.dir, pos-pos%q.t.segSize, q.t.segSize); err != nil {
			return nil, err
		}
		q.files = append(q.files[:len(q.files):len(q.files)], f)
		q.newDir = true
	}
	for _, g := range q.unsync {
		if g == f {
			return f, nil
		}
	}
	q.unsync = append(q.unsync, f)
	return f, nil
}

// sync puts saved units on the disk. It tells which directories got new names.
func (q *Queue) sync() (dirs []string, err error) {
	q.mu.Lock()
	files, newDir := q.unsync, q.newDir
	q.unsync, q.newDir = nil, false
	q.mu.Unlock()
	for _, f := range files {
		if err := f.Sync(); err != nil && !errors.Is(err, segment.ErrRemoved) {
			q.owe(files, newDir)
			return nil, err
		}
	}
	if !newDir {
		return nil, nil
	}
	if err := q.t.cache.FS.SyncDir(q.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		q.owe(nil, true)
		return nil, err
	}
	return []string{filepath.Dir(q.dir)}, nil
}

// owe remembers what a failed sync has left undone.
func (q *Queue) owe(files []*segment.File, newDir bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unsync = append(q.unsync, files...)
	q.newDir = q.newDir || newDir
}

// remove deletes the queue's files and its directory.
func (q *Queue) remove() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gone = true
	if err := q.load(); err != nil {
		return err
	}
	if err := q.resetLocked(); err != nil {
		return err
	}
	return q.t.cache.FS.RemoveAll(q.dir)
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
