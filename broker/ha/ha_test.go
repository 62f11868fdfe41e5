package ha

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/broker/ha/decide"
)

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestFreshSlaveGetsTheWholeLog(t *testing.T) {
	for _, min := range []int64{0, 3 * 4096} {
		log := logFrom(4096, min)
		log.append(noise(rand.New(rand.NewPCG(1, 2)), 50_000))
		_, addr := serve(t, MasterOptions{Log: log, BatchSize: 1000})
		copied := newLog(4096)
		s := follow(t, addr, SlaveOptions{Log: copied})
		until(t, "level", func() bool { return copied.MaxPhysical() == log.MaxPhysical() })
		if !bytes.Equal(copied.bytes(), log.bytes()) || copied.MinPhysical() != min {
			t.Errorf("from %d: the copy differs", min)
		}
		if st := s.Status(); st.State != Following || st.Err != "" {
			t.Errorf("status %+v", st)
		}
	}
}

func TestAppendIsReplicatedWhenASlaveHasIt(t *testing.T) {
	log := newLog(4096)
	m, addr := serve(t, MasterOptions{Log: log})
	copied := newLog(4096)
	follow(t, addr, SlaveOptions{Log: copied})
	until(t, "slave reported", func() bool { _, ok := m.Replicated(); return ok })
	for range 200 {
		next := log.append(make([]byte, 777))
		if got := <-await(m, next, time.Minute); got != Replicated {
			t.Fatalf("status %v", got)
		}
		if copied.MaxPhysical() < next {
			t.Fatalf("acknowledged %d, the slave has %d", next, copied.MaxPhysical())
		}
	}
	st := m.Status()
	if len(st.Slaves) != 1 || st.Slaves[0].LagBytes != 0 || !st.Slaves[0].InSync || st.Waiting != 0 {
		t.Errorf("status %+v", st)
	}
}

func TestWithoutSlaveNothingWaits(t *testing.T) {
	log := newLog(4096)
	m, addr := serve(t, MasterOptions{Log: log})
	if got := <-await(m, log.append([]byte("x")), time.Minute); got != SlaveNotAvailable {
		t.Errorf("no slave: %v", got)
	}
	// A connection that has said nothing is no slave.
	c := dial(t, addr)
	until(t, "connected", func() bool { return len(m.Status().Slaves) == 1 })
	if got := <-await(m, log.append([]byte("x")), time.Minute); got != SlaveNotAvailable {
		t.Errorf("silent connection: %v", got)
	}
	c.Close()
	until(t, "gone", func() bool { return len(m.Status().Slaves) == 0 })
}

func TestSlaveTooFarBehindIsNotWaitedFor(t *testing.T) {
	log := newLog(1 << 20)
	m, addr := serve(t, MasterOptions{Log: log, Rules: decide.Rules{MaxGap: 1000}})
	c := dial(t, addr)
	report(t, c, 0)
	until(t, "reported", func() bool { _, ok := m.Replicated(); return ok })
	near := await(m, log.append(make([]byte, 999)), time.Minute)
	if got := <-await(m, log.append(make([]byte, 1)), time.Minute); got != SlaveNotAvailable {
		t.Errorf("1000 behind: %v", got)
	}
	read(t, c, 999) // at least: what was sent may be acknowledged
	report(t, c, 999)
	if got := <-near; got != Replicated {
		t.Errorf("999 behind: %v", got)
	}
}

func TestSilentSlaveTimesOut(t *testing.T) {
	log := newLog(4096)
	m, addr := serve(t, MasterOptions{Log: log})
	c := dial(t, addr)
	report(t, c, 0)
	until(t, "reported", func() bool { _, ok := m.Replicated(); return ok })
	if got := <-await(m, log.append([]byte("x")), 60*time.Millisecond); got != FlushSlaveTimeout {
		t.Errorf("status %v", got)
	}
	if n := m.Status().Waiting; n != 0 {
		t.Errorf("%d still wait", n)
	}
}

// Pitfall 23: what a slave had before it left says nothing about the slave that is here now.
func TestAcknowledgementLeavesWithTheSlave(t *testing.T) {
	log := newLog(4096)
	log.append(make([]byte, 100))
	m, addr := serve(t, MasterOptions{Log: log})
	c := dial(t, addr)
	report(t, c, 100)
	until(t, "level", func() bool { best, ok := m.Replicated(); return ok && best == 100 })
	c.Close()
	until(t, "gone", func() bool { return len(m.Status().Slaves) == 0 })
	if _, ok := m.Replicated(); ok {
		t.Error("the acknowledgement outlived its slave")
	}
	wiped := dial(t, addr)
	report(t, wiped, 0)
	until(t, "back, empty", func() bool { best, ok := m.Replicated(); return ok && best == 0 })
}

func TestReportOfMoreThanWasSentEndsTheConnection(t *testing.T) {
	log := newLog(4096)
	log.append(make([]byte, 100))
	m, addr := serve(t, MasterOptions{Log: log})
	c := dial(t, addr)
	report(t, c, 50)
	until(t, "reported", func() bool { best, _ := m.Replicated(); return best == 50 })
	waiting := await(m, 5000, 20*time.Second)
	report(t, c, 5000)
	until(t, "thrown out", func() bool { return len(m.Status().Slaves) == 0 })
	select {
	case s := <-waiting:
		t.Errorf("released with %v by a lie", s)
	default:
	}
}

func TestFramesNeverCrossASegmentAndStaySmall(t *testing.T) {
	log := newLog(1000)
	log.append(noise(rand.New(rand.NewPCG(3, 4)), 4321))
	_, addr := serve(t, MasterOptions{Log: log, BatchSize: 300})
	c := dial(t, addr)
	report(t, c, 10)
	for at := int64(10); at < 4321; {
		off, body := frame(t, c)
		if off != at {
			t.Fatalf("frame at %d, expected %d", off, at)
		}
		if len(body) > 300 || off/1000 != (off+int64(max(len(body), 1))-1)/1000 {
			t.Fatalf("frame of %d bytes at %d", len(body), off)
		}
		at += int64(len(body))
	}
}

func TestHeartbeatsBothWays(t *testing.T) {
	log := newLog(1000)
	log.append(make([]byte, 70))
	_, addr := serve(t, MasterOptions{Log: log, Heartbeat: 20 * time.Millisecond})
	c := dial(t, addr)
	report(t, c, 70)
	for range 3 {
		if off, body := frame(t, c); off != 70 || len(body) != 0 {
			t.Fatalf("frame %d with %d bytes", off, len(body))
		}
	}

	ln, _ := net.Listen("tcp", "127.0.0.1:0")
	defer ln.Close()
	follow(t, ln.Addr().String(), SlaveOptions{Log: log, Heartbeat: 20 * time.Millisecond})
	master, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	for range 3 {
		if off := reported(t, master); off != 70 {
			t.Fatalf("report of %d", off)
		}
	}
}

func TestSilenceEndsAConnection(t *testing.T) {
	log := newLog(1000)
	m, addr := serve(t, MasterOptions{Log: log, Housekeeping: 50 * time.Millisecond})
	c := dial(t, addr)
	report(t, c, 0)
	until(t, "thrown out", func() bool {
		_, err := c.Read(make([]byte, 100))
		return err != nil && len(m.Status().Slaves) == 0
	})

	ln, _ := net.Listen("tcp", "127.0.0.1:0")
	defer ln.Close()
	follow(t, ln.Addr().String(), SlaveOptions{Log: log, Housekeeping: 50 * time.Millisecond})
	for range 2 { // it connects again after it gave the silent master up
		master, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
	}
}

func TestDurableSlaveAcknowledgesOnlyWhatIsOnDisk(t *testing.T) {
	log := newLog(4096)
	m, addr := serve(t, MasterOptions{Log: log})
	synced := make(chan func(error), 100)
	follow(t, addr, SlaveOptions{Log: newLog(4096), Durable: func(_ int64, done func(error)) { synced <- done }})
	select { // what it had before it came is no exception
	case settled := <-synced:
		if _, ok := m.Replicated(); ok {
			t.Error("it reported what its disk may not have")
		}
		settled(nil)
	case <-time.After(30 * time.Second):
		t.Fatal("it does not ask for its disk")
	}
	until(t, "reported", func() bool { _, ok := m.Replicated(); return ok })
	next := log.append(make([]byte, 100))
	done := await(m, next, time.Minute)
	onDisk := <-synced
	if best, _ := m.Replicated(); best != 0 {
		t.Fatalf("acknowledged %d before the disk had it", best)
	}
	onDisk(nil)
	if got := <-done; got != Replicated {
		t.Errorf("status %v", got)
	}
}

// Cuts at random bytes in either direction, with a writer that never stops: the logs end up identical.
func TestLogsAreIdenticalAfterManyCuts(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	log, copied := newLog(4096), newLog(4096)
	m, addr := serve(t, MasterOptions{Log: log, BatchSize: 700})
	var cuts atomic.Int64
	left := make(chan int, 40)
	for range cap(left) {
		left <- r.IntN(20_000)
	}
	s := follow(t, addr, SlaveOptions{Log: copied, Dial: func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		select {
		case n := <-left:
			cuts.Add(1)
			return &cutConn{Conn: c, left: n}, err
		default:
			return c, err
		}
	}})
	acked := make(chan Status, 3000)
	for range 3000 {
		m.Await(log.append(noise(r, 1+r.IntN(400))), time.Minute, func(s Status) { acked <- s })
		if r.IntN(10) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	for len(left) > 0 { // the quick reconnects go on until every cut was made
		log.append(noise(r, 5000))
		s.SetMaster("")
		s.SetMaster(addr)
		time.Sleep(5 * time.Millisecond)
	}
	until(t, "level", func() bool { return copied.MaxPhysical() == log.MaxPhysical() })
	if !bytes.Equal(copied.bytes(), log.bytes()) {
		t.Fatal("the logs differ")
	}
	if cuts.Load() < 20 {
		t.Errorf("only %d cuts", cuts.Load())
	}
	for range 3000 {
		select {
		case <-acked:
		case <-time.After(30 * time.Second):
			t.Fatal("an append was never answered")
		}
	}
}

// cutConn closes after so many bytes read.
type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		c.Conn.Close()
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

func TestCloseAnswersThoseWhoWait(t *testing.T) {
	log := newLog(4096)
	m, addr := serve(t, MasterOptions{Log: log})
	c := dial(t, addr)
	report(t, c, 0)
	until(t, "reported", func() bool { _, ok := m.Replicated(); return ok })
	waiting := await(m, log.append([]byte("x")), time.Hour)
	m.Close()
	if got := <-waiting; got != FlushSlaveTimeout {
		t.Errorf("status %v", got)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		off, size, err := parseHeader(b)
		if err != nil {
			return
		}
		if off < 0 || size < 0 || size > MaxBatchSize {
			t.Fatalf("accepted offset %d size %d", off, size)
		}
		var again [headerSize]byte
		putHeader(again[:], off, size)
		if !bytes.Equal(again[:], b[:headerSize]) {
			t.Fatal("not the same bytes")
		}
	})
}

// However the stream is cut into reads, the newest complete report is the one that counts.
func FuzzReports(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123"), uint8(3))
	f.Add(make([]byte, 64), uint8(8))
	f.Fuzz(func(t *testing.T, stream []byte, step uint8) {
		var r reports
		var got int64
		var any bool
		for i, n := 0, int(step)+1; i < len(stream); i += n {
			if off, ok := r.feed(stream[i:min(i+n, len(stream))]); ok {
				got, any = off, true
			}
		}
		whole := len(stream) / reportSize
		if any != (whole > 0) {
			t.Fatalf("found a report: %v in %d bytes", any, len(stream))
		}
		if whole > 0 && got != int64(binary.BigEndian.Uint64(stream[(whole-1)*reportSize:])) {
			t.Fatalf("%d is not the newest report", got)
		}
	})
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	return c
}

func report(t *testing.T, c net.Conn, off int64) {
	t.Helper()
	if _, err := c.Write(binary.BigEndian.AppendUint64(nil, uint64(off))); err != nil {
		t.Fatal(err)
	}
}

func reported(t *testing.T, c net.Conn) int64 {
	t.Helper()
	return int64(binary.BigEndian.Uint64(readN(t, c, reportSize)))
}

func frame(t *testing.T, c net.Conn) (int64, []byte) {
	t.Helper()
	off, size, err := parseHeader(readN(t, c, headerSize))
	if err != nil {
		t.Fatal(err)
	}
	return off, readN(t, c, size)
}

// read takes frames until the log up to next has come.
func read(t *testing.T, c net.Conn, next int64) {
	t.Helper()
	for at := int64(0); at < next; {
		off, body := frame(t, c)
		at = off + int64(len(body))
	}
}

func readN(t *testing.T, c net.Conn, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	for got := 0; got < n; {
		k, err := c.Read(b[got:])
		if err != nil {
			t.Fatal(err)
		}
		got += k
	}
	return b
}
