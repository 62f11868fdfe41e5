package store

// Facts about reading what is no longer in the tail.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// stocked is a store on a real disk with n messages of 1 KiB in each of 8 queues, most of them not in the tail.
func stocked(t testing.TB, n int, events Events) *Store {
	s := mustOpen(t, vfs.OS, Options{Dir: t.TempDir(), TailBytes: 1, Events: events})
	t.Cleanup(func() { mustClose(t, s) })
	for i := range n {
		for q := range int32(8) {
			mustAppend(t, s, msg("T", q, body(q, i)))
		}
	}
	if err := s.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	return s
}

func body(queue int32, i int) string {
	return fmt.Sprintf("%d/%d %s", queue, i, strings.Repeat("x", 1000))
}

func TestReadersThatCatchUpSideBySideGetEveryMessage(t *testing.T) {
	const n = 700
	s := stocked(t, n, Events{})
	var wg sync.WaitGroup
	for q := range int32(8) {
		wg.Go(func() {
			var res GetResult
			for at := int64(0); at < n; at = res.Next {
				err := s.Fill(&res, "T", q, at, GetLimit{Messages: 32, Cached: true}, Match{})
				if errors.Is(err, ErrCold) {
					err = s.Fill(&res, "T", q, at, GetLimit{Messages: 32}, Match{})
				}
				if err != nil || len(res.Messages) == 0 {
					t.Error(q, at, res.Status, err)
					return
				}
				for i, b := range res.Messages {
					m, _, err := message.Decode(b, message.Options{CheckCRC: true})
					if err != nil || string(m.Body) != body(q, int(at)+i) {
						t.Errorf("queue %d offset %d: %.12s %v", q, int(at)+i, m.Body, err)
						return
					}
				}
			}
			res.Release()
		})
	}
	wg.Wait()
}

func TestAGetIntoAUsedResultAllocatesNothing(t *testing.T) {
	s := stocked(t, 700, Events{})
	var res GetResult
	for _, from := range []int64{0, 660} { // in the file and its blocks; in the tail
		get := func() {
			if err := s.Fill(&res, "T", 3, from, GetLimit{Messages: 32}, Match{}); err != nil || len(res.Messages) != 32 {
				t.Fatal(len(res.Messages), err)
			}
		}
		for range 64 { // blocks are asked for, the result grows
			get()
		}
		if per := testing.AllocsPerRun(100, get); per >= 1 {
			t.Errorf("from %d: %v allocations", from, per)
		}
	}
	res.Release()
}

func TestADamagedMessageIsNotServedAndTheOthersAre(t *testing.T) {
	var mu sync.Mutex
	told := 0
	s := stocked(t, 400, Events{OnCorrupt: func(what string, off int64) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(what, "is not served") {
			told++
		}
	}})
	r, err := s.Get("T", 0, 10, GetLimit{Messages: 1}, Match{})
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := message.Decode(r.Messages[0], message.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.Release()
	f, err := os.OpenFile(filepath.Join(s.o.CommitLogDir, "00000000000000000000"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("y"), m.PhysicalOffset+500); err != nil {
		t.Fatal(err)
	}
	s.clog.Tail.CutFrom(0) // what is in memory is good
	for range 20 {         // one by one at first, then from a block
		r, err := s.Get("T", 0, 0, GetLimit{Messages: 32}, Match{})
		if err != nil || len(r.Messages) != 32 || r.Next != 33 {
			t.Fatal(len(r.Messages), r.Next, err)
		}
		for _, b := range r.Messages {
			if m, _, err := message.Decode(b, message.Options{CheckCRC: true}); err != nil || m.QueueOffset == 10 {
				t.Fatal(m.QueueOffset, err)
			}
		}
		r.Release()
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

func TestAFileSystemThatCannotTellCountsAsCold(t *testing.T) {
	o := small("/store")
	o.TailBytes = 1
	s := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, s)
	for i := range 200 {
		mustAppend(t, s, msg("T", 0, fmt.Sprint(i)))
	}
	if _, err := s.Get("T", 0, 0, GetLimit{Cached: true}, Match{}); !errors.Is(err, ErrCold) {
		t.Fatal(err)
	}
	if r, err := s.Get("T", 0, 0, GetLimit{}, Match{}); err != nil || len(r.Messages) != 32 {
		t.Fatal(len(r.Messages), err)
	}
	if r, err := s.Get("T", 0, 199, GetLimit{Cached: true}, Match{}); err != nil || len(r.Messages) != 1 {
		t.Fatal("in the tail", len(r.Messages), err)
	}
}
