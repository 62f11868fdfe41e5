package remoting

import (
	"context"
	"net"
	"testing"
	"time"

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
