package load

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

func TestSendIsAFrameWithItsOwnNumbers(t *testing.T) {
	for _, e := range []protocol.Encoding{protocol.JSON, protocol.Binary} {
		o := Options{Topics: []string{"topic-00000"}, Encoding: e, Group: "g"}
		m := outgoing{opaque: opaqueBase + 17, queue: 7, run: 5, conn: 3, number: 99, due: 1234, topic: "topic-00042"}
		m.setBorn(1_700_000_000_123)
		body := filling(100)
		frame := sendTemplate(&o, 12, 5, body).appendSend(nil, &m)
		var c protocol.Command
		if err := protocol.Parse(frame, &c); err != nil {
			t.Fatal(err)
		}
		var h protocol.SendMessageRequestV2
		if err := protocol.SendMessageV2.DecodeRequest(&c, &h, nil); err != nil {
			t.Fatal(err)
		}
		if c.Opaque != m.opaque || h.QueueID != 7 || h.Topic != "topic-00042" || h.BornTimestamp != 1_700_000_000_123 || h.DefaultTopicQueueNums != 12 {
			t.Errorf("encoding %d: %+v %+v", e, c, h)
		}
		if key, _ := message.Property(h.Properties, message.PropUniqKey); key != "7F000001000000050000030000000063" {
			t.Errorf("encoding %d: key %s", e, key)
		}
		got, ok := readHead(c.Body)
		if want := (head{run: 5, conn: 3, number: 99, due: 1234}); !ok || got != want || !bytes.Equal(c.Body[headLen:], body[headLen:]) {
			t.Errorf("encoding %d: body of %+v", e, got)
		}
	}
}

func TestPullIsAFrameWithItsOffset(t *testing.T) {
	for _, e := range []protocol.Encoding{protocol.JSON, protocol.Binary} {
		o := Options{Encoding: e, Group: "g", Pull: 32}
		frame := pullTemplate(&o, "T", 5, 15000).appendPull(nil, opaqueBase+1, 1_234_567)
		var c protocol.Command
		if err := protocol.Parse(frame, &c); err != nil {
			t.Fatal(err)
		}
		var h protocol.PullMessageRequest
		if err := protocol.PullMessage.DecodeRequest(&c, &h, nil); err != nil {
			t.Fatal(err)
		}
		if c.Opaque != opaqueBase+1 || h.QueueOffset != 1_234_567 || h.QueueID != 5 || h.MaxMsgNums != 32 || h.SysFlag&protocol.PullSuspend == 0 {
			t.Errorf("encoding %d: %+v %+v", e, c, h)
		}
	}
}

func TestAnswersAreReadInBothEncodings(t *testing.T) {
	for _, e := range []protocol.Encoding{protocol.JSON, protocol.Binary} {
		c := protocol.Command{Code: protocol.PullOffsetMoved, Opaque: opaqueBase + 4, Flag: protocol.FlagResponse, Encoding: e, Remark: "moved"}
		h := protocol.PullMessageResponse{NextBeginOffset: 77, MaxOffset: 99}
		frame := protocol.AppendFrame(nil, &c, protocol.PullMessage.ResponseHeader(&h), []byte("body"))
		var a answer
		for cut := range len(frame) {
			if n, err := splitAnswer(frame[:cut], &a); n != 0 || err != nil {
				t.Fatalf("encoding %d: %d of %d bytes: %d, %v", e, cut, len(frame), n, err)
			}
		}
		n, err := splitAnswer(append(frame, 1, 2, 3), &a)
		next, ok := a.field("nextBeginOffset")
		if n != len(frame) || err != nil || a.code != protocol.PullOffsetMoved || a.opaque != opaqueBase+4 || string(a.body) != "body" || next != 77 || !ok {
			t.Errorf("encoding %d: %d %v %+v next %d", e, n, err, a, next)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	c := protocol.Command{Opaque: opaqueBase, Flag: protocol.FlagResponse}
	f.Add(protocol.AppendFrame(nil, &c, protocol.Header{}))
	c.Encoding = protocol.Binary
	f.Add(protocol.AppendFrame(nil, &c, protocol.Header{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a answer
		n, err := splitAnswer(b, &a)
		if n > len(b) || n > 0 && err != nil {
			t.Errorf("%d of %d bytes, %v", n, len(b), err)
		}
		if n > 0 {
			a.field("nextBeginOffset")
			_ = a.failure()
		}
	})
}

// broker answers every send after hold, and every refuse-th with SYSTEM_BUSY.
func broker(t *testing.T, hold time.Duration, refuse int64) Options {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	var count atomic.Int64
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c, hold, refuse, &count)
		}
	}()
	return Options{Targets: []Target{{Addr: ln.Addr().String(), Queues: 8}}, Topics: []string{"T"}, Size: 64, Duration: time.Minute, Record: true}
}

func serve(c net.Conn, hold time.Duration, refuse int64, count *atomic.Int64) {
	defer c.Close()
	time.Sleep(hold)
	in := newReader(c)
	for in.fill() == nil {
		var a answer
		for {
			ok, err := in.next(&a)
			if err != nil {
				return
			}
			if !ok {
				break
			}
			resp := protocol.Command{Opaque: a.opaque, Flag: protocol.FlagResponse}
			if refuse > 0 && count.Add(1)%refuse == 0 {
				resp.Code = protocol.SystemBusy
			}
			if _, err := c.Write(protocol.AppendFrame(nil, &resp, protocol.Header{})); err != nil {
				return
			}
		}
	}
}

func TestCountIsSentExactly(t *testing.T) {
	for _, single := range []bool{false, true} {
		o := broker(t, 0, 10)
		o.Connections, o.InFlight, o.Count, o.OneWrite = 3, 4, 1000, single
		r, l, err := Produce(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		if r.Messages != 900 || r.Failed != 100 || r.Errors["SYSTEM_BUSY"] != 100 || l.Acked() != 900 {
			t.Errorf("single %v: %d messages, %d failed %v, %d acknowledged", single, r.Messages, r.Failed, r.Errors, l.Acked())
		}
		if r.P50 <= 0 || r.Max < r.P99 || r.PerSecond <= 0 {
			t.Errorf("figures: %+v", r)
		}
	}
}

func TestLatencyRunsFromWhenAMessageWasDue(t *testing.T) {
	o := broker(t, 300*time.Millisecond, 0)
	o.Connections, o.Rate, o.Count = 1, 1000, 100
	r, _, err := Produce(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	// The last was due after 99 ms and answered after 300 ms at the soonest.
	if r.Messages != 100 || r.P50 < 200_000 {
		t.Errorf("%d messages, p50 %.0f µs", r.Messages, r.P50)
	}
}

func TestALostConnectionIsCountedAndEndsTheRun(t *testing.T) {
	o := broker(t, 0, 0)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	o.Targets[0].Addr = ln.Addr().String()
	o.InFlight = 5
	r, _, err := Produce(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Errors["CONNECTION"] != 5 || r.FirstError == "" {
		t.Errorf("%v %q", r.Errors, r.FirstError)
	}
}

func TestTopicsAndQueuesAreAllUsed(t *testing.T) {
	o := Options{Targets: []Target{{Addr: "x", Queues: 4}}, Topics: TopicNames("T", 5), Connections: 3, Size: 64}
	r, err := newRun(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]map[int32]int{}
	for i := range 3 {
		p := &producer{run: r, frame: sendTemplate(&r.Options, 4, 1, r.fill), queues: 4, index: int64(i), of: 3, slots: make([]slot, 1)}
		for range 20 {
			p.render(opaqueBase, 0)
			if used[p.msg.topic] == nil {
				used[p.msg.topic] = map[int32]int{}
			}
			used[p.msg.topic][p.msg.queue]++
		}
	}
	for _, topic := range o.Topics {
		for q := range int32(4) {
			if used[topic][q] != 3 {
				t.Errorf("%s queue %d: %d messages of 60 over 20 queues", topic, q, used[topic][q])
			}
		}
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	good := Options{Targets: []Target{{Addr: "127.0.0.1:1", Queues: 1}}, Topics: []string{"T"}, Size: 64, Record: true}
	for name, change := range map[string]func(*Options){
		"no target":        func(o *Options) { o.Targets = nil },
		"no queue":         func(o *Options) { o.Targets = []Target{{Addr: "x"}} },
		"no topic":         func(o *Options) { o.Topics = nil },
		"lengths differ":   func(o *Options) { o.Topics = []string{"a", "bb"} },
		"body too small":   func(o *Options) { o.Size = headLen - 1 },
		"nobody listening": func(*Options) {},
	} {
		o := good
		change(&o)
		if _, _, err := Produce(context.Background(), o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestResultIsOneLineOfJSONAndATable(t *testing.T) {
	o := broker(t, 0, 0)
	o.Count = 10
	r, _, err := Produce(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	var line, text bytes.Buffer
	if err := r.Print(&line, "json"); err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(line.Bytes(), &m); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"what", "messages", "failed", "seconds", "messagesPerSecond", "p50Micros", "p99Micros", "p999Micros", "maxMicros", "client", "machine"} {
		if _, ok := m[k]; !ok {
			t.Errorf("%s is not in %s", k, line.String())
		}
	}
	if err := r.Print(&text, "plain"); err != nil || !bytes.Contains(text.Bytes(), []byte("produce  10 messages in ")) {
		t.Errorf("%v\n%s", err, text.String())
	}
}

func BenchmarkRender(b *testing.B) {
	o := Options{Topics: []string{"T"}, Group: "g"}
	frame := sendTemplate(&o, 8, 1, filling(1024))
	m := outgoing{topic: "T"}
	m.setBorn(time.Now().UnixMilli())
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		m.number++
		m.opaque = opaqueBase + int32(m.number&1023)
		if out = frame.appendSend(out, &m); len(out) > 48<<10 {
			out = out[:0]
		}
	}
}
