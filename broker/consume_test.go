package broker

// Facts about what pulls cost, on real sockets, and a benchmark of them.

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
)

// puller pulls 32 messages at a time from one queue, again and again the same ones or one batch after the other.
type puller struct {
	nc    net.Conn
	queue int32
	at    int64 // next offset
	frame []byte
	buf   []byte
}

func newPuller(t testing.TB, addr string, queue int32) *puller {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &puller{nc: nc, queue: queue, buf: make([]byte, 256<<10)}
}

func (p *puller) render() {
	p.frame = protocol.AppendFrame(p.frame[:0], &protocol.Command{Code: protocol.PullMessage.Code, Opaque: 1, Version: protocol.CurrentVersion, Encoding: protocol.Binary},
		protocol.HeaderOf(&protocol.PullMessageRequest{
			ConsumerGroup: "consumers", Topic: "orders", QueueID: p.queue, QueueOffset: p.at, MaxMsgNums: 32, SysFlag: protocol.PullSubscription | protocol.PullSuspend,
			Subscription: "*", ExpressionType: "TAG", SuspendTimeoutMillis: 60000,
		}))
}

// pull asks with the frame rendered last and counts the messages of the answer.
func (p *puller) pull() (n int, err error) {
	if _, err := p.nc.Write(p.frame); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(p.nc, p.buf[:8]); err != nil {
		return 0, err
	}
	size, head := int(binary.BigEndian.Uint32(p.buf))-4, int(p.buf[5])<<16|int(p.buf[6])<<8|int(p.buf[7])
	if _, err := io.ReadFull(p.nc, p.buf[:size]); err != nil {
		return 0, err
	}
	for b := p.buf[head:size]; len(b) >= 4; n++ {
		b = b[binary.BigEndian.Uint32(b):]
	}
	return n, nil
}

// stocked is a broker with n messages of 1 KiB in the topic "orders".
func stocked(t testing.TB, n int) *Broker {
	t.Helper()
	br, err := startBroker(t, t.TempDir(), func() {}, conf.Prop{Key: "mappedFileSizeCommitLog", Value: "1073741824"},
		conf.Prop{Key: "maxHashSlotNum", Value: "5000000"}, conf.Prop{Key: "maxIndexNum", Value: "20000000"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = br.Close() })
	var wg sync.WaitGroup
	for q := range int32(8) {
		p := newProducer(t, br.Addr(), protocol.Binary, q, 64)
		wg.Go(func() {
			if err := p.run(n / 8); err != nil {
				t.Error(err)
			}
		})
		if q == 0 {
			wg.Wait() // the topic is there
		}
	}
	wg.Wait()
	return br
}

func TestAPullOfMessagesInMemoryAllocatesNothing(t *testing.T) {
	br := stocked(t, 8*400)
	p := newPuller(t, br.Addr(), 3)
	p.at = 300
	p.render()
	one := func() {
		if n, err := p.pull(); err != nil || n != 32 {
			t.Fatal(n, err)
		}
	}
	for range 200 {
		one()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const pulls = 2000
	for range pulls {
		one()
	}
	runtime.ReadMemStats(&after)
	if per := float64(after.Mallocs-before.Mallocs) / pulls; per > 0.5 && !raceEnabled {
		t.Errorf("%.2f allocations per pull of 32 messages", per)
	}
}

// TestAnIdleConnectionCostsLittle: a connection that waits holds no buffer, nor does its held pull.
func TestAnIdleConnectionCostsLittle(t *testing.T) {
	br := stocked(t, 8) // one message in each queue
	const conns = 1000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range conns {
		p := newPuller(t, br.Addr(), 0)
		p.buf = make([]byte, 4096)
		p.render()
		if n, err := p.pull(); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		p.at = 1
		p.render()
		if _, err := p.nc.Write(p.frame); err != nil {
			t.Fatal(err)
		}
		p.buf, p.frame = nil, nil
	}
	until(t, "all pulls are held", func() bool { return br.polls.Len() == conns })
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := (after.HeapInuse + after.StackInuse - before.HeapInuse - before.StackInuse) / conns
	t.Logf("%d bytes per connection, the client's end included", per)
	if per > 16<<10 && !raceEnabled {
		t.Errorf("%d bytes per connection", per)
	}
}

// BenchmarkCatchUp pulls a backlog that is larger than what the store keeps in memory, with four connections that work
// through two queues each. It shows the CPU time of client and broker together.
func BenchmarkCatchUp(b *testing.B) {
	const messages = 400_000
	br := stocked(b, messages)
	ps := make([]*puller, 8)
	for q := range ps {
		ps[q] = newPuller(b, br.Addr(), int32(q))
	}
	cpu := cpuTime()
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for i := 0; i < b.N/4/32; i++ {
				p := ps[c+i%2*4]
				p.render()
				n, err := p.pull()
				if err != nil || n == 0 {
					b.Error(n, err)
					return
				}
				if p.at += int64(n); p.at+32 > messages/8 {
					p.at = 0
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/msg")
}

// BenchmarkManyTopics makes topics by sending to them, sends to all their queues, and opens the store again.
func BenchmarkManyTopics(b *testing.B) {
	const topics = 10_000
	for b.Loop() {
		dir := b.TempDir()
		br, err := startBroker(b, dir, func() {}, conf.Prop{Key: "mappedFileSizeCommitLog", Value: "1073741824"})
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		var wg sync.WaitGroup
		for c := range 8 {
			wg.Go(func() {
				for i := c; i < topics; i += 8 * 16 { // sixteen at a time
					p := newProducer(b, br.Addr(), protocol.Binary, 0, 1)
					p.window = nil
					answers := 0
					for k := i; k < min(i+8*16, topics); k += 8 {
						p.window = append(p.window, sendFrame(fmt.Sprint("topic", k), int32(k%8))...)
						answers++
					}
					if _, err := p.nc.Write(p.window); err != nil {
						b.Error(err)
						return
					}
					for range answers {
						if _, err := io.ReadFull(p.nc, p.buf[:4]); err != nil {
							b.Error(err)
							return
						}
						if _, err := io.ReadFull(p.nc, p.buf[:binary.BigEndian.Uint32(p.buf)]); err != nil {
							b.Error(err)
							return
						}
					}
					_ = p.nc.Close()
				}
			})
		}
		wg.Wait()
		b.ReportMetric(time.Since(start).Seconds(), "s/create")
		if err := br.Close(); err != nil {
			b.Fatal(err)
		}
		if rows, _ := br.topics.All(); len(rows) < topics {
			b.Fatal(len(rows), "topics")
		}
		start = time.Now()
		if br, err = startBroker(b, dir, func() {}, conf.Prop{Key: "mappedFileSizeCommitLog", Value: "1073741824"}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "s/open")
		if err := br.Close(); err != nil {
			b.Fatal(err)
		}
		_ = os.RemoveAll(dir)
	}
}

func sendFrame(topic string, queue int32) []byte {
	return protocol.AppendFrame(nil, &protocol.Command{Code: protocol.SendMessageV2.Code, Opaque: 1, Version: protocol.CurrentVersion, Encoding: protocol.Binary},
		protocol.HeaderOf(&protocol.SendMessageRequestV2{
			ProducerGroup: "producers", Topic: topic, DefaultTopic: "TBW102", DefaultTopicQueueNums: 8, QueueID: queue, BornTimestamp: 1700000000000,
		}), []byte(strings.Repeat("x", 1024)))
}
