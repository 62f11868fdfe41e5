package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/conf"
)

// host is the layer a test stands on.
var host = []conf.Prop{{Key: "brokerName", Value: "node1"}, {Key: "storePathRootDir", Value: "/data/store"}, {Key: "namesrvAddr", Value: "127.0.0.1:9876"}}

func load(t *testing.T, text string) (*conf.Live[Config], []conf.Warning, error) {
	t.Helper()
	props, err := conf.ParseProperties(strings.NewReader(text), "broker.properties")
	if err != nil {
		t.Fatal(err)
	}
	return Load(host, props)
}

func mustLoad(t *testing.T, text string) *Config {
	t.Helper()
	l, w, err := load(t, text)
	if err != nil || len(w) != 0 {
		t.Fatalf("%v %v", w, err)
	}
	return l.Load()
}

// differences are the defaults that are not RocketMQ 4.9's, and why.
var differences = map[string]string{
	"brokerIP1":                 "found by the assembly, not by the table",
	"brokerIP2":                 "brokerIP1: whoever sets that has told which address is meant",
	"brokerName":                "the layer below the file gives the host name",
	"storePathRootDir":          "the layer below the file gives the home directory",
	"storePathCommitLog":        "derived from the root that is really used",
	"listenPort":                "RocketMQ sets 10911 at start-up",
	"haListenPort":              "derived from listenPort, as RocketMQ does at start-up",
	"sendMessageThreadPoolNums": "depends on the machine",
	"pullMessageThreadPoolNums": "depends on the machine",
	"slaveReadEnable":           "a slave serves reads by default",
	"inSyncReplicas":            "SYNC_MASTER waits for one slave unless told otherwise, as in 4.9",
}

func TestEveryKeyOfRocketMQHasARowWithItsDefault(t *testing.T) {
	text, err := os.ReadFile("testdata/java-keys.tsv")
	if err != nil {
		t.Fatal(err)
	}
	keys := new(Config).Keys()
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		name, want := f[0], f[1]
		if want == "-" {
			want = f[2]
		}
		k, ok := keys.Find(name)
		if !ok {
			t.Errorf("%s: no row", name)
			continue
		}
		_, differs := differences[name]
		if want != "*" && k.Default != want && !differs {
			t.Errorf("%s: default %q, RocketMQ's is %q", name, k.Default, want)
		}
		if (want == "*" || k.Default == want) && differs && k.NoUse == "" && want != "*" {
			t.Errorf("%s: listed as a difference, and is none", name)
		}
	}
	seen := map[string]bool{}
	for _, k := range keys {
		for _, n := range append([]string{k.Name}, k.Aliases...) {
			if seen[n] {
				t.Errorf("%s has two rows", n)
			}
			seen[n] = true
		}
		if k.NoUse == "" && (k.Doc == "" || k.Section == "") {
			t.Errorf("%s is not documented", k.Name)
		}
	}
}

// The file of scenario D6's second broker with every key the tutorials use, but checkTransactionMessageEnable.
const tutorial = `brokerClusterName=rocketmq-cluster
brokerName=broker-b
brokerId=1
namesrvAddr=rocketmq-nameserver1:9876;rocketmq-nameserver2:9876
defaultTopicQueueNums=4
autoCreateTopicEnable=true
autoCreateSubscriptionGroup=false
listenPort=11011
deleteWhen=04
fileReservedTime=120
mapedFileSizeCommitLog=1073741824
mapedFileSizeConsumeQueue=300000
destroyMapedFileIntervalForcibly=120001
redeleteHangedFileInterval=120002
diskMaxUsedSpaceRatio=88
storePathRootDir=/usr/local/rocketmq/store2
storePathCommitLog=/usr/local/rocketmq/store2/commitlog
storePathConsumeQueue=/usr/local/rocketmq/store2/consumequeue
storePathIndex=/usr/local/rocketmq/store2/index
storeCheckpoint=/usr/local/rocketmq/store2/checkpoint
abortFile=/usr/local/rocketmq/store2/abort
maxMessageSize=65536
flushCommitLogLeastPages=5
flushConsumeQueueLeastPages=3
flushCommitLogThoroughInterval=10001
flushConsumeQueueThoroughInterval=60001
brokerRole=SLAVE
flushDiskType=ASYNC_FLUSH
sendMessageThreadPoolNums=128
pullMessageThreadPoolNums=127
enableDLegerCommitLog=false
dLegerGroup=RaftNode00
dLegerPeers=n0-127.0.0.1:40911;n1-127.0.0.1:40912
dLegerSelfId=n0
`

func TestTheTutorialsKeysReachTheirFields(t *testing.T) {
	c := mustLoad(t, tutorial)
	want := *mustLoad(t, "brokerRole=SLAVE\nbrokerId=1")
	want.BrokerClusterName, want.BrokerName, want.BrokerID, want.BrokerRole = "rocketmq-cluster", "broker-b", 1, Slave
	want.NamesrvAddr, want.DefaultTopicQueueNums, want.AutoCreateSubscriptionGroup = "rocketmq-nameserver1:9876;rocketmq-nameserver2:9876", 4, false
	want.ListenPort, want.HAListenPort = 11011, 11012
	want.FileReservedTime, want.MappedFileSizeConsumeQueue = 120*time.Hour, 300000
	want.DestroyMappedFileForcibly, want.RedeleteHangedFileInterval = 120001*time.Millisecond, 120002*time.Millisecond
	want.DiskMaxUsedSpaceRatio, want.MaxMessageSize = 88, 65536
	root := "/usr/local/rocketmq/store2"
	want.StorePathRootDir, want.StorePathCommitLog, want.StorePathConsumeQueue = root, root+"/commitlog", root+"/consumequeue"
	want.StorePathIndex, want.StoreCheckpoint, want.AbortFile = root+"/index", root+"/checkpoint", root+"/abort"
	want.FlushCommitLogLeastPages, want.FlushConsumeQueueLeastPages = 5, 3
	want.FlushCommitLogThoroughInterval, want.FlushConsumeQueueThoroughInterval = 10001*time.Millisecond, 60001*time.Millisecond
	want.SendMessageThreadPoolNums, want.PullMessageThreadPoolNums = 128, 127
	want.DLegerGroup, want.DLegerPeers, want.DLegerSelfID = "RaftNode00", "n0-127.0.0.1:40911;n1-127.0.0.1:40912", "n0"
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("got  %+v\nwant %+v", *c, want)
	}
	if got := c.NameServers(); !reflect.DeepEqual(got, []string{"rocketmq-nameserver1:9876", "rocketmq-nameserver2:9876"}) {
		t.Errorf("%q", got)
	}
	if c.VIPPort() != 11009 || c.ConfigDir() != root+"/config" || !reflect.DeepEqual(c.DeleteHours(), []int{4}) {
		t.Errorf("%d %s %v", c.VIPPort(), c.ConfigDir(), c.DeleteHours())
	}
}

func TestTheTutorialsKeyWithoutEffectSaysWhy(t *testing.T) {
	_, w, err := load(t, "checkTransactionMessageEnable=false")
	if err != nil || len(w) != 1 || !strings.Contains(w[0].Text, "a transactional message is refused") {
		t.Errorf("%v %v", w, err)
	}
}

func TestPropertiesParseBackToTheSameConfiguration(t *testing.T) {
	for name, text := range map[string]string{"defaults": "", "the tutorials' file": tutorial, "words in small letters": "brokerRole=sync_master\nflushDiskType=sync_flush"} {
		l, _, err := load(t, text)
		if err != nil {
			t.Fatal(err)
		}
		again, w, err := load(t, l.Properties())
		if err != nil || len(w) != 0 || !reflect.DeepEqual(again.Load(), l.Load()) {
			t.Errorf("%s: %v %v\n%+v\n%+v", name, w, err, l.Load(), again.Load())
		}
	}
}

// The files of RocketMQ's own conf/2m-2s-sync, conf/2m-2s-async and conf/2m-noslave.
func TestRocketMQsOwnExamplesLoadWithoutAWord(t *testing.T) {
	const common = "brokerClusterName=DefaultCluster\nbrokerName=broker-a\ndeleteWhen=04\nfileReservedTime=48\n"
	tests := map[string]struct {
		text string
		role Role
		id   int64
	}{
		"2m-2s-sync/broker-a.properties":    {common + "brokerId=0\nbrokerRole=SYNC_MASTER\nflushDiskType=ASYNC_FLUSH\n", SyncMaster, 0},
		"2m-2s-sync/broker-a-s.properties":  {common + "brokerId=1\nbrokerRole=SLAVE\nflushDiskType=ASYNC_FLUSH\n", Slave, 1},
		"2m-2s-async/broker-a.properties":   {common + "brokerId=0\nbrokerRole=ASYNC_MASTER\nflushDiskType=ASYNC_FLUSH\n", AsyncMaster, 0},
		"broker.conf, with trailing blanks": {"brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\ndeleteWhen = 04\nfileReservedTime = 48\nbrokerRole = ASYNC_MASTER\nflushDiskType = ASYNC_FLUSH\n", AsyncMaster, 0},
	}
	for name, tt := range tests {
		c := mustLoad(t, tt.text)
		if c.BrokerRole != tt.role || c.BrokerID != tt.id || c.FileReservedTime != 48*time.Hour || c.BrokerName != "broker-a" {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestWhatDoesNotGoTogether(t *testing.T) {
	const slave = "brokerRole=SLAVE\nbrokerId=1\n"
	const raft, peers = "enableDLegerCommitLog=true\ndLegerGroup=g\n", "dLegerPeers=n0-10.0.0.1:40911;n1-10.0.0.2:40911;n2-10.0.0.3:40911\n"
	tests := []struct {
		name, text string
		fatal      bool
		want       string
	}{
		{"a master's id is forced to 0", "brokerId=3", false, "broker.properties:1: brokerId: a broker with the role ASYNC_MASTER has the id 0; 3 is not used"},
		{"a slave needs an id", "brokerRole=SLAVE", true, "brokerId: Slave's brokerId must be > 0"},
		{"no brokerName", "brokerName=", true, "broker.properties:1: brokerName: is empty"},
		{"a master nobody finds", "namesrvAddr=", false, "broker.properties:1: namesrvAddr: is empty: no client will find this broker"},
		{"a slave that finds no master", slave + "namesrvAddr=", false, "and a SYNC_MASTER answers SLAVE_NOT_AVAILABLE"},
		{"a slave with a fixed master", slave + "namesrvAddr=\nhaMasterAddress=10.0.0.1:10912", false, "no client will find this slave"},
		{"name server without a port", "namesrvAddr=a:9876;b", true, `"b" is not host:port`},
		{"name server with a comma", "namesrvAddr=a:9876,b:9876", true, `is not host:port`},
		{"HA port is the main port", "haListenPort=10911", true, "10911 is listenPort as well"},
		{"HA port is the VIP port", "haListenPort=10909", true, "10909 is opened for the VIP channel"},
		{"another HA port", "haListenPort=10920", false, "RocketMQ 4.9 would use 10912"},
		{"no room for the VIP port", "listenPort=2", true, "leaves no port two below"},
		{"store paths are the same", "storePathIndex=/data/store/commitlog", true, "broker.properties:1: storePathIndex: /data/store/commitlog collides with /data/store/commitlog of storePathCommitLog"},
		{"store path inside another", "storePathCommitLog=/data/store/consumequeue/log", true, "collides with"},
		{"abort file inside the log", "abortFile=/data/store/commitlog/abort", true, "collides with"},
		{"several commit log directories", "storePathCommitLog=/a,/b", true, "several directories"},
		{"no store path", "storePathRootDir=", true, "storePathRootDir: is empty"},
		{"disk ratio is clamped", "diskMaxUsedSpaceRatio=99", false, "99 is outside 10 to 95; 95 is used"},
		{"message larger than a file", "mapedFileSizeCommitLog=1048576", false, "does not fit into a commit log file of 1048576"},
		{"nothing is kept", "fileReservedTime=0", false, "every full file is deleted at 04 o'clock"},
		{"forced cleaning comes too late", "diskSpaceCleanForciblyRatio=95", false, "messages are refused before space is made"},
		{"a raft group without a name", "enableDLegerCommitLog=true\n" + peers + "dLegerSelfId=n0", true, "dLegerGroup: is empty"},
		{"a raft group without members", raft + "dLegerSelfId=n0", true, "dLegerPeers: is empty"},
		{"a member that is none", raft + peers + "dLegerSelfId=n7", true, `dLegerSelfId: "n7" is none of dLegerPeers "n0-10.0.0.1:40911;`},
		{"a member without an id", raft + peers, true, "dLegerSelfId: is empty: want this broker's id"},
		{"a member's id", raft + "dLegerSelfId=x0\ndLegerPeers=x0-10.0.0.1:40911", true, `"x0" is not the id of a member: n0, n1, n2 and so on`},
		{"a member's address", raft + "dLegerSelfId=n0\ndLegerPeers=n0-10.0.0.1", true, `"10.0.0.1" is not host:port`},
		{"two members at one address", raft + "dLegerSelfId=n0\ndLegerPeers=n0-10.0.0.1:40911;n1-10.0.0.1:40911", true, `10.0.0.1:40911 is "n0-10.0.0.1:40911" already`},
		{"a raft group of two", raft + "dLegerSelfId=n0\ndLegerPeers=n0-10.0.0.1:40911;n1-10.0.0.2:40911", false, "2 members: a group without a third takes no message once one of them is down"},
		{"a leader who is no member", raft + peers + "dLegerSelfId=n0\npreferredLeaderId=n1;n4", true, `preferredLeaderId: "n4" is none of`},
		{"a role in a raft group", raft + peers + "dLegerSelfId=n0\nbrokerRole=SLAVE", false, "brokerRole: SLAVE is not used: a raft group elects its leader"},
		{"an id in a raft group", raft + peers + "dLegerSelfId=n1\nbrokerId=3", false, "brokerId: 3 is not used: the leader of a raft group has the id 0, and n1 has 2 while it follows"},
		{"a raft port that is taken", raft + peers + "dLegerSelfId=n0\nlistenPort=40911", true, "port 40911 of n0 is listenPort as well"},
		{"access control", "aclEnable=true", true, `broker.properties:1: aclEnable: only "false" is served: access control is not served`},
		{"hour", "deleteWhen=4;24", true, `"24" is not an hour of the day`},
		{"delay level", "messageDelayLevel=1s 5x", true, `"5x" is not a delay`},
		{"thread pool", "serverSelectorThreads=3", false, "broker.properties:1: serverSelectorThreads: known, has no effect: goroutines are cheap"},
		{"misspelt", "brokerRol=SLAVE", false, "unknown key, ignored; did you mean brokerRole?"},
	}
	for _, tt := range tests {
		l, w, err := load(t, tt.text)
		if tt.fatal {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if err != nil || len(w) != 1 || !strings.Contains(w[0].String(), tt.want) {
			t.Errorf("%s: %v %v", tt.name, w, err)
			continue
		}
		if l.Load().BrokerID == 3 || l.Load().DiskMaxUsedSpaceRatio == 99 {
			t.Errorf("%s: was not forced", tt.name)
		}
	}
}

func TestSurroundingsLieBelowTheFile(t *testing.T) {
	env := Surroundings("node7", "/home/rmq", func(k string) (string, bool) { return "a:9876", k == "NAMESRV_ADDR" })
	l, w, err := Load(env)
	if err != nil || len(w) != 0 {
		t.Fatal(w, err)
	}
	if c := l.Load(); c.BrokerName != "node7" || c.StorePathCommitLog != "/home/rmq/store/commitlog" || c.NamesrvAddr != "a:9876" {
		t.Errorf("%+v", c)
	}
	l, _, err = Load(env, []conf.Prop{{Key: "namesrvAddr", Value: "b:9876"}, {Key: "brokerName", Value: "b"}})
	if c := l.Load(); err != nil || c.NamesrvAddr != "b:9876" || c.BrokerName != "b" {
		t.Errorf("%+v %v", c, err)
	}
}

func TestPortZeroLetsTheSystemChooseAllPorts(t *testing.T) {
	if c := mustLoad(t, "listenPort=0"); c.HAListenPort != 0 || c.VIPPort() != 0 {
		t.Errorf("%d %d", c.HAListenPort, c.VIPPort())
	}
}

func TestSizesAndTimesInTheirUnits(t *testing.T) {
	c := mustLoad(t, "mappedFileSizeConsumeQueue=300001\ndeleteWhen= 16 ;04;4\nmessageDelayLevel=1s 2m 3h 1d\nsyncFlushTimeout=7")
	if c.ConsumeQueueFileSize() != 300020 || !reflect.DeepEqual(c.DeleteHours(), []int{4, 16}) || c.SyncFlushTimeout != 7*time.Millisecond {
		t.Errorf("%d %v %v", c.ConsumeQueueFileSize(), c.DeleteHours(), c.SyncFlushTimeout)
	}
	if want := []time.Duration{time.Second, 2 * time.Minute, 3 * time.Hour, 24 * time.Hour}; !reflect.DeepEqual(c.DelayLevels(), want) {
		t.Errorf("%v", c.DelayLevels())
	}
	if n := len(mustLoad(t, "").DelayLevels()); n != 18 {
		t.Errorf("%d levels", n)
	}
}

// A row whose field nobody reads would be a key that is accepted without effect.
func TestEveryFieldIsReadByTheBroker(t *testing.T) {
	read := map[string]bool{}
	for method, fields := range map[string][]string{
		"VIPPort": {"ListenPort"}, "NameServers": {"NamesrvAddr"}, "DeleteHours": {"DeleteWhen"}, "DelayLevels": {"MessageDelayLevel"},
		"ConsumeQueueFileSize": {"MappedFileSizeConsumeQueue"}, "ConfigDir": {"StorePathRootDir"}, "IsMaster": {"BrokerRole"}, "Peers": {"DLegerPeers"},
		"Self": {"DLegerSelfID"}, "PreferredLeaders": {"PreferredLeaderID"},
	} {
		if selected(t, "..")[method] {
			for _, f := range fields {
				read[f] = true
			}
		}
	}
	for name := range selected(t, "..") {
		read[name] = true
	}
	for f := range reflect.TypeFor[Config]().Fields() {
		if !read[f.Name] {
			t.Errorf("nothing in broker/ reads Config.%s", f.Name)
		}
	}
}

// selected is every x.Name in the Go files below root, this package's left out.
func selected(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && path == filepath.Join(root, "config") {
			return cmpErr(err, fs.SkipDir)
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				names[s.Sel.Name] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
