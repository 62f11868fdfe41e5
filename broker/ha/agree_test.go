package ha

// Brokers of ours agree before the first byte; to all others they are brokers of DefaultHA.

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"rmqctl/broker/ha/decide"
	"rmqctl/broker/ha/epoch"
	"rmqctl/internal/clock"
	"rmqctl/internal/vfs"
)

// node is a broker's log with its history.
type node struct {
	disk   *vfs.Mem
	log    *memLog
	epochs *epoch.File
}

func newNode(t *testing.T, segment int64) *node {
	t.Helper()
	n := &node{disk: vfs.NewMem(), log: newLog(segment)}
	if err := vfs.MakeDirs(n.disk, "/s", 0o755); err != nil {
		t.Fatal(err)
	}
	n.reopen(t)
	return n
}

func (n *node) reopen(t *testing.T) {
	t.Helper()
	f, err := epoch.Open(n.disk, "/s")
	if err != nil {
		t.Fatal(err)
	}
	n.epochs = f
}

func (n *node) lead(t *testing.T, number int64) {
	t.Helper()
	if err := n.epochs.Lead(number, epoch.NewLife(), n.log.MaxPhysical()); err != nil {
		t.Fatal(err)
	}
}

func (n *node) masterOptions() MasterOptions {
	return MasterOptions{Log: n.log, Epochs: n.epochs, Self: decide.Identity{Cluster: "c", Broker: "b", Addr: "master:1"}}
}

func (n *node) slaveOptions() SlaveOptions {
	return SlaveOptions{
		Log: n.log, Epochs: n.epochs, Self: decide.Identity{Cluster: "c", Broker: "b", ID: 1, Addr: "slave:1"},
		Keep: func(from, to int64) (string, error) { return KeepTail(n.disk, "/s", n.log, from, to) },
	}
}

func TestFreshSlaveTakesLogAndHistory(t *testing.T) {
	for _, min := range []int64{0, 3 * 4096} {
		master, slave := newNode(t, 4096), newNode(t, 4096)
		master.log.base, master.log.min = min, min
		master.lead(t, 1)
		master.log.append(noise(rand.New(rand.NewPCG(1, 2)), 50_000))
		o := master.masterOptions()
		o.Heartbeat = 50 * time.Millisecond
		m, addr := serve(t, o)
		s := follow(t, addr, slave.slaveOptions())
		until(t, "level", func() bool { return slave.log.MaxPhysical() == master.log.MaxPhysical() })
		if !bytes.Equal(slave.log.bytes(), master.log.bytes()) || slave.log.MinPhysical() != min {
			t.Errorf("from %d: the copy differs", min)
		}
		if string(slave.log.ends) != "ends" && min > 0 {
			t.Error("the slave's queues begin at 0, not where the master's stand")
		}
		if !slices.Equal(slave.epochs.List(), master.epochs.List()) {
			t.Errorf("history %v, the master's %v", slave.epochs.List(), master.epochs.List())
		}
		until(t, "the slave knows how far its master is", func() bool { return s.Status().MasterMax == master.log.MaxPhysical() })
		until(t, "the master knows who it is", func() bool {
			st := m.Status()
			return len(st.Slaves) == 1 && st.Slaves[0].Identity != nil && st.Slaves[0].Identity.Addr == "slave:1" && st.Slaves[0].Left == 0
		})
	}
}

// The master has lost its tail and goes on: a slave that has that tail gives it up, keeps it aside and follows.
func TestSlaveAheadIsCutOffAndFollows(t *testing.T) {
	master, slave := newNode(t, 4096), newNode(t, 4096)
	r := rand.New(rand.NewPCG(3, 4))
	master.lead(t, 1)
	master.log.append(noise(r, 1000))
	m, addr := serve(t, master.masterOptions())
	s := follow(t, addr, slave.slaveOptions())
	until(t, "level", func() bool { return slave.log.MaxPhysical() == 1000 })
	s.Close()
	m.Close()

	tail := bytes.Clone(master.log.bytes()[900:])
	if err := master.log.TruncateTo(900); err != nil { // a power cut
		t.Fatal(err)
	}
	master.lead(t, 1)
	for _, more := range []int{0, 3000} { // whether it has grown past the slave or not
		master.log.append(noise(r, more))
		_, addr = serve(t, master.masterOptions())
		s = follow(t, addr, slave.slaveOptions())
		until(t, "level again", func() bool { return slave.log.MaxPhysical() == 900+int64(more) && s.Status().State == Following })
		s.Close()
		if !bytes.Equal(slave.log.bytes(), master.log.bytes()) {
			t.Fatal("the logs differ")
		}
	}
	if kept, err := vfs.ReadFile(slave.disk, "/s/lost+found/cut-off-00000000000000000900"); err != nil || !bytes.Equal(kept, tail) {
		t.Errorf("kept %d bytes of 100: %v", len(kept), err)
	}
}

func TestAMasterThatWasReplacedBecomesASlaveOfTheOther(t *testing.T) {
	a, b := newNode(t, 4096), newNode(t, 4096)
	r := rand.New(rand.NewPCG(5, 6))
	a.lead(t, 1)
	a.log.append(noise(r, 1000))
	m, addr := serve(t, a.masterOptions())
	s := follow(t, addr, b.slaveOptions())
	until(t, "level", func() bool { return b.log.MaxPhysical() == 1000 })
	s.Close()
	a.log.append(noise(r, 50)) // never reaches b
	m.Close()
	b.lead(t, 2)
	b.log.append(noise(r, 500))

	// The old one comes back as master: b is not its slave any more, and it is told.
	newer := make(chan int64, 10)
	o := a.masterOptions()
	o.OnNewer = func(n int64, who decide.Identity) { newer <- n }
	_, addr = serve(t, o)
	s = follow(t, addr, b.slaveOptions())
	if n := <-newer; n != 2 {
		t.Errorf("told of epoch %d", n)
	}
	until(t, "refused", func() bool { return s.Status().State == Diverged })
	if !strings.Contains(s.Status().Err, "another broker was promoted") || b.log.MaxPhysical() != 1500 {
		t.Errorf("%s; it ends at %d", s.Status().Err, b.log.MaxPhysical())
	}
	s.Close()

	// As slave it follows.
	_, addr = serve(t, b.masterOptions())
	follow(t, addr, a.slaveOptions())
	until(t, "level", func() bool { return bytes.Equal(a.log.bytes(), b.log.bytes()) })
	if a.epochs.Epoch() != 2 {
		t.Errorf("epoch %d", a.epochs.Epoch())
	}
}

func TestASlaveOfAnotherGroupIsRefusedAndNothingIsCut(t *testing.T) {
	a, b := newNode(t, 4096), newNode(t, 4096)
	a.lead(t, 1)
	b.log.append(make([]byte, 77))
	_, addr := serve(t, a.masterOptions())
	o := b.slaveOptions()
	o.Self.Broker = "other"
	s := follow(t, addr, o)
	until(t, "refused", func() bool { return s.Status().State == Diverged })
	if !strings.Contains(s.Status().Err, "it belongs to broker other") || b.log.MaxPhysical() != 77 {
		t.Errorf("%s; it ends at %d", s.Status().Err, b.log.MaxPhysical())
	}
}

// A tail that cannot be kept is not cut off.
func TestNothingIsCutOffThatCannotBeKept(t *testing.T) {
	a, b := newNode(t, 4096), newNode(t, 4096)
	a.log.append([]byte("begun together"))
	b.log.append([]byte("begun together, parted"))
	a.epochs.Lead(1, 7, 0)
	b.epochs.Lead(1, 7, 0)
	a.lead(t, 1)
	_, addr := serve(t, a.masterOptions())
	o := b.slaveOptions()
	full := &vfs.Fault{FS: b.disk, Before: func(op vfs.Op) error {
		if strings.Contains(op.Name, "lost+found/") {
			return vfs.ErrNoSpace
		}
		return nil
	}}
	o.Keep = func(from, to int64) (string, error) { return KeepTail(full, "/s", b.log, from, to) }
	s := follow(t, addr, o)
	until(t, "refused", func() bool { return s.Status().State == Diverged })
	if !strings.Contains(s.Status().Err, "could not be kept aside") || b.log.MaxPhysical() != 22 {
		t.Errorf("%s; it ends at %d", s.Status().Err, b.log.MaxPhysical())
	}
}

// soon lets every pause pass at once.
type soon struct{ clock.Clock }

func (s soon) After(time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	c <- s.Now()
	return c
}

// A Java master says nothing to the announcement: it gets what it knows, and the history says that nobody knows whose
// bytes these are.
func TestToAMasterThatDoesNotAnswerItIsASlaveOfDefaultHA(t *testing.T) {
	ln, _ := net.Listen("tcp", "127.0.0.1:0")
	defer ln.Close()
	n := newNode(t, 4096)
	n.lead(t, 1)
	n.log.append(make([]byte, 70))
	o := n.slaveOptions()
	o.Clock = soon{clock.System}
	s := follow(t, ln.Addr().String(), o)
	master, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if a, r := reported(t, master), reported(t, master); a != announce || r != 70 {
		t.Fatalf("announced %d, reported %d", a, r)
	}
	var h [headerSize]byte
	putHeader(h[:], 70, 30)
	master.Write(append(h[:], make([]byte, 30)...))
	if r := reported(t, master); r != 100 {
		t.Fatalf("reported %d", r)
	}
	if l := n.epochs.List(); len(l) != 2 || l.Last() != (epoch.Entry{Epoch: 1, Life: 0, Start: 70}) {
		t.Errorf("history %v", l)
	}
	if s.Status().State != Following {
		t.Errorf("%v", s.Status().State)
	}
}

func TestAnAnswerThatComesTooLateEndsTheConnectionAndTheNextHasMoreTime(t *testing.T) {
	ln, _ := net.Listen("tcp", "127.0.0.1:0")
	defer ln.Close()
	n := newNode(t, 4096)
	o := n.slaveOptions()
	asked := hurried{clock.System, make(chan time.Duration, 100)}
	o.Clock = asked
	follow(t, ln.Addr().String(), o)
	for _, patience := range []time.Duration{1, 2, 4, 8, 8} {
		master, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		readN(t, master, 2*reportSize)
		if got := <-asked.asked; got != patience*time.Second {
			t.Errorf("it waited %v for an answer, want %d s", got, patience)
		}
		master.Write(note{Hello: helloOf(decide.Side{Segment: 4096})}.encode())
		if rest, _ := io.ReadAll(master); len(rest) > 0 {
			t.Errorf("it went on with %d bytes", len(rest))
		}
		master.Close()
		<-asked.asked // the pause before the next attempt
	}
}

// A slave that took its master for a Java one reports in the middle of the agreement: it is not fed.
func TestAReportInPlaceOfAHelloIsNoHello(t *testing.T) {
	n := newNode(t, 4096)
	n.lead(t, 1)
	n.log.append(make([]byte, 100))
	m, addr := serve(t, n.masterOptions())
	c := dial(t, addr)
	report(t, c, announce)
	report(t, c, 40)
	report(t, c, 40)
	if hello, err := readNote(c); err != nil || hello.Hello == nil || hello.Hello.Max != 100 {
		t.Fatalf("%+v %v", hello, err)
	}
	if rest, _ := io.ReadAll(c); len(rest) > 0 {
		t.Errorf("it was sent %d bytes", len(rest))
	}
	until(t, "gone", func() bool { return len(m.Status().Slaves) == 0 })
}

// A slave of ours that is back has one connection, whatever became of the other.
func TestASlaveThatIsBackEndsItsOldConnection(t *testing.T) {
	n := newNode(t, 4096)
	n.lead(t, 1)
	n.log.append(make([]byte, 100))
	m, addr := serve(t, n.masterOptions())
	join := func() net.Conn {
		c := dial(t, addr)
		report(t, c, announce)
		if _, err := readNote(c); err != nil {
			t.Fatal(err)
		}
		h := note{Hello: helloOf(decide.Side{Identity: decide.Identity{Addr: "slave:1", ID: 1}, Epoch: 1, Segment: 4096, Max: 100, Epochs: n.epochs.List()})}
		c.Write(h.encode())
		v, err := readNote(c)
		if err != nil || v.Verdict == nil || v.Verdict.Action != "continue" {
			t.Fatalf("%+v %v", v, err)
		}
		report(t, c, announce) // still at work
		report(t, c, 100)
		return c
	}
	old := join()
	until(t, "counted", func() bool { best, ok := m.Replicated(); return ok && best == 100 })
	join()
	if _, err := io.ReadAll(old); err != nil {
		t.Logf("ended by %v", err)
	}
	until(t, "one", func() bool { return len(m.Status().Slaves) == 1 })
	if best, _ := m.Replicated(); best != 100 {
		t.Errorf("it has %d", best)
	}
}
