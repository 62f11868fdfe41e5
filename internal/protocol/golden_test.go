package protocol

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Frames as Java 4.9.8 and client-go write them.
const (
	goldenRoute = `00000087 00000083 7b22636f 6465223a 3130352c 22657874 4669656c 6473223a 7b22746f 70696322 3a22546f 70696354 65737422 7d2c2266
		6c616722 3a302c22 6c616e67 75616765 223a224a 41564122 2c226f70 61717565 223a312c 22736572 69616c69 7a655479 70654375 7272656e
		74525043 223a224a 534f4e22 2c227665 7273696f 6e223a34 30397d`
	goldenMaxOffset = `00000034 01000030 001e0001 99000000 07000000 00000000 00000000 1b000574 6f706963 00000002 54310007 71756575
		65496400 00000133`
	goldenMaxOffsetAnswer = `00000027 01000023 00000001 99000000 07000000 01000000 00000000 0e00066f 66667365 74000000 023432`
	goldenPopTruncated    = `00000019 01000015 0d720001 df000000 02000000 00000000 00000000 00`
	goldenHeartbeat       = `00000065 01000015 00220001 99000000 03000000 00000000 00000000 007b2263 6c69656e 74494422 3a226331 222c2263 6f6e7375
		6d657244 61746153 6574223a 5b5d2c22 70726f64 75636572 44617461 53657422 3a5b7b22 67726f75 704e616d 65223a22 50227d5d 7d`
	goldenSend = `0000009f 01000099 01360001 99000000 08000000 00000000 00000000 84000161 00000001 50000162 00000002 54310001 63000000 06544257
		31303200 01640000 00013400 01650000 00013300 01660000 00013000 01670000 000d3137 30303030 30303030 30303000 01680000 00013000
		01690000 000b554e 49515f4b 45590155 0200016a 00000001 3000016b 00000005 66616c73 6500016d 00000005 66616c73 656869`
)

func jsonFrame(header string) []byte {
	n := len(header)
	return append([]byte{byte((n + 4) >> 24), byte((n + 4) >> 16), byte((n + 4) >> 8), byte(n + 4), 0, byte(n >> 16), byte(n >> 8), byte(n)}, header...)
}

func TestGoldenFramesAreWrittenByteForByte(t *testing.T) {
	send := &SendMessageRequestV2{ProducerGroup: "P", Topic: "T1", DefaultTopic: "TBW102", DefaultTopicQueueNums: 4, QueueID: 3,
		BornTimestamp: 1700000000000, Properties: []byte("UNIQ_KEY\x01U\x02")}
	heartbeat := Marshal(&HeartbeatData{ClientID: "c1", Consumers: []ConsumerData{}, Producers: []ProducerData{{"P"}}})
	for _, row := range []struct {
		name string
		want []byte
		cmd  Command
		h    Header
		body []byte
	}{
		{"A: route request, JSON", unhex(t, goldenRoute), Command{Code: 105, Version: 409, Opaque: 1, Fields: FieldsOf("topic", "TopicTest")}, Header{}, nil},
		{"A: the same from a typed header", unhex(t, goldenRoute), Command{Code: 105, Version: 409, Opaque: 1}, HeaderOf(&RouteRequest{Topic: "TopicTest"}), nil},
		{"B: error answer, JSON", jsonFrame(`{"code":17,"flag":1,"language":"JAVA","opaque":1,"remark":"No topic","serializeTypeCurrentRPC":"JSON","version":409}`),
			Command{Code: 17, Flag: 1, Opaque: 1, Remark: "No topic", Version: 409}, Header{}, nil},
		{"C: max offset, binary", unhex(t, goldenMaxOffset), Command{Code: 30, Version: 409, Opaque: 7, Encoding: Binary}, HeaderOf(&GetMaxOffsetRequest{Topic: "T1", QueueID: 3}), nil},
		{"D: its answer", unhex(t, goldenMaxOffsetAnswer), Command{Flag: 1, Version: 409, Opaque: 7, Encoding: Binary}, HeaderOf(&OffsetResponse{42}), nil},
		{"E: a code that does not fit", unhex(t, goldenPopTruncated), Command{Code: 200050, Version: 479, Opaque: 2, Encoding: Binary}, Header{}, nil},
		{"F: heartbeat", unhex(t, goldenHeartbeat), Command{Code: 34, Version: 409, Opaque: 3, Encoding: Binary}, Header{}, heartbeat},
		{"G: send", unhex(t, goldenSend), Command{Code: 310, Version: 409, Opaque: 8, Encoding: Binary}, HeaderOf(send), []byte("hi")},
	} {
		got := AppendFrame(nil, &row.cmd, row.h, row.body)
		if !bytes.Equal(got, row.want) {
			t.Errorf("%s:\n got %q\nwant %q", row.name, got, row.want)
		}
	}
}

func TestGoldenFramesAreRead(t *testing.T) {
	parse := func(b []byte) *Command {
		t.Helper()
		n, err := FrameLen(b)
		if err != nil || n != len(b) {
			t.Fatalf("FrameLen %d of %d, %v", n, len(b), err)
		}
		var c Command
		if err := Parse(b, &c); err != nil {
			t.Fatal(err)
		}
		return &c
	}
	c := parse(unhex(t, goldenRoute))
	if topic, _ := c.Fields.Get("topic"); c.Code != 105 || c.Opaque != 1 || c.Version != 409 || topic != "TopicTest" || c.Body != nil || c.Language != LanguageJava {
		t.Errorf("A: %+v", c)
	}
	c = parse(jsonFrame(`{"code":105,"language":"GO","version":317,"opaque":1,"flag":0,"remark":"","extFields":{"topic":"TopicTest"}}`))
	if topic, _ := c.Fields.Get("topic"); c.Language != LanguageGo || c.Version != 317 || topic != "TopicTest" {
		t.Errorf("A by client-go: %+v", c)
	}
	c = parse(unhex(t, goldenPopTruncated))
	if c.Code != 3442 {
		t.Errorf("E: code %d", c.Code)
	}
	c = parse(unhex(t, goldenHeartbeat))
	var hb HeartbeatData
	if err := DecodeJSON(c.Body, &hb); err != nil || hb.ClientID != "c1" || hb.Producers[0].GroupName != "P" {
		t.Errorf("F: %+v %v", hb, err)
	}
	c = parse(unhex(t, goldenSend))
	var q SendMessageRequestV2
	if err := SendMessageV2.DecodeRequest(c, &q, nil); err != nil {
		t.Fatal(err)
	}
	if q.ProducerGroup != "P" || q.Topic != "T1" || q.DefaultTopic != "TBW102" || q.DefaultTopicQueueNums != 4 || q.QueueID != 3 ||
		q.BornTimestamp != 1700000000000 || string(q.Properties) != "UNIQ_KEY\x01U\x02" || q.Batch || q.MaxReconsumeTimes != nil || string(c.Body) != "hi" {
		t.Errorf("G: %+v", q)
	}
}

func TestGoldenRegisterChecksum(t *testing.T) {
	b, err := (&RegisterBrokerBody{TopicConfigs: TopicConfigTable{DataVersion: DataVersion{Counter: 1, Timestamp: 1700000000000}}}).Encode(false)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"timestamp":1700000000000},"topicConfigTable":{}}}`; string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	if got := BodyCRC(b); got != 561324779 {
		t.Errorf("crc %d", got)
	}
}

// client-go keeps the code and the version in 16 bits and the fields in a
// map[string]string; it must be able to read every answer.
func TestClientGoCanReadAJSONHeader(t *testing.T) {
	frame := AppendFrame(nil, &Command{Code: Success, Flag: FlagResponse, Version: CurrentVersion, Opaque: 9, Remark: "a\x01b\n\"q\""},
		HeaderOf(&SendMessageResponse{MsgID: "X", QueueID: 1, QueueOffset: 2, Region: "DefaultRegion", TraceOn: "true"}))
	var got struct {
		Code, Version int16
		Opaque, Flag  int32
		Remark        string
		ExtFields     map[string]string
	}
	if err := json.Unmarshal(frame[8:], &got); err != nil {
		t.Fatal(err)
	}
	if got.Opaque != 9 || got.ExtFields["queueOffset"] != "2" || got.ExtFields["MSG_REGION"] != "DefaultRegion" || got.Remark != "a\x01b\n\"q\"" {
		t.Errorf("%+v", got)
	}
}
