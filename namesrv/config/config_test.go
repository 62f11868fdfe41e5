package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/conf"
)

func load(t *testing.T, text string) (*conf.Live[Config], []conf.Warning, error) {
	t.Helper()
	props, err := conf.ParseProperties(strings.NewReader(text), "namesrv.properties")
	if err != nil {
		t.Fatal(err)
	}
	return Load(Surroundings("/home/rmq", ""), props)
}

// differences are the defaults that are not RocketMQ's, and why.
var differences = map[string]string{
	"kvConfigPath":                "the layer below the file gives the home directory",
	"configStorePath":             "the layer below the file gives the home directory",
	"listenPort":                  "RocketMQ sets 9876 at start-up",
	"supportActingMaster":         "client-go reads from a slave only where a route shows it in the master's place",
	"scanNotActiveBrokerInterval": "4.9 has no key and scans every 10 s",
}

func TestEveryKeyOfRocketMQHasARowWithItsDefault(t *testing.T) {
	text, err := os.ReadFile("testdata/java-keys.tsv")
	if err != nil {
		t.Fatal(err)
	}
	keys := new(Config).Keys()
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		f := strings.Split(line, "\t")
		if line[0] == '#' {
			continue
		}
		want := f[1]
		if want == "-" {
			want = f[2]
		}
		k, ok := keys.Find(f[0])
		if !ok {
			t.Errorf("%s: no row", f[0])
			continue
		}
		if _, differs := differences[f[0]]; differs != (want != "*" && k.Default != want) {
			t.Errorf("%s: default %q, RocketMQ's is %q, listed as a difference: %v", f[0], k.Default, want, differs)
		}
	}
}

func TestDefaultsAndRoundTrip(t *testing.T) {
	l, w, err := load(t, "")
	want := &Config{BindAddress: "0.0.0.0", ListenPort: 9876, ServerChannelMaxIdleTime: 2 * time.Minute,
		KVConfigPath: "/home/rmq/namesrv/kvConfig.json", ConfigStorePath: "/home/rmq/namesrv/namesrv.properties",
		ConfigBlackList: "configBlackList;configStorePath;kvConfigPath", ReturnOrderTopicConfigToBroker: true,
		EnableAllTopicList: true, EnableTopicList: true, SupportActingMaster: true, ScanNotActiveBrokerInterval: 10 * time.Second, WaitForService: 45 * time.Second}
	if err != nil || len(w) != 0 || !reflect.DeepEqual(l.Load(), want) {
		t.Fatalf("%+v %v %v", l.Load(), w, err)
	}
	again, w, err := load(t, l.Properties())
	if err != nil || len(w) != 0 || !reflect.DeepEqual(again.Load(), want) {
		t.Errorf("%+v %v %v", again.Load(), w, err)
	}
	if want.Addr() != "0.0.0.0:9876" || (&Config{BindAddress: "::1", ListenPort: 1}).Addr() != "[::1]:1" {
		t.Error(want.Addr())
	}
}

func TestTheFileGivenIsWhereChangesGo(t *testing.T) {
	l, _, err := Load(Surroundings("/home/rmq", "/etc/rmq/namesrv.properties"))
	if err != nil || l.Load().ConfigStorePath != "/etc/rmq/namesrv.properties" {
		t.Errorf("%+v %v", l, err)
	}
}

func TestWhatCannotWork(t *testing.T) {
	for text, want := range map[string]string{
		"kvConfigPath=": "namesrv.properties:1: kvConfigPath: is empty",
		"kvConfigPath=/a/x\nconfigStorePath=/a/x": "is configStorePath as well",
		"clusterTest=true":                        "only \"false\" is served",
		"listenPort=98760":                        "98760 is not between 0 and 65535",
	} {
		if _, _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestBlacklist(t *testing.T) {
	c := &Config{ConfigBlackList: "orderMessageEnable;x"}
	for key, want := range map[string]bool{"rocketmqHome": true, "kvConfigPath": true, "orderMessageEnable": true, "enableTopicList": false} {
		if c.Blacklisted(key) != want {
			t.Errorf("%s: %v", key, !want)
		}
	}
}
