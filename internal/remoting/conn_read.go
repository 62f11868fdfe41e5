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

// cursor is how far a reader is: buf.b[r:w] is not handled yet; the frame there is need bytes long, 0: not known.
type cursor struct {
	buf     *buffer
	r, w    int
	need    int
	relieve bool // this reader goes on for one that is stuck: first it writes what that one has answered
}

// read is the reader's loop. It never returns nil.
func (c *Conn) read(at cursor) error {
	err := c.readFrom(&at)
	if err != errRelieved {
		putRead(at.buf)
	}
	return err
}

func (c *Conn) readFrom(at *cursor) error {
	for {
		if at.relieve {
			at.relieve = false
		} else if err := c.burst(at); err != nil {
			return err
		}
		c.flush()
		c.waitBacklog()
		at.buf, at.r, at.w = rest(at.buf, at.r, at.w, at.need)
	}
}

// burst reads once and handles every whole frame there is.
func (c *Conn) burst(at *cursor) error {
	var n int
	var err error
	if at.buf, n, err = c.sock.read(at.buf, at.w); err != nil {
		return err
	}
	if n == 0 {
		return io.EOF
	}
	at.w += n
	c.now = c.hub.clock.Now()
	c.lastSeen.Store(int64(clock.MonoOf(c.now)))
	c.hub.stats.bytesIn.Add(int64(n))
	for {
		b := at.buf.b[at.r:at.w]
		if at.need, err = protocol.FrameLen(b); err == nil {
			if at.need == 0 || at.need > len(b) {
				break
			}
			err = c.handle(b[:at.need])
		}
		if err != nil { // the frames before it count all the same
			if relieved := c.endBurst(at); relieved != nil {
				return relieved
			}
			c.flush()
			return err
		}
		at.r += at.need
	}
	return c.endBurst(at)
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
