package store

// What an append and a pull cost on the machine at hand.

import (
	"strings"
	"sync/atomic"
	"testing"

	"rmqctl/internal/vfs"
)

func BenchmarkAppend(b *testing.B) {
	o := Options{Dir: b.TempDir()}
	s := mustOpen(b, vfs.OS, o)
	defer mustClose(b, s)
	body := strings.Repeat("x", 1024)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		m := msg("T", 0, body, "UNIQ_KEY", "0A00000112345A07D6E505265C000001", "TAGS", "t")
		for pb.Next() {
			if r, err := s.Append(m); err != nil || r.Status != PutOK {
				b.Fatal(r, err)
			}
		}
	})
}

func BenchmarkAppendOver1024Queues(b *testing.B) {
	s := mustOpen(b, vfs.OS, Options{Dir: b.TempDir()})
	defer func() {
		b.StopTimer()
		mustClose(b, s)
	}()
	body := strings.Repeat("x", 1024)
	var n atomic.Int32
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		m := msg("T", 0, body, "UNIQ_KEY", "0A00000112345A07D6E505265C000001", "TAGS", "t")
		for pb.Next() {
			m.QueueID = n.Add(1) % 1024
			if r, err := s.Append(m); err != nil || r.Status != PutOK {
				b.Fatal(r, err)
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	o := Options{Dir: b.TempDir()}
	s := mustOpen(b, vfs.OS, o)
	defer mustClose(b, s)
	for range 10000 {
		mustAppend(b, s, msg("T", 0, strings.Repeat("x", 1024)))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r, err := s.Get("T", 0, int64(i*32%9000), GetLimit{Messages: 32}, Match{})
		if err != nil || len(r.Messages) != 32 {
			b.Fatal(len(r.Messages), err)
		}
		r.Release()
	}
}
