package topic

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/protocol"
	"rmqctl/internal/vfs"
)

func TestATopicMadeAfterATemplateIsClippedAndDoesNotInherit(t *testing.T) {
	template := New("TBW102", 8, 7)
	for _, row := range []struct{ asked, want int32 }{{4, 4}, {16, 8}, {-1, 0}} {
		c, ok := From(template, "T", row.asked, 0)
		if !ok || c.WriteQueueNums != row.want || c.ReadQueueNums != row.want || c.Perm != 6 || c.TopicName != "T" {
			t.Errorf("asked for %d: %+v %v", row.asked, c, ok)
		}
	}
	if _, ok := From(New("U", 8, 6), "T", 4, 0); ok {
		t.Error("a topic without the inherit bit served as a template")
	}
}

func TestNamesAreRocketMQs(t *testing.T) {
	for name, ok := range map[string]bool{
		"TopicTest": true, "%RETRY%G": true, "a|b_c-9": true, strings.Repeat("x", 127): true,
		"": false, "a b": false, "a@b": false, "ü": false, strings.Repeat("x", 128): false,
	} {
		if got := CheckName(name); (got == "") != ok {
			t.Errorf("%q: %q", name, got)
		}
	}
}

const file = "/c/topics.json"

// javaFile is what RocketMQ 4.9 leaves on disk.
const javaFile = "{\n\t\"dataVersion\":{\n\t\t\"counter\":3,\n\t\t\"timestamp\":1700000000000\n\t},\n\t\"topicConfigTable\":{\n" +
	"\t\t\"T\":{\n\t\t\t\"order\":false,\n\t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":8,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n" +
	"\t\t\t\"topicName\":\"T\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":8\n\t\t}\n\t}\n}"

func newMem(t *testing.T, text string) *vfs.Mem {
	m := vfs.NewMem()
	if err := m.MkdirAll("/c", 0o755); err != nil {
		t.Fatal(err)
	}
	if text != "" {
		if err := vfs.WriteFileAtomic(m, file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestTheFileIsRocketMQs(t *testing.T) {
	m := newMem(t, javaFile)
	var table Table
	if err := table.Load(m, file); err != nil {
		t.Fatal(err)
	}
	c, ok := table.Get("T")
	if !ok || !reflect.DeepEqual(c, New("T", 8, 6)) || table.Version().Counter != 3 {
		t.Errorf("loaded %+v at %+v", c, table.Version())
	}
	rows, version := table.All()
	table.Replace(rows, version)
	if err := table.Save(m, file); err != nil {
		t.Fatal(err)
	}
	if b, _ := vfs.ReadFile(m, file); string(b) != javaFile {
		t.Errorf("saved\n%s", b)
	}
}

func TestAFileOfRocketMQ5IsRead(t *testing.T) {
	m := newMem(t, `{"dataVersion":{"counter":9,"stateVersion":0,"timestamp":5},"topicConfigTable":{"T":{"attributes":{},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":4}}}`)
	var table Table
	if err := table.Load(m, file); err != nil {
		t.Fatal(err)
	}
	if c, _ := table.Get("T"); c == nil || c.ReadQueueNums != 4 {
		t.Errorf("loaded %+v", c)
	}
}

func TestSystemTopicsAreAddedOnceAndTheTemplateOnlyWithAutoCreation(t *testing.T) {
	var table Table
	names := Names{Cluster: "C", Broker: "b", DefaultQueues: 8, AutoCreate: true, ClusterTopic: true, BrokerTopic: true, DelayLevels: 18}
	now := time.Unix(1, 0)
	table.AddSystem(names, now)
	version := table.Version()
	table.AddSystem(names, now)
	if table.Version() != version {
		t.Error("adding them again changed the version")
	}
	if c, _ := table.Get("TBW102"); c == nil || c.Perm != 7 || c.WriteQueueNums != 8 {
		t.Errorf("TBW102 %+v", c)
	}
	if c, _ := table.Get("SCHEDULE_TOPIC_XXXX"); c == nil || c.WriteQueueNums != 18 {
		t.Errorf("schedule topic %+v", c)
	}
	names.AutoCreate = false
	table.AddSystem(names, now)
	if _, ok := table.Get("TBW102"); ok {
		t.Error("TBW102 is announced although topics are not made by themselves")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(javaFile))
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, v, err := Decode(b)
		if err != nil {
			return
		}
		text, err := Encode(rows, v)
		if err != nil {
			t.Fatal(err)
		}
		var w protocol.TopicConfigTable
		if err := protocol.DecodeJSON(text, &w); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	})
}
