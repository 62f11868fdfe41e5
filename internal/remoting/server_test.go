package remoting

import (
	"bytes"
	"context"
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

type askRequest struct {
	Topic string `rmq:"topic,must,intern"`
	Queue int32  `rmq:"queueId"`
}

type askResponse struct {
	Offset int64 `rmq:"offset"`
}

// The calls of these tests are not in the registry's business: codes nobody uses.
var (
	ask     = &protocol.Call[askRequest, askResponse]{Code: 30, Name: "ASK"}
	askSlow = &protocol.Call[askRequest, askResponse]{Code: 31, Name: "ASK_SLOW"}
	askHeld = &protocol.Call[askRequest, askResponse]{Code: 32, Name: "ASK_HELD"}
	askBack = &protocol.Call[protocol.Empty, protocol.Empty]{Code: 4000, Name: "ASK_BACK"}
)

// serve starts a server on a port of its own and returns a client of it.
func serve(t *testing.T, o Options, co ClientOptions) (*Server, *Client, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(o)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	c := NewClient(co)
	t.Cleanup(func() {
		_ = c.Close()
		_ = s.Close()
		if err := <-done; err != ErrClosed {
			t.Errorf("Serve returned %v", err)
		}
	})
	return s, c, ln.Addr().String()
}

func ctxFor(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func answerQueue(x *Exchange, q *askRequest) (*askResponse, error) {
	if q.Topic == "missing" {
		return nil, protocol.Errorf(protocol.TopicNotExist, "no topic %s", q.Topic)
	}
	x.ReplyBody([]byte(q.Topic))
	return &askResponse{Offset: int64(q.Queue) * 10}, nil
}

func TestDoGetsHeaderBodyAndStatus(t *testing.T) {
	for _, enc := range []protocol.Encoding{protocol.JSON, protocol.Binary} {
		_, c, addr := serve(t, Options{Router: NewRouter(On(ask, answerQueue, Fast), On(askSlow, answerQueue))}, ClientOptions{Encoding: enc})
		for _, call := range []*protocol.Call[askRequest, askResponse]{ask, askSlow} {
			resp, body, err := Do(ctxFor(t), c, addr, call, &askRequest{Topic: "T", Queue: 4})
			if err != nil || resp.Offset != 40 || string(body) != "T" {
				t.Fatalf("%s: got %+v %q %v", call.Name, resp, body, err)
			}
			_, _, err = Do(ctxFor(t), c, addr, call, &askRequest{Topic: "missing"})
			if protocol.StatusOf(err) != protocol.TopicNotExist {
				t.Fatalf("%s: got %v", call.Name, err)
			}
			_, _, err = Do(ctxFor(t), c, addr, call, nil)
			if protocol.StatusOf(err) != protocol.SystemError {
				t.Fatalf("%s without its topic: got %v", call.Name, err)
			}
		}
	}
}

// rawConn is a peer that writes and reads frames by hand.
type rawConn struct {
	net.Conn
	t   *testing.T
	buf []byte
}

func dialRaw(t *testing.T, addr string) *rawConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &rawConn{Conn: nc, t: t}
}

func (r *rawConn) send(b []byte) {
	r.t.Helper()
	if _, err := r.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// next returns the next frame, or nil when the peer closed.
func (r *rawConn) next() *protocol.Command {
	r.t.Helper()
	for {
		if n, err := protocol.FrameLen(r.buf); err != nil {
			r.t.Fatal(err)
		} else if n > 0 && n <= len(r.buf) {
			frame := append([]byte(nil), r.buf[:n]...)
			r.buf = r.buf[n:]
			var c protocol.Command
			if err := protocol.Parse(frame, &c); err != nil {
				r.t.Fatal(err)
			}
			return &c
		}
		chunk := make([]byte, 64<<10)
		n, err := r.Read(chunk)
		if err != nil {
			return nil
		}
		r.buf = append(r.buf, chunk[:n]...)
	}
}

func frame(code, opaque, flag int32, enc protocol.Encoding, h any, body string) []byte {
	return protocol.AppendFrame(nil, &protocol.Command{Code: code, Opaque: opaque, Flag: flag, Version: 399, Language: protocol.LanguageCPP, Encoding: enc},
		protocol.HeaderOf(h), []byte(body))
}

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

func TestAnAnswerOverTheLimitIsAnError(t *testing.T) {
	big := func(x *Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
		x.ReplyBody(make([]byte, protocol.MaxFrame))
		return nil, nil
	}
	_, c, addr := serve(t, Options{Router: NewRouter(On(askBack, big, Fast))}, ClientOptions{})
	if _, _, err := Do(ctxFor(t), c, addr, askBack, nil); protocol.StatusOf(err) != protocol.SystemError {
		t.Error(err)
	}
}

func TestUnknownCodesAreAnswered3(t *testing.T) {
	_, _, addr := serve(t, Options{}, ClientOptions{})
	c := dialRaw(t, addr)
	c.send(frame(9999, 5, protocol.FlagOneway, protocol.JSON, nil, ""))
	c.send(frame(-1, 6, 0, protocol.Binary, nil, ""))
	got := c.next()
	if got.Opaque != 6 || got.Code != 3 || got.Remark != " request type -1 not supported" || got.Encoding != protocol.Binary {
		t.Errorf("%+v", got)
	}
}

func TestOnewayIsNeverAnswered(t *testing.T) {
	r := NewRouter(On(ask, answerQueue, Fast), On(askSlow, answerQueue), On(askHeld, func(x *Exchange, _ *askRequest) (*askResponse, error) {
		x.Hold().Reply(&askResponse{}, nil)
		return nil, nil
	}, Fast))
	_, _, addr := serve(t, Options{Router: r}, ClientOptions{})
	c := dialRaw(t, addr)
	for code := range int32(4) {
		c.send(frame(30+code, code, protocol.FlagOneway, protocol.JSON, &askRequest{Topic: "missing"}, ""))
	}
	c.send(frame(30, 77, 0, protocol.JSON, &askRequest{Topic: "T"}, ""))
	if got := c.next(); got.Opaque != 77 {
		t.Errorf("opaque %d was answered", got.Opaque)
	}
}

func TestAPanicIsAnswered1AndTheConnectionLives(t *testing.T) {
	r := NewRouter(On(ask, func(_ *Exchange, q *askRequest) (*askResponse, error) {
		if q.Queue == 1 {
			panic("boom")
		}
		return nil, nil
	}, Fast), On(askSlow, func(*Exchange, *askRequest) (*askResponse, error) { var m map[string]int; m["x"] = 1; return nil, nil }))
	_, c, addr := serve(t, Options{Router: r}, ClientOptions{})
	for _, call := range []*protocol.Call[askRequest, askResponse]{ask, askSlow} {
		_, _, err := Do(ctxFor(t), c, addr, call, &askRequest{Topic: "T", Queue: 1})
		if protocol.StatusOf(err) != protocol.SystemError {
			t.Errorf("%s: %v", call.Name, err)
		}
	}
	if _, _, err := Do(ctxFor(t), c, addr, ask, &askRequest{Topic: "T"}); err != nil {
		t.Error(err)
	}
	st := r.Stats()
	if len(st) != 2 || st[0].Panics != 1 || st[0].Requests != 2 || st[0].Failed != 1 || st[1].Panics != 1 {
		t.Errorf("%+v", st)
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

func TestAFullPoolAnswersBusy(t *testing.T) {
	gate, entered := make(chan struct{}), make(chan struct{}, 3)
	pool := NewPool("small", 1, 2)
	r := NewRouter(On(ask, func(*Exchange, *askRequest) (*askResponse, error) {
		entered <- struct{}{}
		<-gate
		return nil, nil
	}, pool))
	_, _, addr := serve(t, Options{Router: r}, ClientOptions{})
	c := dialRaw(t, addr)
	c.send(frame(30, 1, 0, protocol.JSON, &askRequest{Topic: "T"}, ""))
	<-entered
	for i := int32(2); i <= 4; i++ {
		c.send(frame(30, i, 0, protocol.JSON, &askRequest{Topic: "T"}, ""))
	}
	got := c.next()
	if got.Opaque != 4 || got.Code != protocol.SystemBusy || got.Remark != overloaded {
		t.Errorf("%+v", got)
	}
	if st := pool.Stats(); st.Running != 1 || st.Waiting != 2 || st.HeadSince.IsZero() {
		t.Errorf("%+v", st)
	}
	close(gate)
	for range 3 {
		if got := c.next(); got.Code != 0 {
			t.Errorf("%+v", got)
		}
	}
	pool.Close()
	c.send(frame(30, 9, 0, protocol.JSON, &askRequest{Topic: "T"}, ""))
	if got := c.next(); got.Code != protocol.SystemBusy {
		t.Errorf("after Close: %+v", got)
	}
	if st := r.Stats(); st[0].Busy != 2 {
		t.Errorf("%+v", st)
	}
}

func TestRequestsThatWaitedTooLongAreAnsweredBusy(t *testing.T) {
	clk := clock.NewFake(time.Unix(1000, 0))
	gate, entered := make(chan struct{}), make(chan struct{}, 1)
	pool := NewPool("send", 1, 10).MaxWait(200 * time.Millisecond)
	r := NewRouter(On(ask, func(*Exchange, *askRequest) (*askResponse, error) {
		entered <- struct{}{}
		<-gate
		return nil, nil
	}, pool))
	_, _, addr := serve(t, Options{Router: r, Clock: clk}, ClientOptions{})
	c := dialRaw(t, addr)
	c.send(frame(30, 1, 0, protocol.JSON, &askRequest{Topic: "T"}, ""))
	<-entered
	c.send(frame(30, 2, 0, protocol.JSON, &askRequest{Topic: "T"}, ""))
	for pool.Stats().Waiting == 0 {
		time.Sleep(time.Millisecond)
	}
	clk.Advance(300 * time.Millisecond)
	gate <- struct{}{}
	for range 2 {
		got := c.next()
		if want := map[int32]int32{1: 0, 2: protocol.SystemBusy}[got.Opaque]; got.Code != want {
			t.Errorf("%+v", got)
		}
		if got.Opaque == 2 && !strings.HasPrefix(got.Remark, "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: 300ms") {
			t.Error(got.Remark)
		}
	}
}

func TestRejectIfAnswersBusyBeforeTheHandler(t *testing.T) {
	r := NewRouter(On(ask, answerQueue, Fast, RejectIf(func() bool { return true })))
	_, c, addr := serve(t, Options{Router: r}, ClientOptions{})
	_, _, err := Do(ctxFor(t), c, addr, ask, &askRequest{Topic: "T"})
	var e *protocol.Error
	if !errors.As(err, &e) || e.Status != protocol.SystemBusy || e.Remark != rejected {
		t.Error(err)
	}
}

func TestHeldRequestsAreAnsweredLaterOnceWithTheirOwnHeader(t *testing.T) {
	held := make(chan *Pending, 1)
	r := NewRouter(On(askHeld, func(x *Exchange, q *askRequest) (*askResponse, error) {
		held <- x.Hold()
		return nil, nil
	}, Fast), On(ask, answerQueue, Fast))
	_, _, addr := serve(t, Options{Router: r}, ClientOptions{})
	c := dialRaw(t, addr)
	c.send(frame(32, 1, 0, protocol.Binary, &askRequest{Topic: "T"}, ""))
	p := <-held
	c.send(frame(30, 2, 0, protocol.JSON, &askRequest{Topic: "T"}, "")) // others pass
	if got := c.next(); got.Opaque != 2 {
		t.Errorf("%+v", got)
	}
	p.Status(protocol.PullNotFound)
	p.Remark("later")
	p.Set("x", "y")
	p.ReplyBody([]byte("a"), []byte("b"))
	p.Reply(&askResponse{Offset: 5}, nil)
	p.Reply(&askResponse{Offset: 6}, nil)
	got := c.next()
	off, _ := got.Fields.Get("offset")
	x, _ := got.Fields.Get("x")
	if got.Opaque != 1 || got.Code != 19 || got.Remark != "later" || off != "5" || x != "y" || string(got.Body) != "ab" || got.Encoding != protocol.Binary {
		t.Errorf("%+v", got)
	}
	c.send(frame(32, 3, 0, protocol.Binary, &askRequest{Topic: "T"}, ""))
	(<-held).Reply(&askRequest{}, nil) // the wrong type
	if got := c.next(); got.Opaque != 3 || got.Code != protocol.SystemError {
		t.Errorf("%+v", got)
	}
}

func TestABurstOfHeldAnswersIsOneWritePerConnection(t *testing.T) {
	var mu sync.Mutex
	var held []*Pending
	r := NewRouter(On(askHeld, func(x *Exchange, q *askRequest) (*askResponse, error) {
		mu.Lock()
		held = append(held, x.Hold())
		mu.Unlock()
		return nil, nil
	}, Fast))
	s, _, addr := serve(t, Options{Router: r}, ClientOptions{})
	a, b := dialRaw(t, addr), dialRaw(t, addr)
	for i := range int32(50) {
		a.send(frame(32, i, 0, protocol.JSON, &askRequest{Topic: "T"}, ""))
		b.send(frame(32, i, 0, protocol.JSON, &askRequest{Topic: "T"}, ""))
	}
	for {
		mu.Lock()
		n := len(held)
		mu.Unlock()
		if n == 100 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	before := s.Stats().Writes
	var burst Burst
	resp := &askResponse{Offset: 1}
	for _, p := range held {
		burst.Reply(p, resp, nil)
	}
	burst.Flush()
	for range 50 {
		if a.next() == nil || b.next() == nil {
			t.Fatal("an answer is missing")
		}
	}
	if n := s.Stats().Writes - before; n != 2 {
		t.Errorf("%d writes for two connections", n)
	}
}

// A recycled exchange serves another request; answers never mix.
func TestRecycledExchangesKeepAnswersApart(t *testing.T) {
	held := make(chan *Pending, 1000)
	offsets := make(chan int64, 1000)
	r := NewRouter(On(askHeld, func(x *Exchange, q *askRequest) (*askResponse, error) {
		offsets <- int64(q.Queue)
		held <- x.Hold()
		return nil, nil
	}, Fast))
	_, c, addr := serve(t, Options{Router: r}, ClientOptions{})
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case p := <-held:
				p.Reply(&askResponse{Offset: <-offsets}, nil)
				p.Recycle()
			case <-stop:
				return
			}
		}
	}()
	for i := range int32(2000) {
		resp, _, err := Do(ctxFor(t), c, addr, askHeld, &askRequest{Topic: "T", Queue: i})
		if err != nil || resp.Offset != int64(i) {
			t.Fatalf("%d: %+v %v", i, resp, err)
		}
	}
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

func TestTheServerMayAskItsClients(t *testing.T) {
	asked := make(chan string, 1)
	clientRouter := NewRouter(On(askBack, func(x *Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
		asked <- string(x.Request.Body)
		x.ReplyBody([]byte("fine, " + string(x.Request.Body)))
		return nil, nil
	}))
	r := NewRouter(On(ask, func(x *Exchange, q *askRequest) (*askResponse, error) {
		cmd, err := x.Conn.Call(context.Background(), askBack.Request(nil, []byte("how are you")))
		if err != nil {
			return nil, err
		}
		x.ReplyBody(cmd.Body)
		return nil, cmd.Err()
	}), On(askSlow, func(x *Exchange, q *askRequest) (*askResponse, error) {
		return nil, x.Conn.WriteOneway(askBack.Request(nil, []byte("listen")))
	}))
	_, c, addr := serve(t, Options{Router: r}, ClientOptions{Router: clientRouter})
	_, body, err := Do(ctxFor(t), c, addr, ask, &askRequest{Topic: "T"})
	if err != nil || string(body) != "fine, how are you" {
		t.Errorf("%q %v", body, err)
	}
	<-asked
	if _, _, err := Do(ctxFor(t), c, addr, askSlow, &askRequest{Topic: "T"}); err != nil {
		t.Error(err)
	}
	if got := <-asked; got != "listen" {
		t.Error(got)
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
	clk.Advance(25 * time.Second)
	if got := c.next(); got != nil {
		t.Errorf("%+v", got)
	}
	<-closed
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

func TestCallsFailWhenTheConnectionEnds(t *testing.T) {
	r := NewRouter(On(askHeld, func(x *Exchange, q *askRequest) (*askResponse, error) {
		x.Hold()
		time.AfterFunc(10*time.Millisecond, func() { _ = x.Conn.Close() })
		return nil, nil
	}, Fast), On(ask, answerQueue, Fast))
	_, c, addr := serve(t, Options{Router: r}, ClientOptions{})
	if _, _, err := Do(ctxFor(t), c, addr, askHeld, &askRequest{Topic: "T"}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, _, err := Do(ctxFor(t), c, addr, ask, &askRequest{Topic: "T"}); err != nil {
		t.Errorf("the next call does not connect anew: %v", err)
	}
}

func TestCallsTimeOut(t *testing.T) {
	r := NewRouter(On(askHeld, func(x *Exchange, q *askRequest) (*askResponse, error) { x.Hold(); return nil, nil }, Fast))
	_, c, addr := serve(t, Options{Router: r}, ClientOptions{Timeout: 20 * time.Millisecond})
	if _, _, err := Do(context.Background(), c, addr, askHeld, &askRequest{Topic: "T"}); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	conn, err := c.Conn(ctxFor(t), addr)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	if err := conn.Go(askHeld.Request(&askRequest{Topic: "T"}, nil), time.Millisecond, func(_ *protocol.Command, err error) { got <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
}

func TestManyAsynchronousCallsOnOneConnection(t *testing.T) {
	_, c, addr := serve(t, Options{Router: NewRouter(On(ask, answerQueue, Fast), On(askSlow, answerQueue))}, ClientOptions{Encoding: protocol.Binary})
	conn, err := c.Conn(ctxFor(t), addr)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var bad atomic.Int64
	for g := range 4 {
		for i := range int32(500) {
			wg.Add(1)
			call := []*protocol.Call[askRequest, askResponse]{ask, askSlow}[g%2]
			err := conn.Go(call.Request(&askRequest{Topic: "T", Queue: i}, nil), 20*time.Second, func(cmd *protocol.Command, err error) {
				defer wg.Done()
				if err != nil {
					bad.Add(1)
					return
				}
				if v, _ := cmd.Fields.Get("offset"); v != fmt.Sprint(i*10) {
					bad.Add(1)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	wg.Wait()
	if bad.Load() != 0 {
		t.Errorf("%d wrong answers", bad.Load())
	}
}

func TestStartGivesTypedAnswers(t *testing.T) {
	_, c, addr := serve(t, Options{Router: NewRouter(On(ask, answerQueue, Fast))}, ClientOptions{Encoding: protocol.Binary})
	conn, err := c.Conn(ctxFor(t), addr)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 2)
	for _, topic := range []string{"T", "missing"} {
		err := Start(conn, ask, &askRequest{Topic: topic, Queue: 3}, nil, 20*time.Second, func(r *askResponse, body []byte, err error) {
			got <- fmt.Sprint(r.Offset, string(body), err)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"30T<nil>", "0 TOPIC_NOT_EXIST: no topic missing"} {
		if s := <-got; strings.ReplaceAll(s, " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("%q, want %q", s, want)
		}
	}
}

func TestStopListeningKeepsConnections(t *testing.T) {
	s, c, addr := serve(t, Options{Router: NewRouter(On(ask, answerQueue, Fast))}, ClientOptions{})
	if _, _, err := Do(ctxFor(t), c, addr, ask, &askRequest{Topic: "T"}); err != nil {
		t.Fatal(err)
	}
	s.StopListening()
	if _, _, err := Do(ctxFor(t), c, addr, ask, &askRequest{Topic: "T"}); err != nil {
		t.Error(err)
	}
	if nc, err := net.Dial("tcp", addr); err == nil {
		_ = nc.Close()
		t.Error("still listening")
	}
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

func TestConnectErrorsNameTheAddress(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	c := NewClient(ClientOptions{})
	defer c.Close()
	if _, _, err := Do(ctxFor(t), c, addr, ask, &askRequest{}); err == nil || !strings.Contains(err.Error(), addr) {
		t.Error(err)
	}
}

func TestInMemory(t *testing.T) {
	ln := NewMemListener()
	s := NewServer(Options{Router: NewRouter(On(ask, answerQueue, Fast), On(askSlow, answerQueue))})
	go func() { _ = s.Serve(ln) }()
	c := NewClient(ClientOptions{Dial: ln.Dial})
	defer s.Close()
	defer c.Close()
	for range 10 {
		for _, call := range []*protocol.Call[askRequest, askResponse]{ask, askSlow} {
			resp, body, err := Do(ctxFor(t), c, "anywhere", call, &askRequest{Topic: strings.Repeat("T", 100000), Queue: 1})
			if err != nil || resp.Offset != 10 || len(body) != 100000 {
				t.Fatal(resp, len(body), err)
			}
		}
	}
}

func TestTwoRoutesForOneCodePanic(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewRouter(On(ask, answerQueue), On(ask, answerQueue))
}

// The whole way of a fast request, as the reader walks it, allocates nothing;
// a held one allocates its exchange.
func TestAFastRequestAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets under the race detector")
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
			x.ReplyBody(x.Request.Body)
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
