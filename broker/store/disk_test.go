package store

// Facts about disks that fail, fill up or are slow.

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/internal/vfs"
)

func TestFailedFlushIsFinal(t *testing.T) {
	var fail atomic.Bool
	eio := errors.New("input/output error")
	f := &vfs.Fault{FS: vfs.NewMem(), Before: func(op vfs.Op) error {
		if op.Kind == "sync" && strings.Contains(op.Name, "commitlog") && fail.Load() {
			return eio
		}
		return nil
	}}
	var told atomic.Int32
	o := small("/store")
	o.Events.OnFailure = func(error) { told.Add(1) }
	s := mustOpen(t, f, o)
	mustAppend(t, s, msg("T", 0, "w")) // the segment is made
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	flushed := s.FlushedPhysical()
	fail.Store(true)
	r := mustAppend(t, s, msg("T", 0, "x"))
	got := make(chan error, 2)
	s.AwaitFlushed(r.NextOffset, time.Minute, func(err error) { got <- err })
	if err := <-got; !errors.Is(err, ErrFlushFailed) {
		t.Fatal(err)
	}
	fail.Store(false) // a later success would prove nothing
	s.AwaitFlushed(r.NextOffset, time.Minute, func(err error) { got <- err })
	if err := <-got; !errors.Is(err, ErrFlushFailed) {
		t.Fatal(err)
	}
	if r, err := s.Append(msg("T", 0, "y")); r.Status != ServiceNotAvailable || !errors.Is(err, ErrFlushFailed) {
		t.Fatal(r.Status, err)
	}
	if s.FlushedPhysical() != flushed || told.Load() != 1 || fmt.Sprint(bodies(t, s, "T", 0)) != "[w x]" {
		t.Fatal(s.FlushedPhysical(), told.Load())
	}
	if err := s.Close(); !errors.Is(err, ErrFlushFailed) {
		t.Fatal(err)
	}
	if _, err := f.Stat("/store/abort"); err != nil {
		t.Fatal("the next start must recover:", err)
	}
}

func TestFlushTimeout(t *testing.T) {
	block := make(chan struct{})
	var on atomic.Bool
	f := &vfs.Fault{FS: vfs.NewMem(), Before: func(op vfs.Op) error {
		if op.Kind == "sync" && on.Load() {
			<-block
		}
		return nil
	}}
	clk := fakeClock()
	o := small("/store")
	o.Clock = clk
	s := mustOpen(t, f, o)
	mustAppend(t, s, msg("T", 0, "w")) // the segment is made
	on.Store(true)
	r := mustAppend(t, s, msg("T", 0, "x"))
	got := make(chan error, 1)
	s.AwaitFlushed(r.NextOffset, 5*time.Second, func(err error) { got <- err })
	for done := false; !done; {
		clk.Advance(time.Second)
		select {
		case err := <-got:
			if !errors.Is(err, ErrTimeout) {
				t.Error(err)
			}
			done = true
		case <-time.After(time.Millisecond):
		}
	}
	on.Store(false)
	close(block)
	mustClose(t, s)
}

func TestFullDiskRefusesAndResumes(t *testing.T) {
	m := vfs.NewMem()
	o := small("/store")
	s := mustOpen(t, m, o)
	defer mustClose(t, s)
	want := []string{}
	m.SetTotal(30 * 4096)
	n := 0
	for ; n < 1000; n++ {
		body := fmt.Sprint(n, strings.Repeat("x", 1000))
		r, err := s.Append(msg("T", 0, body))
		if err != nil {
			if r.Status != ServiceNotAvailable || !errors.Is(err, ErrDiskFull) && !vfs.IsNoSpace(err) {
				t.Fatal(r.Status, err)
			}
			break
		}
		want = append(want, body)
	}
	if n == 1000 || s.Writable() == nil {
		t.Fatal("the disk never filled")
	}
	if got := bodies(t, s, "T", 0); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatal("reads must go on", len(got), len(want))
	}
	s.cleanRound(false)
	if s.Writable() == nil {
		t.Fatal("still full, but writable")
	}
	m.SetTotal(1 << 30)
	s.cleanRound(false)
	r := mustAppend(t, s, msg("T", 0, "again"))
	if r.QueueOffset != int64(len(want)) {
		t.Fatal(r)
	}
	wantWhole(t, s)
}

func TestFailedWriteTakesTheRoundBack(t *testing.T) {
	var fail atomic.Bool
	f := &vfs.Fault{FS: vfs.NewMem(), Before: func(op vfs.Op) error {
		if op.Kind == "write" && strings.Contains(op.Name, "commitlog") && fail.Load() {
			return vfs.ErrNoSpace
		}
		return nil
	}}
	s := mustOpen(t, f, small("/store"))
	defer mustClose(t, s)
	mustAppend(t, s, msg("T", 0, "a"))
	fail.Store(true)
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if r, err := s.Append(msg("T", 0, "lost")); err == nil || r.Status == PutOK {
				t.Error(r, err)
			}
		}()
	}
	wg.Wait()
	fail.Store(false)
	s.cleanRound(false)
	if r := mustAppend(t, s, msg("T", 0, "b")); r.QueueOffset != 1 {
		t.Fatal(r)
	}
	if got := bodies(t, s, "T", 0); fmt.Sprint(got) != "[a b]" {
		t.Fatal(got)
	}
	wantWhole(t, s)
}
