package broker

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	"rmqctl/broker/offset"
	"rmqctl/broker/store"
	"rmqctl/internal/jsonfile"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// TestOffsetsBeyondTheLogAreSetBack: a power cut took the end of the log, and the offsets were on the disk.
func TestOffsetsBeyondTheLogAreSetBack(t *testing.T) {
	m := vfs.NewMem()
	st, err := store.Open(m, store.Options{Dir: "/s", SegmentSize: 4096, NoIndex: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Start(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		msg := &message.Message{Topic: "T", Body: []byte("x"), BornHost: netip.MustParseAddrPort("10.0.0.1:1"), StoreHost: netip.MustParseAddrPort("10.0.0.2:2")}
		if r, err := st.Append(msg); err != nil || r.Status != store.PutOK {
			t.Fatal(r, err)
		}
	}
	var said bytes.Buffer
	b := &Broker{store: st, offsets: offset.New(), log: slog.New(slog.NewTextHandler(&said, nil))}
	b.offsets.Commit("behind", "T", 0, 2)
	b.offsets.Commit("beyond", "T", 0, 9)
	b.offsets.Commit("lost", "U", 1, 4)
	b.setBack()
	for group, want := range map[string]int64{"behind": 2, "beyond": 3} {
		if at, _ := b.offsets.Get(group, "T", 0); at != want {
			t.Errorf("%s stands at %d, want %d", group, at, want)
		}
	}
	if at, _ := b.offsets.Get("lost", "U", 1); at != 0 {
		t.Errorf("a queue that is not there: %d", at)
	}
	if text := said.String(); strings.Count(text, "set back") != 2 || !strings.Contains(text, "group=beyond topic=T queue=0 from=9 to=3") {
		t.Error(text)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTheLogSaysThatATableIsDamaged(t *testing.T) {
	m := vfs.NewMem()
	if err := m.MkdirAll("/c", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`{"offsetTable":{"T@g":{0:1}}}`, `{"offsetTable":{"T@g":{0:2}}}`} {
		if err := jsonfile.Save(m, "/c/t.json", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	var said bytes.Buffer
	b := &Broker{o: Options{FS: m}, log: slog.New(slog.NewTextHandler(&said, nil))}
	if b.tellDoubts("/c/t.json"); said.Len() > 0 {
		t.Error("a good file:", said.String())
	}
	f, err := m.OpenFile("/c/t.json", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("9"), 20)
	b.tellDoubts("/c/t.json")
	if !strings.Contains(said.String(), "damaged") || !strings.Contains(said.String(), "file=/c/t.json") {
		t.Error(said.String())
	}
}
