package store

// Reading ahead: a goroutine reads the log block by block while the walker looks at the blocks before.
//
//	raw: [ headroom | block ]      what is left of the block before, the start of a record, is copied into the headroom
//
// The walker asks for bytes in ascending order, mostly. What it cannot get from here it reads itself.

import "sync"

const (
	aheadBlock    = 1 << 20
	aheadHeadroom = 64 << 10
	aheadBlocks   = 4
)

type ahead struct {
	blocks chan piece
	free   chan []byte
	stop   chan struct{}
	done   sync.WaitGroup

	next piece // taken from blocks, not used yet
	held []byte
}

// piece is a block of the log.
type piece struct {
	raw []byte // headroom and block
	off int64  // of the block
	n   int
}

func (p *piece) end() int64 { return p.off + int64(p.n) }

// lookAhead starts reading at off. stopAhead ends it.
func (w *walker) lookAhead(off int64) {
	a := &ahead{blocks: make(chan piece, aheadBlocks), free: make(chan []byte, aheadBlocks), stop: make(chan struct{})}
	for range aheadBlocks {
		a.free <- make([]byte, aheadHeadroom+aheadBlock)
	}
	w.ahead = a
	a.done.Go(func() { a.fetch(w.read, off, w.limit, w.segment) })
}

func (w *walker) stopAhead() {
	if a := w.ahead; a != nil {
		close(a.stop)
		a.done.Wait()
		w.ahead, w.buf = nil, nil
	}
}

// fetch ends at the limit, or at the first error: the walker meets it again when it reads that place itself.
func (a *ahead) fetch(read func([]byte, int64) error, off, limit, segment int64) {
	defer close(a.blocks)
	for off < limit {
		var raw []byte
		select {
		case raw = <-a.free:
		case <-a.stop:
			return
		}
		n := min(aheadBlock, limit-off, segment-off%segment)
		if read(raw[aheadHeadroom:aheadHeadroom+n], off) != nil {
			return
		}
		select {
		case a.blocks <- piece{raw, off, int(n)}:
		case <-a.stop:
			return
		}
		off += n
	}
}

// fill makes the walker's buffer begin at off with the block that holds it, joined to what the buffer has from off on.
func (a *ahead) fill(w *walker, off int64) bool {
	for {
		if a.next.raw == nil {
			var ok bool
			if a.next, ok = <-a.blocks; !ok {
				return false
			}
		}
		if a.next.end() > off {
			break
		}
		a.free <- a.next.raw
		a.next.raw = nil
	}
	p := a.next
	gap := p.off - off // of which the buffer must have all
	if gap > aheadHeadroom || gap > 0 && (off < w.off || p.off > w.off+int64(len(w.buf))) {
		return false
	}
	if gap > 0 {
		copy(p.raw[aheadHeadroom-gap:], w.buf[off-w.off:][:gap])
	}
	w.buf, w.off = p.raw[aheadHeadroom-gap:aheadHeadroom+p.n], off
	if a.held != nil {
		a.free <- a.held
	}
	a.held, a.next.raw = p.raw, nil
	return true
}
