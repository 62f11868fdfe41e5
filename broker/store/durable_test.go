package store

// Facts about what readers may see, and what a failed write leaves.

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// TestReadersSeeOnlyWhatIsFlushed is upstream's #8239: a message that was consumed before it was flushed is lost in a power cut,
// and the next one gets its offset and is skipped.
func TestReadersSeeOnlyWhatIsFlushed(t *testing.T) {
	let, syncing := make(chan struct{}), make(chan struct{}, 10)
	var on atomic.Bool
	f := &vfs.Fault{FS: vfs.NewMem(), Before: func(op vfs.Op) error {
		if op.Kind == "sync" && on.Load() && strings.Contains(op.Name, "commitlog") {
			syncing <- struct{}{}
			<-let
		}
		return nil
	}}
	o := small("/store")
	tun := DefaultTunables()
	tun.SyncFlush, tun.SyncFlushTimeout = true, time.Minute
	o.Tunables = &tun
	s := mustOpen(t, f, o)
	defer mustClose(t, s)
	mustAppend(t, s, msg("T", 0, "a"))
	flushed := s.FlushedPhysical()
	on.Store(true)
	done := make(chan PutResult, 1)
	go func() {
		r, _ := s.Append(msg("T", 0, "b"))
		done <- r
	}()
	<-syncing
	if got := fmt.Sprint(bodies(t, s, "T", 0)); got != "[a]" || s.MaxOffset("T", 0) != 1 || s.MaxPhysical() != flushed {
		t.Errorf("not on the disk yet, and seen: %s, offset %d, log %d of %d", got, s.MaxOffset("T", 0), s.MaxPhysical(), flushed)
	}
	select {
	case r := <-done:
		t.Errorf("acknowledged before it is on the disk: %v", r.Status)
	default:
	}
	on.Store(false)
	close(let)
	if r := <-done; r.Status != PutOK || r.QueueOffset != 1 {
		t.Fatal(r)
	}
	if got := fmt.Sprint(bodies(t, s, "T", 0)); got != "[a b]" {
		t.Error(got)
	}
}

func TestAFailedWriteLeavesNoPartOfAFrame(t *testing.T) {
	var fail atomic.Bool
	m := vfs.NewMem()
	f := &vfs.Fault{FS: m, Before: func(op vfs.Op) error {
		if op.Kind == "write" && strings.Contains(op.Name, "commitlog/0") && fail.Load() {
			return &vfs.Short{N: op.Len / 2, Err: vfs.ErrNoSpace}
		}
		return nil
	}}
	o := small("/store")
	o.Events.OnCorrupt = func(what string, at int64) { t.Errorf("damage at %d: %s", at, what) }
	s := mustOpen(t, f, o)
	mustAppend(t, s, msg("T", 0, "a"))
	fail.Store(true)
	if r, err := s.Append(msg("T", 0, strings.Repeat("x", 2000))); r.Status != ServiceNotAvailable || err == nil {
		t.Fatal(r.Status, err)
	}
	fail.Store(false)
	b, err := vfs.ReadFile(m, "/store/commitlog/00000000000000000000")
	if err != nil || len(bytes.TrimLeft(b[s.MaxPhysical():], "\x00")) > 0 {
		t.Errorf("bytes behind the end (%v)", err)
	}
	s.cleanRound(false)
	if r := mustAppend(t, s, msg("T", 0, "b")); r.QueueOffset != 1 {
		t.Error(r)
	}
	killed := m.Clone()
	mustClose(t, s)
	s = mustOpen(t, killed, o)
	defer mustClose(t, s)
	if got := fmt.Sprint(bodies(t, s, "T", 0)); got != "[a b]" {
		t.Error(got)
	}
	wantWhole(t, s)
}

func TestAFlippedBitIsNamedAndNotServed(t *testing.T) {
	m := vfs.NewMem()
	o := small("/store")
	s := mustOpen(t, m, o)
	mustAppend(t, s, msg("T", 0, "first"))
	at := mustAppend(t, s, msg("T", 0, "to be damaged")).PhysicalOffset
	mustAppend(t, s, msg("T", 0, "last"))
	mustClose(t, s)
	f, err := m.OpenFile("/store/commitlog/00000000000000000000", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 300)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	i := int64(bytes.Index(b, []byte("damaged")))
	if _, err := f.WriteAt([]byte{b[i] ^ 4}, at+i); err != nil {
		t.Fatal(err)
	}
	f.Close()
	var told []string
	o.Events.OnCorrupt = func(what string, off int64) { told = append(told, fmt.Sprint(off, " ", what)) }
	s = mustOpen(t, m, o)
	defer mustClose(t, s)
	var got []string
	for off := int64(0); off < 3; off++ {
		r, err := s.Get("T", 0, off, GetLimit{Messages: 1}, Match{})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range r.Messages {
			m, _, err := message.Decode(b, message.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(m.QueueOffset, string(m.Body)))
		}
		r.Release()
	}
	if want := "[0first 2last]"; fmt.Sprint(slices.Compact(got)) != want {
		t.Errorf("served %v, want %s", got, want)
	}
	if len(told) == 0 || !strings.HasPrefix(told[0], fmt.Sprint(at)) {
		t.Errorf("told %q, want the damage at %d", told, at)
	}
}

func TestASegmentThatAKilledProcessMadeKeepsItsName(t *testing.T) {
	o := small("/store")
	tune := DefaultTunables()
	tune.SyncFlush = true
	o.Tunables = &tune
	mem := vfs.NewMem()
	var off atomic.Bool
	disk := &vfs.Fault{FS: mem}
	disk.Before = func(op vfs.Op) error {
		if op.Kind == "syncdir" && strings.HasSuffix(op.Name, "/commitlog") {
			list, _ := mem.ReadDir(op.Name)
			off.Store(off.Load() || len(list) > 0)
		}
		if off.Load() {
			return errors.New("killed")
		}
		return nil
	}
	s := mustOpen(t, disk, o)
	s.Append(msg("T", 0, "killed before its name was on the disk"))
	killed := mem.Clone()
	abandon(s)
	s = mustOpen(t, killed, o)
	mustAppend(t, s, msg("T", 0, "acknowledged"))
	s = mustOpen(t, killed.CrashClone(nil, 0), o)
	if got := bodies(t, s, "T", 0); len(got) == 0 || got[len(got)-1] != "acknowledged" {
		t.Fatal("lost in the power cut:", got)
	}
	mustClose(t, s)
}
