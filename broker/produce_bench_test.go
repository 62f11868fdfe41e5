package broker

// What producing costs through a real broker on a real socket: requests rendered before, a window of them in flight per
// connection, as many new ones as answers came leave in one write.

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
)

// producer keeps a window of requests in flight on one connection.
type producer struct {
	nc     net.Conn
	frame  []byte
	window []byte // frame, as often as the window is wide
	buf    []byte
}

func newProducer(t testing.TB, addr string, enc protocol.Encoding, queue int32, window int) *producer {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	frame := protocol.AppendFrame(nil, &protocol.Command{Code: protocol.SendMessageV2.Code, Opaque: 1, Version: protocol.CurrentVersion, Encoding: enc},
		protocol.HeaderOf(&protocol.SendMessageRequestV2{
			ProducerGroup: "producers", Topic: "orders", DefaultTopic: "TBW102", DefaultTopicQueueNums: 8, QueueID: queue,
			BornTimestamp: 1700000000000, Properties: []byte("UNIQ_KEY\x010A00000112345A07D6E505265C000001\x02WAIT\x01true\x02TAGS\x01A"),
		}), []byte(strings.Repeat("x", 1024)))
	p := &producer{nc: nc, frame: frame, buf: make([]byte, 64<<10)}
	for range window {
		p.window = append(p.window, frame...)
	}
	return p
}

// run sends n requests and returns when all are answered.
func (p *producer) run(n int) error {
	have, open, left := 0, 0, n
	send := func(k int) error {
		k = min(k, left)
		open, left = open+k, left-k
		_, err := p.nc.Write(p.window[:k*len(p.frame)])
		return err
	}
	if err := send(len(p.window) / len(p.frame)); err != nil {
		return err
	}
	for open > 0 {
		m, err := p.nc.Read(p.buf[have:])
		if err != nil {
			return err
		}
		have += m
		answers, at := 0, 0
		for have-at >= 4 {
			size := int(binary.BigEndian.Uint32(p.buf[at:])) + 4
			if have-at < size {
				break
			}
			answers, at = answers+1, at+size
		}
		have = copy(p.buf, p.buf[at:have])
		if open -= answers; left > 0 && answers > 0 {
			if err := send(answers); err != nil {
				return err
			}
		}
	}
	return nil
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkProduce shows, beside the rate, the CPU time of client and broker together, allocations, and messages per flush.
func BenchmarkProduce(b *testing.B) {
	for _, flush := range []string{"ASYNC_FLUSH", "SYNC_FLUSH"} {
		for _, enc := range []protocol.Encoding{protocol.JSON, protocol.Binary} {
			for _, shape := range []struct{ conns, window int }{{8, 32}, {64, 16}, {64, 1}, {1, 1}} {
				name := fmt.Sprintf("%s/%s/%dx%d", flush, [...]string{"json", "binary"}[enc], shape.conns, shape.window)
				b.Run(name, func(b *testing.B) { produce(b, flush, enc, shape.conns, shape.window) })
			}
		}
	}
}

func produce(b *testing.B, flush string, enc protocol.Encoding, conns, window int) {
	br, err := startBroker(b, b.TempDir(), func() {}, conf.Prop{Key: "mappedFileSizeCommitLog", Value: "1073741824"},
		conf.Prop{Key: "maxHashSlotNum", Value: "5000000"}, conf.Prop{Key: "maxIndexNum", Value: "20000000"}, conf.Prop{Key: "flushDiskType", Value: flush})
	if err != nil {
		b.Fatal(err)
	}
	defer br.Close()
	ps := make([]*producer, conns)
	for i := range ps {
		ps[i] = newProducer(b, br.Addr(), enc, int32(i%8), window)
		if err := ps[i].run(1); err != nil {
			b.Fatal(err)
		}
	}
	flushes, cpu := br.store.Stats().Flushes, cpuTime()
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for _, p := range ps {
		wg.Go(func() {
			if err := p.run(max(b.N/conns, 1)); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/float64(max(br.store.Stats().Flushes-flushes, 1)), "msgs/flush")
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}
