// A master that comes back after a power cut asks its slaves for the end of its log before it goes on without it.

package ha

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"rmqctl/broker/ha/decide"
	"rmqctl/broker/ha/epoch"
	"rmqctl/internal/clock"
)

// Recall is that question. With ASYNC_FLUSH a message is acknowledged by SYNC_MASTER when two memories have it: a power cut
// takes it out of one, and a master that began a new mastership there would make its slaves give it up, too.
//
// Slaves connect as they always do. Whoever has more than the master sends it; all are told to come again later.
type Recall struct {
	Log interface {
		readable
		AppendRaw(off int64, b []byte) error
	}
	Epochs *epoch.File // Lead was not called since the start
	Self   decide.Identity
	Logger *slog.Logger
	Clock  clock.Clock
	// OnNewer as in MasterOptions.
	OnNewer func(epoch int64, slave decide.Identity)

	Wait  time.Duration // for the first slave; 0 is RecallWait
	Grace time.Duration // for others after one was heard; 0 is RecallGrace

	mu    sync.Mutex // one slave at a time; guards all below
	conns map[net.Conn]struct{}
	over  bool
}

// RecallWait covers a slave's longest pause between two attempts and a slow connect; RecallGrace a pause alone.
const (
	RecallWait  = 10 * time.Second
	RecallGrace = backoffMax + 200*time.Millisecond
)

// Run listens on ln, which it closes, and returns when no more slaves are waited for: how many bytes came back.
func (r *Recall) Run(ctx context.Context, ln net.Listener) (gained int64) {
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	if r.Clock == nil {
		r.Clock = clock.System
	}
	begun := r.Log.MaxPhysical()
	r.Logger.Info("asking slaves for what a power cut may have taken", "end", begun)
	heard := make(chan struct{}, 1)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				if r.converse(ctx, c) {
					select {
					case heard <- struct{}{}:
					default:
					}
				}
			})
		}
	})
	over := r.Clock.After(orDefault(r.Wait, RecallWait))
	first := heard // the same slave asks again and again
	for waiting := true; waiting; {
		select {
		case <-first:
			over, first = r.Clock.After(orDefault(r.Grace, RecallGrace)), nil
		case <-over:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	_ = ln.Close()
	r.hangUp()
	group.Wait()
	return r.Log.MaxPhysical() - begun
}

// hangUp ends conversations that have come to nothing; one that brings bytes is brought to its end.
func (r *Recall) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	for c := range r.conns {
		_ = c.Close()
	}
}

// recallPatience is how long a slave that gives may say nothing.
const recallPatience = 5 * time.Second

// converse tells whether a slave was heard to its end.
func (r *Recall) converse(ctx context.Context, c net.Conn) bool {
	r.mu.Lock()
	if r.conns == nil {
		r.conns = map[net.Conn]struct{}{}
	}
	r.conns[c] = struct{}{}
	over := r.over
	r.mu.Unlock()
	if over {
		_ = c.Close()
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer func() {
		stop()
		_ = c.Close()
		r.mu.Lock()
		delete(r.conns, c)
		r.mu.Unlock()
	}()
	if word, err := readWord(c); err != nil || word != announce {
		return false // a Java slave cannot be asked
	}
	if _, err := c.Write(note{Hello: helloOf(r.side())}.encode()); err != nil {
		return false
	}
	n, err := readNote(c)
	if err != nil || n.Hello == nil {
		return false
	}
	slave, err := n.Hello.side()
	if err != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.take(c, slave, n.Hello.Sums); err != nil {
		r.Logger.Warn("a slave could not give back what this log has lost", "slave", slave.Identity.String(), "err", err)
		return false
	}
	return true
}

// take decides, and takes what the slave has more. The caller holds mu.
func (r *Recall) take(c net.Conn, slave decide.Side, sums []sum) error {
	me := r.side()
	v := decide.Recall(me, slave, compare(r.Log, sums))
	if _, err := c.Write(note{Verdict: &verdict{Action: v.Action.String(), At: v.At, Why: v.Why}}.encode()); err != nil {
		return err
	}
	if v.Stale && r.OnNewer != nil {
		r.OnNewer(slave.Epoch, slave.Identity)
	}
	if v.Action != decide.Give {
		r.Logger.Info("a slave was asked", "slave", slave.Identity.String(), "has", slave.Max, "end", me.Max, "why", v.Why)
		return nil
	}
	if err := r.Epochs.Adopt(slave.Epochs.Cut(slave.Max)); err != nil {
		return err
	}
	var h [headerSize]byte
	for end := me.Max; end < slave.Max; {
		quiet := r.watch(c)
		_, err := io.ReadFull(c, h[:])
		if err != nil {
			quiet()
			return err
		}
		off, size, err := parseHeader(h[:])
		if err == nil && (off != end || size == 0) {
			err = fmt.Errorf("%w: %d bytes at %d, this log ends at %d", errFrame, size, off, end)
		}
		body := make([]byte, max(size, 0))
		if err == nil {
			_, err = io.ReadFull(c, body)
		}
		quiet()
		if err != nil {
			return err
		}
		if err := r.Log.AppendRaw(end, body); err != nil {
			return err
		}
		end += int64(size)
	}
	r.Logger.Warn("a slave has given back what this log had lost", "slave", slave.Identity.String(), "offset", me.Max, "bytes", slave.Max-me.Max)
	return nil
}

// watch closes a connection over which nothing comes until stop is called.
func (r *Recall) watch(c net.Conn) (stop func()) {
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
		case <-r.Clock.After(recallPatience):
			_ = c.Close()
		}
	}()
	return func() { close(done) }
}

func (r *Recall) side() decide.Side {
	return decide.Side{
		Identity: r.Self, Epoch: r.Epochs.Epoch(), Segment: r.Log.SegmentSize(), Min: r.Log.MinPhysical(), Max: r.Log.MaxPhysical(), Epochs: r.Epochs.List(),
	}
}
