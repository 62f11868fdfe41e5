package store

// How long a broker is away after kill -9: the log is scanned with checksums, queues and index are made again from it.
//
//	go test ./broker/store -run xxx -bench BenchmarkRecover -benchtime 3x
//
//	rebuild  queues and index are gone, the checkpoint is at the start
//	intact   queues and index are there, the checkpoint is at the start
//	level    killed right behind a checkpoint: nothing to scan
//
// log-MB/s and msg/s are of the scan; the rest of ns/op is syncing what was made.

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rmqctl/internal/vfs"
)

const recoverMessages = 800_000 // of 1 KiB: 0.9 GiB of log

func BenchmarkRecoverAfterKill(b *testing.B) {
	dir := b.TempDir()
	fillLog(b, dir, recoverMessages)
	for _, kind := range []string{"rebuild", "intact", "level"} {
		b.Run(kind, func(b *testing.B) {
			var took, scan, used time.Duration
			var end int64
			for range b.N {
				b.StopTimer()
				undoRecovery(b, dir, kind)
				b.StartTimer()
				var first, last time.Time
				begin, cpu := time.Now(), processTime()
				s, err := Open(vfs.OS, Options{Dir: dir, Progress: func(_, _ int64) {
					if last = time.Now(); first.IsZero() {
						first = last
					}
				}})
				if err != nil {
					b.Fatal(err)
				}
				took += time.Since(begin)
				used += processTime() - cpu
				scan += last.Sub(begin)
				b.StopTimer()
				if n := s.MaxOffset("T", 0); n != recoverMessages/8 {
					b.Fatal(n)
				}
				end = s.MaxPhysical()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			n := float64(b.N)
			if kind != "level" {
				b.ReportMetric(float64(end)*n/1e6/scan.Seconds(), "log-MB/s")
				b.ReportMetric(recoverMessages*n/scan.Seconds(), "msg/s")
			}
			b.ReportMetric(took.Seconds()*1e3/n, "ms/open")
			b.ReportMetric(used.Seconds()*1e6/n/recoverMessages, "cpu-us/msg")
		})
	}
}

// processTime is what this process has used of the processors.
func processTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fillLog makes a store with n messages over eight queues and leaves it as a kill does: with the abort file.
func fillLog(b *testing.B, dir string, n int) {
	b.Helper()
	s := mustOpen(b, vfs.OS, Options{Dir: dir})
	body := strings.Repeat("x", 1024)
	for i := range n {
		one := fmt.Sprintf("UNIQ_KEY\x010A00000112345A07D6E5%012d\x02TAGS\x01t\x02WAIT\x01true\x02", i)
		m := msg("T", int32(i%8), body)
		m.Properties = []byte(one)
		mustAppend(b, s, m)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// undoRecovery marks the store as killed and takes back what kind says.
func undoRecovery(b *testing.B, dir, kind string) {
	b.Helper()
	err := os.WriteFile(filepath.Join(dir, "abort"), nil, 0o644)
	if kind != "level" && err == nil {
		ck := make([]byte, checkpointSize)
		binary.BigEndian.PutUint64(ck, 1)
		err = os.WriteFile(filepath.Join(dir, "checkpoint"), ck, 0o644)
	}
	if kind == "rebuild" && err == nil {
		if err = os.RemoveAll(filepath.Join(dir, "consumequeue")); err == nil {
			err = os.RemoveAll(filepath.Join(dir, "index"))
		}
	}
	if err != nil {
		b.Fatal(err)
	}
}
