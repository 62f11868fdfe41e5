package remoting

import (
	"context"
	"errors"
	"net"
	"strings"
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

func TestTwoRoutesForOneCodePanic(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewRouter(On(ask, answerQueue), On(ask, answerQueue))
}
