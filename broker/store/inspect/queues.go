package inspect

// The consume queues' word: units that no record of the log stands behind, and what lost ranges mean for consumers.

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/segment"
	"rmqctl/internal/vfs"
)

// hit is how many messages of one queue lie in a lost range of the log.
type hit struct {
	q           *queue
	first, last int64
	n           int64
}

func (c *checker) checkQueues(ctx context.Context) error {
	for _, q := range c.d.queues {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(q.files) == 0 && !q.seen.have {
			continue
		}
		c.checkLengths(q)
		if err := c.checkUnits(q); err != nil {
			return err
		}
		c.sayWrong(q)
		q.seen.window = nil
	}
	return nil
}

func (c *checker) checkLengths(q *queue) {
	for i, f := range q.files {
		if f.len != c.d.unitLen && !(f.len == 0 && i == len(q.files)-1) || f.base%c.d.unitLen != 0 {
			q.broken = true
			c.r.add(Finding{Severity: Derived, File: c.d.rel(f.path), Offset: min(f.len, c.d.unitLen), What: fmt.Sprintf("the file has %d bytes instead of %d", f.len, c.d.unitLen),
				Means: "a broker refuses the queue; units that are missing are named by themselves", Repair: "the queue is made again from the log"})
		}
		if i > 0 && f.base > q.files[i-1].base+c.d.unitLen {
			q.broken = true
			missing := q.files[i-1].base + c.d.unitLen
			c.r.add(Finding{Severity: Derived, File: c.d.rel(q.dir) + "/" + segName(missing), Length: f.base - missing, What: "the file is missing",
				Means: "what lies before it cannot be reached", Repair: "the queue is made again from the log"})
		}
	}
}

// checkUnits goes over the files of q and looks for units that the log says nothing of.
func (c *checker) checkUnits(q *queue) error {
	s := &q.seen
	var odd *unitRange
	flush := func() {
		if odd != nil {
			s.wrong = append(s.wrong, *odd)
			odd = nil
		}
	}
	if len(q.files) > 0 {
		q.end = q.files[0].base / consumequeue.UnitSize
	}
	for _, f := range q.files {
		first := f.base / consumequeue.UnitSize
		n := min(f.len, c.d.unitLen) / consumequeue.UnitSize
		for i := first; i < first+n; i++ {
			if s := &q.seen; i >= max(q.end, s.last+1) && i >= s.windowAt+int64(len(s.window)/consumequeue.UnitSize) && !c.anyBehind(f, (i-first)*consumequeue.UnitSize) {
				break
			}
			u, ok := c.unit(q, i)
			if !ok {
				break
			}
			if (u == consumequeue.Unit{}) {
				continue
			}
			c.r.Units++
			if u.Phys >= 0 && u.Size > 0 && (i == q.end || i <= s.last) {
				q.end = i + 1
			}
			if s.have && i >= s.first && i <= s.last && !within(s.jumps, i) {
				continue // the log has spoken
			}
			what := c.judgeUnit(q, i, u)
			if what == "" {
				flush()
				continue
			}
			if odd != nil && odd.what == what && odd.to == i-1 {
				odd.to = i
				continue
			}
			flush()
			odd = &unitRange{i, i, what, u.Phys}
		}
	}
	flush()
	return nil
}

// anyBehind tells whether anything is written behind off in a file of a queue: files are mostly holes.
func (c *checker) anyBehind(f seg, off int64) bool {
	h, err := c.d.fs.OpenFile(f.path, os.O_RDONLY, 0)
	if err != nil {
		return true
	}
	defer h.Close()
	data, err := vfs.HasData(h, off, min(f.len, c.d.unitLen))
	return data || err != nil
}

// judgeUnit says what is wrong with a unit that no good record stands behind; "" for nothing new.
func (c *checker) judgeUnit(q *queue, i int64, u consumequeue.Unit) string {
	switch {
	case u.Filler():
		if u.Tags != 0 {
			c.knownLost++
		}
		return ""
	case u.Phys >= 0 && u.Phys < c.from && u.Size > 0:
		return "" // retention has taken the message
	case strings.HasPrefix(q.topic, "%LMQ%"):
		return "" // stands for a record of another topic
	}
	if q.end <= i {
		return "is no unit, the queue ends before it"
	}
	if k := c.inHurt(u.Phys); k >= 0 {
		c.hit(k, q, i)
		return ""
	}
	if u.Phys >= c.logEnd {
		if c.d.crashed {
			return "points behind the end of the log, the next start drops it"
		}
		return "points behind the end of the log"
	}
	return "points to no message of this queue"
}

func (c *checker) hit(k int, q *queue, i int64) {
	c.r.LostMessages++
	if c.hits == nil {
		c.hits = map[int][]hit{}
	}
	list := c.hits[k]
	if n := len(list); n > 0 && list[n-1].q == q {
		list[n-1].last = i
		list[n-1].n++
		return
	}
	c.hits[k] = append(list, hit{q, i, i, 1})
}

// sayWrong reports what is wrong with the units of q, stretch by stretch.
func (c *checker) sayWrong(q *queue) {
	for _, w := range q.seen.wrong {
		pos := w.from * consumequeue.UnitSize
		base := pos - pos%c.d.unitLen
		f := Finding{Severity: Derived, File: c.d.rel(q.dir) + "/" + segment.Name(base), Offset: pos - base, Length: (w.to - w.from + 1) * consumequeue.UnitSize,
			What: fmt.Sprintf("the unit of offset %d %s", w.from, w.what), Repair: "made again from the log"}
		if w.to > w.from {
			f.What = fmt.Sprintf("the units of offsets %d to %d: each %s", w.from, w.to, w.what)
		}
		switch {
		case w.what == wrongDelivery && q.seen.otherLevels():
			f.Severity, f.Repair = Note, ""
			f.What = fmt.Sprintf("delayed messages %d to %d are due %s later than RocketMQ's levels say", w.from, w.to, time.Duration(q.seen.shift)*time.Millisecond)
			f.Means = "messageDelayLevel was changed; with -c they are checked exactly"
		case w.what == "is not written" && w.phys >= c.remade(), strings.HasSuffix(w.what, "the next start drops it"):
			f.Severity, f.Repair = Note, ""
			f.Means = "the next start makes the queue agree with the log"
		case strings.HasPrefix(w.what, "points behind the end"):
			f.Severity = Lost
			f.Means = fmt.Sprintf("%d messages of %s/%d are not in the log any more", w.to-w.from+1, q.topic, q.id)
			f.Repair = "marked as lost; their offsets are not used again"
			c.r.LostMessages += w.to - w.from + 1
			q.broken = true
		case strings.HasPrefix(w.what, "is no unit"):
			f.Means = "a broker may take it for the end of the queue and number new messages wrongly"
			q.broken = true
		case strings.HasPrefix(w.what, "has a wrong tag"):
			f.Means = "consumers that filter by tag miss the message, or get it for nothing"
			q.broken = true
		default:
			f.Means = fmt.Sprintf("consumers of %s/%d miss %d messages unless the broker mends it", q.topic, q.id, w.to-w.from+1)
			q.broken = true
		}
		c.r.add(f)
	}
}

// lostMeans reports the lost ranges of the log with what they mean for consumers.
func (c *checker) lostMeans() error {
	for i, g := range c.hurt {
		file, off := c.at(g.from)
		var parts []string
		for _, h := range c.hits[i] {
			if len(parts) == 5 {
				parts = append(parts, fmt.Sprintf("and %d queues more", len(c.hits[i])-5))
				break
			}
			if h.n == 1 {
				parts = append(parts, fmt.Sprintf("%s/%d offset %d", h.q.topic, h.q.id, h.first))
			} else {
				parts = append(parts, fmt.Sprintf("%s/%d %d messages from offset %d to %d", h.q.topic, h.q.id, h.n, h.first, h.last))
			}
		}
		means := "no queue points here"
		if len(parts) > 0 {
			means = "lost: " + strings.Join(parts, ", ") + "; consumers skip them"
		}
		c.r.add(Finding{Severity: Lost, File: file, Offset: off, Length: g.to - g.from, What: fmt.Sprintf("no good record at log offset %d: %s", g.from, g.why),
			Means: means, Repair: "kept in lost+found and marked as unreadable, so that Java brokers and slaves get over it"})
	}
	if c.knownLost > 0 {
		c.note(c.d.rel(c.d.o.ConsumeQueueDir), 0, fmt.Sprintf("%d offsets are marked as lost", c.knownLost), "their messages are gone; consumers skip them")
	}
	return nil
}

func segName(base int64) string { return segment.Name(base) }
