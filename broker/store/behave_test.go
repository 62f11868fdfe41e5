package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

func TestGetStatuses(t *testing.T) {
	o := small("/store")
	tun := DefaultTunables()
	tun.MaxFilterBytes = 10 * 20
	tun.MaxCountInMemory = 4
	o.Tunables = &tun
	s := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, s)
	for i := range 40 {
		mustAppend(t, s, msg("T", 0, fmt.Sprint(i), "TAGS", fmt.Sprint("t", i/20)))
	}
	s.table.Ensure("T", 1)
	tag := func(name string) Match {
		return Match{Unit: func(code int64) bool { return code == message.TagHash(name) }}
	}
	for _, c := range []struct {
		name   string
		queue  int32
		offset int64
		limit  GetLimit
		match  Match
		status GetStatus
		next   int64
		n      int
	}{
		{"messages are there", 0, 0, GetLimit{Messages: 3}, Match{}, Found, 3, 3},
		{"the store's own limit holds", 0, 0, GetLimit{Messages: 30}, Match{}, Found, 4, 4},
		{"one message always fits", 0, 0, GetLimit{Bytes: 1}, Match{}, Found, 1, 1},
		{"bytes are bounded", 0, 0, GetLimit{Bytes: 250}, Match{}, Found, 2, 2},
		{"the last one", 0, 39, GetLimit{}, Match{}, Found, 40, 1},
		{"at the end", 0, 40, GetLimit{}, Match{}, OffsetOverflowOne, 40, 0},
		{"beyond the end", 0, 41, GetLimit{}, Match{}, OffsetOverflowBadly, 40, 0},
		{"before the start", 0, -1, GetLimit{}, Match{}, OffsetTooSmall, 0, 0},
		{"no such queue", 9, 5, GetLimit{}, Match{}, NoMatchedLogicQueue, 0, 0},
		{"a queue that never had a message", 1, 5, GetLimit{}, Match{}, NoMessageInQueue, 0, 0},
		{"no tag matches within the scan bound", 0, 0, GetLimit{}, tag("t1"), NoMatchedMessage, 10, 0},
		{"the scan bound grows with the messages asked for", 0, 0, GetLimit{Messages: 25}, tag("t1"), Found, 24, 4},
		{"a match behind others", 0, 15, GetLimit{Messages: 2}, tag("t1"), Found, 22, 2},
		{"the record is asked too", 0, 0, GetLimit{}, Match{Record: func(b []byte) bool {
			m, _, _ := message.Decode(b, message.Options{})
			return string(m.Body) == "7"
		}}, Found, 10, 1},
	} {
		r, err := s.Get("T", c.queue, c.offset, c.limit, c.match)
		if err != nil || r.Status != c.status || r.Next != c.next || len(r.Messages) != c.n {
			t.Errorf("%s: %s next %d with %d messages, %v; want %s %d %d", c.name, r.Status, r.Next, len(r.Messages), err, c.status, c.next, c.n)
		}
		r.Release()
	}
	if got := s.Queues("U"); len(got) != 0 {
		t.Fatal("asking made a queue")
	}
}

func TestColdMessagesAreLimitedAndSuggestTheSlave(t *testing.T) {
	o := small("/store")
	o.MemoryBytes = 1000 // 40 % = 400 bytes
	o.TailBytes = 1
	s := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, s)
	for i := range 100 {
		mustAppend(t, s, msg("T", 0, fmt.Sprint(i)))
	}
	r, err := s.Get("T", 0, 0, GetLimit{Messages: 32}, Match{})
	if err != nil || len(r.Messages) != 8 || !r.SuggestSlave {
		t.Fatal(len(r.Messages), r.SuggestSlave, err)
	}
	r, err = s.Get("T", 0, 98, GetLimit{Messages: 32}, Match{})
	if err != nil || len(r.Messages) != 2 || r.SuggestSlave {
		t.Fatal(len(r.Messages), r.SuggestSlave, err)
	}
}

func TestOffsetByTime(t *testing.T) {
	clk := fakeClock()
	o := small("/store")
	o.Clock = clk
	s := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, s)
	base := clk.Now().UnixMilli()
	for _, wait := range []int{0, 100, 100, 0, 200} { // stored at 0 100 200 200 400
		clk.Advance(time.Duration(wait) * time.Millisecond)
		mustAppend(t, s, msg("T", 0, "x"))
	}
	for _, c := range []struct {
		name string
		at   int64
		want int64
	}{
		{"earlier than all gives the first", -5, 0},
		{"exactly the first", 0, 0},
		{"exactly one", 100, 1},
		{"the first of several", 200, 2},
		{"nearer to the earlier", 140, 1},
		{"nearer to the later", 160, 2},
		{"as near to both gives the earlier", 150, 1},
		{"between an equal pair and the next", 250, 3},
		{"exactly the last", 400, 4},
		{"later than all gives the last", 9999, 4},
	} {
		if got := s.OffsetByTime("T", 0, base+c.at); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if s.OffsetByTime("T", 9, base) != 0 || s.EarliestStoreTime("T", 9) != -1 || s.EarliestStoreTime("T", 0) != base {
		t.Error("unknown queue or earliest time")
	}
}

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

func TestForeignMessagesAreNotFoundByKey(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), small("/store"))
	defer mustClose(t, s)
	mustAppend(t, s, msg("T", 0, "1", "KEYS", "Aa other")) // "Aa" and "BB" have the same Java hash
	mustAppend(t, s, msg("T", 0, "2", "KEYS", "BB"))
	for key, body := range map[string]string{"Aa": "1", "BB": "2", "other": "1"} {
		q, err := s.Query("T", key, 10, 0, 1<<60)
		if err != nil || len(q.Messages) != 1 || !bytes.Contains(q.Messages[0], []byte(body)) {
			t.Error(key, len(q.Messages), err)
		}
	}
	if q, _ := s.Query("U", "Aa", 10, 0, 1<<60); len(q.Messages) != 0 {
		t.Error("another topic's message")
	}
}

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
	if s.FlushedPhysical() != 0 || told.Load() != 1 || fmt.Sprint(bodies(t, s, "T", 0)) != "[x]" {
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

func TestRetention(t *testing.T) {
	clk := fakeClock()
	m := vfs.NewMem()
	m.Now = clk.Now
	o := small("/store")
	o.Clock = clk
	tun := DefaultTunables()
	tun.DeletePause, tun.FileReserved, tun.DeleteBatch = 0, 10*time.Hour, 3
	hour := clk.Now().Local().Hour()
	tun.DeleteWhen = []int{(hour + 5) % 24}
	o.Tunables = &tun
	var deleted []string
	o.Events.OnDelete = func(file, why string) { deleted = append(deleted, filepath.Base(filepath.Dir(file))+" "+why) }
	s, _ := filled(t, m, o, 200)
	defer func() { mustClose(t, s) }()
	s.Flush()
	segs := len(s.clog.Segments())
	if n := s.cleanRound(false); n != 0 {
		t.Fatal("deleted outside of its hour", n)
	}
	tun.DeleteWhen = []int{hour}
	s.Tune(tun)
	if n := s.cleanRound(false); n != 0 {
		t.Fatal("deleted what is not old", n)
	}
	for i := range 5 {
		m.SetModTime(fmt.Sprintf("/store/commitlog/%020d", i*4096), clk.Now().Add(-11*time.Hour))
	}
	s.cleanRound(false)
	if n := len(s.clog.Segments()); n != segs-3 || s.MinPhysical() != 3*4096 {
		t.Fatal("a round deletes at most its batch", segs, n)
	}
	s.cleanRound(false)
	if s.MinPhysical() != 5*4096 || len(deleted) < 6 || !strings.Contains(deleted[0], "hour of deletion") {
		t.Fatal(s.MinPhysical(), deleted)
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
	if s.Writable() == nil {
		t.Fatal("a full disk takes messages")
	}
	m.SetTotal(1 << 30)
	s.cleanRound(false)
	mustAppend(t, s, msg("T0", 0, "x"))
	wantWhole(t, s)
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

func TestEventsComeInOrderAfterTheUnitIsVisible(t *testing.T) {
	o := small("/store")
	var s *Store
	var last int64
	o.Events.OnDispatch = func(d Dispatch) {
		if d.PhysicalOffset < last || s.MaxOffset(d.Topic, d.Queue) < d.MaxOffset {
			t.Error("out of order or not visible", d)
		}
		last = d.PhysicalOffset
	}
	s = mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, s)
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
}

func TestWaitPhysical(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), small("/store"))
	defer mustClose(t, s)
	done := make(chan error)
	go func() { done <- s.WaitPhysical(context.Background(), 0) }()
	mustAppend(t, s, msg("T", 0, "x"))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- s.WaitPhysical(ctx, 1<<40) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
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

func BenchmarkAppend(b *testing.B) {
	o := Options{Dir: b.TempDir()}
	s := mustOpen(b, vfs.OS, o)
	defer mustClose(b, s)
	body := strings.Repeat("x", 1024)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		m := msg("T", 0, body, "UNIQ_KEY", "0A00000112345A07D6E505265C000001", "TAGS", "t")
		for pb.Next() {
			if r, err := s.Append(m); err != nil || r.Status != PutOK {
				b.Fatal(r, err)
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	o := Options{Dir: b.TempDir()}
	s := mustOpen(b, vfs.OS, o)
	defer mustClose(b, s)
	for range 10000 {
		mustAppend(b, s, msg("T", 0, strings.Repeat("x", 1024)))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r, err := s.Get("T", 0, int64(i*32%9000), GetLimit{Messages: 32}, Match{})
		if err != nil || len(r.Messages) != 32 {
			b.Fatal(len(r.Messages), err)
		}
		r.Release()
	}
}

func BenchmarkAppendOver1024Queues(b *testing.B) {
	s := mustOpen(b, vfs.OS, Options{Dir: b.TempDir()})
	defer func() {
		b.StopTimer()
		mustClose(b, s)
	}()
	body := strings.Repeat("x", 1024)
	var n atomic.Int32
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		m := msg("T", 0, body, "UNIQ_KEY", "0A00000112345A07D6E505265C000001", "TAGS", "t")
		for pb.Next() {
			m.QueueID = n.Add(1) % 1024
			if r, err := s.Append(m); err != nil || r.Status != PutOK {
				b.Fatal(r, err)
			}
		}
	})
}
