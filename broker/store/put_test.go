package store

// Facts about puts: what is refused, what a batch and a transaction become, in which order things are told.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

func TestPutsAreRefusedUpFront(t *testing.T) {
	o := small("/store")
	s := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, s)
	big := msg("T", 0, strings.Repeat("x", 4096))
	long := msg("T", 0, "x")
	long.Properties = bytes.Repeat([]byte("p"), 32768)
	for _, c := range []struct {
		name string
		m    *message.Message
		want Status
	}{
		{"a record larger than a segment", big, MessageIllegal},
		{"properties too long", long, PropertiesSizeExceeded},
		{"no topic", msg("", 0, "x"), MessageIllegal},
		{"a topic of 128", msg(strings.Repeat("t", 128), 0, "x"), MessageIllegal},
		{"a retry topic of 200", msg("%RETRY%"+strings.Repeat("g", 193), 0, "x"), PutOK},
		{"a negative queue", msg("T", -1, "x"), MessageIllegal},
		{"an empty body", msg("T", 0, ""), PutOK},
	} {
		if r, err := s.Append(c.m); r.Status != c.want || err != nil {
			t.Errorf("%s: %s %v, want %s", c.name, r.Status, err, c.want)
		}
	}
	wantWhole(t, s)
}

func TestBatchIsOnePieceWithConsecutiveOffsets(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), small("/store"))
	defer mustClose(t, s)
	for range 40 { // some of them straddle the end of a segment
		var items []message.BatchItem
		for i := range 3 {
			items = append(items, message.BatchItem{Flag: int32(i), Body: []byte(fmt.Sprint("b", i)), Properties: []byte("A\x01" + fmt.Sprint(i))})
		}
		m := msg("T", 0, "", "WAITED", "no")
		before := s.MaxOffset("T", 0)
		r, err := s.AppendBatch(m, items)
		if err != nil || r.Status != PutOK || r.QueueOffset != before || r.Count != 3 || len(strings.Split(r.MessageIDs, ",")) != 3 {
			t.Fatal(r, err)
		}
		if r.PhysicalOffset/4096 != (r.NextOffset-1)/4096 || r.NextOffset-r.PhysicalOffset != int64(r.Size) {
			t.Fatal("a batch crosses segments", r)
		}
		g, _ := s.Get("T", 0, before+1, GetLimit{Messages: 1}, Match{})
		got, _, _ := message.Decode(g.Messages[0], message.Options{})
		if string(got.Properties) != "A\x011\x02WAITED\x01no\x02" || got.Flag != 1 {
			t.Fatalf("%q", got.Properties)
		}
	}
	if r, _ := s.AppendBatch(msg("%RETRY%g", 0, ""), []message.BatchItem{{Body: []byte("x")}}); r.Status != MessageIllegal {
		t.Fatal(r.Status)
	}
	wantWhole(t, s)
}

func TestTransactionPartsHaveNoPlaceInTheirQueue(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), small("/store"))
	defer mustClose(t, s)
	for _, c := range []struct {
		flag int32
		max  int64
	}{{message.SysPrepared, 0}, {message.SysRollback, 0}, {message.SysCommit, 1}, {0, 2}} {
		m := msg("T", 0, "x", "UNIQ_KEY", fmt.Sprint("k", c.flag))
		m.SysFlag = c.flag
		mustAppend(t, s, m)
		if got := s.MaxOffset("T", 0); got != c.max {
			t.Errorf("flag %d: max %d, want %d", c.flag, got, c.max)
		}
		want := 1
		if c.flag == message.SysRollback {
			want = 0
		}
		if q, _ := s.Query("T", fmt.Sprint("k", c.flag), 9, 0, 1<<60); len(q.Messages) != want {
			t.Errorf("flag %d: %d indexed", c.flag, len(q.Messages))
		}
	}
}

func TestDelayedMessagesCarryTheirTime(t *testing.T) {
	o := small("/store")
	o.Clock = fakeClock()
	o.DeliverTime = func(level int, at int64) int64 { return at + int64(level)*1000 }
	s := mustOpen(t, vfs.NewMem(), o)
	r := mustAppend(t, s, msg(message.ScheduleTopic, 2, "x", "DELAY", "3", "TAGS", "a"))
	check := func(s *Store) {
		t.Helper()
		u, _ := s.unit(s.table.Get(message.ScheduleTopic, 2), 0)
		if u.Tags != r.StoreTimestamp+3000 {
			t.Fatal(u.Tags - r.StoreTimestamp)
		}
	}
	check(s)
	s = mustOpen(t, kill(s), o)
	defer mustClose(t, s)
	check(s)
}

func TestEventsComeInOrderAfterTheUnitIsVisible(t *testing.T) {
	o := small("/store")
	var s *Store
	var last int64
	told := 0
	o.Events.OnDispatch = func(d Dispatch) {
		told++
		if d.PhysicalOffset < last || s.MaxOffset(d.Topic, d.Queue) < d.MaxOffset {
			t.Error("out of order or not visible", d)
		}
		last = d.PhysicalOffset
	}
	s = mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, s)
	for g := range int32(7) { // nobody waits for the eighth
		s.Attention("T", g).Add(1)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 50 {
				mustAppend(t, s, msg("T", int32(g), "x"))
			}
		}()
	}
	wg.Wait()
	if told != 7*50 {
		t.Errorf("told of %d messages", told)
	}
	told, last = 0, 0
	if err := s.DeleteTopic("T"); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, msg("T", 3, "the topic made again"))
	if told != 1 {
		t.Errorf("told of %d messages of the topic made again", told)
	}
}

func TestAppendsAreRefusedAfterClose(t *testing.T) {
	m := vfs.NewMem()
	s := mustOpen(t, m, small("/store"))
	mustAppend(t, s, msg("T", 0, "x"))
	mustClose(t, s)
	if r, err := s.Append(msg("T", 0, "y")); r.Status != ServiceNotAvailable || !errors.Is(err, ErrClosed) {
		t.Fatal(r.Status, err)
	}
	mustClose(t, s)
	if _, err := m.Stat("/store/abort"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("abort file left behind", err)
	}
}

func TestAppendAllocatesLittle(t *testing.T) {
	o := small("/store")
	o.SegmentSize, o.IndexEntries, o.IndexSlots = 64<<20, 1000000, 1000
	o.QueueSegmentSize = 6000000
	s := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, s)
	m := msg("T", 0, strings.Repeat("x", 1024), "UNIQ_KEY", "abcdef", "TAGS", "t")
	allocs := testing.AllocsPerRun(2000, func() {
		if r, err := s.Append(m); err != nil || r.Status != PutOK {
			t.Fatal(r, err)
		}
	})
	if allocs > 3 {
		t.Fatal("allocations per append:", allocs)
	}
	t.Log("allocations per append:", allocs)
}
