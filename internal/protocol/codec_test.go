package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func fieldsOf(c *Command) map[string]string {
	m := map[string]string{}
	c.Fields.Range(func(k, v string) bool { m[k] = v; return true })
	return m
}

func TestCommandsRoundTripInBothEncodings(t *testing.T) {
	for _, enc := range []Encoding{JSON, Binary} {
		in := &Command{Code: 310, Language: LanguageGo, Version: 409, Opaque: 77, Flag: 2, Remark: "a \"remark\" \x01 é 😀",
			Fields: FieldsOf("k", "v", "props", "A\x01b\x02C\x01d\\\x02", "uni", "中文😀", "ctl", "\b\f\n\r\t\x1f"), Body: []byte("body"), Encoding: enc}
		var out Command
		if err := Parse(AppendFrame(nil, in, Header{}), &out); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(fieldsOf(in), fieldsOf(&out)) || out.Remark != in.Remark || out.Code != in.Code || out.Language != in.Language ||
			out.Version != in.Version || out.Opaque != in.Opaque || out.Flag != in.Flag || string(out.Body) != "body" {
			t.Errorf("encoding %d:\n in %+v\nout %+v", enc, in, out)
		}
	}
}

func TestJSONHeaderIsReadLeniently(t *testing.T) {
	for name, text := range map[string]string{
		"blanks":               "{ \"code\" : 105 ,\n\t\"extFields\" : { \"topic\" : \"T\" } }",
		"unknown members":      `{"code":105,"x":{"a":[1,{"b":"c\"d"},null,true],"e":-1.5e3},"extFields":{"topic":"T"}}`,
		"numbers in quotes":    `{"code":"105","opaque":"3","extFields":{"topic":"T"}}`,
		"escapes":              `{"\u0063ode":105,"extFields":{"to\u0070ic":"\u0054"}}`,
		"null members":         `{"code":105,"remark":null,"language":null,"version":null,"extFields":{"topic":"T","x":null}}`,
		"bare values":          `{"code":105,"extFields":{"topic":"T","n":12,"b":false}}`,
		"an unknown language":  `{"code":105,"language":"KLINGON","extFields":{"topic":"T"}}`,
		"a second extFields":   `{"code":105,"extFields":{"topic":"old"},"extFields":{"topic":"T"}}`,
		"object as key inside": `{"code":105,"x":{{"a":1}:2,3:4},"extFields":{"topic":"T"}}`,
	} {
		var c Command
		if err := Parse(jsonFrame(text), &c); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if topic, _ := c.Fields.Get("topic"); c.Code != 105 || topic != "T" {
			t.Errorf("%s: %+v", name, fieldsOf(&c))
		}
	}
}

func TestBadFramesAreErrFrame(t *testing.T) {
	for name, b := range map[string][]byte{
		"unknown serialize type": {0, 0, 0, 4, 7, 0, 0, 0},
		"header beyond frame":    {0, 0, 0, 4, 0, 0, 0, 9},
		"no JSON":                jsonFrame("hello"),
		"JSON cut short":         jsonFrame(`{"code":1`),
		"JSON with a tail":       jsonFrame(`{"code":1}x`),
		"string without end":     jsonFrame(`{"code":1,"remark":"abc}`),
		"bad escape":             jsonFrame(`{"remark":"\x"}`),
		"cut unicode escape":     jsonFrame(`{"remark":"\u12"}`),
		"code too large":         jsonFrame(`{"code":99999999999}`),
		"deep nesting":           jsonFrame(`{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`),
		"binary too short":       {0, 0, 0, 6, 1, 0, 0, 2, 0, 0},
		"binary remark too long": append([]byte{0, 0, 0, 25, 1, 0, 0, 21}, append(bytes.Repeat([]byte{0}, 13), 0, 0, 0, 9, 0, 0, 0, 0)...),
		"binary fields too long": append([]byte{0, 0, 0, 25, 1, 0, 0, 21}, append(bytes.Repeat([]byte{0}, 17), 0, 0, 0, 9)...),
		"binary negative remark": append([]byte{0, 0, 0, 25, 1, 0, 0, 21}, append(bytes.Repeat([]byte{0}, 13), 255, 255, 255, 255, 0, 0, 0, 0)...),
	} {
		var c Command
		if err := Parse(b, &c); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := FrameLen([]byte{1, 0, 0, 0}); !errors.Is(err, ErrFrameTooLarge) {
		t.Errorf("16 MiB and 4 bytes: %v", err)
	}
	if n, err := FrameLen([]byte{0, 0xff, 0xff, 0xfc}); err != nil || n != MaxFrame {
		t.Errorf("16 MiB: %d %v", n, err)
	}
	if _, err := FrameLen([]byte{0, 0, 0, 3}); !errors.Is(err, ErrFrame) {
		t.Errorf("length 3: %v", err)
	}
	if _, err := FrameLen([]byte("GET / HTTP/1.1")); !errors.Is(err, ErrFrame) {
		t.Errorf("HTTP: %v", err)
	}
}

type everyKind struct {
	S  string   `rmq:"s"`
	O  string   `rmq:"o,opt"`
	B  []byte   `rmq:"b"`
	I  int32    `rmq:"i"`
	L  int64    `rmq:"l,must"`
	T  bool     `rmq:"t"`
	F  float64  `rmq:"f"`
	PS *string  `rmq:"ps"`
	PI *int32   `rmq:"pi"`
	PL *int64   `rmq:"pl"`
	PT *bool    `rmq:"pt"`
	PF *float64 `rmq:"pf"`
}

func TestTypedHeadersRoundTrip(t *testing.T) {
	s, i, l, b, f := "x\x01", int32(-5), int64(-1<<63), true, 1.25
	for _, in := range []everyKind{
		{L: 1<<63 - 1},
		{S: "s", O: "o", B: []byte("b\x02"), I: -1 << 31, L: -7, T: true, F: 3, PS: &s, PI: &i, PL: &l, PT: &b, PF: &f},
	} {
		for _, enc := range []Encoding{JSON, Binary} {
			var c Command
			if err := Parse(AppendFrame(nil, &Command{Encoding: enc}, HeaderOf(&in)), &c); err != nil {
				t.Fatal(err)
			}
			var out everyKind
			if err := DecodeFields(&c.Fields, &out); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(in, out) {
				t.Errorf("encoding %d:\n in %+v\nout %+v", enc, in, out)
			}
			if _, there := c.Fields.Get("o"); there != (in.O != "") {
				t.Errorf("empty optional text written: %v", fieldsOf(&c))
			}
		}
	}
}

func TestHeaderFieldsThatDoNotFitAreErrors(t *testing.T) {
	for name, f := range map[string]Fields{
		"missing":   FieldsOf("i", "1"),
		"no number": FieldsOf("l", "x"),
		"too large": FieldsOf("l", "9223372036854775808"),
		"int32":     FieldsOf("l", "1", "i", "2147483648"),
		"blank":     FieldsOf("l", " 1"),
		"float":     FieldsOf("l", "1", "f", "1,5"),
	} {
		var v everyKind
		if err := DecodeFields(&f, &v); StatusOf(err) != SystemError {
			t.Errorf("%s: %v", name, err)
		}
	}
	var v everyKind
	f := FieldsOf("l", "1", "unknown", "x")
	if err := DecodeFields(&f, &v); err != nil {
		t.Error(err)
	}
}

func TestFieldsLastValueWins(t *testing.T) {
	var c Command
	if err := Parse(jsonFrame(`{"code":30,"extFields":{"topic":"a","queueId":"1","topic":"b"}}`), &c); err != nil {
		t.Fatal(err)
	}
	var q GetMaxOffsetRequest
	if err := GetMaxOffset.DecodeRequest(&c, &q, nil); err != nil || q.Topic != "b" {
		t.Errorf("%+v %v", q, err)
	}
	if v, _ := c.Fields.Get("topic"); v != "b" {
		t.Errorf("Get: %s", v)
	}
}

func TestFieldsSetReplacesDeleteRemoves(t *testing.T) {
	f := FieldsOf("a", "1", "b", "2")
	f.Set("a", "3")
	if v, _ := f.Get("a"); v != "3" || f.Len() != 2 {
		t.Errorf("a=%s, %d fields", v, f.Len())
	}
	g := f.Clone()
	f.Delete("a")
	if _, ok := f.Get("a"); ok || f.Len() != 1 {
		t.Error("a is still there")
	}
	if v, _ := g.Get("a"); v != "3" {
		t.Error("the clone changed")
	}
}

func TestV1AndV2SendHeadersConvert(t *testing.T) {
	v1 := &SendMessageRequest{Topic: "T", Batch: true}
	if v2 := (*SendMessageRequestV2)(v1); v2.Topic != "T" || !v2.Batch {
		t.Error("conversion changed the header")
	}
}

func TestEveryCallHasItsOwnCodeAndName(t *testing.T) {
	codes, names := map[int32]string{}, map[string]int32{}
	for _, s := range Calls() {
		if other, dup := codes[s.Code]; dup {
			t.Errorf("code %d: %s and %s", s.Code, other, s.Name)
		}
		if other, dup := names[s.Name]; dup {
			t.Errorf("name %s: %d and %d", s.Name, other, s.Code)
		}
		codes[s.Code], names[s.Name] = s.Name, s.Code
		if s.Name != strings.ToUpper(s.Name) || s.Name == "" {
			t.Errorf("%d: name %q", s.Code, s.Name)
		}
		planOf(s.Request)
		planOf(s.Response)
	}
	if len(codes) < 80 {
		t.Errorf("only %d calls declared", len(codes))
	}
	if CodeName(310) != "SEND_MESSAGE_V2" || CodeName(4711) != "code 4711" {
		t.Error(CodeName(310), CodeName(4711))
	}
}

func TestDocNamesEveryCall(t *testing.T) {
	var b bytes.Buffer
	if err := WriteDoc(&b, func(int32) string { return "" }); err != nil {
		t.Fatal(err)
	}
	for _, s := range Calls() {
		if !strings.Contains(b.String(), fmt.Sprintf("| %d | %s |", s.Code, s.Name)) {
			t.Errorf("%s is missing", s.Name)
		}
	}
}

func TestVersionNamesAreRocketMQs(t *testing.T) {
	for v, want := range map[int32]string{
		409: "V4_9_8", 413: "V5_0_0", 479: "V5_3_3", 317: "V4_5_2", 28: "V3_0_7_SNAPSHOT", 37: "V3_0_11", 62: "V3_1_8_SNAPSHOT",
		213: "V4_0_0", 121: "V3_4_9", 401: "V4_9_4", 232: "V4_1_0_SNAPSHOT", 0: "V3_0_0", 612: "HIGHER_VERSION", 9999: "HIGHER_VERSION", -1: "V3_0_0",
	} {
		if got := VersionName(v); got != want {
			t.Errorf("%d: %s, want %s", v, got, want)
		}
	}
}

func TestHotHeadersAreReadAndWrittenWithoutAllocating(t *testing.T) {
	send := &SendMessageRequestV2{ProducerGroup: "producers", Topic: "orders", DefaultTopic: "TBW102", DefaultTopicQueueNums: 4, QueueID: 3,
		BornTimestamp: 1700000000000, Properties: []byte("UNIQ_KEY\x01U\x02TAGS\x01A\x02")}
	pull := &PullMessageRequest{ConsumerGroup: "g", Topic: "orders", QueueOffset: 12, MaxMsgNums: 32, Subscription: "*", SubVersion: 1}
	for _, enc := range []Encoding{JSON, Binary} {
		var c Command
		var in Interner
		var q SendMessageRequestV2
		var p PullMessageRequest
		out := make([]byte, 0, 4096)
		sendFrame := AppendFrame(nil, &Command{Code: 310, Encoding: enc}, HeaderOf(send), []byte("body"))
		pullFrame := AppendFrame(nil, &Command{Code: 11, Encoding: enc}, HeaderOf(pull))
		scratch := make([]byte, 4096)
		resp := &SendMessageResponse{MsgID: "0A00000200002A9F00000000000003E8", Region: "DefaultRegion", TraceOn: "true"}
		presp := &PullMessageResponse{NextBeginOffset: 3}
		read := func() {
			if err := Parse(scratch[:copy(scratch, sendFrame)], &c); err != nil {
				t.Fatal(err)
			}
			q = SendMessageRequestV2{}
			if err := SendMessageV2.DecodeRequest(&c, &q, &in); err != nil {
				t.Fatal(err)
			}
			if err := Parse(scratch[:copy(scratch, pullFrame)], &c); err != nil {
				t.Fatal(err)
			}
			p = PullMessageRequest{}
			if err := PullMessage.DecodeRequest(&c, &p, &in); err != nil {
				t.Fatal(err)
			}
			cmd := Command{Flag: FlagResponse, Encoding: enc}
			out = AppendFrame(out[:0], &cmd, SendMessageV2.ResponseHeader(resp))
			out = AppendFrame(out[:0], &cmd, PullMessage.ResponseHeader(presp))
		}
		read()
		if n := testing.AllocsPerRun(200, read); n != 0 {
			t.Errorf("encoding %d: %v allocations", enc, n)
		}
		if q.Topic != "orders" || p.MaxMsgNums != 32 {
			t.Errorf("%+v %+v", q, p)
		}
	}
}

func TestInternerForgetsWhenShownTooMuch(t *testing.T) {
	var in Interner
	for i := range 3 * internEntries {
		b := fmt.Appendf(nil, "topic-%d", i)
		if s := in.String(b); s != string(b) {
			t.Fatal(s)
		}
	}
	if len(in.m) > internEntries {
		t.Errorf("%d entries", len(in.m))
	}
	if long := strings.Repeat("x", internLen+1); in.String([]byte(long)) != long || in.m[long] != "" {
		t.Error("a long value was kept")
	}
}

func FuzzFrame(f *testing.F) {
	for _, s := range []string{goldenRoute, goldenMaxOffset, goldenMaxOffsetAnswer, goldenHeartbeat, goldenSend, goldenPopTruncated} {
		f.Add(unhex(&testing.T{}, s))
	}
	f.Add(jsonFrame(`{"code":1,"extFields":{"a":"\u0001\ud83d\ude00"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := FrameLen(b); err != nil || n != len(b) {
			return
		}
		var c Command
		if err := Parse(bytes.Clone(b), &c); err != nil {
			if !errors.Is(err, ErrFrame) {
				t.Fatal(err)
			}
			return
		}
		for _, enc := range []Encoding{JSON, Binary} {
			in := c.Clone()
			in.Encoding = enc
			if enc == Binary && (in.Code != int32(int16(in.Code)) || in.Version != int32(int16(in.Version)) || hasEmptyOrLong(in)) {
				continue
			}
			if enc == JSON && in.Language.String() == "OTHER" {
				in.Language = LanguageOther
			}
			var out Command
			if err := Parse(AppendFrame(nil, in, Header{}), &out); err != nil {
				t.Fatalf("own frame: %v", err)
			}
			if !maps.Equal(fieldsOf(in), fieldsOf(&out)) || out.Remark != in.Remark || out.Code != in.Code || out.Language != in.Language ||
				out.Version != in.Version || out.Opaque != in.Opaque || out.Flag != in.Flag || !bytes.Equal(in.Body, out.Body) {
				t.Fatalf("encoding %d:\n in %+v %v\nout %+v %v", enc, in, fieldsOf(in), out, fieldsOf(&out))
			}
		}
	})
}

// hasEmptyOrLong: the binary encoding has no empty texts and keys of 15 bits.
func hasEmptyOrLong(c *Command) bool {
	for k, v := range fieldsOf(c) {
		if k == "" || v == "" || len(k) > 1<<15-1 {
			return true
		}
	}
	return false
}

// Whatever encoding/json reads as a header, the scanner reads the same way.
func FuzzJSONHeaderAgainstEncodingJSON(f *testing.F) {
	f.Add(`{"code":105,"extFields":{"topic":"TopicTest","i":"UNIQ_KEY\u0001U\u0002"},"flag":0,"language":"JAVA","opaque":1,"remark":"r","version":409}`)
	f.Add(`{"code":1,"x":[{"a":"\"}"}],"extFields":{"k":"\ud83d\ude00\ud83d\/"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || len(text) > 1<<20 {
			return
		}
		var keys map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &keys) != nil || keys == nil {
			return
		}
		for k := range keys { // encoding/json matches names without regard to case
			for _, name := range []string{"code", "opaque", "flag", "version", "remark", "extFields"} {
				if k != name && strings.EqualFold(k, name) {
					return
				}
			}
		}
		var want struct {
			Code, Opaque, Flag, Version int32
			Remark                      string
			ExtFields                   map[string]string
		}
		dec := json.Unmarshal([]byte(text), &want)
		if dec != nil || strings.Count(text, "extFields") > 1 || strings.Count(text, "null") > 0 || deep(text) {
			return
		}
		var c Command
		if err := Parse(jsonFrame(text), &c); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if got := fieldsOf(&c); len(got)+len(want.ExtFields) > 0 && !maps.Equal(got, want.ExtFields) {
			t.Fatalf("%q: fields %q, want %q", text, got, want.ExtFields)
		}
		if c.Code != want.Code || c.Opaque != want.Opaque || c.Flag != want.Flag || c.Version != want.Version || c.Remark != want.Remark {
			t.Fatalf("%q: %+v, want %+v", text, c, want)
		}
	})
}

func deep(text string) bool { return strings.Count(text, "[")+strings.Count(text, "{") > maxDepth }

func FuzzBinaryHeader(f *testing.F) {
	f.Add(unhex(&testing.T{}, goldenMaxOffset)[8:])
	f.Add(unhex(&testing.T{}, goldenSend)[8 : 8+153])
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Command
		if err := parseBinary(b, &c); err != nil {
			if !errors.Is(err, ErrFrame) {
				t.Fatal(err)
			}
			return
		}
		var q SendMessageRequestV2
		var p PullMessageRequest
		_ = SendMessageV2.DecodeRequest(&c, &q, nil)
		_ = PullMessage.DecodeRequest(&c, &p, nil)
	})
}
