package conf

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

type role string

type sample struct {
	Name    string
	Port    int
	HAPort  int
	Size    int64
	Sync    bool
	Role    role
	Wait    time.Duration
	Keep    time.Duration
	Ratio   float64
	Servers string
}

func (c *sample) keys() Set {
	return Join(
		Section("Identity",
			String(&c.Name, "brokerName", "", "Name."),
			Int(&c.Port, "listenPort", 10911, "Port.").Range(1, 65535),
			Int(&c.HAPort, "haListenPort", 0, "HA port."),
			Enum(&c.Role, "brokerRole", role("ASYNC_MASTER"), "Role.", "SYNC_MASTER", "SLAVE"),
			String(&c.Servers, "namesrvAddr", "", "Name servers.").FromEnv("NAMESRV_ADDR"),
		),
		Section("Store",
			Bytes(&c.Size, "mappedFileSizeCommitLog", 1<<30, "Size | of a file.").Alias("mapedFileSizeCommitLog"),
			Bool(&c.Sync, "sync", false, "Sync.").IsLive(),
			Millis(&c.Wait, "flushIntervalCommitLog", 500*time.Millisecond, "Wait.").IsLive(),
			Hours(&c.Keep, "fileReservedTime", 72*time.Hour, "Keep.").IsLive(),
			Float(&c.Ratio, "ratio", 0.8, "Ratio.").Range(0, 1).IsLive(),
			Known("useEpollNativeSelector", "false", "Go chooses"),
			Unserved("aclEnable", "false", "there is no access control"),
		))
}

func (c *sample) Finish() []Finding {
	var f []Finding
	if c.HAPort == 0 {
		c.HAPort = c.Port + 1
	}
	if c.HAPort == c.Port {
		f = append(f, Finding{"haListenPort", "same as listenPort", true})
	}
	if c.Role == "SLAVE" && c.Servers == "" {
		f = append(f, Finding{"namesrvAddr", "a slave finds its master there", false})
	}
	return f
}

func load(t *testing.T, text string) (*Live[sample], []Warning, error) {
	t.Helper()
	props, err := ParseProperties(strings.NewReader(text), "b.conf")
	if err != nil {
		t.Fatal(err)
	}
	return NewLive((*sample).keys, props)
}

func TestDefaultsAndDerivedValues(t *testing.T) {
	l, warnings, err := load(t, "")
	want := &sample{Port: 10911, HAPort: 10912, Size: 1 << 30, Role: "ASYNC_MASTER", Wait: 500 * time.Millisecond, Keep: 72 * time.Hour, Ratio: 0.8}
	if err != nil || len(warnings) != 0 || !reflect.DeepEqual(l.Load(), want) {
		t.Errorf("%+v %v %v", l.Load(), warnings, err)
	}
}

func TestLaterLayerWins(t *testing.T) {
	env := (*sample).keys(&sample{}).Environment(func(k string) (string, bool) { return "env:9876", k == "NAMESRV_ADDR" })
	file := []Prop{{Key: "namesrvAddr", Value: "file:9876", File: "f", Line: 1}}
	for _, tt := range []struct {
		layers [][]Prop
		want   string
	}{{[][]Prop{env}, "env:9876"}, {[][]Prop{env, file}, "file:9876"}, {[][]Prop{file, env}, "env:9876"}} {
		l, w, err := NewLive((*sample).keys, tt.layers...)
		if err != nil || len(w) != 0 || l.Load().Servers != tt.want {
			t.Errorf("%v %v %v", l.Load().Servers, w, err)
		}
	}
}

func TestWhatAFileMakesTheProgramSay(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown key with a near name", "\nbrokerNmae=a", "b.conf:2: brokerNmae: unknown key, ignored; did you mean brokerName?"},
		{"unknown key like nothing", "zzzzzzzz=a", "b.conf:1: zzzzzzzz: unknown key, ignored"},
		{"key without effect", "useEpollNativeSelector=true", "b.conf:1: useEpollNativeSelector: known, has no effect: Go chooses"},
		{"trailing blanks", "listenPort=1 ", "b.conf:1: listenPort: blanks behind the value are dropped; RocketMQ would ignore the setting"},
		{"twice", "listenPort=1\nlistenPort=2", "b.conf:2: listenPort: also set as listenPort at b.conf:1; this one counts"},
		{"twice by another spelling", "mapedFileSizeCommitLog=1\nmappedFileSizeCommitLog=2", "b.conf:2: mappedFileSizeCommitLog: also set as mapedFileSizeCommitLog at b.conf:1; this one counts"},
		{"lint points at the line", "brokerRole=slave\nnamesrvAddr=", "b.conf:2: namesrvAddr: a slave finds its master there"},
		{"lint of a key not in the file", "brokerRole=slave", "namesrvAddr: a slave finds its master there"},
	}
	for _, tt := range tests {
		_, w, err := load(t, tt.text)
		if err != nil || len(w) != 1 || w[0].String() != tt.want {
			t.Errorf("%s: %v %v", tt.name, w, err)
		}
	}
}

func TestBadValuesAreAllReportedAndRefused(t *testing.T) {
	_, _, err := load(t, `listenPort=70000
sync=yes
flushIntervalCommitLog=5s
fileReservedTime=-1
ratio=1.5
brokerRole=SYNC_MASTR
mapedFileSizeCommitLog=99999999999999999999
haListenPort=
aclEnable=true`)
	want := `b.conf:1: listenPort: 70000 is not between 1 and 65535
b.conf:2: sync: "yes" is neither true nor false
b.conf:3: flushIntervalCommitLog: "5s" is not a whole number
b.conf:4: fileReservedTime: -1 is not between 0 and 2562047
b.conf:5: ratio: 1.5 is not between 0 and 1
b.conf:6: brokerRole: "SYNC_MASTR" is not one of ASYNC_MASTER, SYNC_MASTER, SLAVE; did you mean SYNC_MASTER?
b.conf:7: mapedFileSizeCommitLog: 99999999999999999999 is not between 0 and 9223372036854775807
b.conf:8: haListenPort: "" is not a whole number
b.conf:9: aclEnable: only "false" is served: there is no access control`
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if _, _, err := load(t, "listenPort=5\nhaListenPort=5"); err == nil || err.Error() != "b.conf:2: haListenPort: same as listenPort" {
		t.Errorf("%v", err)
	}
}

func TestPropertiesRoundTrip(t *testing.T) {
	l, _, err := load(t, "brokerName=größe \\\\ x\nmapedFileSizeCommitLog=4096\nbrokerRole=sync_master\nratio=0.25\nuseEpollNativeSelector=true\nmyOwn= 1\nsync=TRUE")
	if err != nil {
		t.Fatal(err)
	}
	text := l.Properties()
	again, _, err := load(t, text)
	if err != nil || !reflect.DeepEqual(again.Load(), l.Load()) || again.Properties() != text {
		t.Errorf("%v\n%s\n%+v", err, text, again.Load())
	}
	for _, line := range []string{"useEpollNativeSelector=true\n", "myOwn=1\n", "mappedFileSizeCommitLog=4096\n", `brokerName=gr\u00F6\u00DFe \\ x` + "\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	l, _, _ := load(t, "")
	before := l.Load()
	err := l.Update(map[string]string{"sync": "true", "listenPort": "1", "flushIntervalCommitLog": "x", "synk": "1", "useEpollNativeSelector": "1"})
	want := `flushIntervalCommitLog: "x" is not a whole number
listenPort: needs a restart
synk: unknown key; did you mean sync?
useEpollNativeSelector: known, has no effect: Go chooses`
	if err == nil || err.Error() != want || !errors.Is(err, ErrNeedsRestart) {
		t.Errorf("%v", err)
	}
	if l.Load() != before || before.Sync {
		t.Error("something was applied")
	}
}

func TestUpdateSwapsASnapshotAndTellsWatchers(t *testing.T) {
	l, _, _ := load(t, "sync=false")
	before := l.Load()
	var told []string
	l.OnChange("sync", func(c *sample) { told = append(told, "sync", c.Wait.String()) })
	l.OnChange("fileReservedTime", func(*sample) { told = append(told, "kept") })
	// listenPort is not live, but it stays what it is: a client that sends back the whole configuration is served
	if err := l.Update(map[string]string{"sync": " true ", "flushIntervalCommitLog": "10", "listenPort": "10911", "fileReservedTime": "72"}); err != nil {
		t.Fatal(err)
	}
	if before.Sync || !l.Load().Sync || l.Load().Wait != 10*time.Millisecond {
		t.Errorf("%+v -> %+v", before, l.Load())
	}
	if !reflect.DeepEqual(told, []string{"sync", "10ms"}) {
		t.Errorf("told %v", told)
	}
}

func TestEditFileUsesTheSpellingOfTheFile(t *testing.T) {
	l, _, _ := load(t, "")
	got, err := l.EditFile("# sizes\nmapedFileSizeCommitLog=1\n", map[string]string{"mappedFileSizeCommitLog": "2", "sync": "true"})
	if err != nil || got != "# sizes\nmapedFileSizeCommitLog=2\nsync=true\n" {
		t.Errorf("%q %v", got, err)
	}
}

func TestMarkdownListsActingKeysBySectionAndTheRestBelow(t *testing.T) {
	got := (*sample).keys(&sample{}).Markdown()
	for _, want := range []string{
		"### Identity\n\n| key | default | unit | live | meaning |\n|---|---|---|---|---|\n| brokerName |  | text |  | Name. |\n",
		"### Store\n", `| mappedFileSizeCommitLog (also mapedFileSizeCommitLog) | 1073741824 | bytes |  | Size \| of a file. |`,
		"| fileReservedTime | 72 | h | yes | Keep. |", "### Known, without effect\n\n| key | default | why |\n|---|---|---|\n| useEpollNativeSelector | false | Go chooses |\n",
		"### Refused unless they have their default\n\n| key | default | why |\n|---|---|---|\n| aclEnable | false | there is no access control |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Count(got, "useEpoll") != 1 {
		t.Error("a key without effect is listed among the acting ones")
	}
}
