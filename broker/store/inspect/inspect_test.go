package inspect

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

func small(dir string) store.Options {
	return store.Options{Dir: dir, SegmentSize: 4096, QueueSegmentSize: 200, IndexSlots: 50, IndexEntries: 40, OpenFiles: 64}
}

// aStore fills a store with n messages over two topics and closes it.
func aStore(t testing.TB, fsys vfs.FS, dir string, n int) {
	t.Helper()
	s, err := store.Open(fsys, small(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		put(t, s, i)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := vfs.OS.MkdirAll(dir+"/config", 0o755); fsys == vfs.OS && err == nil {
		_ = os.WriteFile(dir+"/config/topics.json", []byte(`{"dataVersion":{"counter":1},"topicConfigTable":{"A":{"topicName":"A"},"B":{"topicName":"B"}}}`), 0o644)
	}
}

func put(t testing.TB, s *store.Store, i int) {
	t.Helper()
	m := &message.Message{Topic: "A", QueueID: int32(i % 2), Body: []byte(fmt.Sprint("body ", i, strings.Repeat(".", i%200))),
		BornHost: netip.MustParseAddrPort("10.0.0.1:5000"), StoreHost: netip.MustParseAddrPort("10.0.0.2:10911"), BornTimestamp: 1}
	if i%3 == 0 {
		m.Topic = "B"
	}
	m.Properties = message.SetProperty(m.Properties, "TAGS", fmt.Sprint("t", i%5))
	m.Properties = message.SetProperty(m.Properties, "UNIQ_KEY", fmt.Sprint("key", i))
	r, err := s.Append(m)
	if err != nil || r.Status != store.PutOK {
		t.Fatal(r.Status, err)
	}
}

func look(t testing.TB, fsys vfs.FS, dir string) *Report {
	t.Helper()
	d, err := Open(fsys, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	r, err := d.Check(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(r *Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s@%d+%d: %s | %s | %s\n", f.Severity, f.File, f.Offset, f.Length, f.What, f.Means, f.Repair)
	}
	return b.String()
}

func TestAGoodStoreIsClean(t *testing.T) {
	dir := t.TempDir()
	aStore(t, vfs.OS, dir, 200)
	r := look(t, vfs.OS, dir)
	if !r.Clean || r.Records != 200 || r.Units != 200 || r.IndexEntries != 200 || r.Queues != 4 || len(r.Findings) != 0 {
		t.Errorf("%+v\n%s", r, text(r))
	}
}
