package message

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// goldenRecord is a record as a Java broker stores it: topic T1, queue 3, offset 5, at 1000, body "hi".
const goldenRecord = "00000071daa320a758932aac000000030000000000000000000000050000000000000" +
	"3e8000000000000018bcfe568000a000001000013880000018bcfe5687b0a00000200002a9f00000000000000000000000000000002686902" +
	"54310012554e49515f4b455901550254414753014102"

func golden() Message {
	return Message{
		Topic: "T1", QueueID: 3, QueueOffset: 5, PhysicalOffset: 1000,
		BornTimestamp: 1700000000000, StoreTimestamp: 1700000000123,
		BornHost: netip.MustParseAddrPort("10.0.0.1:5000"), StoreHost: netip.MustParseAddrPort("10.0.0.2:10911"),
		Body: []byte("hi"), Properties: []byte("UNIQ_KEY\x01U\x02TAGS\x01A\x02"),
	}
}

func TestRecordIsByteForByteJavas(t *testing.T) {
	m := golden()
	got := AppendRecord(nil, &m)
	if hex.EncodeToString(got) != goldenRecord {
		t.Fatalf("\ngot  %x\nwant %s", got, goldenRecord)
	}
	back, n, err := Decode(append(got, 1, 2, 3), Options{CheckCRC: true})
	if err != nil || n != 113 {
		t.Fatal(n, err)
	}
	m.BodyCRC, m.Size = 0x58932AAC, 113
	if !reflect.DeepEqual(back, m) {
		t.Fatalf("\ngot  %+v\nwant %+v", back, m)
	}
}

func TestRecordKeepsIPv6HostsAndLongTopics(t *testing.T) {
	m := golden()
	m.BornHost = netip.MustParseAddrPort("[2001:db8::1]:5000")
	m.Topic = RetryPrefix + strings.Repeat("g", 200)
	b := AppendRecord(nil, &m)
	if len(b) != RecordSize(&m) {
		t.Fatal("size", len(b), RecordSize(&m))
	}
	back, _, err := Decode(b, Options{CheckCRC: true})
	if err != nil || back.BornHost != m.BornHost || back.StoreHost != m.StoreHost || back.Topic != m.Topic || back.SysFlag != SysBornHostV6 {
		t.Fatalf("%+v %v", back, err)
	}
}

func TestDamagedRecordsAreRefused(t *testing.T) {
	m := golden()
	good := AppendRecord(nil, &m)
	for _, c := range []struct {
		name string
		hurt func(b []byte) []byte
		want error
	}{
		{"a body bit flipped fails the checksum", func(b []byte) []byte { b[88] ^= 1; return b }, ErrBadCRC},
		{"a foreign magic", func(b []byte) []byte { b[4] = 0; return b }, ErrBadMagic},
		{"an empty place", func(b []byte) []byte { return make([]byte, 200) }, ErrBadMagic},
		{"a longer body than the record", func(b []byte) []byte { b[86] = 1; return b }, ErrBadSize},
		{"a negative topic length", func(b []byte) []byte { b[90] = 0xff; return b }, ErrBadSize},
		{"a size below the smallest", func(b []byte) []byte { b[3] = 90; return b }, ErrBadSize},
		{"a size beyond the bytes", func(b []byte) []byte { b[2] = 1; return b }, ErrShort},
		{"five bytes", func(b []byte) []byte { return b[:5] }, ErrShort},
		{"a blank", func(b []byte) []byte { return be.AppendUint32(b[:4:4], MagicBlank) }, ErrBlank},
	} {
		if _, _, err := Decode(c.hurt(bytes.Clone(good)), Options{CheckCRC: true}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestTagHashIsJavasStringHash(t *testing.T) {
	for tag, want := range map[string]int64{"": 0, "TagA": 2598919, "TagB": 2598920, "a": 97, "中": 20013,
		"\U0001F600": 1772899, "polygenelubricants": -2147483648} {
		if got := TagHash(tag); got != want {
			t.Errorf("%q: %d, want %d", tag, got, want)
		}
	}
}

func TestOffsetIDs(t *testing.T) {
	host := netip.MustParseAddrPort("10.0.0.2:10911")
	if id := OffsetID(host, 1000); id != "0A00000200002A9F00000000000003E8" {
		t.Fatal(id)
	}
	for _, h := range []string{"10.0.0.2:10911", "[2001:db8::1]:10911"} {
		host := netip.MustParseAddrPort(h)
		back, off, err := ParseOffsetID(OffsetID(host, 1<<40))
		if err != nil || back != host || off != 1<<40 {
			t.Fatal(back, off, err)
		}
	}
	for _, bad := range []string{"", "zz", "0A00000200002A9F", "0A000002FFFFFFFF00000000000003E8"} {
		if _, _, err := ParseOffsetID(bad); !errors.Is(err, ErrBadID) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestUniqIDsHaveJavasShape(t *testing.T) {
	g := NewUniqIDs(netip.MustParseAddr("10.0.0.1"), 0x1234)
	now := time.Date(2023, 11, 2, 0, 0, 0, 0, time.UTC)
	a, b := g.Next(now), g.Next(now)
	if len(a) != 32 || a[:12] != "0A0000011234" || a[20:28] != "05265C00" || a == b {
		t.Fatal(a, b)
	}
}

func TestPropertiesWithAndWithoutTheLastSeparator(t *testing.T) {
	for _, text := range []string{"KEYS\x01k1 k2\x02TAGS\x01A\x02", "KEYS\x01k1 k2\x02TAGS\x01A"} {
		if v, ok := Property([]byte(text), PropTags); !ok || v != "A" {
			t.Errorf("%q: TAGS = %q", text, v)
		}
		if v, _ := Property([]byte(text), "EYS"); v != "" {
			t.Errorf("a name's end is no name: %q", v)
		}
		if got := SetProperty([]byte(text), "X", "1"); string(got) != "KEYS\x01k1 k2\x02TAGS\x01A\x02X\x011\x02" {
			t.Errorf("set: %q", got)
		}
		if got := DeleteProperty([]byte(text), "KEYS"); strings.TrimSuffix(string(got), "\x02") != "TAGS\x01A" {
			t.Errorf("delete: %q", got)
		}
		if got := AppendProperties([]byte(text), []byte("B\x012\x02")); string(got) != "KEYS\x01k1 k2\x02TAGS\x01A\x02B\x012\x02" {
			t.Errorf("append: %q", got)
		}
	}
	if got := SetProperty([]byte("A\x011\x02B\x012"), "A", "9"); string(got) != "A\x019\x02B\x012\x02" {
		t.Errorf("replace: %q", got)
	}
}

func TestBatchItems(t *testing.T) {
	want := "0000002a0000000000000000000000070000000268690012554e49515f4b455901550254414753014102"
	it := BatchItem{Flag: 7, Body: []byte("hi"), Properties: []byte("UNIQ_KEY\x01U\x02TAGS\x01A\x02")}
	b := AppendBatchItem(nil, it)
	if hex.EncodeToString(b) != want {
		t.Fatalf("%x", b)
	}
	items, err := SplitBatch(AppendBatchItem(b, BatchItem{Body: []byte("x")}))
	if err != nil || len(items) != 2 || !reflect.DeepEqual(items[0], it) || string(items[1].Body) != "x" {
		t.Fatal(items, err)
	}
	for cut := 1; cut < len(b); cut++ {
		if _, err := SplitBatch(b[:cut]); err == nil {
			t.Fatal("accepted a batch cut at", cut)
		}
	}
}

func TestSystemTopics(t *testing.T) {
	for topic, want := range map[string]bool{"T1": false, "SCHEDULE_TOPIC_XXXX": true, "rmq_sys_x": true, "%RETRY%g": false} {
		if IsSystemTopic(topic) != want {
			t.Error(topic)
		}
	}
}

func FuzzDecode(f *testing.F) {
	m := golden()
	f.Add(AppendRecord(nil, &m))
	m.StoreHost = netip.MustParseAddrPort("[::1]:1")
	m.Topic = strings.Repeat("t", 300)
	f.Add(AppendRecord(nil, &m))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, n, err := Decode(b, Options{CheckCRC: true})
		if err != nil {
			return
		}
		if m.Topic == "" || len(m.Topic) > MaxTopicV1 != (be.Uint32(b[4:]) == MagicV2) || !m.BornHost.Addr().IsValid() {
			return // layouts we read and never write
		}
		if m.BornHost.Addr().Is4In6() || m.StoreHost.Addr().Is4In6() || be.Uint16(b[52:]) != 0 || int(m.Size) != n {
			return
		}
		again, _, err := Decode(AppendRecord(nil, &m), Options{CheckCRC: true})
		if err != nil {
			t.Fatalf("what was decoded does not decode again: %v", err)
		}
		again.Size, m.Size, again.BodyCRC, m.BodyCRC = 0, 0, 0, 0
		if !reflect.DeepEqual(again, m) {
			t.Fatalf("\n%+v\n%+v", m, again)
		}
	})
}

func FuzzSplitBatch(f *testing.F) {
	f.Add(AppendBatchItem(nil, BatchItem{Flag: 7, Body: []byte("hi"), Properties: []byte("A\x01B\x02")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		items, err := SplitBatch(b)
		if err != nil {
			return
		}
		var out []byte
		for _, it := range items {
			out = AppendBatchItem(out, it)
		}
		if len(out) != len(b) {
			t.Fatalf("%d bytes became %d", len(b), len(out))
		}
	})
}

func FuzzProperties(f *testing.F) {
	f.Add([]byte("KEYS\x01k1 k2\x02TAGS\x01A"), "TAGS")
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		m := DecodeProperties(b)
		again := DecodeProperties(EncodeProperties(m))
		if !reflect.DeepEqual(m, again) {
			t.Fatalf("%q %q", m, again)
		}
		if CheckProperty(name, "v") == nil {
			if v, ok := Property(SetProperty(b, name, "v"), name); !ok || v != "v" {
				t.Fatalf("set %q is not found: %q", name, v)
			}
		}
	})
}
