package store

// Facts about retention and deleted topics.

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/vfs"
)

func TestRetention(t *testing.T) {
	clk := fakeClock()
	m := vfs.NewMem()
	m.Now = clk.Now
	o := small("/store")
	o.Clock = clk
	tun := DefaultTunables()
	tun.CleanInterval, tun.DeletePause, tun.FileReserved, tun.DeleteBatch = 1000*time.Hour, 0, 10*time.Hour, 3
	hour := clk.Now().Local().Hour()
	tun.DeleteWhen = []int{(hour + 5) % 24}
	o.Tunables = &tun
	var deleted []string
	o.Events.OnDelete = func(file, why string) { deleted = append(deleted, filepath.Base(filepath.Dir(file))+" "+why) }
	s, _ := filled(t, m, o, 200)
	defer func() { mustClose(t, s) }()
	s.Flush()
	if n := s.cleanRound(false); n != 0 {
		t.Fatal("deleted outside of its hour", n)
	}
	tun.DeleteWhen = []int{hour, (hour + 11) % 24}
	s.Tune(tun)
	if n := s.cleanRound(false); n != 0 {
		t.Fatal("deleted what is not old", n)
	}
	clk.Advance(11 * time.Hour)
	old := s.clog.Base(mustAppend(t, s, msg("T0", 0, "newest")).PhysicalOffset)
	for i := range 100 {
		mustAppend(t, s, msg("T0", 0, fmt.Sprint("newer", i)))
	}
	s.Flush()
	s.cleanRound(false)
	if s.MinPhysical() != 3*4096 {
		t.Fatal("a round deletes at most its batch", s.MinPhysical())
	}
	for range 20 {
		s.cleanRound(false)
	}
	if s.MinPhysical() != old {
		t.Fatal("the old segments are to go, and no other", s.MinPhysical(), old)
	}
	for _, want := range []string{"commitlog last written 11h", "kept for 10h0m0s (fileReservedTime)", "the hour of deletion"} {
		if !strings.Contains(deleted[0], want) {
			t.Errorf("%q does not say %q", deleted[0], want)
		}
	}
	wantWhole(t, s)
	first := s.MinOffset("T0", 0)
	if first == 0 {
		t.Fatal("the queue's min did not follow")
	}
	if r, _ := s.Get("T0", 0, 0, GetLimit{}, Match{}); r.Status != OffsetTooSmall || r.Next != first {
		t.Fatal(r.Status, r.Next)
	}
	if _, err := m.Stat("/store/consumequeue/T0/0/00000000000000000000"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("the queue's first file is still there", err)
	}
	// A disk beyond the limit deletes old files at any hour, beyond the next limit any file; never the last.
	tun.DeleteWhen = nil
	s.Tune(tun)
	m.SetTotal(4096)
	for range 30 {
		s.cleanRound(false)
	}
	if n := len(s.clog.Segments()); n > 2 || n < 1 {
		t.Fatal(n)
	}
	for _, want := range []string{"/store/commitlog is on a disk that is", "are free", "diskSpaceWarningLevelRatio"} {
		if err := s.Writable(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not say %q", err, want)
		}
	}
	if last := deleted[len(deleted)-1]; !strings.Contains(fmt.Sprint(deleted), "full, beyond 85% (diskSpaceCleanForciblyRatio)") {
		t.Error("why files went that are not old:", last)
	}
	m.SetTotal(1 << 30)
	s.cleanRound(false)
	mustAppend(t, s, msg("T0", 0, "x"))
	wantWhole(t, s)
}

// The next segment is made when the current one is half full, which may be days before that is written for the last time.
func TestSegmentAgesFromItsLastWriteOn(t *testing.T) {
	clk := fakeClock()
	m := vfs.NewMem()
	m.Now = clk.Now
	o := small("/store")
	o.Clock = clk
	tun := DefaultTunables()
	tun.CleanInterval, tun.DeletePause, tun.FileReserved = 1000*time.Hour, 0, 10*time.Hour
	for h := range 24 {
		tun.DeleteWhen = append(tun.DeleteWhen, h)
	}
	o.Tunables = &tun
	s := mustOpen(t, m, o)
	defer func() { mustClose(t, s) }()
	mustAppend(t, s, msg("T", 0, strings.Repeat("x", 2500)))
	for len(s.clog.Segments()) < 2 { // in the background
		time.Sleep(time.Millisecond)
	}
	s.cleanRound(false)
	clk.Advance(11 * time.Hour)
	mustAppend(t, s, msg("T", 0, "the last of its segment"))
	mustAppend(t, s, msg("T", 0, strings.Repeat("x", 2500)))
	s.Flush()
	s.cleanRound(false)
	if s.MinPhysical() != 0 {
		t.Fatal("deleted with a message that was just written")
	}
	clk.Advance(11 * time.Hour)
	s.cleanRound(false)
	if s.MinPhysical() != 4096 {
		t.Fatal("kept beyond its time", s.MinPhysical())
	}
}

func TestReadersKeepADeletedSegmentUntilForced(t *testing.T) {
	clk := fakeClock()
	m := vfs.NewMem()
	o := small("/store")
	o.Clock = clk
	s, _ := filled(t, m, o, 100)
	defer mustClose(t, s)
	s.Flush()
	seg := s.clog.Segments()[0]
	release := seg.Hold()
	tun := s.Tunables()
	tun.DeletePause, tun.FileReserved = 0, 0
	s.Tune(tun)
	if n := s.CleanExpired(); n != 0 {
		t.Fatal("deleted under a reader", n)
	}
	clk.Advance(time.Minute)
	if n := s.CleanExpired(); n != 0 {
		t.Fatal("tried again too early", n)
	}
	clk.Advance(2 * time.Minute)
	if n := s.CleanExpired(); n == 0 {
		t.Fatal("not forced")
	}
	release()
	wantWhole(t, s)
}

func TestDeletedTopicStaysDeletedAndStartsAnew(t *testing.T) {
	o := small("/store")
	s, want := filled(t, vfs.NewMem(), o, 60)
	if err := s.DeleteTopic("T0"); err != nil {
		t.Fatal(err)
	}
	delete(want, "T0/0")
	delete(want, "T0/1")
	s = mustOpen(t, kill(s), o)
	if s.MaxOffset("T0", 0) != 0 || len(s.Topics()) != 2 {
		t.Fatal("came back", s.Topics())
	}
	if r := mustAppend(t, s, msg("T0", 0, "new")); r.QueueOffset != 0 {
		t.Fatal(r)
	}
	// Even when everything is rebuilt from the log, the newer numbering wins.
	m := kill(s)
	m.RemoveAll("/store/consumequeue")
	m.Remove("/store/checkpoint")
	s = mustOpen(t, m, o)
	defer mustClose(t, s)
	if got := bodies(t, s, "T0", 0); fmt.Sprint(got) != "[new]" {
		t.Fatal(got)
	}
	wantQueues(t, s, want)
}
