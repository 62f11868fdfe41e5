// The reading half of a connection: wait without a buffer, take one when bytes
// are there, handle every whole frame in it, answer once.
package remoting

import (
	"io"
	"sync"

	"rmqctl/internal/clock"
	"rmqctl/internal/protocol"
)

const (
	readSize = 64 << 10
	keepSize = 1 << 20 // larger buffers are not pooled
	// softBacklog: a peer with so much unread is not read from until it reads.
	softBacklog = 4 << 20
)

type buffer struct{ b []byte }

var (
	readBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, readSize)} }}
	outBuffers  = sync.Pool{New: func() any { return &buffer{make([]byte, 0, 4<<10)} }}
)

func putOut(b *buffer) {
	if cap(b.b) <= keepSize {
		b.b = b.b[:0]
		outBuffers.Put(b)
	}
}

// read is the reader's loop. It never returns nil.
func (c *Conn) read() error {
	var buf *buffer
	r, w := 0, 0 // buf.b[r:w] is not handled yet
	defer func() { putRead(buf) }()
	for {
		var n int
		var err error
		if buf, n, err = c.sock.read(buf, w); err != nil {
			return err
		}
		if n == 0 {
			return io.EOF
		}
		w += n
		c.now = c.hub.clock.Now()
		c.lastSeen.Store(int64(clock.MonoOf(c.now)))
		c.hub.stats.bytesIn.Add(int64(n))
		need := 0
		for {
			if need, err = protocol.FrameLen(buf.b[r:w]); err != nil {
				c.flush()
				return err
			}
			if need == 0 || need > w-r {
				break
			}
			if err = c.handle(buf.b[r : r+need]); err != nil {
				c.flush()
				return err
			}
			r += need
		}
		if c.hub.onBurst != nil {
			c.hub.onBurst(c)
		}
		c.flush()
		c.waitBacklog()
		buf, r, w = rest(buf, r, w, need)
	}
}

// rest makes room for the frame that buf[r:w] begins with, need bytes long (0:
// not known yet). An empty buffer goes back to the pool. A buffer grows with
// what has arrived, not with what a peer announces.
func rest(buf *buffer, r, w, need int) (*buffer, int, int) {
	have, size := w-r, len(buf.b)
	switch {
	case have == 0:
		putRead(buf)
		return nil, 0, 0
	case need > size && have > size/2:
		n := &buffer{make([]byte, min(need, 4*size))}
		copy(n.b, buf.b[r:w])
		putRead(buf)
		return n, 0, have
	case need <= readSize && size > readSize:
		n := readBuffers.Get().(*buffer)
		copy(n.b, buf.b[r:w])
		return n, 0, have
	case r > 0:
		copy(buf.b, buf.b[r:w])
	}
	return buf, 0, have
}

func putRead(b *buffer) {
	if b != nil && len(b.b) == readSize {
		readBuffers.Put(b)
	}
}

func (c *Conn) waitBacklog() {
	c.wmu.Lock()
	for c.backlogLocked() > softBacklog && c.werr == nil {
		c.drained.Wait()
	}
	c.wmu.Unlock()
}
