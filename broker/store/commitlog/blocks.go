package commitlog

// Blocks: parts of the log behind the tail that several readers want at about the same time. Consumers that catch up read
// the queues of a topic side by side, and the messages of one queue lie scattered among those of the others. So a part that
// is asked for again and again is read once, as a whole, and serves all of them:
//
//	slot: (offset / blockSize) % blockSlots     a block replaces whatever had its slot
//
// A block is a Chunk, referenced and looked at as those of the tail are. It holds written bytes only, which never change
// until the log is cut; CutFrom forgets what lies behind the cut, and what is being read across it.

import (
	"fmt"
	"sync"
	"sync/atomic"
)

const (
	blockSize  = 256 << 10
	blockSlots = 96
	// askedFor: reading a whole block costs about as much as reading twenty messages.
	askedFor = 4
	// BlockOverlap is how far a block reaches into the next, for messages that begin in it. Longer ones are read by themselves.
	BlockOverlap = 16 << 10
)

// blocks is the cache. The zero value is ready.
type blocks struct {
	slots [blockSlots]blockSlot
	cuts  atomic.Int64 // number of CutFrom calls

	mu   sync.Mutex // guards changes of slots, and free
	free []*Chunk
}

type blockSlot struct {
	block atomic.Pointer[Chunk]
	wants atomic.Int64 // block number << 8 | how often it was missed
}

// miss counts that a message in the block of off was not in memory, and tells whether reading the whole block is worth it:
// where the block before it was, it is.
func (b *blocks) miss(off int64) bool {
	n := off / blockSize
	if c := b.slots[(n+blockSlots-1)%blockSlots].block.Load(); c != nil && c.base.Load() == (n-1)*blockSize {
		return true
	}
	w := &b.slots[n%blockSlots].wants
	old := w.Load()
	if old>>8 != n {
		w.Store(n<<8 | 1)
		return false
	}
	if old&0xff >= askedFor {
		return true
	}
	w.Store(old + 1)
	return false
}

func (b *blocks) get(off int64, n int) ([]byte, *Chunk) {
	c := b.slots[off/blockSize%blockSlots].block.Load()
	if c == nil {
		return nil, nil
	}
	return c.take(off, n)
}

// load reads the block of off, of which [from, to) may be read.
func (b *blocks) load(off, from, to int64, read func(p []byte, off int64) error) error {
	cuts := b.cuts.Load()
	base := max(off-off%blockSize, from)
	end := min(off-off%blockSize+blockSize+BlockOverlap, to)
	if old := b.slots[off/blockSize%blockSlots].block.Load(); old != nil && old.holds(base, end) {
		return nil
	}
	c := b.room()
	c.base.Store(base)
	if err := read(c.buf[:end-base], base); err != nil {
		b.give(c)
		return err
	}
	c.n.Store(end - base)
	c.alive.Store(true)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cuts.Load() != cuts {
		b.retireLocked(c)
		return nil
	}
	if old := b.slots[off/blockSize%blockSlots].block.Swap(c); old != nil {
		b.retireLocked(old)
	}
	return nil
}

// holds tells whether somebody else has read [base, end) already.
func (c *Chunk) holds(base, end int64) bool {
	_, held := c.take(base, int(end-base))
	if held == nil {
		return false
	}
	held.Release()
	return true
}

func (b *blocks) room() *Chunk {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, c := range b.free {
		if c.refs.Load() == 0 {
			b.free[i] = b.free[len(b.free)-1]
			b.free = b.free[:len(b.free)-1]
			return c
		}
	}
	return &Chunk{buf: make([]byte, blockSize+BlockOverlap), block: true}
}

func (b *blocks) give(c *Chunk) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.retireLocked(c)
}

// retireLocked keeps a block for the next one. Readers that still hold it are waited for by room.
func (b *blocks) retireLocked(c *Chunk) {
	c.alive.Store(false)
	if len(b.free) < 8 {
		b.free = append(b.free, c)
	}
}

func (b *blocks) cutFrom(off int64) {
	b.cuts.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.slots {
		c := b.slots[i].block.Load()
		if c == nil || c.base.Load()+c.n.Load() <= off {
			continue
		}
		b.slots[i].block.Store(nil)
		b.retireLocked(c)
	}
}

// Missed counts that [off, ...) was not in memory, and tells whether Load is worth it.
func (t *Tail) Missed(off int64) bool { return t.blocks.miss(off) }

// Load reads the part of the log around off, of which [from, to) may be read, and keeps it for Get.
func (t *Tail) Load(off, from, to int64, read func(p []byte, off int64) error) error {
	return t.blocks.load(off, from, to, read)
}

// ReadCached is ReadAt for who must not wait for the disk: vfs.ErrCold when the bytes are not in memory.
func (l *Log) ReadCached(p []byte, off int64) error {
	if off+int64(len(p)) > l.Written() {
		return fmt.Errorf("%w: %d bytes at %d, end %d", ErrOutside, len(p), off, l.Written())
	}
	s := l.find(off)
	if s == nil {
		return fmt.Errorf("%w: %d", ErrOutside, off)
	}
	return s.ReadCached(p, off-s.Base())
}
