package ha

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"rmqctl/broker/ha/decide"
)

// Rounds of all sizes are sent by their writer or by the sender, and into a socket that is often full: every byte arrives
// once, in its place, and frames follow each other.
func TestSlowReaderGetsEveryByteOnce(t *testing.T) {
	log := newLog(1 << 20)
	m, addr := serve(t, MasterOptions{Log: log, BatchSize: 5000, Rules: decide.Rules{MaxGap: 1 << 40}})
	c := dial(t, addr)
	report(t, c, 0)
	until(t, "reported", func() bool { _, ok := m.Replicated(); return ok })
	await(m, log.append([]byte("x")), time.Nanosecond) // from now on writers send, too
	const total = 24 << 20
	r := rand.New(rand.NewPCG(3, 4))
	piece := noise(r, 40_000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for at := int64(0); at < total; {
			most := inlineBytes // until the socket is full their writer sends all of them
			if at > total/2 {
				most = len(piece)
			}
			at = log.append(piece[:1+r.IntN(most)])
		}
	}()
	<-done // more than any socket takes
	var got []byte
	for int64(len(got)) < log.MaxPhysical() {
		off, body := frame(t, c)
		if off != int64(len(got)) {
			t.Fatalf("a frame for %d after %d bytes", off, len(got))
		}
		got = append(got, body...)
	}
	if !bytes.Equal(got, log.bytes()) {
		t.Error("other bytes than the log's")
	}
}
