// Package topic keeps the broker's topics and writes them to config/topics.json.
package topic

import (
	"fmt"
	"time"

	"rmqctl/internal/journal"
	"rmqctl/internal/jsonfile"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/vfs"
)

// maxName is the longest name whose length fits the stored record's one signed byte.
const maxName = 127

// Table is the set of topics; values are never changed in place. Safe for concurrent use.
type Table struct {
	journal.Table[*protocol.TopicConfig]
}

// New makes the configuration of a plain topic.
func New(name string, queues int32, perm int32) *protocol.TopicConfig {
	return &protocol.TopicConfig{TopicName: name, ReadQueueNums: queues, WriteQueueNums: queues, Perm: perm, TopicFilterType: "SINGLE_TAG"}
}

// From makes a new topic after a template, as the first send to an unknown topic asks. Without the inherit bit on the
// template there is none.
func From(template *protocol.TopicConfig, name string, queues, sysFlag int32) (*protocol.TopicConfig, bool) {
	if template.Perm&protocol.PermInherit == 0 {
		return nil, false
	}
	c := *template
	c.TopicName = name
	c.WriteQueueNums = max(0, min(queues, template.WriteQueueNums))
	c.ReadQueueNums = c.WriteQueueNums
	c.Perm = template.Perm &^ protocol.PermInherit
	c.TopicSysFlag = sysFlag
	return &c, true
}

// Load fills the table from the file and the journal beside it; missing ones leave it empty.
func (t *Table) Load(fsys vfs.FS, name string) error { return t.Table.Load(fsys, name, codec) }

// Commit makes every change so far survive a power cut; the file may follow later, see package journal.
func (t *Table) Commit(fsys vfs.FS, name string, now time.Time) error {
	return t.Table.Commit(fsys, name, codec, now)
}

// Save writes the file if anything differs from it.
func (t *Table) Save(fsys vfs.FS, name string) error { return t.Table.Save(fsys, name, codec) }

var codec = journal.Codec[*protocol.TopicConfig]{
	Decode: Decode, Encode: Encode,
	EncodeRow: func(c *protocol.TopicConfig) ([]byte, error) { return protocol.EncodeStandardJSON(c) },
	DecodeRow: func(name string, b []byte) (*protocol.TopicConfig, error) {
		c := &protocol.TopicConfig{}
		err := protocol.DecodeJSON(b, c)
		c.TopicName = name
		return c, err
	},
}

// Decode reads RocketMQ's text, the one of the file and of GET_ALL_TOPIC_CONFIG.
func Decode(b []byte) (map[string]*protocol.TopicConfig, jsonfile.Version, error) {
	var w protocol.TopicConfigTable
	if err := protocol.DecodeJSON(b, &w); err != nil {
		return nil, jsonfile.Version{}, err
	}
	rows := make(map[string]*protocol.TopicConfig, len(w.Topics))
	for name, c := range w.Topics {
		if c == nil {
			return nil, jsonfile.Version{}, fmt.Errorf("topic table: %q has no configuration", name)
		}
		c.TopicName = name
		rows[name] = c
	}
	return rows, jsonfile.Version{Counter: w.DataVersion.Counter, Timestamp: w.DataVersion.Timestamp}, nil
}

// Encode writes RocketMQ's text, compact.
func Encode(rows map[string]*protocol.TopicConfig, v jsonfile.Version) ([]byte, error) {
	return protocol.EncodeJSON(&protocol.TopicConfigTable{
		DataVersion: protocol.DataVersion{Counter: v.Counter, Timestamp: v.Timestamp},
		Topics:      rows,
	})
}

// CheckName says what is wrong with a topic's name, in RocketMQ's words; "" if nothing is.
func CheckName(name string) string {
	if name == "" {
		return "The specified topic is blank."
	}
	for i := range len(name) {
		if !nameByte(name[i]) {
			return "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
		}
	}
	if len(name) > maxName {
		return fmt.Sprintf("The specified topic is longer than topic max length %d.", maxName)
	}
	return ""
}

func nameByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return c == '%' || c == '|' || c == '_' || c == '-'
}

// Names are those of the cluster and the broker, after which two system topics are named, and the switches that decide
// which system topics there are.
type Names struct {
	Cluster, Broker           string
	DefaultQueues             int32 // of TBW102
	AutoCreate                bool
	ClusterTopic, BrokerTopic bool
	Trace                     string // the trace topic; "" without one
	DelayLevels               int32
}

// System are the topics every broker has. Only inherit-able ones may serve as templates for clients.
func System(n Names) []*protocol.TopicConfig {
	const rw = protocol.PermRead | protocol.PermWrite
	inherit := func(allowed bool) int32 {
		if allowed {
			return rw | protocol.PermInherit
		}
		return protocol.PermInherit
	}
	list := []*protocol.TopicConfig{
		New(message.SelfTestTopic, 1, rw),
		New(message.BenchmarkTopic, 1024, rw),
		New(n.Cluster, 16, inherit(n.ClusterTopic)),
		New(n.Broker, 1, inherit(n.BrokerTopic)),
		New(message.OffsetMovedTopic, 1, rw),
		New(message.ScheduleTopic, n.DelayLevels, rw),
		New(n.Cluster+message.ReplyTopicSuffix, 1, rw),
	}
	if n.AutoCreate {
		list = append(list, New(message.AutoCreateTopic, n.DefaultQueues, rw|protocol.PermInherit))
	}
	if n.Trace != "" {
		list = append(list, New(n.Trace, 1, rw))
	}
	return list
}

// AddSystem puts the system topics that are missing, and takes TBW102 away where topics are not made by themselves: a
// broker that went on announcing it would let clients send what it must then refuse.
func (t *Table) AddSystem(n Names, now time.Time) {
	for _, c := range System(n) {
		t.PutNew(c.TopicName, c, now)
	}
	if !n.AutoCreate {
		t.Delete(message.AutoCreateTopic, now)
	}
}

// SystemNames are the names of all topics that operators may neither make nor delete.
func SystemNames(n Names) map[string]bool {
	names := map[string]bool{
		message.AutoCreateTopic: true, message.HalfTopic: true, message.OpHalfTopic: true, message.CheckMaxTimeTopic: true, message.TraceTopic: true,
	}
	for _, c := range System(n) {
		names[c.TopicName] = true
	}
	return names
}
