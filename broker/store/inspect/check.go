package inspect

// Check: the log record by record, every unit of every queue, every entry of the index, the checkpoint and the settings.
// Nothing is written.

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"rmqctl/broker/store/consumequeue"
)

// checker is one Check on its way.
type checker struct {
	d   *Dir
	r   *Report
	ck  checkpoint
	top topics // of topics.json

	byTopic map[string][]*queue
	orphans map[orphanKey]*orphan // records whose queue has no files
	window  int64                 // units read at once

	gaps        []gap // of the log, all of them, in order
	hurt        []gap // the lost ones among them
	from        int64 // first byte of the log that can hold a record
	end         int64 // behind the last good record
	logEnd      int64 // where the log ends: end, or what the checkpoint vouches for
	keyed       int64
	stored      int64 // store timestamp of the last good record
	index       *indexCheck
	keyGapStart int64 // keyed messages before the newest gap
	keyGaps     []keyGap
	surplus     int64
	surplusAt   int64
	begins      []begin
	hits        map[int][]hit // by number of the lost range
	knownLost   int64
}

// begin is when the first message of a segment was stored.
type begin struct{ base, stored int64 }

type orphanKey struct {
	topic string
	id    int32
}

type orphan struct {
	records, first, last int64
	phys                 int64 // of the first
}

// Check looks at everything. The error is about looking; what is wrong is in the report.
func (d *Dir) Check(ctx context.Context) (*Report, error) {
	c, err := d.check(ctx)
	if err != nil {
		return nil, err
	}
	return c.r, nil
}

func (d *Dir) check(ctx context.Context) (*checker, error) {
	start := time.Now()
	c := &checker{d: d, r: &Report{Dir: d.o.Dir, Clean: true, Findings: []Finding{}}, byTopic: map[string][]*queue{}, orphans: map[orphanKey]*orphan{}}
	for _, q := range d.queues {
		q.seen = seen{}
		c.byTopic[q.topic] = append(c.byTopic[q.topic], q)
	}
	c.window = min(max((64<<20)/consumequeue.UnitSize/int64(len(d.queues)+1), 64), 8192)
	c.checkNames()
	if err := c.checkMeta(); err != nil {
		return nil, err
	}
	if err := c.checkIndexFiles(ctx); err != nil {
		return nil, err
	}
	if len(d.segs) > 0 {
		c.from = d.segs[0].base
		c.end = c.from
		if err := d.scan(ctx, span{}, c.index.any(), c.record, c.gap); err != nil {
			return nil, err
		}
	}
	for _, q := range d.queues {
		c.settle(q)
	}
	c.judgeLog()
	if err := c.checkQueues(ctx); err != nil {
		return nil, err
	}
	c.judgeOrphans()
	c.judgeKeys()
	if err := c.lostMeans(); err != nil {
		return nil, err
	}
	c.totals()
	c.r.Took = time.Since(start)
	c.r.sorted()
	return c, nil
}

func (c *checker) totals() {
	r, d := c.r, c.d
	r.Crashed, r.Segments, r.SegmentSize, r.LogFrom, r.LogEnd = d.crashed, len(d.segs), d.size, c.from, c.logEnd
	r.Topics, r.Queues = len(c.byTopic), len(d.queues)
	r.LostRanges = len(c.hurt)
	for _, g := range c.hurt {
		r.LostBytes += g.to - g.from
	}
	if d.crashed {
		c.note(d.rel(d.o.AbortFile), 0, "the store was not closed: the next start recovers it", "")
	}
}

func (c *checker) note(file string, off int64, what, means string) {
	c.r.add(Finding{Severity: Note, File: file, Offset: off, What: what, Means: means})
}

// gap is told of each stretch without a good record, in order.
func (c *checker) gap(g gap) error {
	if g.blank {
		c.end = g.to
		return nil
	}
	g.stored = c.stored
	if n := len(c.gaps); n > 0 && c.gaps[n-1].to == g.from && c.gaps[n-1].zeros == g.zeros {
		c.gaps[n-1].to = g.to
		return nil
	}
	c.gaps = append(c.gaps, g)
	return nil
}

// record is told of each good record, in order.
func (c *checker) record(it *item) error {
	if string(it.Topic) == marker && !hasQueue(&it.Record) {
		c.end = it.PhysicalOffset + int64(it.Size)
		c.r.Marked++
		return nil
	}
	c.r.Records++
	if base := it.PhysicalOffset - it.PhysicalOffset%c.d.size; len(c.begins) == 0 || c.begins[len(c.begins)-1].base != base {
		c.begins = append(c.begins, begin{base, it.StoreTimestamp})
	}
	c.end, c.stored = it.PhysicalOffset+int64(it.Size), it.StoreTimestamp
	if c.index.any() {
		if len(it.hashes) > 0 {
			c.keyed++
		}
		if err := c.findKeys(it); err != nil {
			return err
		}
	}
	if !hasQueue(&it.Record) {
		return nil
	}
	q := c.queue(it.Topic, it.QueueID)
	if q == nil {
		c.orphan(it)
		return nil
	}
	return c.place(q, place{it.QueueOffset, it.PhysicalOffset, it.Size, it.tags})
}

func (c *checker) queue(topic []byte, id int32) *queue {
	of := c.byTopic[string(topic)]
	if id >= 0 && int(id) < len(of) && of[id].id == id {
		return of[id]
	}
	if i, ok := slices.BinarySearchFunc(of, id, func(q *queue, id int32) int { return cmp.Compare(q.id, id) }); ok {
		return of[i]
	}
	return nil
}

func (c *checker) orphan(it *item) {
	key := orphanKey{string(it.Topic), it.QueueID}
	o := c.orphans[key]
	if o == nil {
		o = &orphan{first: it.QueueOffset, phys: it.PhysicalOffset}
		c.orphans[key] = o
	}
	if it.QueueOffset == 0 { // the topic was made anew
		o.records, o.first, o.phys = 0, 0, it.PhysicalOffset
	}
	o.records++
	o.last = it.QueueOffset
}

// judgeLog decides which gaps are damage and where the log ends.
func (c *checker) judgeLog() {
	c.logEnd = c.end
	vouched := c.ck.Exact && c.ck.Safe > c.end
	if vouched {
		c.logEnd = c.ck.Safe
	}
	for _, g := range c.gaps {
		switch {
		case g.from >= c.logEnd:
			c.judgeTail(g)
		case g.from == c.from && g.zeros && !vouched:
			c.from = g.to // a slave's first segment may begin with nothing
		default:
			g.to = min(g.to, c.logEnd)
			c.hurt = append(c.hurt, g)
		}
	}
	slices.SortFunc(c.hurt, func(a, b gap) int { return cmp.Compare(a.from, b.from) })
	if vouched && (len(c.hurt) == 0 || c.hurt[len(c.hurt)-1].to < c.logEnd) { // files are missing at the end
		c.hurt = append(c.hurt, gap{from: c.end, to: c.logEnd, why: "the file is missing", zeros: true})
	}
}

// judgeTail looks at what lies behind the end of the log.
func (c *checker) judgeTail(g gap) {
	if g.zeros {
		return
	}
	file, off := c.at(g.from)
	f := Finding{File: file, Offset: off, Length: g.to - g.from, What: "stray bytes behind the end of the log: " + g.why}
	switch {
	case c.d.crashed:
		f.Severity, f.Means = Note, "the broker stopped while it wrote; the next start keeps them aside and goes on here"
	case c.ck.Exact: // a slave may stop in the middle of a record
		f.Severity, f.Means = Note, "the checkpoint does not count them; the next start cuts them off"
	default:
		f.Severity, f.Means, f.Repair = Lost, "what was written here cannot be read", "kept in lost+found, then zeroed"
	}
	c.r.add(f)
}

// at is the file and the position in it of a log offset.
func (c *checker) at(off int64) (string, int64) {
	if s := c.d.segFor(off); s != nil {
		return c.d.rel(s.path), off - s.base
	}
	base := off - off%c.d.size
	return c.d.rel(c.d.o.CommitLogDir) + "/" + segName(base), off - base
}

// inHurt tells which lost range a log offset lies in, -1 none.
func (c *checker) inHurt(off int64) int {
	i, ok := slices.BinarySearchFunc(c.hurt, off, func(g gap, off int64) int {
		switch {
		case g.to <= off:
			return -1
		case g.from > off:
			return 1
		}
		return 0
	})
	if !ok {
		return -1
	}
	return i
}

// judgeOrphans: records of topics without queue files. Deleted topics leave them behind; a topic that is still in topics.json
// has lost its queues.
func (c *checker) judgeOrphans() {
	gone, records := 0, int64(0)
	for key, o := range c.orphans {
		if !c.top.has(key.topic) {
			gone++
			records += o.records
			continue
		}
		dir := fmt.Sprintf("%s/%s/%d", c.d.rel(c.d.o.ConsumeQueueDir), key.topic, key.id)
		if o.phys >= c.remade() {
			c.note(dir, 0, "the queue has no file yet", fmt.Sprintf("the next start makes its %d units again", o.records))
			continue
		}
		c.r.add(Finding{Severity: Derived, File: dir, What: fmt.Sprintf("the queue's files are missing: the log has offsets %d to %d", o.first, o.last),
			Means: fmt.Sprintf("consumers miss %d messages", o.records), Repair: "made again from the log"})
	}
	if gone > 0 {
		c.note(c.d.rel(c.d.o.CommitLogDir), 0, fmt.Sprintf("%d messages of %d queues whose topics are not there any more", records, gone), "deleted topics leave their messages until retention takes them")
	}
}

// remade is the log offset from which on the next start makes units and index entries again.
func (c *checker) remade() int64 {
	switch {
	case c.d.member && c.ck.Exact: // what lies behind may not be committed yet: it has no units, and gets them then
		return c.ck.Safe
	case !c.d.crashed:
		return 1<<63 - 1
	case c.ck.Exact:
		return c.ck.Safe
	}
	from := c.from // without our own part, at the newest segment that is older than the checkpoint's times
	for _, b := range c.begins {
		if b.stored <= min(c.ck.Phys, c.ck.Logics)-3000 {
			from = b.base
		}
	}
	return from
}

func (c *checker) checkNames() {
	for _, s := range c.d.strangers {
		c.note(c.d.rel(s), 0, "does not belong into the log's directory", "a Java broker refuses to start with it")
	}
	for i, s := range c.d.segs {
		switch {
		case s.base%c.d.size != 0:
			c.r.add(Finding{Severity: Metadata, File: c.d.rel(s.path), What: fmt.Sprintf("starts at %d, which is no multiple of the segment size %d", s.base, c.d.size), Means: "a broker refuses to start", Repair: "nothing: give the broker's properties with -c, or move the file away"})
		case s.len < c.d.size && !(s.len == 0 && i == len(c.d.segs)-1):
			c.r.add(Finding{Severity: Metadata, File: c.d.rel(s.path), Offset: s.len, Length: c.d.size - s.len, What: fmt.Sprintf("the file has %d bytes instead of %d", s.len, c.d.size), Means: "a Java broker refuses to start; what is lost is named by itself", Repair: "grown to its full length"})
		case s.len > c.d.size:
			c.r.add(Finding{Severity: Metadata, File: c.d.rel(s.path), Offset: c.d.size, Length: s.len - c.d.size, What: fmt.Sprintf("the file has %d bytes instead of %d", s.len, c.d.size), Means: "a broker refuses to start", Repair: "the rest is kept in lost+found and cut off"})
		}
	}
}
