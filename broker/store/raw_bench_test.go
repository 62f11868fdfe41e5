package store

// What a slave's store costs for each message: bytes from the network to the file, queues and index.

import (
	"testing"

	"rmqctl/internal/vfs"
)

func BenchmarkAppendRaw(b *testing.B) {
	dir := b.TempDir()
	const messages = 100_000
	fillLog(b, dir, messages)
	from := mustOpen(b, vfs.OS, Options{Dir: dir})
	defer mustClose(b, from)
	to := mustOpen(b, vfs.OS, Options{Dir: b.TempDir()})
	buf := make([]byte, 256<<10)
	base := int64(0)
	perMessage := from.MaxPhysical() / messages
	b.SetBytes(perMessage)
	b.ReportAllocs()
	b.ResetTimer()
	for done := int64(0); done < int64(b.N); {
		n, err := from.ReadLog(base, buf)
		if err != nil {
			b.Fatal(err)
		}
		if n == 0 { // all of it: another copy begins
			b.StopTimer()
			mustClose(b, to)
			to, base = mustOpen(b, vfs.OS, Options{Dir: b.TempDir()}), 0
			b.StartTimer()
			continue
		}
		if err := to.AppendRaw(base, buf[:n]); err != nil {
			b.Fatal(err)
		}
		base += int64(n)
		done += int64(n) / perMessage
	}
	b.StopTimer()
	mustClose(b, to)
}
