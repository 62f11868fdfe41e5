// The brokers that are measured: how each is started, with which settings, and how it is told that it is its turn.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rmqctl/internal/load"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

const (
	ours   = "ours"
	queues = 8
)

// javaFlags are runbroker.sh's of 4.9 and 5.3, but for the log of the collector and AlwaysPreTouch, without which Java starts
// faster and takes less memory.
var javaFlags = []string{
	"-server", "-XX:+UseG1GC", "-XX:G1HeapRegionSize=16m", "-XX:G1ReservePercent=25", "-XX:InitiatingHeapOccupancyPercent=30",
	"-XX:SoftRefLRUPolicyMSPerMB=0", "-XX:-OmitStackTraceInFastThrow", "-XX:MaxDirectMemorySize=4g", "-XX:-UseLargePages",
	"-Djava.net.preferIPv4Stack=true",
	"--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED", "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
	"--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED",
}

// broker is one broker, a master with its slave, or a raft group whose leader is called the master.
type broker struct {
	b      *bench
	peer   string // ours or a version
	label  string // as it is called in results
	home   string
	port   int
	props  map[string]string
	pair   bool
	raft   bool // three members
	master *process
	slaves []*process
	leads  int // the port of the leader; 0: the first one
}

const members = 3

// broker describes a broker of a group; nothing runs yet.
func (b *bench) broker(peer, label, group string, pair bool, props map[string]string) *broker {
	b.ports += 10 * members
	return &broker{b: b, peer: peer, label: label, home: filepath.Join(b.s.Dir, group+"-"+label), port: b.ports, props: props, pair: pair}
}

func (k *broker) addr() string  { return "127.0.0.1:" + strconv.Itoa(max(k.port, k.leads)) }
func (k *broker) java() bool    { return k.peer != ours }
func (k *broker) store() string { return filepath.Join(k.home, "master", "store") }

// all are the processes of the broker that run.
func (k *broker) all() []*process {
	if k.master == nil {
		return nil
	}
	return append([]*process{k.master}, k.slaves...)
}

// together: its processes would miss each other if they were stopped for a while.
func (k *broker) together() bool { return k.pair || k.raft }

// pids are those of the master and of those that copy from it.
func (k *broker) pids() (pids []int) {
	for _, p := range k.all() {
		pids = append(pids, p.pid())
	}
	return pids
}

// fresh starts the broker on an empty store.
func (k *broker) fresh(ctx context.Context) error {
	if err := os.RemoveAll(k.home); err != nil {
		return err
	}
	return k.start(ctx)
}

// start starts the broker on what it has and waits until it takes messages.
func (k *broker) start(ctx context.Context) (err error) {
	if k.raft {
		return k.startGroup(ctx)
	}
	if k.master, err = k.run("master", k.port, nil); err != nil {
		return err
	}
	if k.pair {
		role := map[string]string{"brokerRole": "SLAVE", "brokerId": "1"}
		if !strings.HasPrefix(k.peer, "5") { // 5.x hears it from the name server only
			role["haMasterAddress"] = "127.0.0.1:" + strconv.Itoa(k.port+1)
		}
		slave, err := k.run("slave", k.port+4, role)
		if err != nil {
			return err
		}
		k.slaves = []*process{slave}
	}
	if err := k.ready(ctx, 2*time.Minute); err != nil {
		return err
	}
	if k.pair && k.props["brokerRole"] == "ASYNC_MASTER" {
		return k.joined(ctx)
	}
	return nil
}

// startGroup starts the members of a raft group and waits until one of them leads.
func (k *broker) startGroup(ctx context.Context) error {
	var peers []string
	for i := range members {
		peers = append(peers, fmt.Sprintf("n%d-127.0.0.1:%d", i, k.port+10*i+6))
	}
	k.master, k.slaves, k.leads = nil, nil, 0
	for i := range members {
		p, err := k.run(k.member(i), k.port+10*i, map[string]string{
			"enableDLegerCommitLog": "true", "dLegerGroup": k.label, "dLegerPeers": strings.Join(peers, ";"), "dLegerSelfId": fmt.Sprint("n", i),
		})
		if err != nil {
			return err
		}
		if i == 0 {
			k.master = p
		} else {
			k.slaves = append(k.slaves, p)
		}
	}
	for late := time.Now().Add(2 * time.Minute); time.Now().Before(late) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		for i := range members {
			if k.leads = k.port + 10*i; k.isLeader(ctx) {
				if i > 0 { // the first one's cost is the leader's
					k.master, k.slaves[i-1] = k.slaves[i-1], k.master
				}
				return k.ready(ctx, time.Minute)
			}
		}
	}
	return fmt.Errorf("%s: nobody leads: %s", k.label, k.master.tail())
}

// member is the folder of a member; the first one's is where a master's is.
func (k *broker) member(i int) string {
	if i == 0 {
		return "master"
	}
	return fmt.Sprint("member", i)
}

// isLeader asks the member at addr. Of ours every member takes messages, and passes them on; of Java's the leader only.
func (k *broker) isLeader(ctx context.Context) bool {
	if k.java() {
		return load.Once(ctx, k.addr(), "ping") == nil
	}
	rc := remoting.NewClient(remoting.ClientOptions{})
	defer rc.Close()
	_, body, err := remoting.Do(ctx, rc, k.addr(), protocol.GetReplicationState, &protocol.Empty{})
	var state protocol.ReplicationState
	return err == nil && protocol.Unmarshal(body, &state) == nil && state.Role == "leader"
}

// joined waits until an ASYNC_MASTER, of ours, says that its slave has everything. No acknowledgement of a message would.
func (k *broker) joined(ctx context.Context) error {
	rc := remoting.NewClient(remoting.ClientOptions{})
	defer rc.Close()
	for late := time.Now().Add(time.Minute); time.Now().Before(late) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		_, body, err := remoting.Do(ctx, rc, k.addr(), protocol.GetBrokerHAStatus, &protocol.Empty{})
		var info protocol.HARuntimeInfo
		if err == nil && protocol.Unmarshal(body, &info) == nil && info.InSyncSlaveNums > 0 {
			return nil
		}
	}
	return fmt.Errorf("%s: the slave does not join", k.label)
}

func (k *broker) run(role string, port int, more map[string]string) (*process, error) {
	home := filepath.Join(k.home, role)
	props := map[string]string{
		"brokerClusterName": "bench", "brokerName": k.label, "brokerId": "0", "brokerRole": "ASYNC_MASTER", "flushDiskType": "ASYNC_FLUSH",
		"listenPort": strconv.Itoa(port), "haListenPort": strconv.Itoa(port + 1), "namesrvAddr": k.b.nameServer,
		"brokerIP1": "127.0.0.1", "brokerIP2": "127.0.0.1", "rocketmqHome": home,
		"storePathRootDir": filepath.Join(home, "store"), "storePathCommitLog": filepath.Join(home, "store", "commitlog"),
		"mappedFileSizeCommitLog": "1073741824", "messageIndexEnable": "true", "autoCreateTopicEnable": "true", "defaultTopicQueueNums": strconv.Itoa(queues),
		// A full machine is no reason to refuse: by default a send that waited 200 ms is, and counts as failed.
		"waitTimeMillsInSendQueue": "10000", "diskMaxUsedSpaceRatio": "95", "fileReservedTime": "72",
	}
	if k.pair && strings.HasPrefix(k.peer, "5") {
		props["inSyncReplicas"] = "2" // with the default of 1 a SYNC_MASTER of 5.x waits for nobody
	}
	maps.Copy(props, k.props)
	maps.Copy(props, more)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(props)) {
		fmt.Fprintf(&text, "%s=%s\n", name, props[name])
	}
	conf := filepath.Join(home, "broker.conf")
	if err := os.MkdirAll(filepath.Join(home, "conf"), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(conf, []byte(text.String()), 0o644); err != nil {
		return nil, err
	}
	return start(filepath.Join(home, "out.log"), k.argv(home, conf)...)
}

func (k *broker) argv(home, conf string) []string {
	if !k.java() {
		return []string{k.b.s.Program, "broker", "-c", conf}
	}
	logback := filepath.Join(home, "conf", "logback_broker.xml")
	_ = os.WriteFile(logback, []byte(strings.ReplaceAll(logbackXML, "HOME", home)), 0o644)
	argv := append([]string{"java", "-Xms" + k.b.s.Heap, "-Xmx" + k.b.s.Heap}, javaFlags...)
	return append(argv, "-Duser.home="+home, "-Drocketmq.log.root="+home, "-Drocketmq.client.logRoot="+home, "-Drmq.logback.configurationFile="+logback,
		"-cp", filepath.Join(k.b.s.Libs, k.peer, "*"), "org.apache.rocketmq.broker.BrokerStartup", "-c", conf)
}

// logbackXML keeps a Java broker from writing a line for each of its events: only warnings count.
const logbackXML = `<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender">
    <file>HOME/server.log</file>
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5p %c{0} %m%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="FILE"/></root>
</configuration>
`

// ready waits until a message has been acknowledged in full: of a pair, with the slave's copy.
func (k *broker) ready(ctx context.Context, within time.Duration) error {
	late := time.Now().Add(within)
	for {
		err := load.Once(ctx, k.addr(), "ping")
		if err == nil {
			return nil
		}
		if k.master.ended() {
			return fmt.Errorf("%s ended: %s", k.label, k.master.tail())
		}
		if time.Now().After(late) || ctx.Err() != nil {
			return fmt.Errorf("%s takes no message: %w", k.label, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// freeze stops the broker until thaw. A pair and a group go on: its members would miss each other.
func (k *broker) freeze() {
	if !k.together() && k.master != nil {
		k.master.signal(syscall.SIGSTOP)
	}
}

func (k *broker) thaw() {
	if !k.together() && k.master != nil {
		k.master.signal(syscall.SIGCONT)
		if k.java() {
			time.Sleep(time.Second) // what its timers have missed, they do now
		}
	}
}

// end kills everything of the broker, as its store is removed, too.
func (k *broker) end() {
	for _, p := range slices.Backward(k.all()) {
		p.kill()
	}
	k.master, k.slaves, k.leads = nil, nil, 0
	_ = os.RemoveAll(k.home)
}

// alive says whether all processes of the broker run.
func (k *broker) alive() bool {
	return k.master != nil && !slices.ContainsFunc(k.all(), (*process).ended)
}

// restarted brings a broker back that a workload has broken or that has written more than its share.
func (k *broker) restarted(ctx context.Context) error {
	k.end()
	return k.fresh(ctx)
}

// trim keeps the store small. Ours begins anew, which costs it nothing; Java would lose its warmth and deletes its old files.
func (k *broker) trim(ctx context.Context) error {
	if !k.java() && dirSize(k.home) >= k.b.s.Store/3 {
		return k.restarted(ctx)
	}
	if !k.java() || dirSize(k.home) < k.b.s.Store {
		return nil
	}
	hours := make([]string, 24)
	for i := range hours {
		hours[i] = fmt.Sprintf("%02d", i)
	}
	if err := k.configure(ctx, "deleteWhen="+strings.Join(hours, ";")+"\nfileReservedTime=0\n"); err != nil {
		return err
	}
	for late := time.Now().Add(45 * time.Second); dirSize(k.home) > k.b.s.Store/2 && time.Now().Before(late); {
		time.Sleep(time.Second)
	}
	k.b.say("%s: store trimmed to %d MiB", k.label, dirSize(k.home)>>20)
	return k.configure(ctx, "fileReservedTime=72\n")
}

func (k *broker) configure(ctx context.Context, text string) error {
	rc := remoting.NewClient(remoting.ClientOptions{})
	defer rc.Close()
	ports := []int{k.port}
	if k.pair {
		ports = append(ports, k.port+4)
	}
	for i := 1; k.raft && i < members; i++ {
		ports = append(ports, k.port+10*i)
	}
	for _, port := range ports {
		if _, _, err := remoting.Do(ctx, rc, "127.0.0.1:"+strconv.Itoa(port), protocol.UpdateBrokerConfig, &protocol.Empty{}, []byte(text)); err != nil {
			return fmt.Errorf("%s: %w", k.label, err)
		}
	}
	return nil
}

// numbers are what the broker says of itself; ours counts how often it made the log durable.
func (k *broker) numbers(ctx context.Context) (flushes, logEnd float64) {
	rc := remoting.NewClient(remoting.ClientOptions{})
	defer rc.Close()
	_, body, err := remoting.Do(ctx, rc, k.addr(), protocol.GetBrokerRuntimeInfo, &protocol.Empty{})
	var t protocol.KVTable
	if err != nil || protocol.Unmarshal(body, &t) != nil {
		return 0, 0
	}
	_, _ = fmt.Sscan(t.Table["commitLogFlushes"], &flushes)
	_, _ = fmt.Sscan(t.Table["commitLogMaxOffset"], &logEnd)
	return flushes, logEnd
}

func (k *broker) target() []load.Target { return []load.Target{{Addr: k.addr(), Queues: queues}} }
