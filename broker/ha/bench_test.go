package ha_test

// What replication costs with two real stores and TCP between them.
//
//	go test ./broker/ha -run xxx -bench . -benchtime 300000x
//
// cpu-us/msg is everything in the process: producers, master, slave, kernel.

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rmqctl/broker/ha"
	"rmqctl/broker/ha/decide"
	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

func BenchmarkReplication(b *testing.B) {
	for _, k := range []struct {
		name             string
		producers, batch int
		slave, wait      bool
	}{
		{"NoSlave/64x16", 64, 16, false, false},
		{"Async/64x16", 64, 16, true, false},
		{"Sync/64x16", 64, 16, true, true},
		{"Sync/1x1", 1, 1, true, true},
	} {
		b.Run(k.name, func(b *testing.B) {
			master, slave := openOS(b), openOS(b)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			m := ha.NewMaster(ha.MasterOptions{Log: master, Rules: decide.Rules{MaxGap: 1 << 40}})
			defer m.Close()
			go m.Serve(ln)
			if k.slave {
				s := ha.NewSlave(ha.SlaveOptions{Log: slave})
				defer s.Close()
				s.SetMaster(ln.Addr().String())
				for _, ok := m.Replicated(); !ok; _, ok = m.Replicated() {
					time.Sleep(time.Millisecond)
				}
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			before := cpu()
			b.ReportAllocs()
			b.ResetTimer()
			var group sync.WaitGroup
			for p := range k.producers {
				group.Go(func() { produce(b, master, m, int32(p%8), k.batch, k.wait, &left) })
			}
			group.Wait()
			for k.slave && slave.MaxPhysical() < master.MaxPhysical() {
				time.Sleep(time.Millisecond)
			}
			b.StopTimer()
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/1e3/float64(b.N), "cpu-us/msg")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// produce sends batches and waits for each as a closed loop does.
func produce(b *testing.B, s *store.Store, m *ha.Master, queue int32, batch int, wait bool, left *atomic.Int64) {
	body := bytes.Repeat([]byte("x"), 1024)
	props := []byte("UNIQ_KEY\x010A00000112345A07D6E505265C000001\x02TAGS\x01t\x02WAIT\x01true\x02")
	items := make([]message.BatchItem, batch)
	for i := range items {
		items[i] = message.BatchItem{Body: body, Properties: props}
	}
	got := make(chan ha.Status, 1)
	done := func(s ha.Status) { got <- s }
	for left.Add(-int64(batch)) > -int64(batch) {
		put, err := s.AppendBatch(&message.Message{Topic: "T", QueueID: queue, BornHost: host, StoreHost: host}, items)
		if err != nil || put.Status != store.PutOK {
			b.Error(put.Status, err)
			return
		}
		if wait {
			m.Await(put.NextOffset, time.Minute, done)
			if st := <-got; st != ha.Replicated {
				b.Error(st)
				return
			}
		}
	}
}

func openOS(b *testing.B) *store.Store {
	b.Helper()
	s, err := store.Open(vfs.OS, store.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
