package remoting

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/internal/clock"
	"rmqctl/internal/protocol"
)

func TestABurstIsAnsweredWithOneWrite(t *testing.T) {
	s, _, addr := serve(t, Options{Router: NewRouter(On(ask, answerQueue, Fast))}, ClientOptions{})
	c := dialRaw(t, addr)
	var burst []byte
	for i := range int32(200) {
		burst = append(burst, frame(30, i, 0, protocol.Encoding(i%2), &askRequest{Topic: "T", Queue: i}, "")...)
	}
	c.send(burst)
	for i := range int32(200) {
		got := c.next()
		if off, _ := got.Fields.Get("offset"); got.Opaque != i || got.Encoding != protocol.Encoding(i%2) || off != fmt.Sprint(i*10) || !got.IsResponse() {
			t.Fatalf("answer %d: %+v offset %s", i, got, off)
		}
	}
	if n := s.Stats().Writes; n > 4 {
		t.Errorf("%d writes for one burst", n)
	}
}

func TestFramesSplitAnywhereAreHandled(t *testing.T) {
	_, _, addr := serve(t, Options{Router: NewRouter(On(ask, answerQueue, Fast))}, ClientOptions{})
	c := dialRaw(t, addr)
	two := append(frame(30, 1, 0, protocol.JSON, &askRequest{Topic: "T"}, ""), frame(30, 2, 0, protocol.JSON, &askRequest{Topic: "U"}, "")...)
	for i := range two {
		c.send(two[i : i+1])
	}
	if a, b := c.next(), c.next(); a.Opaque != 1 || b.Opaque != 2 || string(b.Body) != "U" {
		t.Errorf("%+v %+v", a, b)
	}
}

func TestLargeBodiesPassBothWays(t *testing.T) {
	echo := func(x *Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
		x.ReplyBody(x.Request.Body[:1], x.Request.Body[1:])
		return nil, nil
	}
	_, c, addr := serve(t, Options{Router: NewRouter(On(askBack, echo, Fast))}, ClientOptions{})
	for _, size := range []int{1, readSize - 100, readSize, readSize + 1, 5 << 20, protocol.MaxFrame - 300} {
		body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		_, got, err := Do(ctxFor(t), c, addr, askBack, nil, body)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
	if _, _, err := Do(ctxFor(t), c, addr, askBack, nil, make([]byte, protocol.MaxFrame)); !errors.Is(err, protocol.ErrFrameTooLarge) {
		t.Errorf("a body over the limit: %v", err)
	}
}

func TestBadFramesCloseTheConnectionWithALogLine(t *testing.T) {
	var log lockedBuffer
	_, _, addr := serve(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Router: NewRouter(On(ask, answerQueue, Fast))}, ClientOptions{})
	good := frame(30, 1, 0, protocol.JSON, &askRequest{Topic: "T"}, "")
	for name, bad := range map[string][]byte{
		"http":        []byte("GET / HTTP/1.1\r\n\r\n"),
		"too large":   {0x01, 0, 0, 1, 0, 0, 0, 0},
		"bad header":  {0, 0, 0, 6, 0, 0, 0, 2, '{', 'x'},
		"bad type":    {0, 0, 0, 4, 9, 0, 0, 0},
		"tls":         {0x16, 3, 1, 0, 5, 1, 2, 3},
		"zero length": {0, 0, 0, 0},
	} {
		c := dialRaw(t, addr)
		c.send(append(append([]byte(nil), good...), bad...))
		if got := c.next(); got == nil || got.Opaque != 1 {
			t.Errorf("%s: the good frame before was not answered", name)
		}
		if got := c.next(); got != nil {
			t.Errorf("%s: the connection lives on", name)
		}
	}
	for ctx := ctxFor(t); strings.Count(log.String(), "bad frame") != 6; time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("not six log lines:\n%s", log.String())
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestABufferGrowsWithWhatArrivesNotWithWhatIsAnnounced(t *testing.T) {
	buf := readBuffers.Get().(*buffer)
	buf, r, w := rest(buf, 0, 100, 16<<20)
	if len(buf.b) != readSize || r != 0 || w != 100 {
		t.Errorf("%d bytes for 100", len(buf.b))
	}
	if buf, _, _ = rest(buf, 0, readSize, 16<<20); len(buf.b) != 4*readSize {
		t.Errorf("%d bytes for a full buffer", len(buf.b))
	}
	if buf, _, w = rest(buf, 1000, 1010, 50); len(buf.b) != readSize || w != 10 {
		t.Errorf("%d bytes after a large frame", len(buf.b))
	}
	if buf, _, _ = rest(buf, 10, 10, 0); buf != nil {
		t.Error("an empty buffer is kept")
	}
}

func TestCloseHooksRunOnceInReverseThenOnConnClosed(t *testing.T) {
	events := make(chan string, 10)
	r := NewRouter(On(ask, func(x *Exchange, q *askRequest) (*askResponse, error) {
		x.Conn.Attach("who", q.Topic)
		x.Conn.OnClose(func() { events <- "first" })
		x.Conn.OnClose(func() { events <- "second" })
		return nil, nil
	}, Fast))
	var conn *Conn
	s, _, addr := serve(t, Options{Router: r, OnConnClosed: func(c *Conn) { conn = c; events <- "server " + c.Value("who").(string) }}, ClientOptions{})
	c := dialRaw(t, addr)
	c.send(frame(30, 1, 0, protocol.JSON, &askRequest{Topic: "T"}, ""))
	c.next()
	_ = c.Close()
	for _, want := range []string{"second", "first", "server T"} {
		if got := <-events; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	conn.OnClose(func() { events <- "late" })
	if got := <-events; got != "late" {
		t.Error(got)
	}
	if conn.Version() != 399 || conn.Language() != protocol.LanguageCPP || !isClosed(conn.Closed()) || len(s.Conns()) != 0 {
		t.Errorf("%d %s, %d connections", conn.Version(), conn.Language(), len(s.Conns()))
	}
	if err := conn.WriteOneway(&protocol.Command{Code: 1}); err != ErrClosed {
		t.Error(err)
	}
	if _, err := conn.Call(ctxFor(t), &protocol.Command{Code: 1}); err != ErrClosed {
		t.Error(err)
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	clk := clock.NewFake(time.Unix(1000, 0))
	closed := make(chan struct{})
	_, _, addr := serve(t, Options{Router: NewRouter(On(ask, answerQueue, Fast)), Clock: clk, OnConnClosed: func(*Conn) { close(closed) }}, ClientOptions{})
	c := dialRaw(t, addr)
	c.send(frame(30, 1, 0, protocol.JSON, &askRequest{Topic: "T"}, ""))
	c.next()
	clk.Advance(100 * time.Second)
	c.send(frame(30, 2, 0, protocol.JSON, &askRequest{Topic: "T"}, ""))
	c.next()
	clk.Advance(100 * time.Second)
	select {
	case <-closed:
		t.Fatal("closed 100 s after its last request")
	case <-time.After(20 * time.Millisecond):
	}
	for swept := false; !swept; { // a tick nobody was ready for is lost: go on until the sweeper has seen one
		clk.Advance(25 * time.Second)
		select {
		case <-closed:
			swept = true
		case <-time.After(5 * time.Millisecond):
		}
	}
	if got := c.next(); got != nil {
		t.Errorf("%+v", got)
	}
}

func TestAClientThatDoesNotReadIsClosedAtItsBacklog(t *testing.T) {
	var held atomic.Pointer[Conn]
	closed := make(chan struct{})
	r := NewRouter(On(ask, func(x *Exchange, q *askRequest) (*askResponse, error) { held.Store(x.Conn); return nil, nil }, Fast))
	_, _, addr := serve(t, Options{Router: r, MaxBacklog: 8 << 20, OnConnClosed: func(*Conn) { close(closed) }}, ClientOptions{})
	c := dialRaw(t, addr)
	c.send(frame(30, 1, 0, protocol.JSON, &askRequest{Topic: "T"}, ""))
	c.next()
	push := &protocol.Command{Code: 40, Body: make([]byte, 1<<20)}
	var err error
	for i := 0; err == nil && i < 100; i++ {
		err = held.Load().WriteOneway(push) // never waits
	}
	if !errors.Is(err, ErrBacklog) {
		t.Errorf("err %v", err)
	}
	<-closed
}

func TestAClientThatReadsLateGetsEverything(t *testing.T) {
	echo := func(x *Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
		x.ReplyBody(x.Request.Body)
		return nil, nil
	}
	_, _, addr := serve(t, Options{Router: NewRouter(On(askBack, echo, Fast))}, ClientOptions{})
	c := dialRaw(t, addr)
	body := strings.Repeat("x", 1<<20)
	sent := make(chan struct{})
	go func() { // the server stops reading at its soft limit, so this waits
		defer close(sent)
		for i := range int32(40) {
			if _, err := c.Write(frame(4000, i, 0, protocol.JSON, nil, body)); err != nil {
				return
			}
		}
	}()
	time.Sleep(50 * time.Millisecond)
	for i := range int32(40) {
		got := c.next()
		if got == nil || got.Opaque != i || len(got.Body) != len(body) {
			t.Fatalf("answer %d: %v", i, got)
		}
	}
	<-sent
}

// Whatever arrives, in whatever pieces, the server goes on.
func FuzzServer(f *testing.F) {
	f.Add(frame(30, 1, 0, protocol.JSON, &askRequest{Topic: "T"}, "body"), uint16(3))
	f.Add(append(frame(31, 1, 0, protocol.Binary, &askRequest{Topic: "T"}, ""), frame(99, 2, 0, protocol.JSON, nil, "")...), uint16(50))
	f.Add([]byte("GET / HTTP/1.1"), uint16(1))
	s := NewServer(Options{Router: NewRouter(On(ask, answerQueue, Fast), On(askSlow, answerQueue))})
	f.Cleanup(func() { _ = s.Close() })
	f.Fuzz(func(t *testing.T, b []byte, piece uint16) {
		near, far := net.Pipe()
		c, err := s.hub.add(far)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		c.OnClose(func() { close(ended) })
		go func() { _, _ = io.Copy(io.Discard, near) }()
		for len(b) > 0 {
			n := min(len(b), int(piece)+1)
			if _, err := near.Write(b[:n]); err != nil {
				break // the server gave up: a bad frame
			}
			b = b[n:]
		}
		_ = near.Close()
		<-ended
	})
}

// The whole way of a fast request, as the reader walks it, allocates nothing;
// a held one allocates its exchange.
func TestAFastRequestAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets under the race detector")
	}
	messages := make([][]byte, 32)
	for i := range messages {
		messages[i] = make([]byte, 100)
	}
	router := NewRouter(
		On(protocol.SendMessageV2, func(x *Exchange, q *protocol.SendMessageRequestV2) (*protocol.SendMessageResponse, error) {
			if len(x.Request.Body) != 1024 {
				return nil, errors.New("body")
			}
			r := Response[protocol.SendMessageResponse](x)
			r.MsgID, r.QueueID, r.Region, r.TraceOn = "0A00000200002A9F00000000000003E8", q.QueueID, "DefaultRegion", "true"
			return r, nil
		}, Fast),
		On(protocol.PullMessage, func(x *Exchange, q *protocol.PullMessageRequest) (*protocol.PullMessageResponse, error) {
			r := Response[protocol.PullMessageResponse](x)
			r.NextBeginOffset = q.QueueOffset
			x.Status(protocol.PullNotFound)
			x.Remark("PULL_NOT_FOUND")
			x.ReplyBody(messages...)
			return r, nil
		}, Fast))
	h := &hub{router: router, sweepEvery: time.Hour}
	h.init()
	defer h.close()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c := newConn(near, h)
	for _, enc := range []protocol.Encoding{protocol.JSON, protocol.Binary} {
		send := frame(310, 1, 0, enc, &protocol.SendMessageRequestV2{ProducerGroup: "g", Topic: "T", DefaultTopic: "TBW102", Properties: []byte("UNIQ_KEY\x01U\x02")}, strings.Repeat("x", 1024))
		pull := frame(11, 2, 0, enc, &protocol.PullMessageRequest{ConsumerGroup: "g", Topic: "T", Subscription: "*"}, "")
		scratch := make([]byte, 4096)
		run := func() {
			for _, f := range [][]byte{send, pull} {
				if err := c.handle(scratch[:copy(scratch, f)]); err != nil {
					t.Fatal(err)
				}
			}
			c.out.b = c.out.b[:0]
		}
		run()
		if n := testing.AllocsPerRun(500, run); n > 0.05 {
			t.Errorf("encoding %d: %v allocations for a send and a pull", enc, n)
		}
	}
}
