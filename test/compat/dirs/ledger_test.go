// The ledger: everything that was ever written into a directory, and the bytes that stand for it. The first broker that
// serves a record fixes its bytes; whoever serves it later must serve the same.

package dirs

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/message"
)

// letter is a message that was sent, as the sender knows it.
type letter struct {
	topic   string
	queue   int32
	flag    int32
	sysFlag int32
	born    int64
	body    []byte
	props   []byte
	id      string // UNIQ_KEY
	level   int    // of delay
	batch   bool
	backTo  string    // the group that will send it back, once
	due     time.Time // of a delayed one, or of its return
}

// shelf is one queue's records from offset base on.
type shelf struct {
	base    int64
	records [][]byte
}

func (s *shelf) next() int64 { return s.base + int64(len(s.records)) }

func (s *shelf) at(off int64) []byte {
	if off < s.base || off >= s.next() {
		return nil
	}
	return s.records[off-s.base]
}

// ledger is what one directory must hold. One goroutine uses it, except for accept.
type ledger struct {
	t       *testing.T
	levels  []time.Duration
	letters map[string]*letter
	shelves map[spot]*shelf
	times   map[string]int            // "topic id" -> how often it was stored there
	offsets map[string]map[spot]int64 // group -> committed
	spots   []spot                    // all queues, read in this order

	indexed int64 // records from this place of the log on are found by their keys
}

func newLedger(t *testing.T, levels []time.Duration, spots []spot) *ledger {
	l := &ledger{
		t: t, levels: levels, letters: map[string]*letter{}, shelves: map[spot]*shelf{}, times: map[string]int{},
		offsets: map[string]map[spot]int64{},
	}
	for _, s := range spots {
		l.add(s)
	}
	return l
}

// add makes one more queue known.
func (l *ledger) add(s spot) {
	l.spots = append(l.spots, s)
	l.shelves[s] = &shelf{}
}

// host is who stores at this moment, and since when.
type host struct {
	addr  netip.AddrPort
	since time.Time
	java  bool
}

// sync reads every queue. What is known must be there byte for byte; what is new is checked against what was sent, and
// becomes known.
func (l *ledger) sync(w *wire, h host, logMin int64) {
	l.t.Helper()
	for _, s := range l.spots {
		l.syncQueue(w, h, s, logMin)
	}
}

func (l *ledger) syncQueue(w *wire, h host, s spot, logMin int64) {
	l.t.Helper()
	first, next, err := w.bounds(s)
	if err != nil {
		l.t.Fatalf("%v: bounds: %v", s, err)
	}
	known := l.shelves[s]
	if next < known.next() {
		l.t.Fatalf("%v ends at %d, %d messages are lost", s, next, known.next()-next)
	}
	want := l.firstKept(s, logMin)
	if h.java && s.topic == gone {
		first = max(first, want) // Java's 4.9 looks for the first message in the queue's first file only: here it finds none
	}
	if first != want {
		l.t.Errorf("%v begins at %d, the oldest message in the log is number %d", s, first, want)
	}
	records, err := w.read(s, first, next, "*")
	if err != nil {
		l.t.Fatalf("%v: %v", s, err)
	}
	if int64(len(records)) != next-first {
		l.t.Fatalf("%v: %d messages between %d and %d", s, len(records), first, next)
	}
	for i, got := range records {
		off := first + int64(i)
		if want := known.at(off); want != nil {
			if !bytes.Equal(want, got) {
				l.t.Fatalf("%v offset %d has changed\n was %q\n is  %q", s, off, abridged(want), abridged(got))
			}
			continue
		}
		if len(known.records) == 0 {
			known.base = off
		}
		l.accept(s, off, got, h)
		known.records = append(known.records, got)
	}
}

// firstKept is the first offset whose record the log still has.
func (l *ledger) firstKept(s spot, logMin int64) int64 {
	known := l.shelves[s]
	for i, b := range known.records {
		if physical(b) >= logMin {
			return known.base + int64(i)
		}
	}
	return known.next()
}

// forgetIndex: after a crash a Java broker drops the newest index files and makes entries again for what its recovery reads
// anew, which is less. What was stored before is then found by its place only.
func (l *ledger) forgetIndex() {
	for _, known := range l.shelves {
		if n := len(known.records); n > 0 {
			r := parse(known.records[n-1])
			l.indexed = max(l.indexed, r.PhysicalOffset+int64(r.Size))
		}
	}
}

func physical(record []byte) int64 { return parse(record).PhysicalOffset }

func parse(record []byte) *message.Record {
	var r message.Record
	if _, err := r.Parse(record, message.Options{CheckCRC: true}); err != nil {
		panic(err)
	}
	return &r
}

func abridged(b []byte) []byte {
	if len(b) > 400 {
		return append(slices.Clone(b[:400]), "…"...)
	}
	return b
}

// accept checks a record that is seen for the first time.
func (l *ledger) accept(s spot, off int64, b []byte, h host) {
	l.t.Helper()
	r := parse(b)
	m := r.Message()
	id, _ := m.Property(message.PropUniqKey)
	sent := l.letters[id]
	bad := func(what string, args ...any) {
		l.t.Helper()
		l.t.Fatalf("%v offset %d: %s\n%q", s, off, fmt.Sprintf(what, args...), abridged(b))
	}
	if sent == nil {
		bad("nobody sent this")
		return
	}
	if string(r.Topic) != s.topic || r.QueueID != s.queue || r.QueueOffset != off {
		bad("the record says %s queue %d offset %d", r.Topic, r.QueueID, r.QueueOffset)
	}
	if !bytes.Equal(sent.body, r.Body) || sent.flag != r.Flag || sent.born != r.BornTimestamp {
		bad("body, flag or time of birth are not what was sent")
	}
	if mask := int32(message.SysBornHostV6 | message.SysStoreHostV6); sent.sysFlag != r.SysFlag&^mask {
		bad("sysFlag %#x, sent %#x", r.SysFlag, sent.sysFlag)
	}
	if m.StoreHost != h.addr || m.BornHost.Addr() != h.addr.Addr() || m.BornHost.Port() == 0 {
		bad("store host %v, born host %v, expected %v", m.StoreHost, m.BornHost, h.addr)
	}
	stored := time.UnixMilli(m.StoreTimestamp)
	if stored.Before(h.since.Truncate(time.Millisecond)) || stored.After(time.Now()) {
		bad("stored at %v, the broker runs since %v", stored, h.since)
	}
	l.acceptWay(s, sent, &m, bad)
	for name, value := range message.Properties(sent.props) {
		if got, _ := m.Property(name); got != value && name != message.PropDelay && name != message.PropWait {
			bad("property %s is %q, sent was %q", name, got, value)
		}
	}
	key := s.topic + " " + id
	if l.times[key]++; l.times[key] > 1 {
		bad("stored for the second time")
	}
}

// acceptWay checks where the message is on its way: straight, waiting, come from waiting, come back.
func (l *ledger) acceptWay(s spot, sent *letter, m *message.Message, bad func(string, ...any)) {
	l.t.Helper()
	real, _ := m.Property(message.PropRealTopic)
	retry := message.RetryTopic(sent.backTo)
	switch {
	case s.topic == message.ScheduleTopic && real == retry && sent.backTo != "":
		sent.due = time.UnixMilli(m.StoreTimestamp).Add(l.levels[s.queue])
	case s.topic == message.ScheduleTopic:
		if real != sent.topic || int(s.queue) != sent.level-1 {
			bad("a delayed message of level %d for %s waits in queue %d for %q", sent.level, sent.topic, s.queue, real)
		}
		sent.due = time.UnixMilli(m.StoreTimestamp).Add(l.levels[s.queue])
	case s.topic == retry && sent.backTo != "":
		origin, _ := m.Property(message.PropRetryTopic)
		if m.ReconsumeTimes != 1 || origin != sent.topic {
			bad("came back %d times, from %q", m.ReconsumeTimes, origin)
		}
		l.delivered(sent, m, bad)
	case s.topic != sent.topic || s.queue != sent.queue:
		bad("sent to %s queue %d", sent.topic, sent.queue)
	case sent.level > 0:
		l.delivered(sent, m, bad)
	}
	if wants := s.topic == retry && sent.backTo != ""; !wants && real != retry && m.ReconsumeTimes != 0 {
		bad("reconsumed %d times", m.ReconsumeTimes)
	}
}

// delivered: not before it was due. Java looks every 100 ms, and a stopped broker delivers when it is back.
func (l *ledger) delivered(sent *letter, m *message.Message, bad func(string, ...any)) {
	l.t.Helper()
	if at := time.UnixMilli(m.StoreTimestamp); sent.due.IsZero() || at.Before(sent.due) {
		bad("delivered at %v, due at %v", at, sent.due)
	}
}

// missing lists what was sent and should be stored by now, and is not.
func (l *ledger) missing(now time.Time) []string {
	var all []string
	for id, sent := range l.letters {
		want := []string{sent.topic}
		if sent.level > 0 {
			want = []string{message.ScheduleTopic}
			if !sent.due.IsZero() && sent.due.Before(now) {
				want = append(want, sent.topic)
			}
		} else if sent.backTo != "" {
			want = append(want, message.ScheduleTopic)
			if !sent.due.IsZero() && sent.due.Before(now) {
				want = append(want, message.RetryTopic(sent.backTo))
			}
		}
		for _, topic := range want {
			if l.times[topic+" "+id] == 0 {
				all = append(all, fmt.Sprintf("%s in %s", strings.ToValidUTF8(id, "?"), topic))
			}
		}
	}
	slices.Sort(all)
	return all
}

// waitingFrom is the place in the log of the oldest message that is to be delivered while the test runs, and was not.
func (l *ledger) waitingFrom() int64 {
	for _, b := range l.shelves[spot{message.ScheduleTopic, 2}].records {
		r := parse(b)
		id, _ := message.Property(r.Properties, message.PropUniqKey)
		real, _ := message.Property(r.Properties, message.PropRealTopic)
		if l.times[real+" "+id] == 0 {
			return r.PhysicalOffset
		}
	}
	return math.MaxInt64
}

// kept are the records of a queue that the log still has, from offset first on.
func (l *ledger) kept(s spot, logMin int64) (first int64, records [][]byte) {
	known := l.shelves[s]
	first = l.firstKept(s, logMin)
	return first, known.records[first-known.base:]
}
