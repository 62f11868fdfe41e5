package remoting

import (
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/internal/protocol"
)

func TestAReaderThatIsStuckIsRelieved(t *testing.T) {
	release := make(chan struct{})
	var bursts, returned atomic.Int32
	_, _, addr := serve(t, Options{Router: NewRouter(On(ask, answerQueue, Fast)), OnBurst: func(*Conn) {
		if bursts.Add(1) == 1 {
			<-release
		}
		returned.Add(1)
	}}, ClientOptions{})
	c := dialRaw(t, addr)
	one := frame(30, 1, 0, protocol.JSON, &askRequest{Topic: "T"}, "")
	two := frame(30, 2, 0, protocol.JSON, &askRequest{Topic: "T"}, "")
	c.send(append(one, two[:10]...)) // a frame cut in two goes from one reader to the other
	if got := c.next(); got.Opaque != 1 {
		t.Fatalf("%+v", got)
	}
	c.send(two[10:])
	if got := c.next(); got.Opaque != 2 {
		t.Fatalf("%+v", got)
	}
	close(release)
	for deadline := time.Now().Add(20 * time.Second); returned.Load() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the first reader never came back")
		}
	}
	for i := range int32(50) { // one reader is left, not two that share the bytes
		c.send(frame(30, 10+i, 0, protocol.JSON, &askRequest{Topic: "T"}, ""))
		if got := c.next(); got.Opaque != 10+i {
			t.Fatalf("%+v", got)
		}
	}
}
