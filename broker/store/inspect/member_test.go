package inspect

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

type ends struct{ all []int64 }

func (e *ends) Written(from int64, b []byte) { e.all = append(e.all, from+int64(len(b))) }

type nobody struct{}

func (nobody) Stored(store.PutResult, error) {}

// TestAMembersUncommittedMessagesAreNoDamage: they have no units yet, and a repair would make some.
func TestAMembersUncommittedMessagesAreNoDamage(t *testing.T) {
	dir, gate, host := t.TempDir(), &ends{}, netip.MustParseAddrPort("10.0.0.1:5000")
	s, err := store.Open(vfs.OS, store.Options{Dir: dir, SegmentSize: 1 << 16, QueueSegmentSize: 400, Gate: gate})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Start(), s.Lead()); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		g := s.NewStage()
		if status, err := g.Add(&message.Message{Topic: "T", Body: []byte("x"), BornHost: host, StoreHost: host}, nobody{}); status != store.PutOK {
			t.Fatal(status, err)
		}
		g.Put()
	}
	if err := errors.Join(s.Commit(gate.all[20]), s.Close(), os.Mkdir(filepath.Join(dir, "raft"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if r := look(t, vfs.OS, dir); r.Records != 40 || r.Units != 21 || r.LostMessages != 0 {
		t.Errorf("%+v\n%s", r, text(r))
	} else {
		for _, f := range r.Findings {
			if f.Severity != Note && f.Severity != Metadata {
				t.Errorf("%+v", f)
			}
		}
	}
	if err := os.Remove(filepath.Join(dir, "consumequeue", "T", "0", "00000000000000000000")); err != nil {
		t.Fatal(err)
	}
	d, err := Open(vfs.OS, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Plan(context.Background()); !errors.Is(err, ErrMember) {
		t.Fatal("a repair would publish what is not committed:", err)
	}
}
