package store

// Facts about pulls and searches.

import (
	"bytes"
	"fmt"
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
