package store

// Reading from a queue, as the pull request wants it.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"rmqctl/broker/store/commitlog"
	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/segment"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// Get reads messages of a queue from offset on. The first is always given, however large; then the limits hold.
func (s *Store) Get(topic string, queue int32, offset int64, limit GetLimit, match Match) (GetResult, error) {
	var res GetResult
	err := s.Fill(&res, topic, queue, offset, limit, match)
	return res, err
}

// Fill is Get into a result that was released before: who keeps one does not allocate. With limit.Cached it never waits for
// the disk: ErrCold says that it would have to.
func (s *Store) Fill(res *GetResult, topic string, queue int32, offset int64, limit GetLimit, match Match) error {
	res.Release()
	s.count.gets.Add(1)
	q := s.table.Get(topic, queue)
	if q == nil {
		res.reset(NoMatchedLogicQueue, 0, 0, 0)
		return nil
	}
	first, end, err := q.Range(s.clog.Min(), limit.Cached)
	if err != nil {
		return err
	}
	switch {
	case end == 0:
		res.reset(NoMessageInQueue, 0, first, end)
	case offset < first:
		res.reset(OffsetTooSmall, first, first, end)
	case offset == end:
		res.reset(OffsetOverflowOne, offset, first, end)
	case offset > end:
		res.reset(OffsetOverflowBadly, end, first, end)
	default:
		res.reset(NoMatchedMessage, offset, first, end)
		g := getter{s: s, t: s.tune.Load(), limit: limit, match: match, res: res, logEnd: s.clog.Written()}
		if err := g.run(q, offset); err != nil {
			res.Release()
			return err
		}
		s.count.got.Add(int64(len(res.Messages)))
	}
	return nil
}

func (r *GetResult) reset(status GetStatus, next, first, end int64) {
	r.Status, r.Next, r.Min, r.Max = status, next, first, end
	r.Bytes, r.SuggestSlave = 0, false
}

// getter is one Get on its way.
type getter struct {
	s      *Store
	t      *Tunables
	limit  GetLimit
	match  Match
	res    *GetResult
	logEnd int64
	q      *consumequeue.Queue

	units  []byte
	chunk  *commitlog.Chunk // where the last message was found; referenced by res
	window []byte           // log bytes read from the file
	winOff int64
}

var unitBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 16384); return &b }}

func (g *getter) run(q *consumequeue.Queue, offset int64) error {
	pooled := unitBuffers.Get().(*[]byte)
	defer unitBuffers.Put(pooled)
	n := max(g.t.MaxFilterBytes/consumequeue.UnitSize, g.limit.Messages)
	if g.match.Unit == nil && g.match.Record == nil {
		n = min(n, max(g.t.MaxCountInMemory, g.t.MaxCountOnDisk)+8)
	}
	var err error
	g.units, err = q.Read(*pooled, offset, n, g.limit.Cached)
	*pooled = g.units[:0]
	if errors.Is(err, segment.ErrRemoved) {
		g.res.Status = OffsetFoundNull
		return nil
	}
	if err != nil {
		return err
	}
	g.q = q
	return g.scan(offset)
}

// healed is the unit of message at, which u does not lead to, looked up in the log; ok is false when the message is gone.
func (g *getter) healed(at int64, u consumequeue.Unit) (good consumequeue.Unit, ok bool, err error) {
	if written(u) && u.Phys < g.s.clog.Min() { // retention, most likely
		if first, _, err := g.q.Range(g.s.clog.Min(), g.limit.Cached); err != nil || at < first {
			return u, false, err
		}
	}
	switch {
	case g.s.healer.gave(g.q, at):
		return u, false, nil
	case g.limit.Cached: // it reads the log
		return u, false, vfs.ErrCold
	}
	good, ok = g.s.heal(g.q, at, u)
	return good, ok, nil
}

// written: the unit can be one.
func written(u consumequeue.Unit) bool { return u.Phys >= 0 && u.Size >= message.MinRecord }

// message is the record of message at: the one that u leads to, or that u should lead to.
func (g *getter) message(u *consumequeue.Unit, i int, at int64) ([]byte, error) {
	b, err := g.record(*u, i)
	if err != nil || b != nil && g.mine(b, at) {
		return b, err
	}
	good, ok, err := g.healed(at, *u)
	if !ok || err != nil {
		return nil, err
	}
	*u = good
	return g.record(good, i)
}

// scan goes over the units. Next ends behind the last one that was looked at.
func (g *getter) scan(offset int64) error {
	skipBelow := int64(-1) // log offsets below are known to be gone
	count := len(g.units) / consumequeue.UnitSize
	for i := range count {
		u := consumequeue.At(g.units, i)
		if u.Filler() || u.Phys < skipBelow {
			g.res.Next = offset + int64(i) + 1
			continue
		}
		if g.full(u) {
			break
		}
		var b []byte
		var err error
		if at := offset + int64(i); !written(u) { // its tags say nothing
			var ok bool
			if u, ok, err = g.healed(at, u); !ok && err == nil {
				g.looked(u, at, MessageWasRemoving)
				continue
			}
		}
		if err == nil && g.match.Unit != nil && !g.match.Unit(u.Tags) {
			g.looked(u, offset+int64(i), NoMatchedMessage)
			continue
		}
		if err == nil {
			b, err = g.message(&u, i, offset+int64(i))
		}
		if errors.Is(err, vfs.ErrCold) && len(g.res.Messages) >= g.t.MaxCountInMemory/2 {
			return nil // enough for once; the next Get begins with the cold one
		}
		if err != nil {
			return err
		}
		if b == nil {
			skipBelow = g.s.clog.Base(u.Phys) + g.s.o.SegmentSize
			if u.Phys >= g.s.clog.Min() || u.Phys < 0 { // there, and damaged: the next one may be good
				skipBelow = -1
			}
			g.looked(u, offset+int64(i), MessageWasRemoving)
			continue
		}
		if g.match.Record != nil && !g.match.Record(b) {
			g.looked(u, offset+int64(i), NoMatchedMessage)
			continue
		}
		g.res.Messages = append(g.res.Messages, b)
		g.res.Bytes += len(b)
		g.looked(u, offset+int64(i), Found)
	}
	return nil
}

// looked notes that unit i was decided on, and the status that follows unless messages were found.
func (g *getter) looked(u consumequeue.Unit, i int64, status GetStatus) {
	g.res.Next = i + 1
	g.res.SuggestSlave = g.logEnd-(u.Phys+int64(u.Size)) > g.memory()
	if status == Found || len(g.res.Messages) == 0 {
		g.res.Status = status
	}
}

func (g *getter) memory() int64 { return g.s.o.MemoryBytes / 100 * int64(g.t.InMemoryRatio) }

// full tells whether u does not fit any more.
func (g *getter) full(u consumequeue.Unit) bool {
	n, bytes := len(g.res.Messages), g.res.Bytes
	if n == 0 {
		return false
	}
	if g.limit.Messages > 0 && n >= g.limit.Messages || g.limit.Bytes > 0 && bytes+int(u.Size) > g.limit.Bytes {
		return true
	}
	if g.logEnd-u.Phys <= g.memory() {
		return n >= g.t.MaxCountInMemory || bytes+int(u.Size) > g.t.MaxBytesInMemory
	}
	return n >= g.t.MaxCountOnDisk || bytes+int(u.Size) > g.t.MaxBytesOnDisk
}

// record gives the bytes of u: from memory without a copy, or from the file. nil: they are gone or not what u says.
func (g *getter) record(u consumequeue.Unit, i int) ([]byte, error) {
	left := g.s.clog.Base(max(u.Phys, 0)) + g.s.o.SegmentSize - u.Phys
	if u.Phys < 0 || u.Size < message.MinRecord || int64(u.Size) > left { // a damaged unit
		return nil, nil
	}
	if b, fresh := g.inMemory(u); b != nil {
		return g.checked(b, u, !fresh), nil
	}
	if at := u.Phys - g.winOff; at >= 0 && at+int64(u.Size) <= int64(len(g.window)) {
		return g.checked(g.window[at:at+int64(u.Size):at+int64(u.Size)], u, true), nil
	}
	if u.Phys < g.s.clog.Min() || u.Phys+int64(u.Size) > g.logEnd {
		return nil, nil
	}
	err := g.read(u, i)
	if errors.Is(err, segment.ErrRemoved) || errors.Is(err, segment.ErrRange) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if b, fresh := g.inMemory(u); b != nil {
		return g.checked(b, u, !fresh), nil
	}
	if at := u.Phys - g.winOff; at >= 0 && at+int64(u.Size) <= int64(len(g.window)) {
		return g.checked(g.window[at:at+int64(u.Size):at+int64(u.Size)], u, true), nil
	}
	return nil, fmt.Errorf("%w: %d was cut off meanwhile", ErrNotFound, u.Phys)
}

// mine tells whether a record says that it is message at of this queue.
func (g *getter) mine(b []byte, at int64) bool {
	return int64(binary.BigEndian.Uint64(b[20:])) == at && int32(binary.BigEndian.Uint32(b[12:])) == g.q.ID || light(g.q)
}

// inMemory finds u in the tail or in a block; fresh says that the bytes never were on a disk.
func (g *getter) inMemory(u consumequeue.Unit) (b []byte, fresh bool) {
	if g.chunk != nil {
		if b := g.chunk.At(u.Phys, int(u.Size)); b != nil {
			return b, g.chunk.Fresh()
		}
	}
	b, c := g.s.clog.Tail.Get(u.Phys, int(u.Size))
	if b == nil {
		return nil, false
	}
	g.chunk = c
	g.res.held = append(g.res.held, c)
	return b, c.Fresh()
}

// read brings u from the file into memory: the whole block around it where more of that was asked for lately, else u and
// what follows it into the window.
func (g *getter) read(u consumequeue.Unit, i int) error {
	read := g.s.clog.ReadAt
	if g.limit.Cached {
		read = g.s.clog.ReadCached
	}
	base := g.s.clog.Base(u.Phys)
	if u.Size <= commitlog.BlockOverlap && g.s.clog.Tail.Missed(u.Phys) {
		if err := g.s.clog.Tail.Load(u.Phys, base, min(base+g.s.o.SegmentSize, g.logEnd), read); err != nil {
			return err
		}
		if b, _ := g.inMemory(u); b != nil {
			return nil
		}
	}
	b := g.res.room(int(g.span(u, i)))
	if err := read(b, u.Phys); err != nil {
		return err
	}
	g.window, g.winOff = b, u.Phys
	return nil
}

// room is n bytes that live until Release.
func (r *GetResult) room(n int) []byte {
	if len(r.arena)+n > cap(r.arena) {
		r.arena = make([]byte, 0, max(n, arenaSize))
	}
	at := len(r.arena)
	r.arena = r.arena[:at+n]
	return r.arena[at : at+n : at+n]
}

// checked gives b if it is the record that u promises. What was on a disk may have been damaged there: its checksum is
// looked at too.
func (g *getter) checked(b []byte, u consumequeue.Unit, stored bool) []byte {
	if !isRecord(b, u) {
		return nil
	}
	if stored {
		var r message.Record
		if _, err := r.Parse(b, message.Options{CheckCRC: true}); err != nil {
			g.s.damaged(u.Phys, err)
			return nil
		}
		if string(r.Topic) != g.q.Topic && !light(g.q) {
			return nil
		}
	}
	return b
}

// damaged tells of a stored record that is not served, once for each.
func (s *Store) damaged(phys int64, why error) {
	if s.count.firstDamage(phys) {
		s.corrupt(fmt.Sprintf("a stored message is damaged and is not served: %s: %v", s.placeOf(phys), why), phys)
	}
}

// span is how much to read at u at once: messages of one queue lie scattered, but as long as what lies between them is less
// than three times their size, one read is cheaper than many.
func (g *getter) span(u consumequeue.Unit, i int) int64 {
	end, wanted := u.Phys+int64(u.Size), int64(u.Size)
	most := min(g.s.clog.Base(u.Phys)+g.s.o.SegmentSize, u.Phys+max(int64(g.t.MaxBytesInMemory), int64(u.Size)), g.logEnd)
	for k := i + 1; k < len(g.units)/consumequeue.UnitSize && k < i+g.t.MaxCountInMemory; k++ {
		n := consumequeue.At(g.units, k)
		if n.Filler() || n.Size < 0 || n.Phys < end || n.Phys+int64(n.Size) > most {
			break
		}
		if g.match.Unit != nil && !g.match.Unit(n.Tags) {
			continue
		}
		wanted += int64(n.Size)
		if n.Phys+int64(n.Size)-u.Phys > 4*wanted {
			break
		}
		end = n.Phys + int64(n.Size)
	}
	return end - u.Phys
}

// isRecord keeps bytes from a client that are not the record the unit promised.
func isRecord(b []byte, u consumequeue.Unit) bool {
	if len(b) < message.MinRecord || int32(binary.BigEndian.Uint32(b)) != u.Size {
		return false
	}
	m := binary.BigEndian.Uint32(b[4:])
	return (m == message.MagicV1 || m == message.MagicV2) && int64(binary.BigEndian.Uint64(b[28:])) == u.Phys
}
