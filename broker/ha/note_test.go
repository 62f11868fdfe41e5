package ha

// What comes over the wire, whoever sent it, and the sums that are compared.

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"rmqctl/broker/ha/decide"
	"rmqctl/broker/ha/epoch"
	"rmqctl/internal/clock"
)

func FuzzNote(f *testing.F) {
	f.Add(note{Hello: helloOf(decide.Side{Segment: 4096, Max: 9, Epoch: 1, Epochs: epoch.List{{Epoch: 1, Life: 5}}})}.encode())
	f.Add(note{Verdict: &verdict{"truncate", 7, "why", []byte{1}}}.encode())
	f.Add(note{Pulse: &pulse{7, 1}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := readNote(bytes.NewReader(b))
		if err != nil || n.Hello == nil {
			return
		}
		side, err := n.Hello.side()
		if err != nil {
			return
		}
		if side.Epochs.Check() != nil || side.Max < side.Min || side.Min < 0 || side.Segment <= 0 {
			t.Fatalf("accepted %+v", side)
		}
		again, err := readNote(bytes.NewReader(note{Hello: helloOf(side)}.encode()))
		if err != nil {
			t.Fatal(err)
		}
		if other, err := again.Hello.side(); err != nil || fmt.Sprint(other) != fmt.Sprint(side) {
			t.Fatalf("%+v became %+v: %v", side, other, err)
		}
		decide.Decide(side, side, compare(newLog(4096), n.Hello.Sums))
	})
}

// Whatever a master sends, the log only grows by what fits its end.
func FuzzStream(f *testing.F) {
	var h [headerSize]byte
	putHeader(h[:], 5, 3)
	f.Add(append(append(h[:], "abc"...), note{Pulse: &pulse{8, 1}}.encode()...), uint8(4))
	f.Fuzz(func(t *testing.T, stream []byte, step uint8) {
		log := newLog(4096)
		log.append([]byte("12345"))
		here, there := net.Pipe()
		defer here.Close()
		go io.Copy(io.Discard, there)
		l := &link{s: &Slave{o: SlaveOptions{Log: log, Logger: quiet, Clock: clock.System}}, conn: here}
		var in []byte
		for len(stream) > 0 {
			n := min(int(step)+1, len(stream))
			in = append(in, stream[:n]...)
			stream = stream[n:]
			used, err := l.take(in)
			if err != nil {
				break
			}
			in = in[used:]
		}
		if !bytes.HasPrefix(log.bytes(), []byte("12345")) {
			t.Fatal("what was there has changed")
		}
	})
}

func TestSumsTellLogsApart(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	a, b := newLog(1<<20), newLog(1<<20)
	same := noise(r, 200_000)
	a.append(same)
	b.append(same)
	b.data[150_000]++
	for _, c := range []struct {
		off  int64
		want decide.Sameness
	}{{100_000, decide.Same}, {150_001, decide.Different}, {200_000, decide.Different}} {
		s, ok, err := sumAt(a, c.off)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if got := compare(b, []sum{s})(c.off); got != c.want {
			t.Errorf("before %d: %v", c.off, got)
		}
	}
	// The zeros at the end of a segment say nothing: what is before them does.
	a.append(make([]byte, 1<<20-200_000))
	s, ok, err := sumAt(a, 1<<20)
	if err != nil || !ok || s.Len <= 1<<20-200_000 {
		t.Errorf("%+v %v %v", s, ok, err)
	}
	blank := newLog(4096)
	blank.append(make([]byte, 4096))
	if _, ok, err := sumAt(blank, 4096); ok || err != nil {
		t.Errorf("zeros prove something: %v", err)
	}
	if got := compare(blank, []sum{{Off: 4096, Len: 1 << 40}})(4096); got != decide.Unknown {
		t.Errorf("a window nobody has: %v", got)
	}
}
