package protocol

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestBodiesHaveFastjsonsShape(t *testing.T) {
	mq := MessageQueue{BrokerName: "b", QueueID: 0, Topic: "t"}
	for _, row := range []struct {
		name string
		v    any
		want string
	}{
		{"numeric keys without quotes", &ConsumerOffsetTable{OffsetTable: map[string]map[int32]int64{"t@g": {1: 7, 0: 5}}}, `{"offsetTable":{"t@g":{0:5,1:7}}}`},
		{"objects as keys", &ResetOffsetBody{map[MessageQueue]int64{mq: 1}}, `{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:1}}`},
		{"null is left out, empty is not", &ConsumerList{IDs: []string{}}, `{"consumerIdList":[]}`},
		{"null list", &ConsumerList{}, `{}`},
		{"doubles have a fraction", &BrokerStatsItem{Sum: 3}, `{"avgpt":0.0,"sum":3,"tps":0.0}`},
		{"text is escaped, not mangled", &KVTable{map[string]string{"k": "a<b>&\"\\\n\x01é"}}, `{"table":{"k":"a<b>&\"\\\n\u0001é"}}`},
		{"topics", &TopicConfigTable{DataVersion{Counter: 1, Timestamp: 2}, map[string]*TopicConfig{"T": {Perm: 6, ReadQueueNums: 8, WriteQueueNums: 8, TopicFilterType: "SINGLE_TAG", TopicName: "T"}}},
			`{"dataVersion":{"counter":1,"timestamp":2},"topicConfigTable":{"T":{"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":8}}}`},
		{"groups", &SubscriptionGroupConfig{GroupName: "G", ConsumeEnable: true, RetryMaxTimes: 16, RetryQueueNums: 1, WhichBrokerWhenConsumeSlowly: 1},
			`{"brokerId":0,"consumeBroadcastEnable":false,"consumeEnable":true,"consumeFromMinEnable":false,"groupName":"G","notifyConsumerIdsChangedEnable":false,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}`},
	} {
		if got := string(Marshal(row.v)); got != row.want {
			t.Errorf("%s:\n got %s\nwant %s", row.name, got, row.want)
		}
	}
}

func TestRouteFormFollowsTheClientsVersion(t *testing.T) {
	r := &TopicRouteData{
		BrokerDatas: []*BrokerData{{BrokerAddrs: map[int64]string{1: "10.0.0.2:10911", 0: "10.0.0.1:10911"}, BrokerName: "bröker", Cluster: "C"}},
		QueueDatas:  []*QueueData{{BrokerName: "bröker", Perm: 6, ReadQueueNums: 8, WriteQueueNums: 8}},
	}
	old := `{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"bröker","cluster":"C"}],"filterServerTable":{},` +
		`"queueDatas":[{"brokerName":"bröker","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}`
	if got := string(EncodeRoute(r, 317, false)); got != old {
		t.Errorf("317:\n got %s\nwant %s", got, old)
	}
	standard := strings.NewReplacer(`{0:`, `{"0":`, `,1:`, `,"1":`, "ö", `\u00F6`).Replace(old)
	for _, got := range []string{string(EncodeRoute(r, 401, false)), string(EncodeRoute(r, 317, true))} {
		if got != standard {
			t.Errorf("standard:\n got %s\nwant %s", got, standard)
		}
		if !json.Valid([]byte(got)) {
			t.Error("the standard form is no JSON")
		}
	}
	empty := string(EncodeRoute(&TopicRouteData{BrokerDatas: []*BrokerData{{BrokerName: "b"}}}, 317, false))
	if want := `{"brokerDatas":[{"brokerAddrs":{},"brokerName":"b","cluster":""}],"filterServerTable":{},"queueDatas":[]}`; empty != want {
		t.Errorf("got %s", empty)
	}
}

func TestBodiesAreReadLeniently(t *testing.T) {
	mq := MessageQueue{BrokerName: "b", QueueID: 2, Topic: "t"}
	for name, text := range map[string]string{
		"fastjson":              `{"offsetTable":{{"brokerName":"b","queueId":2,"topic":"t"}:9}}`,
		"gson pairs":            `{"offsetTable":[[{"topic":"t","brokerName":"b","queueId":2},9]]}`,
		"quoted object as key":  `{"offsetTable":{"{\"brokerName\":\"b\",\"queueId\":2,\"topic\":\"t\"}":9}}`,
		"blanks and unknown":    "{ \"x\" : [ {} , { {1:2}:3 } ] ,\n \"offsetTable\" : { { \"topic\":\"t\", \"new\":null, \"brokerName\":\"b\",\"queueId\":\"2\" } : \"9\" } }",
		"a bare member name":    `{offsetTable:{{brokerName:"b",queueId:2,topic:"t"}:9}}`,
		"a number with a point": `{"offsetTable":{{"brokerName":"b","queueId":2.0,"topic":"t"}:9.0}}`,
	} {
		var got ResetOffsetBody
		if err := DecodeJSON([]byte(text), &got); err != nil || !reflect.DeepEqual(got.OffsetTable, map[MessageQueue]int64{mq: 9}) {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	var o ConsumerOffsetTable
	if err := DecodeJSON([]byte(`{"offsetTable":{"t@g":{0:5,"1":7},"u@g":null}}`), &o); err != nil || o.OffsetTable["t@g"][1] != 7 || o.OffsetTable["t@g"][0] != 5 {
		t.Errorf("%v %v", o, err)
	}
	var hb HeartbeatData
	if err := DecodeJSON([]byte(`{"clientID":"c","consumerDataSet":null,"producerDataSet":null}`), &hb); err != nil || hb.Consumers != nil {
		t.Errorf("%v %v", hb, err)
	}
	var d ConsumeDirectlyResult
	if err := DecodeJSON([]byte(`{"consumeResult":0,"order":"true"}`), &d); err != nil || d.ConsumeResult != "0" || !d.Order {
		t.Errorf("%v %v", d, err)
	}
	in := []byte(`{"remark":"a\u0041"}`)
	if err := DecodeJSON(in, &d); err != nil || d.Remark != "aA" || string(in) != `{"remark":"a\u0041"}` {
		t.Errorf("%v %v, input now %s", d, err, in)
	}
}

func TestBadBodiesAreErrors(t *testing.T) {
	for _, text := range []string{"", "x", "{", `{"offsetTable":5}`, `{"offsetTable":{"t":{"x":1}}}`, `{"offsetTable":{}} {}`, `[]`,
		`{"offsetTable":{"t":{1:99999999999999999999}}}`, `{"offsetTable":{"t":{99999999999:1}}}`, `{"offsetTable":{{}:{}}}`, strings.Repeat(`{"offsetTable":`, 100)} {
		if err := DecodeJSON([]byte(text), &ConsumerOffsetTable{}); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func TestRegisterBodyRoundTripsInBothForms(t *testing.T) {
	in := &RegisterBrokerBody{FilterServerList: []string{}, TopicConfigs: TopicConfigTable{DataVersion{Counter: 3, Timestamp: 1700000000000}, map[string]*TopicConfig{
		"T":        {Perm: 6, ReadQueueNums: 8, WriteQueueNums: 4, TopicFilterType: "SINGLE_TAG", TopicName: "T"},
		"%RETRY%g": {Perm: 6, ReadQueueNums: 1, WriteQueueNums: 1, TopicFilterType: "SINGLE_TAG", TopicName: "%RETRY%g"},
	}}}
	for _, compressed := range []bool{false, true} {
		b, err := in.Encode(compressed)
		if err != nil {
			t.Fatal(err)
		}
		out, err := DecodeRegisterBroker(b, compressed, V4_9_8)
		if err != nil || !reflect.DeepEqual(in, out) {
			t.Errorf("compressed=%v: %+v %v", compressed, out, err)
		}
	}
	if out, err := DecodeRegisterBroker(nil, false, V4_9_8); err != nil || len(out.TopicConfigs.Topics) != 0 {
		t.Errorf("no body: %+v %v", out, err)
	}
	old := Marshal(&in.TopicConfigs)
	if out, err := DecodeRegisterBroker(old, false, V3_0_11-1); err != nil || len(out.TopicConfigs.Topics) != 2 {
		t.Errorf("before V3_0_11: %+v %v", out, err)
	}
	if _, err := DecodeRegisterBroker([]byte("nonsense"), true, V4_9_8); err == nil {
		t.Error("nonsense was inflated")
	}
	var b RegisterBrokerBody
	if err := b.parseFlat([]byte{0, 0, 0, 2, '{', '}', 0x7f, 0xff, 0xff, 0xff}); err == nil {
		t.Error("two thousand million topics were believed")
	}
}

// bodies of every call, for the fuzzer and for the round trip.
func bodies() []any {
	return []any{&RegisterBrokerBody{}, &TopicRouteData{}, &ClusterInfo{}, &BrokerMemberGroupBody{}, &TopicList{}, &KVTable{}, &HeartbeatData{}, &ConsumerList{},
		&CheckClientConfigBody{}, &LockBatchBody{}, &LockBatchResponse{}, &ResetOffsetBody{}, &ResetOffsetBodyCPP{}, &ConsumerStatusBody{}, &ConsumerRunningInfo{},
		&ConsumeDirectlyResult{}, &UpdateTopicListBody{}, &TopicConfig{}, &TopicConfigTable{}, &TopicStats{}, &GroupList{}, &UpdateGroupListBody{},
		&SubscriptionGroupConfig{}, &SubscriptionGroupTable{}, &ConsumeStats{}, &BrokerConsumeStats{}, &ConsumerConnection{}, &ProducerConnection{}, &ProducerTable{},
		&SubscriptionOfGroup{}, &ConsumerOffsetTable{}, &DelayOffsetTable{}, &CorrectionOffsets{}, &ConsumeTimeSpans{}, &ConsumeQueueData{}, &BrokerStatsData{},
		&HARuntimeInfo{}, &MessageRequestModes{}, &DataVersion{}, &SubscriptionData{}}
}

func FuzzBodies(f *testing.F) {
	for i, v := range bodies() {
		f.Add(uint8(i), string(Marshal(v)))
	}
	f.Add(uint8(11), `{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:1}}`)
	f.Add(uint8(14), `{"mqTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{"droped":true}},"properties":{"a":"b"},"statusTable":{"t":{"pullTPS":1.5}},"subscriptionSet":[{"tagsSet":["a"],"codeSet":[1]}]}`)
	f.Fuzz(func(t *testing.T, which uint8, text string) {
		all := bodies()
		v := all[int(which)%len(all)]
		if DecodeJSON([]byte(text), v) != nil {
			return
		}
		first, err := EncodeJSON(v)
		if err != nil {
			t.Fatal(err)
		}
		again := reflect.New(reflect.TypeOf(v).Elem()).Interface()
		if err := DecodeJSON(first, again); err != nil {
			t.Fatalf("own text %q: %v", first, err)
		}
		if second, _ := EncodeJSON(again); string(second) != string(first) {
			t.Fatalf("%q became %q", first, second)
		}
	})
}

func FuzzRegisterFlat(f *testing.F) {
	b := RegisterBrokerBody{TopicConfigs: TopicConfigTable{Topics: map[string]*TopicConfig{"T": {TopicName: "T", TopicFilterType: "SINGLE_TAG"}}}}
	f.Add(b.flat())
	f.Fuzz(func(t *testing.T, flat []byte) {
		var b RegisterBrokerBody
		_ = b.parseFlat(flat)
	})
}

func BenchmarkSendHeader(b *testing.B) {
	send := &SendMessageRequestV2{ProducerGroup: "producers", Topic: "orders", DefaultTopic: "TBW102", DefaultTopicQueueNums: 4, QueueID: 3,
		BornTimestamp: 1700000000000, Properties: []byte("UNIQ_KEY\x010A00000112345A07D6E505265C000001\x02WAIT\x01true\x02TAGS\x01A\x02")}
	for name, enc := range map[string]Encoding{"json": JSON, "binary": Binary} {
		b.Run(name, func(b *testing.B) {
			var c Command
			var in Interner
			frame := AppendFrame(nil, &Command{Code: 310, Encoding: enc}, HeaderOf(send), make([]byte, 1024))
			scratch := make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if err := Parse(scratch[:copy(scratch, frame)], &c); err != nil {
					b.Fatal(err)
				}
				var q SendMessageRequestV2
				if err := SendMessageV2.DecodeRequest(&c, &q, &in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
