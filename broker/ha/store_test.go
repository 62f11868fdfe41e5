package ha_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"rmqctl/broker/ha"
	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

var host = netip.MustParseAddrPort("127.0.0.1:10911")

func open(t *testing.T, fsys vfs.FS) *store.Store {
	t.Helper()
	s, err := store.Open(fsys, store.Options{Dir: "/s", SegmentSize: 64 << 10, QueueSegmentSize: 2000, IndexSlots: 50, IndexEntries: 400})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// Two real stores: connections are cut at random bytes, the slave's broker is stopped and started again in between, and
// in the end a reader cannot tell them apart.
func TestSlaveStoreServesWhatTheMasterServes(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	cuts := rand.New(rand.NewPCG(9, 10)) // the slave's goroutine dials
	master := open(t, vfs.NewMem())
	defer master.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := ha.NewMaster(ha.MasterOptions{Log: master, BatchSize: 5000})
	defer m.Close()
	go m.Serve(ln)

	disk := vfs.NewMem()
	for life := range 4 {
		slave := open(t, disk)
		s := ha.NewSlave(ha.SlaveOptions{
			Log:     slave,
			Durable: func(next int64, done func(error)) { slave.AwaitFlushed(next, time.Minute, done) },
			Dial: func(ctx context.Context, addr string) (net.Conn, error) {
				c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
				return &cutting{Conn: c, left: 1 + cuts.IntN(150_000)}, err
			},
		})
		s.SetMaster(ln.Addr().String())
		for i := range 400 {
			put, err := master.Append(&message.Message{
				Topic: fmt.Sprintf("T%d", i%3), QueueID: int32(i % 4), BornHost: host, StoreHost: host,
				Body: bytes.Repeat([]byte{byte(i)}, 1+r.IntN(2000)),
			})
			if err != nil || put.Status != store.PutOK {
				t.Fatal(put.Status, err)
			}
		}
		if life == 3 {
			wait(t, "level", func() bool { return slave.MaxPhysical() == master.MaxPhysical() })
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if life == 3 {
			compare(t, master, slave)
		}
		if err := slave.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func compare(t *testing.T, a, b *store.Store) {
	t.Helper()
	for i := range 3 {
		topic := fmt.Sprintf("T%d", i)
		for queue := range int32(4) {
			if a.MaxOffset(topic, queue) != b.MaxOffset(topic, queue) {
				t.Fatalf("%s %d: %d and %d messages", topic, queue, a.MaxOffset(topic, queue), b.MaxOffset(topic, queue))
			}
			for off := int64(0); off < a.MaxOffset(topic, queue); off++ {
				x, y := one(t, a, topic, queue, off), one(t, b, topic, queue, off)
				if !bytes.Equal(x, y) {
					t.Fatalf("%s %d %d differs", topic, queue, off)
				}
			}
		}
	}
}

func one(t *testing.T, s *store.Store, topic string, queue int32, off int64) []byte {
	t.Helper()
	g, err := s.Get(topic, queue, off, store.GetLimit{Messages: 1}, store.Match{})
	if err != nil || len(g.Messages) != 1 {
		t.Fatalf("%s %d %d: %v %v", topic, queue, off, g.Status, err)
	}
	defer g.Release()
	return bytes.Clone(g.Messages[0])
}

// cutting closes after so many bytes read.
type cutting struct {
	net.Conn
	left int
}

func (c *cutting) Read(b []byte) (int, error) {
	if c.left <= 0 {
		c.Conn.Close()
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}
