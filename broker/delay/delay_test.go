package delay

import (
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rmqctl/broker/store"
	"rmqctl/internal/clock"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// fakeLog is a schedule topic in memory, and the list of what was delivered out of it.
type fakeLog struct {
	mu        sync.Mutex
	levels    Levels
	waiting   map[int32][]message.Message
	delivered []string
	at        []time.Time
	fail      int
}

func (l *fakeLog) Get(_ string, queue int32, from int64, limit store.GetLimit, match store.Match) (store.GetResult, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.waiting[queue]
	r := store.GetResult{Max: int64(len(all)), Next: from}
	switch {
	case len(all) == 0:
		r.Status, r.Next = store.NoMessageInQueue, 0
	case from == r.Max:
		r.Status = store.OffsetOverflowOne
	case from > r.Max:
		r.Status, r.Next = store.OffsetOverflowBadly, r.Max
	default:
		for _, m := range all[from:] {
			match.Unit(l.levels.DeliverTime(int(queue)+1, m.StoreTimestamp))
			r.Messages = append(r.Messages, message.AppendRecord(nil, &m))
		}
		r.Next = r.Max
	}
	return r, nil
}

func (l *fakeLog) AppendAll(ms []*message.Message) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, m := range ms {
		if l.fail > 0 {
			l.fail--
			return i, errors.New("no room")
		}
		l.delivered = append(l.delivered, m.Topic+" "+string(m.Body)+" "+string(m.Properties))
		l.at = append(l.at, time.Now())
	}
	return len(ms), nil
}

// send puts a message of the level into the schedule topic.
func (l *fakeLog) send(s *Service, body string, level int) {
	m := Hide(&message.Message{Topic: "T", QueueID: 2, Body: []byte(body), Properties: []byte("TAGS\x01a\x02")}, level, l.levels)
	l.mu.Lock()
	m.QueueOffset, m.StoreTimestamp = int64(len(l.waiting[m.QueueID])), time.Now().UnixMilli()
	l.waiting[m.QueueID] = append(l.waiting[m.QueueID], *m)
	l.mu.Unlock()
	s.Arrived(m.QueueID)
}

func newService(l *fakeLog) *Service {
	return &Service{Store: l, Levels: l.levels, Clock: clock.System, Log: slog.New(slog.DiscardHandler)}
}

func newLog() *fakeLog {
	return &fakeLog{levels: Levels{time.Second, 5 * time.Second, time.Hour}, waiting: map[int32][]message.Message{}}
}

func TestMessagesAreDeliveredExactlyWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		s := newService(l)
		s.Start()
		start := time.Now()
		l.send(s, "five", 2)
		l.send(s, "one", 1)
		time.Sleep(500 * time.Millisecond)
		l.send(s, "one and a half", 1)
		l.send(s, "capped", 9) // beyond the highest level: an hour
		time.Sleep(2 * time.Hour)
		s.Close()
		want := []struct {
			what  string
			after time.Duration
		}{
			{"T one TAGS\x01a\x02REAL_TOPIC\x01T\x02REAL_QID\x012\x02", time.Second},
			{"T one and a half TAGS\x01a\x02REAL_TOPIC\x01T\x02REAL_QID\x012\x02", 1500 * time.Millisecond},
			{"T five TAGS\x01a\x02REAL_TOPIC\x01T\x02REAL_QID\x012\x02", 5 * time.Second},
			{"T capped TAGS\x01a\x02REAL_TOPIC\x01T\x02REAL_QID\x012\x02", time.Hour + 500*time.Millisecond},
		}
		if len(l.delivered) != len(want) {
			t.Fatalf("delivered %q", l.delivered)
		}
		for i, w := range want {
			if l.delivered[i] != w.what || l.at[i].Sub(start) != w.after {
				t.Errorf("%q after %v, want %q after %v", l.delivered[i], l.at[i].Sub(start), w.what, w.after)
			}
		}
	})
}

func TestARefusedDeliveryIsTriedAgainAndNothingIsSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		l.fail = 3
		s := newService(l)
		s.Start()
		l.send(s, "a", 1)
		l.send(s, "b", 1)
		time.Sleep(time.Minute)
		s.Close()
		if len(l.delivered) != 2 || s.Next(1) != 2 {
			t.Errorf("delivered %q, next %d", l.delivered, s.Next(1))
		}
	})
}

func TestPositionsSurviveAndAPositionBeyondTheQueueComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		if err := m.MkdirAll("/c", 0o755); err != nil {
			t.Fatal(err)
		}
		const text = "{\n\t\"offsetTable\":{1:7,2:0\n\t}\n}" // as RocketMQ leaves it
		if err := vfs.WriteFileAtomic(m, "/c/delayOffset.json", []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		l := newLog()
		s := newService(l)
		if err := s.Load(m, "/c/delayOffset.json"); err != nil || s.Next(1) != 7 {
			t.Fatalf("next %d, %v", s.Next(1), err)
		}
		if err := s.Save(m, "/c/delayOffset.json"); err != nil {
			t.Fatal(err)
		}
		l.send(s, "old", 1) // a crash cut the queue short; what is left of it was delivered long ago
		s.Start()
		time.Sleep(time.Second)
		l.send(s, "new", 1)
		time.Sleep(time.Minute)
		s.Close()
		if len(l.delivered) != 1 || s.Next(1) != 2 {
			t.Errorf("delivered %q, next %d", l.delivered, s.Next(1))
		}
	})
}

func FuzzAdopt(f *testing.F) {
	f.Add([]byte(`{"offsetTable":{1:7,2:0}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := newService(newLog())
		if s.Adopt(text) != nil {
			return
		}
		again := newService(newLog())
		if err := again.Adopt(s.Encode()); err != nil || string(again.Encode()) != string(s.Encode()) {
			t.Errorf("%s became %s, %v", s.Encode(), again.Encode(), err)
		}
	})
}

func TestAMessageFromUnderAWrongClockWaitsItsLevelFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		s := newService(l)
		l.send(s, "sent ten years ahead", 2)
		l.send(s, "sent right after it", 2)
		l.waiting[1][0].StoreTimestamp += (10 * 365 * 24 * time.Hour).Milliseconds()
		start := time.Now()
		s.Start()
		time.Sleep(time.Minute)
		s.Close()
		if len(l.delivered) != 2 || l.at[0].Sub(start) != 5*time.Second || l.at[1].Sub(start) != 5*time.Second {
			t.Errorf("delivered %q at %v, started at %v", l.delivered, l.at, start)
		}
	})
}
