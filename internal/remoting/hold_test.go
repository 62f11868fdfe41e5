package remoting

import (
	"sync"
	"testing"
	"time"

	"rmqctl/internal/protocol"
)

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
