package inspect

// Dump: what is in the files, for eyes and for programs.

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/index"
	"rmqctl/internal/message"
)

// ErrNoQueue: the store has no such queue.
var ErrNoQueue = errors.New("no such queue in the store")

// Want says which records to dump. Zero values mean all.
type Want struct {
	From, To  int64  // log offsets
	Topic     string //
	Queue     int32  // -1: all
	First     int64  // queue offsets, inclusive
	Last      int64  // -1: to the end
	Key       string // UNIQ_KEY or one of KEYS
	ID        string // offset message id, or UNIQ_KEY
	Most      int64  // records
	ByOffsets bool   // First and Last count
}

// Line is one record, or one damaged place, of a dump.
type Line struct {
	File   string // below the store's directory
	Offset int64  // in the log
	Length int64
	Record *message.Record // nil: damaged
	Why    string          // what is wrong

	QueueOffset int64 // asked for by queue offset: which
}

// ErrEnough, answered by a callback, ends a dump without an error.
var ErrEnough = errors.New("enough")

// Records calls each for what is wanted, in the order of the log, or of the queue when queue offsets are asked for. A record
// is valid only during the call.
func (d *Dir) Records(ctx context.Context, w Want, each func(Line) error) error {
	n := int64(0)
	tell := func(l Line) error {
		if err := each(l); err != nil {
			return err
		}
		if n++; w.Most > 0 && n >= w.Most {
			return ErrEnough
		}
		return nil
	}
	err := d.records(ctx, w, tell)
	if errors.Is(err, ErrEnough) {
		return nil
	}
	return err
}

func (d *Dir) records(ctx context.Context, w Want, tell func(Line) error) error {
	if w.ID != "" {
		if phys, ok := physOf(w.ID); ok && d.segFor(phys) != nil {
			if l := d.lineAt(phys); l.Record != nil {
				return tell(l)
			}
		}
		w.Key = w.ID
	}
	if w.Topic != "" && w.Queue >= 0 && w.ByOffsets {
		return d.byUnits(ctx, w, tell)
	}
	place := func(off int64) string {
		if s := d.segFor(off); s != nil {
			return d.rel(s.path)
		}
		return ""
	}
	filtered := w.Topic != "" || w.Key != ""
	return d.scan(ctx, span{w.From, w.To}, false, func(it *item) error {
		if !w.matches(&it.Record) {
			return nil
		}
		return tell(Line{File: place(it.PhysicalOffset), Offset: it.PhysicalOffset, Length: int64(it.Size), Record: &it.Record, QueueOffset: it.QueueOffset})
	}, func(g gap) error {
		if g.blank || g.zeros || filtered {
			return nil
		}
		return tell(Line{File: place(g.from), Offset: g.from, Length: g.to - g.from, Why: g.why})
	})
}

func (w *Want) matches(r *message.Record) bool {
	if w.Topic != "" && string(r.Topic) != w.Topic || w.Topic != "" && w.Queue >= 0 && r.QueueID != w.Queue {
		return false
	}
	if w.Key == "" || string(message.PropertyBytes(r.Properties, message.PropUniqKey)) == w.Key {
		return true
	}
	for _, k := range strings.Fields(string(message.PropertyBytes(r.Properties, message.PropKeys))) {
		if k == w.Key {
			return true
		}
	}
	return false
}

// physOf reads the log offset out of an offset message id: store host and offset in hex.
func physOf(id string) (int64, bool) {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != 16 && len(b) != 28 {
		return 0, false
	}
	phys := int64(binary.BigEndian.Uint64(b[len(b)-8:]))
	return phys, phys >= 0
}

// lineAt is the record at a log offset, or why there is none.
func (d *Dir) lineAt(phys int64) Line {
	s := d.segFor(phys)
	if s == nil {
		return Line{Offset: phys, Why: "outside of the log"}
	}
	l := Line{File: d.rel(s.path), Offset: phys}
	var head [8]byte
	if _, err := d.readAt(s.path, head[:], phys-s.base); err != nil {
		l.Why = err.Error()
		return l
	}
	size, blank, ok := header(head[:], s.base+d.size-phys)
	if !ok || blank {
		l.Why = fmt.Sprintf("no record begins here: size %d, magic %#x", size, binary.BigEndian.Uint32(head[4:]))
		return l
	}
	b := make([]byte, size)
	if _, err := d.readAt(s.path, b, phys-s.base); err != nil {
		l.Why = err.Error()
		return l
	}
	var r message.Record
	l.Length = int64(size)
	if _, err := r.Parse(b, message.Options{CheckCRC: true}); err != nil {
		l.Why = err.Error()
		return l
	}
	if r.PhysicalOffset != phys {
		l.Why = fmt.Sprintf("the record says it lies at %d", r.PhysicalOffset)
		return l
	}
	l.Record, l.QueueOffset = &r, r.QueueOffset
	return l
}

// byUnits goes by the units of one queue.
func (d *Dir) byUnits(ctx context.Context, w Want, tell func(Line) error) error {
	return d.Units(ctx, w, func(u UnitLine) error {
		if u.Unit.Filler() {
			if u.Unit.Tags == 0 {
				return nil
			}
			return tell(Line{QueueOffset: u.Offset, Why: "the message is marked as lost"})
		}
		l := d.lineAt(u.Unit.Phys)
		if r := l.Record; r != nil && (string(r.Topic) != w.Topic || r.QueueID != w.Queue || r.QueueOffset != u.Offset) {
			l.Why = fmt.Sprintf("the unit points to %s/%d offset %d", r.Topic, r.QueueID, r.QueueOffset)
			l.Record = nil
		}
		l.QueueOffset = u.Offset
		return tell(l)
	})
}

// UnitLine is one unit of a dump.
type UnitLine struct {
	File   string
	Offset int64 // of the queue
	Unit   consumequeue.Unit
}

// Units calls each for the written units of the wanted queue.
func (d *Dir) Units(ctx context.Context, w Want, each func(UnitLine) error) error {
	found := false
	for _, q := range d.queues {
		if q.topic != w.Topic || w.Queue >= 0 && q.id != w.Queue {
			continue
		}
		found = true
		if err := d.unitsOf(ctx, q, w, each); err != nil && !errors.Is(err, ErrEnough) {
			return err
		} else if err != nil {
			return nil
		}
	}
	if !found {
		return fmt.Errorf("%w: %s/%d", ErrNoQueue, w.Topic, w.Queue)
	}
	return nil
}

func (d *Dir) unitsOf(ctx context.Context, q *queue, w Want, each func(UnitLine) error) error {
	const unit = consumequeue.UnitSize
	buf := make([]byte, 4096*unit)
	for _, f := range q.files {
		end := min(f.len, d.unitLen) / unit
		first := f.base / unit
		for i := max(w.First-first, 0); i < end; i += 4096 {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(end-i, 4096)
			if _, err := d.readAt(f.path, buf[:n*unit], i*unit); err != nil {
				return err
			}
			for k := range int(n) {
				at := first + i + int64(k)
				if w.ByOffsets && w.Last >= 0 && at > w.Last {
					return nil
				}
				u := consumequeue.At(buf, k)
				if (u == consumequeue.Unit{}) && !(w.ByOffsets && w.Last >= 0) {
					continue
				}
				if err := each(UnitLine{d.rel(f.path), at, u}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// IndexInfo is what an index file says about itself.
type IndexInfo struct {
	File           string
	Header         index.Header
	Slots, Entries int32 // the file's shape
}

// Index lists the index files.
func (d *Dir) Index() ([]IndexInfo, error) {
	x, err := d.listIndex()
	if err != nil {
		return nil, err
	}
	var out []IndexInfo
	for _, f := range x.files {
		out = append(out, IndexInfo{d.rel(f.path), f.h, f.slots, f.entries})
	}
	return out, nil
}

// Chain walks the entries of one slot in every file, newest first: those of a topic's key and of what has the same slot.
func (d *Dir) Chain(topic, key string, each func(file string, number int32, e index.Entry) error) error {
	x, err := d.listIndex()
	if err != nil {
		return err
	}
	hash := index.Hash(topic, key)
	for i := len(x.files) - 1; i >= 0; i-- {
		f := x.files[i]
		var b [index.EntrySize]byte
		if _, err := d.readAt(f.path, b[:4], index.HeaderSize+int64(hash%f.slots)*index.SlotSize); err != nil {
			return err
		}
		n := int32(binary.BigEndian.Uint32(b[:]))
		for n > 0 && n < f.h.Next {
			if _, err := d.readAt(f.path, b[:], f.entryAt(n)); err != nil {
				return err
			}
			e := index.ReadEntry(b[:], 0)
			if err := each(d.rel(f.path), n, e); err != nil {
				return err
			}
			if e.Prev >= n {
				return fmt.Errorf("%s: the chain is broken at entry %d", d.rel(f.path), n)
			}
			n = e.Prev
		}
	}
	return nil
}
