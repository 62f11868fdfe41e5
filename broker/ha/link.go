// The slave's end of one connection: it appends frame after frame and reports how far it is.

package ha

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"rmqctl/broker/store"
)

// link is the slave's end of one connection.
type link struct {
	s       *Slave
	conn    net.Conn
	done    chan struct{}
	writing sync.Mutex // one report at a time; guards top
	top     int64      // the highest report on this connection
}

// report tells the master an offset, never one below an earlier one: flushes may be told out of order.
func (l *link) report(off int64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.top = max(l.top, off)
	off = l.top
	var b [reportSize]byte
	binary.BigEndian.PutUint64(b[:], uint64(off))
	if _, err := l.conn.Write(b[:]); err != nil {
		return err
	}
	l.s.reported.Store(off)
	l.s.lastWrite.Store(l.s.o.Clock.Now().UnixNano())
	return nil
}

// receive appends frame after frame. It reports when no further whole frame is at hand: once for each burst.
func (l *link) receive() error {
	in := bufio.NewReaderSize(counted{l}, readBuffer)
	var body []byte
	fresh := true // nothing came on this connection yet
	for {
		var h [headerSize]byte
		if _, err := io.ReadFull(in, h[:]); err != nil {
			return err
		}
		off, size, err := parseHeader(h[:])
		if err != nil {
			return err
		}
		if err := l.fits(off); err != nil {
			return err
		}
		if fresh {
			fresh = false
			l.s.following(off)
		}
		if size > 0 {
			if cap(body) < size {
				body = make([]byte, size)
			}
			body = body[:size]
			if _, err := io.ReadFull(in, body); err != nil {
				return err
			}
			if err := l.append(off, body); err != nil {
				return err
			}
		}
		if size > 0 && !wholeFrameBuffered(in) {
			if err := l.acknowledge(); err != nil {
				return err
			}
		}
	}
}

// append writes a frame. Bytes that are no records where records must be mean that two logs have parted unnoticed.
func (l *link) append(off int64, body []byte) error {
	err := l.s.o.Log.AppendRaw(off, body)
	if errors.Is(err, store.ErrBadStream) {
		return fmt.Errorf("%w: %w", ErrDiverged, err)
	}
	if err != nil {
		return fmt.Errorf("append %d bytes at %d: %w", len(body), off, err)
	}
	return nil
}

// wholeFrameBuffered: the next frame can be taken without waiting for the network.
func wholeFrameBuffered(in *bufio.Reader) bool {
	if in.Buffered() < headerSize {
		return false
	}
	h, err := in.Peek(headerSize)
	if err != nil {
		return false
	}
	_, size, err := parseHeader(h)
	return err == nil && in.Buffered() >= headerSize+size
}

// fits holds a frame's offset against the end of our log. An empty log takes any beginning.
func (l *link) fits(off int64) error {
	end := l.s.o.Log.MaxPhysical()
	switch {
	case end == 0 || off == end:
		return nil
	case off < end:
		return fmt.Errorf("%w: it offers offset %d, this slave already has %d, %d bytes more", ErrDiverged, off, end, end-off)
	}
	return fmt.Errorf("%w: it begins at %d, this slave ends at %d; empty this store to copy everything", ErrDiverged, off, end)
}

// acknowledge reports the end of the log, after the disk has it if that is asked for.
func (l *link) acknowledge() error {
	end := l.s.o.Log.MaxPhysical()
	if l.s.o.Durable == nil {
		return l.report(end)
	}
	l.s.o.Durable(end, func(err error) {
		if err == nil {
			err = l.report(end)
		}
		if err != nil {
			_ = l.conn.Close() // the reader sees it and connects anew
		}
	})
	return nil
}

// keepAlive reports when nothing was to be reported for a while, and closes a connection that fell silent.
func (l *link) keepAlive() {
	s := l.s
	tick := s.o.Clock.NewTicker(min(s.o.Heartbeat, s.o.Housekeeping) / 5)
	defer tick.Stop()
	for {
		var now time.Time
		select {
		case <-l.done:
			return
		case now = <-tick.C:
		}
		if quiet := now.UnixNano() - s.lastRead.Load(); quiet > int64(s.o.Housekeeping) {
			s.o.Logger.Warn("master is silent, closing", "took", time.Duration(quiet))
			_ = l.conn.Close()
			return
		}
		if now.UnixNano()-s.lastWrite.Load() >= int64(s.o.Heartbeat) {
			_ = l.report(s.reported.Load()) // a broken connection shows in the reader
		}
	}
}

// counted is the connection with what came over it counted.
type counted struct{ l *link }

func (c counted) Read(b []byte) (int, error) {
	n, err := c.l.conn.Read(b)
	if n > 0 {
		c.l.s.bytes.Add(int64(n))
		c.l.s.lastRead.Store(c.l.s.o.Clock.Now().UnixNano())
	}
	return n, err
}
