package group

import (
	"strings"
	"testing"
	"time"

	"rmqctl/internal/vfs"
)

// A 5.x broker keeps more in the file than we serve: it is there when that broker comes back.
func TestTheFileKeepsWhatOnlyRocketMQ5Knows(t *testing.T) {
	fsys := vfs.NewMem()
	const name = "/c/subscriptionGroup.json"
	if err := fsys.MkdirAll("/c", 0o755); err != nil {
		t.Fatal(err)
	}
	text := `{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":1},"forbiddenTable":{"G":{"T":4}},
		"subscriptionGroupTable":{"G":{"attributes":{"a":"b"},"consumeMessageOrderly":true,"consumeTimeoutMinute":15,"groupName":"G","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":2}}}`
	if err := vfs.WriteFileAtomic(fsys, name, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	var c Configs
	if err := c.Load(fsys, name); err != nil {
		t.Fatal(err)
	}
	c.Put("H", New("H"), time.UnixMilli(2))
	if err := c.Save(fsys, name); err != nil {
		t.Fatal(err)
	}
	b, err := vfs.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(string(b)), "")
	for _, want := range []string{`"forbiddenTable":{"G":{"T":4}}`, `"attributes":{"a":"b"}`, `"consumeMessageOrderly":true`,
		`"consumeTimeoutMinute":15`, `"groupRetryPolicy":{"type":"CUSTOMIZED"}`, `"groupSysFlag":2`, `"groupName":"H"`} {
		if !strings.Contains(flat, want) {
			t.Errorf("no %s in %s", want, flat)
		}
	}
}
