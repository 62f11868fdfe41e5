package store

// Reading from a queue, as the pull request wants it.

import (
	"encoding/binary"
	"errors"
	"sync"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/segment"
	"rmqctl/internal/message"
)

// Get reads messages of a queue from offset on. The first is always given, however large; then the limits hold.
func (s *Store) Get(topic string, queue int32, offset int64, limit GetLimit, match Match) (GetResult, error) {
	s.count.gets.Add(1)
	q := s.table.Get(topic, queue)
	if q == nil {
		return GetResult{Status: NoMatchedLogicQueue}, nil
	}
	first, end, err := q.Range(s.clog.Min())
	if err != nil {
		return GetResult{}, err
	}
	res := GetResult{Min: first, Max: end, Next: offset}
	switch {
	case end == 0:
		res.Status, res.Next = NoMessageInQueue, 0
	case offset < first:
		res.Status, res.Next = OffsetTooSmall, first
	case offset == end:
		res.Status = OffsetOverflowOne
	case offset > end:
		res.Status, res.Next = OffsetOverflowBadly, end
	default:
		g := getter{s: s, t: s.tune.Load(), limit: limit, match: match, res: &res, logEnd: s.clog.Written()}
		if err := g.run(q, offset); err != nil {
			res.Release()
			return res, err
		}
		s.count.got.Add(int64(len(res.Messages)))
	}
	return res, nil
}

// getter is one Get on its way.
type getter struct {
	s      *Store
	t      *Tunables
	limit  GetLimit
	match  Match
	res    *GetResult
	logEnd int64

	units  []byte
	window []byte // log bytes read from the file
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
	g.units, err = q.Read(*pooled, offset, n)
	*pooled = g.units[:0]
	if errors.Is(err, segment.ErrRemoved) {
		g.res.Status = OffsetFoundNull
		g.res.Next = offset
		return nil
	}
	if err != nil {
		return err
	}
	g.res.Status = NoMatchedMessage
	return g.scan(offset)
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
		g.res.Next = offset + int64(i) + 1
		g.res.SuggestSlave = g.logEnd-(u.Phys+int64(u.Size)) > g.memory()
		if g.match.Unit != nil && !g.match.Unit(u.Tags) {
			if len(g.res.Messages) == 0 {
				g.res.Status = NoMatchedMessage
			}
			continue
		}
		b, err := g.record(u, i)
		if err != nil {
			return err
		}
		if b == nil {
			skipBelow = g.s.clog.Base(u.Phys) + g.s.o.SegmentSize
			if u.Phys >= g.s.clog.Min() || u.Phys < 0 { // there, and damaged: the next one may be good
				skipBelow = -1
			}
			if len(g.res.Messages) == 0 {
				g.res.Status = MessageWasRemoving
			}
			continue
		}
		if g.match.Record != nil && !g.match.Record(b) {
			if len(g.res.Messages) == 0 {
				g.res.Status = NoMatchedMessage
			}
			continue
		}
		if g.res.Messages == nil {
			g.res.Messages = make([][]byte, 0, min(count-i, g.t.MaxCountInMemory))
		}
		g.res.Messages = append(g.res.Messages, b)
		g.res.Bytes += len(b)
		g.res.Status = Found
	}
	return nil
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
	if b, c := g.s.clog.Tail.Get(u.Phys, int(u.Size)); b != nil {
		if !isRecord(b, u) {
			c.Release()
			return nil, nil
		}
		g.res.held = append(g.res.held, c)
		return b, nil
	}
	if at := u.Phys - g.winOff; at >= 0 && at+int64(u.Size) <= int64(len(g.window)) {
		return g.checked(g.window[at:at+int64(u.Size):at+int64(u.Size)], u)
	}
	if u.Phys < g.s.clog.Min() || u.Phys+int64(u.Size) > g.logEnd {
		return nil, nil
	}
	n := g.span(u, i)
	b := make([]byte, n)
	err := g.s.clog.ReadAt(b, u.Phys)
	if errors.Is(err, segment.ErrRemoved) || errors.Is(err, segment.ErrRange) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	g.window, g.winOff = b, u.Phys
	return g.checked(b[:u.Size:u.Size], u)
}

func (g *getter) checked(b []byte, u consumequeue.Unit) ([]byte, error) {
	if !isRecord(b, u) {
		return nil, nil
	}
	return b, nil
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
