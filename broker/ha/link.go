// The slave's end of one connection: it appends frame after frame and reports how far it is.

package ha

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/broker/store"
	"rmqctl/internal/clock"
)

// link is the slave's end of one connection.
type link struct {
	s       *Slave
	conn    net.Conn
	done    chan struct{}
	begun   bool        // the first frame has come and fits, or the master has agreed
	agreed  bool        // with a master of ours
	busy    atomic.Bool // at work on the log; the master is not listened to
	writing sync.Mutex  // one report at a time; guards what follows
	opened  bool        // reports are sent; before that nothing but announcements
	top     int64       // the highest report on this connection
}

// report tells the master an offset, never one below an earlier one: flushes may be told out of order.
func (l *link) report(off int64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.reportLocked(off)
}

func (l *link) reportLocked(off int64) error {
	l.top = max(l.top, off)
	if err := l.word(l.top); err != nil {
		return err
	}
	l.s.reported.Store(l.top)
	return nil
}

// word writes eight bytes; the caller holds writing.
func (l *link) word(w int64) error {
	var b [reportSize]byte
	binary.BigEndian.PutUint64(b[:], uint64(w))
	if _, err := l.conn.Write(b[:]); err != nil {
		return err
	}
	l.s.lastWrite.Store(l.s.mono())
	return nil
}

// receive appends what comes, after the bytes that were read already: all whole frames of one read become one append and
// one report.
//
//	in: [ header | body | header | body | ... | a frame that is not whole yet | free ]
func (l *link) receive(read []byte) error {
	in := make([]byte, readBuffer)
	for have := copy(in, read); ; {
		n, err := l.read(in[have:])
		if err != nil {
			return err
		}
		have += n
		used, err := l.take(in[:have])
		if err != nil {
			return err
		}
		have = copy(in, in[used:have])
		if have >= headerSize {
			size, err := frameSize(in)
			if err != nil {
				return err
			}
			if size += headerSize; size > len(in) {
				in = append(in, make([]byte, size-len(in))...)
			}
		}
	}
}

// frameSize is the length of the body that follows a header, of a note too.
func frameSize(header []byte) (size int, err error) {
	if isNote(header) {
		return noteSize(header)
	}
	_, size, err = parseHeader(header)
	return size, err
}

// take appends the bodies of the whole frames at the start of b, joined in their place, and tells how long the frames are.
func (l *link) take(b []byte) (used int, err error) {
	from, to := headerSize, headerSize // the joined bodies: b[from:to]
	begin := int64(-1)
	for len(b)-used >= headerSize {
		size, err := frameSize(b[used:])
		if err != nil {
			return used, err
		}
		if len(b)-used < headerSize+size {
			break
		}
		if isNote(b[used:]) {
			if err := l.noted(b[used+headerSize : used+headerSize+size]); err != nil {
				return used, err
			}
			used += headerSize + size
			continue
		}
		off, _, _ := parseHeader(b[used:]) // frameSize has looked at it
		if begin < 0 {
			err = l.fits(off)
			begin = off
		} else if want := begin + int64(to-from); off != want {
			err = fmt.Errorf("%w: offset %d follows %d", errFrame, off, want)
		}
		if err != nil {
			return used, err
		}
		to += copy(b[to:], b[used+headerSize:used+headerSize+size])
		used += headerSize + size
	}
	if begin < 0 {
		return used, nil
	}
	if !l.begun {
		if err := l.foreign(); err != nil {
			return used, err
		}
		l.begun = true
		l.s.following(begin)
	}
	if from == to {
		return used, nil // heartbeats only
	}
	if err := l.append(begin, b[from:to]); err != nil {
		return used, err
	}
	return used, l.acknowledge()
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
		if quiet := int64(clock.MonoOf(now)) - s.lastRead.Load(); quiet > int64(s.o.Housekeeping) && !l.busy.Load() {
			s.o.Logger.Warn("master is silent, closing", "took", time.Duration(quiet))
			_ = l.conn.Close()
			return
		}
		if int64(clock.MonoOf(now))-s.lastWrite.Load() >= int64(s.o.Heartbeat) {
			l.alive() // a broken connection shows in the reader
		}
	}
}

// read is one read from the connection, counted.
func (l *link) read(b []byte) (int, error) {
	n, err := l.conn.Read(b)
	if n > 0 {
		l.s.bytes.Add(int64(n))
		l.s.lastRead.Store(l.s.mono())
		return n, nil
	}
	return 0, err
}
