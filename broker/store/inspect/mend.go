package inspect

// The single acts of a repair: keeping bytes, marking ranges, making queues and index again.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"rmqctl/broker/store/commitlog"
	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/index"
	"rmqctl/broker/store/segment"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// manifest lists what was kept, a JSON line each, on the disk before the original changes.
type manifest struct {
	f  vfs.File
	at int64
}

func (m *manifest) open(fsys vfs.FS, dir string, steps []Step, now time.Time) error {
	f, err := fsys.OpenFile(filepath.Join(dir, "manifest.jsonl"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	m.f = f
	if err := m.line(map[string]any{"repair": now.UTC().Format(time.RFC3339), "steps": steps}); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

func (m *manifest) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if _, err := m.f.WriteAt(b, m.at); err != nil {
		return err
	}
	m.at += int64(len(b))
	return m.f.Sync()
}

func (m *manifest) close() { _ = m.f.Close() }

// keepFile moves a file or a folder to lost+found. What is not there need not be kept.
func (r *repairer) keepFile(path string) error {
	if _, err := r.d.fs.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	to := filepath.Join(r.lost, r.below(path))
	if err := r.d.fs.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := r.kept.line(map[string]any{"moved": r.d.rel(path), "to": r.d.rel(to)}); err != nil {
		return err
	}
	if err := r.d.fs.Rename(path, to); err != nil {
		return err
	}
	return errors.Join(r.d.fs.SyncDir(filepath.Dir(to)), r.d.fs.SyncDir(filepath.Dir(path)))
}

// below is where a path goes under lost+found.
func (r *repairer) below(path string) string {
	if rel := r.d.rel(path); !filepath.IsAbs(rel) {
		return rel
	}
	return filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path))
}

// keepBytes copies a stretch of a file to lost+found.
func (r *repairer) keepBytes(path string, off, n int64) error {
	to := filepath.Join(r.lost, fmt.Sprintf("%s.%d-%d", r.below(path), off, off+n))
	if err := r.d.fs.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	f, err := r.d.fs.OpenFile(to, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, min(n, 1<<20))
	for done := int64(0); done < n; {
		b := buf[:min(int64(len(buf)), n-done)]
		if _, err := r.d.readAt(path, b, off+done); err != nil {
			return err
		}
		if !allZero(b) {
			if _, err := f.WriteAt(b, done); err != nil {
				return err
			}
		}
		done += int64(len(b))
	}
	if err := f.Truncate(n); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := r.d.fs.SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return r.kept.line(map[string]any{"copied": r.d.rel(path), "offset": off, "length": n, "to": r.d.rel(to)})
}

func (r *repairer) change(path string, create int, f func(vfs.File) error) error {
	h, err := r.d.fs.OpenFile(path, os.O_RDWR|create, 0o644)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := f(h); err != nil {
		return err
	}
	if err := h.Sync(); err != nil || create == 0 {
		return err
	}
	return r.d.fs.SyncDir(filepath.Dir(path))
}

func (r *repairer) resize(path string, size int64) error {
	return r.change(path, 0, func(f vfs.File) error { return f.Truncate(size) })
}

func (r *repairer) zero(path string, off, n int64) error {
	return r.change(path, 0, func(f vfs.File) error { return f.Zero(off, n) })
}

// mark puts records that stand for nothing over a stretch of one segment: everybody who walks over the log gets past it, a
// Java broker and a slave too. A rollback takes no place in a queue and in the index. To the end of a segment a blank does.
func (r *repairer) mark(path string, g gap) error {
	size := r.d.size
	off, n := g.from%size, g.to-g.from
	if !g.zeros {
		if err := r.keepBytes(path, off, n); err != nil {
			return err
		}
	} else if err := r.kept.line(map[string]any{"marked": r.d.rel(path), "offset": off, "length": n}); err != nil {
		return err
	}
	b, err := marks(g.from, n, off+n == size, g.stored)
	if err != nil {
		return err
	}
	return r.change(path, os.O_CREATE, func(f vfs.File) error {
		if have, err := f.Size(); err != nil {
			return err
		} else if have < size {
			if err := f.Truncate(size); err != nil {
				return err
			}
		}
		if err := f.Zero(off, n); err != nil {
			return err
		}
		for at, piece := range b {
			if _, err := f.WriteAt(piece, at-g.from+off); err != nil {
				return err
			}
		}
		return nil
	})
}

// marker is the topic of a record that stands for unreadable bytes.
const marker = "UNREADABLE"

// mostMark bounds one of them: a Java broker reads a record in one piece.
const mostMark = 4 << 20

// marks are the records that fill n bytes at log offset at.
func marks(at, n int64, toEnd bool, stored int64) (map[int64][]byte, error) {
	if toEnd && n >= 8 {
		return map[int64][]byte{at: commitlog.Blank(n)}, nil
	}
	out := map[int64][]byte{}
	for n > 0 {
		k := n
		if k > mostMark {
			k = min(mostMark, n-200)
		}
		m := message.Message{Topic: marker, SysFlag: message.SysRollback, PhysicalOffset: at, StoreTimestamp: stored, BornTimestamp: stored}
		room := k - int64(message.RecordSize(&m))
		if room < 0 {
			m.Topic = marker[:1]
			room = k - int64(message.RecordSize(&m))
		}
		if room < 0 {
			return nil, fmt.Errorf("%d bytes at %d are too few for a mark", n, at)
		}
		m.Body = make([]byte, room)
		out[at] = message.AppendRecord(nil, &m)
		at, n = at+k, n-k
	}
	return out, nil
}

// restore puts the text of a good generation in the place of a settings file.
func (r *repairer) restore(path string, text []byte) error {
	if err := r.keepFile(path); err != nil {
		return err
	}
	return vfs.WriteFileAtomic(r.d.fs, path, text, 0o640)
}

// rebuild makes the queues and the index that were set aside again, in one pass over the log.
func (r *repairer) rebuild() error {
	if len(r.queues) == 0 && !r.index {
		return nil
	}
	d, x := r.d, r.c.index
	if err := d.list(); err != nil {
		return err
	}
	cache := &segment.Cache{FS: d.fs, Max: 512}
	table, err := consumequeue.Open(d.o.ConsumeQueueDir, d.unitLen, cache)
	if err != nil {
		return err
	}
	defer table.Close()
	table.Limit(1<<62, false)
	var ix *index.Index
	if r.index {
		if ix, _, err = index.Open(d.fs, d.o.IndexDir, x.slots, x.entries); err != nil {
			return err
		}
		defer ix.Close()
	}
	save := func(sync bool) error {
		if err := table.Save(0, sync); err != nil || ix == nil {
			return err
		}
		return ix.Save(sync)
	}
	n := 0
	err = d.scan(r.ctx, span{}, r.index, func(it *item) error {
		if hasQueue(&it.Record) {
			if _, wanted := r.queues[orphanKey{string(it.Topic), it.QueueID}]; wanted {
				u := consumequeue.Unit{Phys: it.PhysicalOffset, Size: it.Size, Tags: it.tags}
				if _, err := table.Ensure(string(it.Topic), it.QueueID).Restore(it.QueueOffset, u); err != nil {
					return err
				}
			}
		}
		if ix != nil {
			var run []index.Put
			for _, h := range it.hashes {
				run = append(run, index.Put{Hash: h, Phys: it.PhysicalOffset, At: it.StoreTimestamp})
			}
			if err := ix.PutRun(run, time.Now); err != nil {
				return err
			}
		}
		if n++; n%(1<<18) == 0 {
			return save(false)
		}
		return nil
	}, func(gap) error { return nil })
	if err != nil {
		return err
	}
	for key, end := range r.queues {
		if end == 0 {
			continue
		}
		if err := table.Ensure(key.topic, key.id).PadTo(end); err != nil {
			return err
		}
	}
	return save(true)
}
