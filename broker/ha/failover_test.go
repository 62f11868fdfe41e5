package ha_test

// Masters are killed while many send, their slaves take over, they come back as slaves: what was acknowledged is there.

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"rmqctl/broker/ha"
	"rmqctl/broker/ha/decide"
	"rmqctl/broker/ha/epoch"
	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// member is a broker of a pair, without all that is not replication.
type member struct {
	name   string
	disk   *vfs.Mem
	store  *store.Store
	epochs *epoch.File
	sync   bool // flushDiskType=SYNC_FLUSH

	master *ha.Master
	addr   string
	slave  *ha.Slave
}

func (m *member) start(t *testing.T) {
	t.Helper()
	tune := store.DefaultTunables()
	tune.SyncFlush = m.sync
	s, err := store.Open(m.disk, store.Options{Dir: "/s", SegmentSize: 64 << 10, QueueSegmentSize: 2000, IndexSlots: 50, IndexEntries: 400, Tunables: &tune})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if m.epochs, err = epoch.Open(m.disk, "/s"); err != nil {
		t.Fatal(err)
	}
	m.store = s
}

func (m *member) lead(t *testing.T, number int64) {
	t.Helper()
	if m.slave != nil {
		m.slave.Close()
		m.slave = nil
	}
	if err := m.store.TruncateTo(m.store.Stats().DispatchedPhysical); err != nil { // the last message may be there in part
		t.Fatal(err)
	}
	if err := m.epochs.Lead(number, epoch.NewLife(), m.store.MaxPhysical()); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.addr = ln.Addr().String()
	m.master = ha.NewMaster(ha.MasterOptions{Log: m.store, Epochs: m.epochs, Self: decide.Identity{Cluster: "c", Broker: "b", Addr: m.name}})
	go m.master.Serve(ln)
}

func (m *member) follow(addr string) {
	o := ha.SlaveOptions{
		Log: m.store, Epochs: m.epochs, Self: decide.Identity{Cluster: "c", Broker: "b", ID: 1, Addr: m.name},
		Keep: func(from, to int64) (string, error) { return ha.KeepTail(m.disk, "/s", m.store, from, to) },
	}
	if m.sync {
		o.Durable = func(next int64, done func(error)) { m.store.AwaitFlushed(next, time.Minute, done) }
	}
	m.slave = ha.NewSlave(o)
	m.slave.SetMaster(addr)
}

// end is the end of a process that was killed: what it would have done after that is done to a disk nobody has.
func (m *member) end(disk *vfs.Mem) {
	m.master.Close()
	m.store.Close()
	m.disk, m.master = disk, nil
}

// send is one producer: it notes what was acknowledged as replicated.
func (m *member) send(id string, stop <-chan struct{}, acked *noted) {
	got := make(chan ha.Status, 1)
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		body := fmt.Sprintf("%s-%d", id, i)
		put, err := m.store.Append(&message.Message{Topic: "T", QueueID: int32(i % 4), BornHost: host, StoreHost: host, Body: []byte(body)})
		if err != nil || put.Status != store.PutOK {
			return // it is closed
		}
		m.master.Await(put.NextOffset, time.Minute, func(s ha.Status) { got <- s })
		if <-got == ha.Replicated {
			acked.add(body)
		}
	}
}

type noted struct {
	mu   sync.Mutex
	list []string
}

func (n *noted) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, s)
}

func (n *noted) len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.list)
}

func (m *member) holds(t *testing.T) map[string]int {
	t.Helper()
	held := map[string]int{}
	for queue := range int32(4) {
		for off := m.store.MinOffset("T", queue); off < m.store.MaxOffset("T", queue); off++ {
			r, _, err := message.Decode(one(t, m.store, "T", queue, off), message.Options{})
			if err != nil {
				t.Fatal(err)
			}
			held[string(r.Body)]++
		}
	}
	return held
}

func TestNothingAcknowledgedIsLostWhenMastersDie(t *testing.T) {
	for _, c := range []struct {
		name string
		sync bool
		cut  func(d *vfs.Mem, r *rand.Rand) *vfs.Mem
	}{
		{"kill -9", false, func(d *vfs.Mem, _ *rand.Rand) *vfs.Mem { return d.Clone() }},
		{"power cut with SYNC_FLUSH", true, func(d *vfs.Mem, r *rand.Rand) *vfs.Mem { return d.PowerCut(r, vfs.AnyCut(r)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(11, 12))
			a := &member{name: "a:1", disk: vfs.NewMem(), sync: c.sync}
			b := &member{name: "b:1", disk: vfs.NewMem(), sync: c.sync}
			a.start(t)
			b.start(t)
			a.lead(t, 1)
			b.follow(a.addr)
			var acked noted
			kept := 0
			for life := range 6 {
				wait(t, "a slave", func() bool { _, ok := a.master.Replicated(); return ok })
				stop := make(chan struct{})
				var producers sync.WaitGroup
				before := acked.len()
				for p := range 8 {
					producers.Go(func() { a.send(fmt.Sprintf("%d-%d", life, p), stop, &acked) })
				}
				wait(t, "acknowledgements", func() bool { return acked.len() > before+200+r.IntN(300) })
				b.slave.Close() // what is sent now never arrives: a tail that only the old master has
				time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
				image := c.cut(a.disk, r)
				b.lead(t, int64(life)+2)
				a.master.Close()
				close(stop)
				producers.Wait()
				a.end(image)
				held := b.holds(t)
				for _, body := range acked.list {
					if held[body] != 1 {
						t.Fatalf("life %d: %s is there %d times after the failover", life, body, held[body])
					}
				}
				for i := range r.IntN(100) { // the new master has gone on alone, not as far as the old one or farther
					body := []byte(fmt.Sprintf("alone-%d-%d", life, i))
					if put, err := b.store.Append(&message.Message{Topic: "T", BornHost: host, StoreHost: host, Body: body}); err != nil || put.Status != store.PutOK {
						t.Fatal(put.Status, err)
					}
				}
				a.start(t)
				a.follow(b.addr)
				wait(t, "the old master follows", func() bool {
					return a.slave.Status().State == ha.Following && level(a, b)
				})
				entries, _ := a.disk.ReadDir("/s/lost+found")
				kept += len(entries)
				if !slices.Equal(a.epochs.List(), b.epochs.List()) {
					t.Fatalf("histories %v and %v", a.epochs.List(), b.epochs.List())
				}
				same(t, a, b)
				a, b = b, a
			}
			if kept == 0 {
				t.Error("no master ever had a tail of its own: this proves nothing")
			}
			for _, m := range []*member{a, b} {
				if m.slave != nil {
					m.slave.Close()
				}
				if m.master != nil {
					m.master.Close()
				}
				if err := m.store.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
}

// With ASYNC_FLUSH two memories have what was acknowledged. A master whose host loses power comes back without its tail, as
// master: its slave gives it back before anything new is written there.
func TestAMasterGetsBackFromItsSlaveWhatAPowerCutTook(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	a := &member{name: "a:1", disk: vfs.NewMem()}
	b := &member{name: "b:1", disk: vfs.NewMem()}
	a.start(t)
	b.start(t)
	a.lead(t, 1)
	b.follow(a.addr)
	var acked noted
	regained := int64(0)
	for life := range 6 {
		wait(t, "a slave", func() bool { _, ok := a.master.Replicated(); return ok })
		stop := make(chan struct{})
		var producers sync.WaitGroup
		before := acked.len()
		for p := range 8 {
			producers.Go(func() { a.send(fmt.Sprintf("%d-%d", life, p), stop, &acked) })
		}
		wait(t, "acknowledgements", func() bool { return acked.len() > before+200+r.IntN(300) })
		image := a.disk.PowerCut(r, vfs.AnyCut(r))
		a.master.Close()
		close(stop)
		producers.Wait()
		a.end(image)
		a.start(t)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		b.slave.SetMaster(ln.Addr().String())
		recall := ha.Recall{Log: a.store, Epochs: a.epochs, Self: decide.Identity{Cluster: "c", Broker: "b", Addr: a.name}, Wait: time.Minute, Grace: time.Nanosecond}
		regained += recall.Run(t.Context(), ln)
		a.lead(t, 1)
		held := a.holds(t)
		for _, body := range acked.list {
			if held[body] != 1 {
				t.Fatalf("life %d: %s is there %d times", life, body, held[body])
			}
		}
		b.slave.SetMaster(a.addr)
		wait(t, "level", func() bool { return level(b, a) })
		same(t, a, b)
	}
	if regained == 0 {
		t.Error("no power cut ever took anything: this proves nothing")
	}
	b.slave.Close()
	a.end(nil)
	b.store.Close()
}

// level: the slave has published all that the master has.
func level(slave, master *member) bool {
	return slave.store.Stats().DispatchedPhysical == master.store.MaxPhysical()
}

// same: a reader cannot tell the two apart.
func same(t *testing.T, a, b *member) {
	t.Helper()
	for queue := range int32(4) {
		if a.store.MaxOffset("T", queue) != b.store.MaxOffset("T", queue) {
			t.Fatalf("queue %d: %d and %d messages", queue, a.store.MaxOffset("T", queue), b.store.MaxOffset("T", queue))
		}
		for off := a.store.MinOffset("T", queue); off < a.store.MaxOffset("T", queue); off++ {
			if !bytes.Equal(one(t, a.store, "T", queue, off), one(t, b.store, "T", queue, off)) {
				t.Fatalf("queue %d, message %d differs", queue, off)
			}
		}
	}
}

// A master whose older files are gone, with real stores: an empty slave and one that fell behind too far both begin at its
// oldest file, and know where the queues stand.
func TestASlaveBeginsAtTheOldestFile(t *testing.T) {
	const oldest = 3 * 64 << 10
	for _, had := range []int{0, 20} {
		a := &member{name: "a:1", disk: vfs.NewMem()}
		b := &member{name: "b:1", disk: vfs.NewMem()}
		a.start(t)
		b.start(t)
		lived := epoch.List{{Epoch: 1, Life: 7, Start: 0}}
		for i := range had { // what it has is of the same mastership, and long gone there
			if put, err := b.store.Append(&message.Message{Topic: "T", BornHost: host, StoreHost: host, Body: []byte{byte(i)}}); err != nil || put.Status != store.PutOK {
				t.Fatal(put.Status, err)
			}
			if err := b.epochs.Adopt(lived); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.store.Reset(oldest, nil); err != nil {
			t.Fatal(err)
		}
		if err := a.epochs.Adopt(lived); err != nil {
			t.Fatal(err)
		}
		a.lead(t, 1)
		if put, err := a.store.Append(&message.Message{Topic: "T", BornHost: host, StoreHost: host, Body: []byte("the oldest")}); err != nil || put.Status != store.PutOK {
			t.Fatal(put.Status, err)
		}
		b.follow(a.addr)
		var acked noted
		stop := make(chan struct{})
		var producers sync.WaitGroup
		wait(t, "a slave", func() bool { _, ok := a.master.Replicated(); return ok })
		producers.Go(func() { a.send("x", stop, &acked) })
		wait(t, "acknowledgements", func() bool { return acked.len() > 50 })
		close(stop)
		producers.Wait()
		wait(t, "level", func() bool { return level(b, a) })
		if b.store.MinPhysical() != oldest {
			t.Errorf("the slave's log begins at %d", b.store.MinPhysical())
		}
		same(t, a, b)
		if st := b.slave.Status(); st.State != ha.Following {
			t.Errorf("%+v", st)
		}
		b.slave.Close()
		a.end(nil)
		b.store.Close()
	}
}
