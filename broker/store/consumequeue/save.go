package consumequeue

// Saving: the way of published units from memory to the files and onto the disk.

import (
	"errors"
	"io/fs"
	"path/filepath"

	"rmqctl/broker/store/segment"
)

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
