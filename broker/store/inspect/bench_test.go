package inspect

import (
	"fmt"
	"net/netip"
	"testing"

	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// BenchmarkCheck looks at half a GiB of messages of 1 KiB with a key each, 64 queues.
func BenchmarkCheck(b *testing.B) {
	dir := b.TempDir()
	o := store.Options{Dir: dir, SegmentSize: 128 << 20}
	s, err := store.Open(vfs.OS, o)
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(); err != nil {
		b.Fatal(err)
	}
	host := netip.MustParseAddrPort("10.0.0.1:5000")
	body := make([]byte, 1024)
	for i := range body {
		body[i] = byte(i * 7)
	}
	for i := 0; s.MaxPhysical() < 512<<20; i++ {
		m := &message.Message{Topic: fmt.Sprint("topic", i%8), QueueID: int32(i / 8 % 8), Body: body, BornHost: host, StoreHost: host, BornTimestamp: 1}
		m.Properties = message.SetProperty(m.Properties, "TAGS", "a")
		m.Properties = message.SetProperty(m.Properties, "UNIQ_KEY", fmt.Sprintf("7F000001229649FF15F66AEB%08X", i))
		if r, err := s.Append(m); err != nil || r.Status != store.PutOK {
			b.Fatal(r.Status, err)
		}
	}
	end := s.MaxPhysical()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	if err := vfs.OS.MkdirAll(dir+"/config", 0o755); err != nil {
		b.Fatal(err)
	}
	write(b, vfs.OS, dir+"/config/topics.json", []byte(`{"topicConfigTable":{}}`))
	b.SetBytes(end)
	b.ReportAllocs()
	for b.Loop() {
		if r := look(b, vfs.OS, dir); !r.Clean {
			b.Fatal(text(r))
		}
	}
}
