// The writing half of a connection. Frames are appended to out by anyone; one
// goroutine at a time writes. No caller of append or flush ever waits for the
// peer: what the socket does not take at once goes to a writer goroutine.
package remoting

import (
	"time"

	"rmqctl/internal/clock"
	"rmqctl/internal/protocol"
)

// append adds a frame to the out-buffer. It does not write: see flush.
func (c *Conn) append(cmd *protocol.Command, h protocol.Header, bodies [][]byte) error {
	c.wmu.Lock()
	if c.werr != nil {
		c.wmu.Unlock()
		return c.werr
	}
	if c.out == nil {
		c.out = outBuffers.Get().(*buffer)
	}
	at := len(c.out.b)
	c.out.b = protocol.AppendFrame(c.out.b, cmd, h, bodies...)
	size := len(c.out.b) - at
	if size > protocol.MaxFrame {
		c.out.b = c.out.b[:at]
		c.wmu.Unlock()
		return protocol.ErrFrameTooLarge
	}
	over := c.backlogLocked() > c.hub.maxBacklog
	c.wmu.Unlock()
	if over {
		c.fail(ErrBacklog)
		return ErrBacklog
	}
	return nil
}

// add appends whole frames, which may be the first of the out-buffer; then b is it.
func (c *Conn) add(b *buffer) bool {
	c.wmu.Lock()
	switch {
	case c.werr != nil:
		c.wmu.Unlock()
		putOut(b)
		return false
	case c.out == nil:
		c.out = b
	default:
		c.out.b = append(c.out.b, b.b...)
		putOut(b)
	}
	over := c.backlogLocked() > c.hub.maxBacklog
	c.wmu.Unlock()
	if over {
		c.fail(ErrBacklog)
	}
	return !over
}

func (c *Conn) backlogLocked() int {
	n := c.inflight
	if c.out != nil {
		n += len(c.out.b)
	}
	return n
}

// flush writes what is there, unless somebody is at it already.
func (c *Conn) flush() {
	c.wmu.Lock()
	if c.writing || c.out == nil || c.werr != nil {
		c.wmu.Unlock()
		return
	}
	c.writing = true
	for c.takeLocked() {
		b := c.sock.wbuf
		c.wmu.Unlock()
		n, err := c.sock.tryWrite(b.b)
		if err != nil {
			c.fail(err)
		} else if n < len(b.b) {
			if c.hub.start(func() { c.drain(b, n) }) {
				return // writing stays true until drain is done
			}
			c.fail(ErrClosed)
		}
		c.wrote(b)
		c.wmu.Lock()
	}
	c.writing = false
	c.wmu.Unlock()
}

// takeLocked moves out to the socket's write buffer.
func (c *Conn) takeLocked() bool {
	c.inflight = 0
	if c.out == nil || c.werr != nil {
		return false
	}
	c.sock.wbuf, c.out = c.out, nil
	c.inflight = len(c.sock.wbuf.b)
	return true
}

func (c *Conn) wrote(b *buffer) {
	c.lastSeen.Store(int64(clock.Mono(c.hub.clock)))
	c.hub.stats.bytesOut.Add(int64(len(b.b)))
	c.hub.stats.writes.Add(1)
	putOut(b)
}

// drain is the writer for a peer that does not keep up. It ends when all is
// written or the connection is closed; a peer that takes nothing for the idle
// time is given up.
func (c *Conn) drain(b *buffer, n int) {
	c.wmu.Lock()
	for {
		c.wmu.Unlock()
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.hub.idle))
		if _, err := c.nc.Write(b.b[n:]); err != nil {
			c.fail(err)
		}
		c.wrote(b)
		c.wmu.Lock()
		more := c.takeLocked()
		c.drained.Broadcast()
		if !more {
			break
		}
		b, n = c.sock.wbuf, 0
	}
	_ = c.nc.SetWriteDeadline(time.Time{})
	c.writing = false
	c.wmu.Unlock()
}
