package inspect

// Repair: what a check has found is mended as far as the files allow. Nothing is thrown away: what is removed or replaced
// lies in lost+found/TIME afterwards, with a manifest.
//
// The order makes a repair that is cut off harmless, the next one goes on: the log first, then what is made from it, the
// settings, and at last the store is opened and closed once, as a broker does, which writes the checkpoint.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rmqctl/broker/store"
	"rmqctl/internal/vfs"
)

// Step is one thing that a repair does.
type Step struct {
	Do   string `json:"do"`
	File string `json:"file"` // below the store's directory
	Why  string `json:"why"`

	act func(*repairer) error
}

// Plan is what a repair would do.
type Plan struct {
	Report *Report `json:"report"`
	Steps  []Step  `json:"steps"`

	d *Dir
	c *checker
}

// Plan checks the store and says what a repair would do. Nothing is written.
func (d *Dir) Plan(ctx context.Context) (*Plan, error) {
	c, err := d.check(ctx)
	if err != nil {
		return nil, err
	}
	p := &Plan{Report: c.r, Steps: []Step{}, d: d, c: c}
	for _, f := range c.r.Findings {
		if f.Severity == Metadata && strings.Contains(f.Repair, "nothing: give") {
			return p, nil // the shape is not understood: hands off
		}
	}
	p.planLog()
	p.planQueues()
	p.planIndex()
	p.planSettings()
	p.planCheckpoint()
	if d.member && len(p.Steps) > 0 { // it would publish the whole log
		return nil, ErrMember
	}
	return p, nil
}

func (p *Plan) add(do, path, why string, act func(*repairer) error) {
	p.Steps = append(p.Steps, Step{do, p.d.rel(path), why, act})
}

// repairer is a repair under way.
type repairer struct {
	ctx  context.Context
	d    *Dir
	c    *checker
	lost string // lost+found/TIME
	kept manifest

	queues map[orphanKey]int64 // to be made again from the log; up to which offset they went
	index  bool
}

// Do carries the plan out. The lock that Open took is exchanged for a broker's.
func (p *Plan) Do(ctx context.Context, now time.Time, say func(Step)) (lost string, err error) {
	if len(p.Steps) == 0 {
		return "", nil
	}
	if err := p.d.Close(); err != nil {
		return "", err
	}
	p.d.lock = nil
	lock, err := p.d.fs.Lock(filepath.Join(p.d.o.Dir, "lock"))
	if errors.Is(err, vfs.ErrLocked) {
		return "", fmt.Errorf("%w: %w", ErrInUse, err)
	}
	if err != nil {
		return "", err
	}
	r := &repairer{ctx: ctx, d: p.d, c: p.c, queues: map[orphanKey]int64{}}
	err = r.run(p.Steps, now, say)
	if cerr := lock.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return r.lost, err
	}
	return r.lost, p.reopen()
}

func (r *repairer) run(steps []Step, now time.Time, say func(Step)) error {
	dir, err := r.freshDir(now)
	if err != nil {
		return err
	}
	r.lost = dir
	if err := r.kept.open(r.d.fs, dir, steps, now); err != nil {
		return err
	}
	defer r.kept.close()
	for _, s := range steps {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		say(s)
		if s.act == nil {
			continue
		}
		if err := s.act(r); err != nil {
			return fmt.Errorf("%s %s: %w", s.Do, s.File, err)
		}
	}
	return r.rebuild()
}

// freshDir is lost+found/TIME, made.
func (r *repairer) freshDir(now time.Time) (string, error) {
	base := filepath.Join(r.d.o.Dir, "lost+found", now.UTC().Format("20060102T150405Z"))
	for n := 0; ; n++ {
		dir := base
		if n > 0 {
			dir = fmt.Sprintf("%s.%d", base, n)
		}
		if _, err := r.d.fs.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return dir, r.d.fs.MkdirAll(dir, 0o755)
		} else if err != nil {
			return "", err
		}
	}
}

// reopen opens and closes the store as a broker does: that it can, and the checkpoint, come of it.
func (p *Plan) reopen() error {
	o := store.Options{
		Dir: p.d.o.Dir, CommitLogDir: p.d.o.CommitLogDir, ConsumeQueueDir: p.d.o.ConsumeQueueDir, IndexDir: p.d.o.IndexDir,
		CheckpointFile: p.d.o.CheckpointFile, AbortFile: p.d.o.AbortFile, SegmentSize: p.d.size, QueueSegmentSize: p.d.unitLen,
		NoIndex: p.d.o.NoIndex || !p.c.index.here, DeliverTime: p.d.o.DeliverTime,
	}
	o.IndexSlots, o.IndexEntries = p.c.index.slots, p.c.index.entries
	s, err := store.Open(p.d.fs, o)
	if err != nil {
		return fmt.Errorf("open the repaired store: %w", err)
	}
	err = s.Start()
	return errors.Join(err, s.Close())
}

// planLog: files of the right length, none missing, every byte part of a record.
func (p *Plan) planLog() {
	d, c := p.d, p.c
	for i, s := range d.segs {
		switch {
		case s.len < d.size && !(s.len == 0 && i == len(d.segs)-1):
			p.add("grow", s.path, fmt.Sprintf("from %d to %d bytes", s.len, d.size), func(r *repairer) error { return r.resize(s.path, d.size) })
		case s.len > d.size:
			p.add("cut off", s.path, fmt.Sprintf("%d bytes behind %d, kept", s.len-d.size, d.size), func(r *repairer) error {
				if err := r.keepBytes(s.path, d.size, s.len-d.size); err != nil {
					return err
				}
				return r.resize(s.path, d.size)
			})
		}
	}
	for _, g := range c.hurt {
		for from := g.from; from < g.to; {
			to := min(g.to, from-from%d.size+d.size)
			piece := gap{from: from, to: to, zeros: g.zeros, stored: g.stored}
			path := filepath.Join(d.o.CommitLogDir, segName(from-from%d.size))
			p.add("mark as unreadable", path, fmt.Sprintf("%d bytes at %d: %s", to-from, from%d.size, g.why), func(r *repairer) error { return r.mark(path, piece) })
			from = to
		}
	}
	if d.crashed || c.ck.Exact {
		return // the next start keeps aside and cuts
	}
	for _, g := range c.gaps {
		if g.from < c.logEnd || g.zeros {
			continue
		}
		if s := d.segFor(g.from); s != nil {
			n := min(g.to, s.base+d.size) - g.from
			p.add("zero", s.path, fmt.Sprintf("%d stray bytes at %d behind the end of the log, kept", n, g.from-s.base), func(r *repairer) error {
				if err := r.keepBytes(s.path, g.from-s.base, n); err != nil {
					return err
				}
				return r.zero(s.path, g.from-s.base, n)
			})
		}
	}
}

// planQueues: queues that do not agree with the log are made again from it.
func (p *Plan) planQueues() {
	for _, hits := range p.c.hits {
		for _, h := range hits {
			h.q.broken = true // units that point to unreadable bytes become marks
		}
	}
	for _, q := range p.d.queues {
		if !q.broken {
			continue
		}
		p.add("make again", q.dir, fmt.Sprintf("the queue, up to offset %d; its files are kept", q.end-1), func(r *repairer) error {
			r.queues[orphanKey{q.topic, q.id}] = q.end
			return r.keepFile(q.dir)
		})
	}
	for key, o := range p.c.orphans {
		if p.c.top.has(key.topic) && o.phys < p.c.remade() {
			p.add("make again", filepath.Join(p.d.o.ConsumeQueueDir, key.topic, fmt.Sprint(key.id)), "the queue's files are missing", func(r *repairer) error {
				r.queues[key] = 0
				return nil
			})
		}
	}
}

func (p *Plan) planIndex() {
	need := false
	for _, f := range p.c.index.files {
		need = need || f.bad && !p.d.crashed
	}
	for _, g := range p.c.keyGaps {
		need = need || g.from < p.c.remade()
	}
	if !need {
		return
	}
	p.add("make again", p.d.o.IndexDir, "the index; its files are kept", func(r *repairer) error {
		r.index = true
		for _, f := range p.c.index.files {
			if err := r.keepFile(f.path); err != nil {
				return err
			}
		}
		return nil
	})
}

// planSettings: the newest generation that can be read takes the place of one that cannot.
func (p *Plan) planSettings() {
	for _, name := range settings {
		path := filepath.Join(p.d.o.Dir, "config", name)
		gens := p.d.generations(path)
		good := slices.IndexFunc(gens, func(g generation) bool { return g.bad == nil })
		switch {
		case len(gens) == 0 || good >= 0 && gens[good].file == path:
		case good >= 0:
			text, why := gens[good].text, "from "+filepath.Base(gens[good].file)
			if name == "topics.json" {
				if more, added := withTopics(text, p.d.queues); len(added) > 0 {
					text, why = more, fmt.Sprintf("%s, and the topics that have queues: %s", why, strings.Join(added, ", "))
				}
			}
			p.add("restore", path, why, func(r *repairer) error { return r.restore(path, text) })
		default:
			for _, g := range gens {
				p.add("set aside", g.file, fmt.Sprintf("no generation can be read (%v)", g.bad), func(r *repairer) error { return r.keepFile(g.file) })
			}
		}
	}
}

func (p *Plan) planCheckpoint() {
	damaged := false
	for _, f := range p.c.r.Findings {
		damaged = damaged || f.File == p.d.rel(p.d.o.CheckpointFile) && f.Severity != Note
	}
	if damaged || len(p.Steps) > 0 {
		p.add("write", p.d.o.CheckpointFile, "the store is opened and closed once, as a broker does", func(r *repairer) error { return r.keepFile(p.d.o.CheckpointFile) })
	}
}
