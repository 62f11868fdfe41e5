package broker

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"rmqctl/broker/config"
	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

func TestAStoreThatWouldBeReadInPartIsRefused(t *testing.T) {
	for path, word := range map[string]string{
		"consumequeue/CURRENT":   "defaultRocksDB",
		"config/topics/CURRENT":  "defaultRocksDB",
		"config/rdb/CURRENT":     "configManagerVersion",
		"dledger-n0/data/000000": "raft",
		"dledger-n0/currterm":    "",
		"consumequeue/T/0/00000": "",
		"config/topics.json":     "",
	} {
		fsys := vfs.NewMem()
		name := filepath.Join("/s", filepath.FromSlash(path))
		if err := fsys.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := vfs.WriteFileAtomic(fsys, name, []byte("x"), 0o640); err != nil {
			t.Fatal(err)
		}
		err := checkReadable(fsys, &config.Config{StorePathRootDir: "/s"})
		if word == "" && err != nil || word != "" && (!errors.Is(err, ErrUnservedStore) || !strings.Contains(err.Error(), word)) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestWhatIsNotServedIsNamed(t *testing.T) {
	fsys := vfs.NewMem()
	st, err := store.Open(fsys, store.Options{Dir: "/s", SegmentSize: 4096, NoIndex: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.Start(); err != nil {
		t.Fatal(err)
	}
	c := &config.Config{StorePathRootDir: "/s", BrokerClusterName: "C"}
	if words := inherited(fsys, c, st); len(words) != 0 {
		t.Errorf("an empty store: %q", words)
	}
	for _, topic := range []string{timerTopic, message.HalfTopic, "rmq_sys_REVIVE_LOG_C"} {
		if r, err := st.Append(&message.Message{Topic: topic, Body: []byte("x")}); err != nil || r.Status != store.PutOK {
			t.Fatal(r, err)
		}
	}
	for _, dir := range []string{"batchconsumequeue/T", "compaction/compactionLog/T", "consumequeue_ext/T"} {
		if err := fsys.MkdirAll("/s/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	words := strings.Join(inherited(fsys, c, st), "\n")
	for _, want := range []string{timerTopic, message.HalfTopic, "rmq_sys_REVIVE_LOG_C", "batchconsumequeue", "compactionLog", "consumequeue_ext"} {
		if !strings.Contains(words, want) {
			t.Errorf("no word of %s in\n%s", want, words)
		}
	}
}
