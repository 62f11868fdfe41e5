package store

// Facts about replication: a slave's log is its master's, byte for byte.

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"rmqctl/internal/vfs"
)

func TestRawStreamIsCopiedByteForByte(t *testing.T) {
	o := small("/store")
	master, want := filled(t, vfs.NewMem(), o, 150)
	defer mustClose(t, master)
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		slave := mustOpen(t, vfs.NewMem(), o)
		var seen atomic.Int64
		slave.Watch(func(max int64) { seen.Store(max) })
		buf := make([]byte, 1+rng.IntN(6000))
		for off := int64(0); off < master.MaxPhysical(); {
			n, err := master.ReadLog(off, buf[:1+rng.IntN(len(buf))])
			if err != nil || n == 0 || off/4096 != (off+int64(n)-1)/4096 {
				t.Fatal(n, err)
			}
			if err := slave.AppendRaw(off, buf[:n]); err != nil {
				t.Fatal(err)
			}
			if off += int64(n); rng.IntN(40) == 0 { // the slave is killed; a record that is not whole is sent again
				slave = mustOpen(t, kill(slave), o)
				if slave.MaxPhysical() > off && slave.MaxPhysical()%4096 != 0 {
					t.Fatal("a slave has more than it was sent")
				}
				off = slave.MaxPhysical()
			}
		}
		wantWhole(t, slave)
		wantQueues(t, slave, want)
		logs := func(s *Store) string {
			var b strings.Builder
			for off := int64(0); off < s.MaxPhysical(); {
				n, err := s.ReadLog(off, buf)
				if err != nil {
					t.Fatal(err)
				}
				b.Write(buf[:n])
				off += int64(n)
			}
			return b.String()
		}
		if logs(slave) != logs(master) {
			t.Fatal("the logs differ")
		}
		mustClose(t, slave)
	}
}

func TestRawAppendRefusesWhatIsNoLog(t *testing.T) {
	o := small("/store")
	master, _ := filled(t, vfs.NewMem(), o, 10)
	defer mustClose(t, master)
	slave := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, slave)
	buf := make([]byte, 4096)
	n, _ := master.ReadLog(0, buf)
	if err := slave.AppendRaw(0, buf[:n]); err != nil {
		t.Fatal(err)
	}
	if err := slave.AppendRaw(5, buf[:n]); !errors.Is(err, ErrNotNext) {
		t.Fatal(err)
	}
	end := slave.MaxPhysical()
	if err := slave.AppendRaw(end, bytes.Repeat([]byte("junk"), 50)); !errors.Is(err, ErrBadStream) || slave.MaxPhysical() != end {
		t.Fatal(err, slave.MaxPhysical(), end)
	}
	mustAppend(t, slave, msg("T", 0, "promoted"))
	wantWhole(t, slave)
}

func TestFreshSlaveMayBeginAnywhere(t *testing.T) {
	o := small("/store")
	master, want := filled(t, vfs.NewMem(), o, 100)
	defer mustClose(t, master)
	slave := mustOpen(t, vfs.NewMem(), o)
	from := master.MaxPhysical() - master.MaxPhysical()%4096
	buf := make([]byte, 4096)
	n, _ := master.ReadLog(from, buf)
	if err := slave.AppendRaw(from, buf[:n]); err != nil {
		t.Fatal(err)
	}
	check := func(s *Store) {
		t.Helper()
		wantWhole(t, s)
		if s.MinPhysical() != from {
			t.Fatal(s.MinPhysical())
		}
		for key, list := range want {
			topic, q, _ := strings.Cut(key, "/")
			id := int32(q[0] - '0')
			if s.MaxOffset(topic, id) != int64(len(list)) || s.MinOffset(topic, id) < 5 {
				t.Fatal(key, s.MinOffset(topic, id), s.MaxOffset(topic, id))
			}
			if got := bodies(t, s, topic, id); fmt.Sprint(got) != fmt.Sprint(list[s.MinOffset(topic, id):]) {
				t.Fatal(key, got)
			}
		}
	}
	check(slave)
	slave = mustOpen(t, kill(slave), o)
	check(slave)
	mustClose(t, slave)
	slave = mustOpen(t, slave.fs, o)
	check(slave)
	mustClose(t, slave)
}

func TestSlaveAheadIsTruncated(t *testing.T) {
	o := small("/store")
	s, _ := filled(t, vfs.NewMem(), o, 60)
	if err := s.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	r := mustAppend(t, s, msg("T0", 0, "here", "UNIQ_KEY", "here"))
	for i := range 60 {
		mustAppend(t, s, msg("T0", 0, fmt.Sprint("ahead", i), "UNIQ_KEY", fmt.Sprint("ahead", i)))
	}
	if err := s.TruncateTo(r.NextOffset); err != nil {
		t.Fatal(err)
	}
	check := func(s *Store) {
		t.Helper()
		wantWhole(t, s)
		if s.MaxPhysical() != r.NextOffset || s.MaxOffset("T0", 0) != r.QueueOffset+1 {
			t.Fatal(s.MaxPhysical(), s.MaxOffset("T0", 0))
		}
		if q, _ := s.Query("T0", "ahead7", 9, 0, 1<<60); len(q.Messages) != 0 {
			t.Fatal("the index knows what is gone")
		}
		if q, _ := s.Query("T0", "here", 9, 0, 1<<60); len(q.Messages) != 1 {
			t.Fatal("the index lost what is there")
		}
	}
	check(s)
	s = mustOpen(t, kill(s), o)
	check(s)
	if a := mustAppend(t, s, msg("T0", 0, "next")); a.PhysicalOffset != r.NextOffset || a.QueueOffset != r.QueueOffset+1 {
		t.Fatal(a)
	}
	mustClose(t, s)
}

func TestWatchTellsOncePerRoundUntilStopped(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), small("/store"))
	defer mustClose(t, s)
	var told, other []int64
	stop := s.Watch(func(end int64) { told = append(told, end) })
	defer s.Watch(func(end int64) { other = append(other, end) })()
	first := mustAppend(t, s, msg("T", 0, "x")).NextOffset
	second := mustAppend(t, s, msg("T", 0, "x")).NextOffset
	stop()
	third := mustAppend(t, s, msg("T", 0, "x")).NextOffset
	if !slices.Equal(told, []int64{first, second}) || !slices.Equal(other, []int64{first, second, third}) {
		t.Fatalf("told %v and %v, appended up to %d, %d, %d", told, other, first, second, third)
	}
}

func TestSlaveAllocatesNothingForAMessage(t *testing.T) {
	o := Options{SegmentSize: 64 << 20, TailBytes: 4 << 20, IndexSlots: 1000, IndexEntries: 100000}
	o.Dir = "/master"
	master := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, master)
	const messages = 8000
	for i := range messages {
		mustAppend(t, master, msg("T", int32(i%8), strings.Repeat("x", 100), "UNIQ_KEY", fmt.Sprint("u", i), "TAGS", "t"))
	}
	log := make([]byte, master.MaxPhysical())
	for at := int64(0); at < int64(len(log)); {
		n, err := master.ReadLog(at, log[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += int64(n)
	}
	o.Dir = "/slave"
	slave := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, slave)
	const burst = 50_000 // about 250 messages, the last of them cut
	at := int64(0)
	next := func() {
		if err := slave.AppendRaw(at, log[at:at+burst]); err != nil {
			t.Fatal(err)
		}
		at += burst
	}
	for range 10 { // memory that is kept is made
		next()
	}
	perBurst := testing.AllocsPerRun(int(int64(len(log))/burst)-12, next)
	if perBurst > 40 { // queues and index grow by pieces, the file system in memory by pages
		t.Errorf("%.0f allocations for %d bytes, which are about 250 messages", perBurst, burst)
	}
}
