// How a slave begins on a connection: it announces itself, agrees with a master of ours on where its log goes on, and to any
// other it is a slave of DefaultHA.

package ha

import (
	"errors"
	"fmt"
	"io"
	"time"

	"rmqctl/broker/ha/decide"
)

// announceWait is how long a slave waits for an answer to its announcement. A Java master never answers. One of ours that is
// slower ends the connection, and has twice the time at the next, up to eight times.
const (
	announceWait = time.Second
	maxLate      = 3
)

// open makes the connection one on which the log comes. What was read beyond what it needed is returned.
func (l *link) open() (read []byte, err error) {
	if err := l.settle(); err != nil {
		return nil, err
	}
	if l.s.o.Epochs == nil {
		return nil, l.plain()
	}
	l.writing.Lock()
	err = l.word(announce)
	l.writing.Unlock()
	if err != nil {
		return nil, err
	}
	wait := announceWait << min(l.s.late, maxLate)
	answered := make(chan struct{})
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		select {
		case <-l.s.o.Clock.After(wait):
			_ = l.plain() // a broken connection shows in the reader
		case <-answered:
		case <-l.s.ctx.Done():
		}
	}()
	read = make([]byte, headerSize)
	_, err = io.ReadFull(reading{l}, read)
	close(answered)
	<-waited
	if err != nil {
		return nil, err
	}
	l.writing.Lock()
	opened := l.opened
	l.writing.Unlock()
	switch {
	case !isNote(read):
		if !opened {
			return nil, fmt.Errorf("%w: the master sends before it was asked", errFrame)
		}
		return read, nil
	case opened:
		l.s.late++
		return nil, fmt.Errorf("the master answered after more than %v", wait)
	}
	l.s.late = 0
	return nil, l.agree(read)
}

// settle waits until what this log has is what a report may say: on the disk, if that is asked for.
func (l *link) settle() error {
	if l.s.o.Durable == nil {
		return nil
	}
	synced := make(chan error, 1)
	l.s.o.Durable(l.s.o.Log.MaxPhysical(), func(err error) { synced <- err })
	select {
	case err := <-synced:
		return err
	case <-l.s.ctx.Done():
		return l.s.ctx.Err()
	}
}

// plain reports as a slave of DefaultHA, at once: a Java slave lets its master wait five seconds.
func (l *link) plain() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.opened = true
	return l.reportLocked(l.s.o.Log.MaxPhysical())
}

// alive says that this slave is still there.
func (l *link) alive() {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.opened {
		_ = l.reportLocked(l.s.reported.Load())
	} else {
		_ = l.word(announce)
	}
}

// reading reads from the connection and counts.
type reading struct{ l *link }

func (r reading) Read(b []byte) (int, error) { return r.l.read(b) }

// agree holds the histories against each other and does to the log what the master decides. header is that of its hello.
func (l *link) agree(header []byte) error {
	size, err := noteSize(header)
	if err != nil {
		return err
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(reading{l}, body); err != nil {
		return err
	}
	n, err := parseNote(body)
	if err != nil {
		return err
	}
	if n.Hello == nil {
		return fmt.Errorf("%w: no hello", errFrame)
	}
	master, err := n.Hello.side()
	if err != nil {
		return err
	}
	me := l.s.side()
	if err := l.hello(master, me); err != nil {
		return err
	}
	if n, err = readNote(reading{l}); err != nil {
		return err
	}
	if n.Verdict == nil {
		return fmt.Errorf("%w: no verdict", errFrame)
	}
	if err := l.obey(master, me, *n.Verdict); err != nil {
		return err
	}
	l.s.masterMax.Store(master.Max)
	l.begun, l.agreed = true, true
	end := l.s.o.Log.MaxPhysical()
	l.s.following(end)
	l.writing.Lock()
	defer l.writing.Unlock()
	l.opened = true
	return l.reportLocked(end)
}

// hello tells the master of this log, with checksums at the places that matter.
func (l *link) hello(master, me decide.Side) error {
	h := helloOf(me)
	for _, off := range decide.Points(master, me) {
		s, ok, err := sumAt(l.s.o.Log, off)
		if err != nil {
			return err
		}
		if ok {
			h.Sums = append(h.Sums, s)
		}
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	_, err := l.conn.Write(note{Hello: h}.encode())
	l.s.lastWrite.Store(l.s.mono())
	return err
}

// obey changes the log as the master has decided. The order makes a stop at any moment harmless: the tail is on disk in
// lost+found before it is cut off, and the master's list is taken only by a log that is a beginning of the master's.
func (l *link) obey(master, me decide.Side, v verdict) error {
	if v.Action != decide.Refuse.String() && master.Epoch < me.Epoch {
		return fmt.Errorf("%w: the master is of epoch %d, this slave has followed one of epoch %d", ErrDiverged, master.Epoch, me.Epoch)
	}
	l.busy.Store(true)
	defer func() {
		l.s.lastRead.Store(l.s.mono())
		l.busy.Store(false)
	}()
	var err error
	switch v.Action {
	case decide.Continue.String():
		if v.At != me.Max {
			return fmt.Errorf("%w: it goes on at %d, this log ends at %d", errFrame, v.At, me.Max)
		}
	case decide.Truncate.String():
		err = l.cut(me, v.At)
	case decide.Restart.String():
		if me.Max > me.Min {
			l.s.o.Logger.Warn("the master no longer keeps where this log ends: starting over at its oldest message; it had everything this log has", "offset", v.At, "min", me.Min, "max", me.Max)
		}
		err = l.s.o.Log.Reset(v.At, v.Ends)
	case decide.Give.String():
		return l.give(me, v.At)
	case decide.Later.String():
		return errLater
	case decide.Refuse.String():
		err = fmt.Errorf("%w: %s", ErrDiverged, v.Why)
	default:
		err = fmt.Errorf("%w: verdict %q", errFrame, v.Action)
	}
	if err != nil {
		return err
	}
	return l.s.o.Epochs.Adopt(master.Epochs)
}

var (
	errLater = errors.New("the master is starting and takes no slaves yet")
	errGiven = errors.New("the master was given what it had lost")
)

// give sends the end of this log to a master that has lost it in a power cut. Then the connection ends, and the next one
// finds a master that has it.
func (l *link) give(me decide.Side, at int64) error {
	if at < me.Min || at >= me.Max {
		return fmt.Errorf("%w: give from %d on, this log is %d to %d", errFrame, at, me.Min, me.Max)
	}
	l.s.o.Logger.Warn("the master has lost the end of its log and is given it", "offset", at, "bytes", me.Max-at)
	l.writing.Lock() // nothing may come between the frames
	defer l.writing.Unlock()
	b := make([]byte, headerSize+gatherBytes)
	for at < me.Max {
		n, err := l.s.o.Log.ReadLog(at, b[headerSize:min(int64(len(b)), headerSize+me.Max-at)])
		if err == nil && n == 0 {
			err = fmt.Errorf("the log ends at %d", at)
		}
		if err != nil {
			return err
		}
		putHeader(b, at, n)
		if _, err := l.conn.Write(b[:headerSize+n]); err != nil {
			return err
		}
		at += int64(n)
	}
	if _, err := io.ReadFull(reading{l}, b[:1]); err == nil { // it closes when it has everything
		return fmt.Errorf("%w after the end of the log was given", errFrame)
	}
	return errGiven
}

// cut takes off what this log has and the master has not.
func (l *link) cut(me decide.Side, at int64) error {
	if at <= me.Min || at >= me.Max {
		return fmt.Errorf("%w: cut off at %d, this log is %d to %d", errFrame, at, me.Min, me.Max)
	}
	if l.s.o.Keep == nil {
		return fmt.Errorf("%w: %d bytes behind %d are not the master's, and there is no place to keep them", ErrDiverged, me.Max-at, at)
	}
	file, err := l.s.o.Keep(at, me.Max)
	if err != nil {
		return fmt.Errorf("%w: %d bytes behind %d are not the master's and could not be kept aside: %w", ErrDiverged, me.Max-at, at, err)
	}
	l.s.o.Logger.Error("this log has what its master has not: cut off and kept aside", "offset", at, "bytes", me.Max-at, "file", file)
	if err := l.s.o.Log.TruncateTo(at); err != nil {
		return fmt.Errorf("cut the log off at %d: %w", at, err)
	}
	return nil
}

// foreign is asked for before the first byte of a master with which nothing was agreed.
func (l *link) foreign() error {
	if l.agreed || l.s.o.Epochs == nil {
		return nil
	}
	return l.s.o.Epochs.Foreign(l.s.o.Log.MaxPhysical())
}

// noted takes what a master of ours says between frames.
func (l *link) noted(body []byte) error {
	n, err := parseNote(body)
	if err != nil {
		return err
	}
	if n.Pulse == nil {
		return fmt.Errorf("%w: a note out of place", errFrame)
	}
	l.s.masterMax.Store(n.Pulse.Max)
	l.s.speed.sample(l.s.mono(), l.s.o.Log.MaxPhysical(), n.Pulse.Max)
	return nil
}

// side is what a master of ours is told of this log.
func (s *Slave) side() decide.Side {
	log := s.o.Log
	return decide.Side{
		Identity: s.o.Self, Epoch: s.o.Epochs.Epoch(), Segment: log.SegmentSize(), Min: log.MinPhysical(), Max: log.MaxPhysical(), Epochs: s.o.Epochs.List(),
	}
}
