package protocol

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// samples are one body of each kind, by the name of its Java class.
func samples() map[string]any {
	q0, q1 := MessageQueue{"broker-a", 0, "T"}, MessageQueue{"broker-a", 1, "T"}
	sub := &SubscriptionData{CodeSet: []int32{2598919}, ExpressionType: "TAG", SubString: "TagA", SubVersion: 1700000000000, TagsSet: []string{"TagA"}, Topic: "T"}
	topic := &TopicConfig{Perm: 6, ReadQueueNums: 8, TopicFilterType: "SINGLE_TAG", TopicName: "T", WriteQueueNums: 4, Order: true}
	group := &SubscriptionGroupConfig{ConsumeBroadcastEnable: true, ConsumeEnable: true, ConsumeFromMinEnable: true, GroupName: "G",
		NotifyConsumerIdsChangedEnable: true, RetryMaxTimes: 16, RetryQueueNums: 1, WhichBrokerWhenConsumeSlowly: 1}
	data := &BrokerData{BrokerAddrs: map[int64]string{0: "10.0.0.1:10911", 1: "10.0.0.2:10911"}, BrokerName: "broker-a", Cluster: "C"}
	version := DataVersion{Counter: 3, Timestamp: 1700000000000}
	conn := Connection{ClientAddr: "10.0.0.9:5000", ClientID: "c1", Language: "JAVA", Version: 409}
	stats := ConsumeStats{ConsumeTPS: 1.5, OffsetTable: map[MessageQueue]OffsetWrapper{q0: {BrokerOffset: 10, ConsumerOffset: 7, LastTimestamp: 1700000000000}}}
	return map[string]any{
		"RegisterBrokerBody":                 &RegisterBrokerBody{[]string{}, TopicConfigTable{version, map[string]*TopicConfig{"T": topic}}},
		"TopicRouteData":                     &TopicRouteData{[]*BrokerData{data}, map[string][]string{}, "broker-a:4", []*QueueData{{"broker-a", 6, 8, 0, 8}}},
		"ClusterInfo":                        &ClusterInfo{map[string]*BrokerData{"broker-a": data}, map[string][]string{"C": {"broker-a"}}},
		"TopicList":                          &TopicList{"10.0.0.1:10911", []string{"T"}},
		"KVTable":                            &KVTable{map[string]string{"k": "v", "q": "a\"b\\\n\x01é"}},
		"HeartbeatData":                      &HeartbeatData{ClientID: "c1", Consumers: []ConsumerData{{FromLastOffset, ConsumePassively, "G", ModelClustering, []*SubscriptionData{sub}, false}}, Producers: []ProducerData{{"P"}}},
		"GetConsumerListByGroupResponseBody": &ConsumerList{[]string{"c1", "c2"}},
		"CheckClientRequestBody":             &CheckClientConfigBody{"c1", "G", "", sub},
		"LockBatchRequestBody":               &LockBatchBody{ClientID: "c1", ConsumerGroup: "G", Queues: []MessageQueue{q0}},
		"LockBatchResponseBody":              &LockBatchResponse{[]MessageQueue{q0}},
		"ResetOffsetBody":                    &ResetOffsetBody{map[MessageQueue]int64{q0: 5, q1: 6}},
		"ResetOffsetBodyForC":                &ResetOffsetBodyCPP{[]QueueOffset{{"broker-a", 5, 0, "T"}}},
		"GetConsumerStatusBody":              &ConsumerStatusBody{map[string]map[MessageQueue]int64{"c1": {q0: 5}}, map[MessageQueue]int64{}},
		"ConsumerRunningInfo":                &ConsumerRunningInfo{"stack", map[MessageQueue]ProcessQueueInfo{q0: {CachedMsgCount: 1, Dropped: true, CommitOffset: 9}}, map[string]string{"PROP_CLIENT_VERSION": "V4_9_8"}, map[string]ConsumeStatus{"T": {PullTPS: 0.5}}, []*SubscriptionData{sub}},
		"ConsumeMessageDirectlyResult":       &ConsumeDirectlyResult{true, "CR_SUCCESS", false, "r", 3},
		"TopicConfigSerializeWrapper":        &TopicConfigTable{version, map[string]*TopicConfig{"T": topic}},
		"TopicStatsTable":                    &TopicStats{OffsetTable: map[MessageQueue]TopicOffset{q0: {1700000000000, 5, 1}}},
		"GroupList":                          &GroupList{[]string{"G"}},
		"SubscriptionGroupConfig":            group,
		"SubscriptionGroupWrapper":           &SubscriptionGroupTable{DataVersion: version, Groups: map[string]*SubscriptionGroupConfig{"G": group}},
		"ConsumeStats":                       &stats,
		"ConsumeStatsList":                   &BrokerConsumeStats{"10.0.0.1:10911", []map[string][]ConsumeStats{{"G": {stats}}}, 3, 0},
		"ConsumerConnection":                 &ConsumerConnection{[]Connection{conn}, FromLastOffset, ConsumePassively, ModelClustering, map[string]*SubscriptionData{"T": sub}},
		"ProducerConnection":                 &ProducerConnection{[]Connection{conn}},
		"ProducerTableInfo":                  &ProducerTable{map[string][]ProducerInfo{"P": {{"c1", "JAVA", 1700000000000, "/10.0.0.9:5000", 409}}}},
		"ConsumerOffsetSerializeWrapper":     &ConsumerOffsetTable{OffsetTable: map[string]map[int32]int64{"T@G": {0: 12, 1: 13}}},
		"DelayOffsetSerializeWrapper":        &DelayOffsetTable{OffsetTable: map[int32]int64{1: 5, 2: 6}},
		"QueryCorrectionOffsetBody":          &CorrectionOffsets{map[int32]int64{0: 123}},
		"QueryConsumeTimeSpanBody":           &ConsumeTimeSpans{[]ConsumeTimeSpan{{1, 2, 3, q0, 4}}},
		"QueryConsumeQueueResponseBody":      &ConsumeQueueData{"", 9, 1, []ConsumeQueueUnit{{"", false, "", "", 1000, 113, 2598919}}, sub},
		"BrokerStatsData":                    &BrokerStatsData{Minute: BrokerStatsItem{1.5, 3, 0.25}},
	}
}

// Java's own text of each sample, as fastjson of 4.9.8 and of 5.3.3 writes it,
// is read back as the sample. Fields that only 5.x has may come on top.
func TestBodiesWrittenByJavaAreRead(t *testing.T) {
	for _, version := range []string{"4.9.8", "5.3.3"} {
		for name, want := range samples() {
			b, err := os.ReadFile(filepath.Join("testdata", "java-"+version, name+".json"))
			if err != nil {
				t.Error(err)
				continue
			}
			got := reflect.New(reflect.TypeOf(want).Elem()).Interface()
			if err := DecodeJSON(b, got); err != nil {
				t.Errorf("%s %s: %v", version, name, err)
				continue
			}
			if version == "5.3.3" {
				forget5x(got)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s %s:\nJava %s\n got %s\nwant %s", version, name, b, Marshal(got), Marshal(want))
			}
		}
	}
}

// Frames that Java wrote, in both encodings: "name encoding hex" a line.
func TestFramesWrittenByJavaAreRead(t *testing.T) {
	want := map[string]any{
		"send": &SendMessageRequestV2{ProducerGroup: "P", Topic: "T1", DefaultTopic: "TBW102", DefaultTopicQueueNums: 4, QueueID: 3,
			BornTimestamp: 1700000000000, Properties: []byte("UNIQ_KEY\x01U\x02TAGS\x01é\"\\\x02")},
		"pull": &PullMessageRequest{ConsumerGroup: "G", Topic: "T1", QueueID: 2, QueueOffset: 5, MaxMsgNums: 32, SysFlag: 6, CommitOffset: 4,
			SuspendTimeoutMillis: 15000, Subscription: "TagA || TagB", SubVersion: 1700000000000, ExpressionType: "TAG"},
		"register":     &RegisterBrokerRequest{BrokerName: "b", BrokerAddr: "10.0.0.1:10911", ClusterName: "C", HAServerAddr: "10.0.0.1:10912", Compressed: true, BodyCRC32: 5},
		"end":          &EndTransactionRequest{ProducerGroup: "P", TranStateTableOffset: 1, CommitLogOffset: 2, CommitOrRollback: 8, MsgID: "M", TransactionID: "M"},
		"pullResponse": &PullMessageResponse{1, 2, 0, 9},
		"sendResponse": &SendMessageResponse{MsgID: "ID", QueueID: 3, QueueOffset: 9},
	}
	for _, version := range []string{"4.9.8", "5.3.3"} {
		text, err := os.ReadFile(filepath.Join("testdata", "java-"+version, "frames.txt"))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if len(lines) != 2*len(want) {
			t.Errorf("%s: %d frames", version, len(lines))
		}
		for _, line := range lines {
			f := strings.Fields(line)
			var c Command
			if err := Parse(unhex(t, f[2]), &c); err != nil {
				t.Errorf("%s %s: %v", version, line, err)
				continue
			}
			if c.Opaque != 7 || c.Version != 409 || c.Language != LanguageJava || c.IsResponse() != (c.Remark == "FOUND") {
				t.Errorf("%s %s: %+v", version, f[0], c)
			}
			got := reflect.New(reflect.TypeOf(want[f[0]]).Elem()).Interface()
			if err := DecodeFields(&c.Fields, got); err != nil {
				t.Errorf("%s %s: %v", version, f[0], err)
				continue
			}
			if r, ok := got.(*RegisterBrokerRequest); ok {
				r.HeartbeatTimeoutMillis, r.EnableActingMaster = nil, nil
			}
			if !reflect.DeepEqual(got, want[f[0]]) {
				t.Errorf("%s %s %s:\n got %+v\nwant %+v", version, f[0], f[1], got, want[f[0]])
			}
		}
	}
}

func forget5x(v any) {
	group := func(g *SubscriptionGroupConfig) {
		g.Attributes, g.ConsumeMessageOrderly, g.ConsumeTimeoutMinute, g.GroupRetryPolicy, g.GroupSysFlag, g.SubscriptionDataSet = nil, false, 0, nil, 0, nil
	}
	topics := func(t *TopicConfigTable) {
		for _, c := range t.Topics {
			c.Attributes = nil
		}
	}
	switch v := v.(type) {
	case *RegisterBrokerBody:
		topics(&v.TopicConfigs)
	case *TopicConfigTable:
		topics(v)
	case *SubscriptionGroupConfig:
		group(v)
	case *SubscriptionGroupTable:
		v.ForbiddenTable = nil
		for _, g := range v.Groups {
			group(g)
		}
	case *ConsumerOffsetTable:
		v.DataVersion = nil
	case *DelayOffsetTable:
		v.DataVersion = nil
	}
}
