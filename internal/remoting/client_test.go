package remoting

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/internal/protocol"
)

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

func TestAPanicIsAnswered1AndTheConnectionLives(t *testing.T) {
	r := NewRouter(On(ask, func(_ *Exchange, q *askRequest) (*askResponse, error) {
		if q.Queue == 1 {
			panic("boom")
		}
		return nil, nil
	}, Fast), On(askSlow, func(*Exchange, *askRequest) (*askResponse, error) { panic(errors.New("boom")) }))
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
