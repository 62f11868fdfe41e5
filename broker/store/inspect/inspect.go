// Package inspect looks at the files of a store that no broker has open, ours or Java's: it checks them (check.go), prints
// what is in them (dump.go) and repairs them (repair.go).
//
// It shares the formats with the store, and nothing of its recovery: what one of them gets wrong the other shall see.
package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/segment"
	"rmqctl/internal/vfs"
)

// Errors of Open.
var (
	ErrNoStore = errors.New("not a store directory")
	ErrInUse   = errors.New("a running broker holds the store's lock")
	ErrMember  = errors.New("this store is a member of a raft group, and only the group knows what of its log counts: empty the directory and let the member join again, it gets everything from the others")
)

// Options say where a store is. Zero values: RocketMQ's places, and shapes as the files themselves show them.
type Options struct {
	Dir                                                                string
	CommitLogDir, ConsumeQueueDir, IndexDir, CheckpointFile, AbortFile string
	SegmentSize, QueueSegmentSize                                      int64
	IndexSlots, IndexEntries                                           int32
	NoIndex                                                            bool
	DeliverTime                                                        func(level int, stored int64) int64

	Live     bool                    // look although a broker is at work
	Progress func(done, total int64) // bytes of the log
}

// Dir is a store directory that is looked at.
type Dir struct {
	fs   vfs.FS
	o    Options
	lock io.Closer

	segs    []seg // of the log, by base
	size    int64 // of a log segment
	unitLen int64 // of a queue segment
	queues  []*queue
	crashed bool // the abort file is there
	member  bool // of a raft group: the end of the log may not be committed

	strangers []string // in the log's directory
}

// seg is one file of the log or of a queue as the directory shows it.
type seg struct {
	path string
	base int64
	len  int64
}

// queue is one consume queue's files.
type queue struct {
	topic string
	id    int32
	dir   string
	files []seg
	seen  seen

	end    int64 // behind the newest unit
	broken bool  // to be made again from the log
}

// Open lists the files of a store and locks it against brokers; nothing is written, not even the lock file when there is
// none. Close lets go.
func Open(fsys vfs.FS, o Options) (*Dir, error) {
	set := func(p *string, name string) {
		if *p == "" {
			*p = filepath.Join(o.Dir, name)
		}
	}
	set(&o.CommitLogDir, "commitlog")
	set(&o.ConsumeQueueDir, "consumequeue")
	set(&o.IndexDir, "index")
	set(&o.CheckpointFile, "checkpoint")
	set(&o.AbortFile, "abort")
	d := &Dir{fs: quiet(fsys), o: o}
	if err := d.isStore(); err != nil {
		return nil, err
	}
	if !o.Live {
		var err error
		if d.lock, err = readLock(fsys, filepath.Join(o.Dir, "lock")); err != nil {
			return nil, err
		}
	}
	if err := d.list(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Close gives the lock back.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}

// isStore: a directory with a log in it, or what is left of a store without one.
func (d *Dir) isStore() error {
	info, err := d.fs.Stat(d.o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s does not exist", ErrNoStore, d.o.Dir)
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is a file", ErrNoStore, d.o.Dir)
	}
	for _, p := range []string{d.o.CommitLogDir, d.o.ConsumeQueueDir} {
		if info, err := d.fs.Stat(p); err == nil && info.IsDir() {
			return nil
		}
	}
	return fmt.Errorf("%w: %s has neither a commitlog nor a consumequeue folder", ErrNoStore, d.o.Dir)
}

// list finds the files and how long a segment is.
func (d *Dir) list() error {
	_, err := d.fs.Stat(d.o.AbortFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.crashed = err == nil
	if _, err := d.fs.Stat(filepath.Join(d.o.Dir, "raft")); err == nil {
		d.member = true
	}
	if d.segs, d.strangers, err = d.listSegs(d.o.CommitLogDir); err != nil {
		return err
	}
	if d.size = d.o.SegmentSize; d.size == 0 {
		d.size = shape([][]seg{d.segs}, 1<<30)
	}
	if err := d.listQueues(); err != nil {
		return err
	}
	if d.unitLen = d.o.QueueSegmentSize; d.unitLen == 0 {
		var lists [][]seg
		for _, q := range d.queues {
			lists = append(lists, q.files)
		}
		d.unitLen = shape(lists, 6000000)
	}
	d.unitLen = max(d.unitLen/consumequeue.UnitSize, 1) * consumequeue.UnitSize
	return nil
}

// shape is the length that most files have.
func shape(lists [][]seg, usual int64) int64 {
	count := map[int64]int{usual: 0}
	best := usual
	for _, l := range lists {
		for _, s := range l {
			if s.len == 0 {
				continue
			}
			count[s.len]++
			if n := count[s.len]; n > count[best] || n == count[best] && s.len > best {
				best = s.len
			}
		}
	}
	for _, l := range lists { // two neighbours tell more than two cut lengths
		for i := 1; i < len(l); i++ {
			if l[i].base-l[i-1].base < best {
				best = l[i].base - l[i-1].base
			}
		}
	}
	return best
}

// listSegs finds the segments of a directory; names that are none go to strangers.
func (d *Dir) listSegs(dir string) (files []seg, strangers []string, err error) {
	entries, err := d.fs.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		base, perr := strconv.ParseInt(e.Name(), 10, 64)
		if e.IsDir() || perr != nil || e.Name() != segment.Name(base) {
			strangers = append(strangers, filepath.Join(dir, e.Name()))
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, nil, err
		}
		files = append(files, seg{filepath.Join(dir, e.Name()), base, info.Size()})
	}
	sort.Slice(files, func(i, j int) bool { return files[i].base < files[j].base })
	return files, strangers, nil
}

func (d *Dir) listQueues() error {
	topics, err := d.dirs(d.o.ConsumeQueueDir)
	if err != nil {
		return err
	}
	for _, topic := range topics {
		dir := filepath.Join(d.o.ConsumeQueueDir, topic)
		ids, err := d.dirs(dir)
		if err != nil {
			return err
		}
		var of []*queue
		for _, name := range ids {
			id, err := strconv.ParseInt(name, 10, 32)
			if err != nil || id < 0 {
				continue
			}
			q := &queue{topic: topic, id: int32(id), dir: filepath.Join(dir, name)}
			if q.files, _, err = d.listSegs(q.dir); err != nil {
				return err
			}
			of = append(of, q)
		}
		sort.Slice(of, func(i, j int) bool { return of[i].id < of[j].id })
		d.queues = append(d.queues, of...)
	}
	return nil
}

func (d *Dir) dirs(dir string) ([]string, error) {
	entries, err := d.fs.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// rel is a path as people want to read it: below the store's directory.
func (d *Dir) rel(path string) string {
	if r, err := filepath.Rel(d.o.Dir, path); err == nil && !strings.HasPrefix(r, "..") {
		return r
	}
	return path
}

// readAt fills p from a file; what lies behind the file's end reads as zeros.
func (d *Dir) readAt(path string, p []byte, off int64) (n int, err error) {
	f, err := d.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return readFull(f, p, off)
}

func readFull(f vfs.File, p []byte, off int64) (int, error) {
	n, err := f.ReadAt(p, off)
	clear(p[n:])
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// segFor is the log segment that holds off; nil when there is none.
func (d *Dir) segFor(off int64) *seg {
	i := sort.Search(len(d.segs), func(i int) bool { return d.segs[i].base > off }) - 1
	if i < 0 || off >= d.segs[i].base+d.size {
		return nil
	}
	return &d.segs[i]
}
