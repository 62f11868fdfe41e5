package store

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"rmqctl/internal/clock"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

var (
	bornHost  = netip.MustParseAddrPort("10.0.0.1:5000")
	storeHost = netip.MustParseAddrPort("10.0.0.2:10911")
)

func small(dir string) Options {
	return Options{Dir: dir, SegmentSize: 4096, QueueSegmentSize: 200, IndexSlots: 50, IndexEntries: 40, OpenFiles: 16}
}

func mustOpen(t testing.TB, fsys vfs.FS, o Options) *Store {
	t.Helper()
	s, err := Open(fsys, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func msg(topic string, queue int32, body string, props ...string) *message.Message {
	m := &message.Message{Topic: topic, QueueID: queue, Body: []byte(body), BornHost: bornHost, StoreHost: storeHost, BornTimestamp: 1}
	for i := 0; i+1 < len(props); i += 2 {
		m.Properties = message.SetProperty(m.Properties, props[i], props[i+1])
	}
	return m
}

func mustAppend(t testing.TB, s *Store, m *message.Message) PutResult {
	t.Helper()
	r, err := s.Append(m)
	if err != nil || r.Status != PutOK {
		t.Fatal(r.Status, err)
	}
	return r
}

// bodies reads all of a queue.
func bodies(t testing.TB, s *Store, topic string, queue int32) []string {
	t.Helper()
	var out []string
	for off := s.MinOffset(topic, queue); off < s.MaxOffset(topic, queue); {
		r, err := s.Get(topic, queue, off, GetLimit{}, Match{})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range r.Messages {
			m, _, err := message.Decode(b, message.Options{CheckCRC: true})
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(m.Body))
		}
		if r.Next <= off {
			t.Fatalf("no progress at %d: %s", off, r.Status)
		}
		off = r.Next
		r.Release()
	}
	return out
}

func TestMessagesAreReadBackAfterCleanRestart(t *testing.T) {
	for _, name := range []string{"mem", "os"} {
		t.Run(name, func(t *testing.T) {
			var fsys vfs.FS = vfs.NewMem()
			dir := "/store"
			if name == "os" {
				fsys, dir = vfs.OS, filepath.Join(t.TempDir(), "store")
			}
			s := mustOpen(t, fsys, small(dir))
			var want []string
			for i := range 100 {
				body := fmt.Sprintf("message %d %s", i, bytes.Repeat([]byte("x"), i))
				want = append(want, body)
				if r := mustAppend(t, s, msg("T", 1, body)); r.QueueOffset != int64(i) {
					t.Fatal(r)
				}
			}
			if got := bodies(t, s, "T", 1); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("before: %d", len(got))
			}
			end := s.MaxPhysical()
			mustClose(t, s)
			s = mustOpen(t, fsys, small(dir))
			defer mustClose(t, s)
			if got := bodies(t, s, "T", 1); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("after: %d %v", len(got), got)
			}
			if s.MaxPhysical() != end {
				t.Fatal(s.MaxPhysical(), end)
			}
			if r := mustAppend(t, s, msg("T", 1, "more")); r.QueueOffset != 100 || r.PhysicalOffset < end {
				t.Fatal(r)
			}
		})
	}
}

func TestManyAppendersShareRounds(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), small("/store"))
	defer mustClose(t, s)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 50 {
				if r, err := s.Append(msg("T", int32(g%4), fmt.Sprint(g, i))); err != nil || r.Status != PutOK {
					t.Error(r, err)
				}
			}
		}()
	}
	wg.Wait()
	n := 0
	for q := range int32(4) {
		n += len(bodies(t, s, "T", q))
	}
	if n != 800 {
		t.Fatal(n)
	}
}

func TestAwaitFlushed(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), small("/store"))
	defer mustClose(t, s)
	r := mustAppend(t, s, msg("T", 0, "x"))
	done := make(chan error, 1)
	s.AwaitFlushed(r.NextOffset, time.Minute, func(err error) { done <- err })
	if err := <-done; err != nil || s.FlushedPhysical() < r.NextOffset {
		t.Fatal(err, s.FlushedPhysical())
	}
}

func fakeClock() *clock.Fake { return clock.NewFake(time.UnixMilli(1700000000000)) }
