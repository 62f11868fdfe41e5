package commitlog

// The newest part of the log in memory. Records are encoded straight into these chunks, written to the file from them, and
// read from them: no byte is copied twice.
//
//	list:  [ chunk 0 | chunk 1 | chunk 2 ... ]   ascending by base, gaps where a segment ended
//	chunk: buf[0:n] is published and never changes; buf[n:] belongs to the appender
//
// A chunk that has left the list is used again only if no reader holds it; else the garbage collector gets it. A reader
// takes a reference first and then looks whether the chunk is alive and still covers its offset, so it cannot be fooled by
// a chunk that was recycled under its feet.

import (
	"sort"
	"sync"
	"sync/atomic"
)

// Chunk is a piece of the log in memory.
type Chunk struct {
	buf   []byte // fixed length
	base  atomic.Int64
	n     atomic.Int64
	refs  atomic.Int32
	alive atomic.Bool
	block bool // read from a file
}

// Tail holds the chunks. New and Publish are called by one goroutine at a time.
type Tail struct {
	chunkSize int
	max       int64

	list atomic.Pointer[[]*Chunk]
	mu   sync.Mutex // guards changes of list, and free
	free []*Chunk

	blocks blocks // older parts that are read now
}

// NewTail keeps about limit bytes in chunks of chunkSize.
func NewTail(limit int64, chunkSize int) *Tail {
	t := &Tail{chunkSize: chunkSize, max: limit}
	t.list.Store(&[]*Chunk{})
	return t
}

// New starts a chunk at base with room for at least n bytes. The appender holds a reference to it; Release gives it back
// when all of it is published.
func (t *Tail) New(base int64, n int) *Chunk {
	t.mu.Lock()
	defer t.mu.Unlock()
	var c *Chunk
	if k := len(t.free); k > 0 && n <= t.chunkSize {
		c, t.free = t.free[k-1], t.free[:k-1]
	} else {
		c = &Chunk{buf: make([]byte, max(n, t.chunkSize))}
	}
	c.base.Store(base)
	c.n.Store(0)
	c.refs.Add(1)
	c.alive.Store(true)
	t.storeLocked(append(append([]*Chunk(nil), *t.list.Load()...), c))
	return c
}

// Room is what an appender who has filled the chunk up to at may still use; Base where the chunk starts.
func (c *Chunk) Room(at int) []byte { return c.buf[at:at:len(c.buf)] }
func (c *Chunk) Cap() int           { return len(c.buf) }
func (c *Chunk) Base() int64        { return c.base.Load() }

// Fresh tells whether the bytes are those that were appended, and not read back from a file.
func (c *Chunk) Fresh() bool { return !c.block }

// Bytes are the bytes from..to of the chunk.
func (c *Chunk) Bytes(from, to int) []byte { return c.buf[from:to:to] }

// Publish lets readers see the first n bytes of c.
func (c *Chunk) Publish(n int) { c.n.Store(int64(n)) }

// storeLocked installs a list, dropping the oldest chunks that are too much.
func (t *Tail) storeLocked(list []*Chunk) {
	total := int64(0)
	for _, c := range list {
		total += int64(len(c.buf))
	}
	for len(list) > 1 && total > t.max && list[0].n.Load() > 0 {
		total -= int64(len(list[0].buf))
		t.retireLocked(list[0])
		list = list[1:]
	}
	t.list.Store(&list)
}

func (t *Tail) retireLocked(c *Chunk) {
	c.alive.Store(false)
	if c.refs.Load() == 0 && len(c.buf) == t.chunkSize && len(t.free) < 4 {
		t.free = append(t.free, c)
	}
}

// CutFrom forgets everything at and behind off.
func (t *Tail) CutFrom(off int64) {
	t.blocks.cutFrom(off)
	t.mu.Lock()
	defer t.mu.Unlock()
	var keep []*Chunk
	for _, c := range *t.list.Load() {
		if c.base.Load() >= off {
			c.alive.Store(false) // not recycled: its appender may still hold it
			continue
		}
		if end := off - c.base.Load(); c.n.Load() > end {
			c.n.Store(end)
		}
		keep = append(keep, c)
	}
	t.list.Store(&keep)
}

// Get gives the bytes [off, off+n) if they are in memory, in one piece. They stay valid until Release of the chunk.
func (t *Tail) Get(off int64, n int) ([]byte, *Chunk) {
	list := *t.list.Load()
	i := sort.Search(len(list), func(i int) bool { return list[i].base.Load() > off }) - 1
	if i >= 0 {
		if b, c := list[i].take(off, n); c != nil {
			return b, c
		}
	}
	return t.blocks.get(off, n)
}

// take references the chunk if it is alive and holds [off, off+n).
func (c *Chunk) take(off int64, n int) ([]byte, *Chunk) {
	c.refs.Add(1)
	if c.alive.Load() { // looked at before the base: a chunk that is used again is alive only when its base is set
		if b := c.At(off, n); b != nil {
			return b, c
		}
	}
	c.refs.Add(-1)
	return nil, nil
}

// At gives [off, off+n) to who holds a reference already; nil when the chunk does not have it.
func (c *Chunk) At(off int64, n int) []byte {
	at := off - c.base.Load()
	if at < 0 || at+int64(n) > c.n.Load() {
		return nil
	}
	return c.buf[at : at+int64(n) : at+int64(n)]
}

// Copy copies what is in memory from off on, at most len(p) bytes, and returns how much that was.
func (t *Tail) Copy(p []byte, off int64) int {
	list := *t.list.Load()
	i := sort.Search(len(list), func(i int) bool { return list[i].base.Load() > off }) - 1
	if i < 0 {
		return 0
	}
	c := list[i]
	c.refs.Add(1)
	defer c.refs.Add(-1)
	at := off - c.base.Load()
	if !c.alive.Load() || at < 0 || at >= c.n.Load() {
		return 0
	}
	return copy(p, c.buf[at:c.n.Load()])
}

// Keep leaves the bytes of c to somebody for good: they are never used again for anything else.
func (c *Chunk) Keep() { c.refs.Add(1) }

// Release gives a reference from Get back.
func (c *Chunk) Release() { c.refs.Add(-1) }
