package chaos

// Clusters: which processes there are, how they are configured, and whether they serve.

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
	"rmqctl/test/peers"
)

// Layout says which cluster is wanted.
type Layout struct {
	Program     string // peers.Ours ("" too), or a version of Java's servers
	Binary      string // of ours: another build; "" is RMQCTL, or built from the tree
	NameServers int    // 0: 1
	Sets        []SetLayout
	Props       map[string]string // of all brokers
	NamesrvProp map[string]string
	DiskMB      int  // each broker's store is a disk of this size, 0: a folder
	Knobs       bool // a build of ours whose clock can be set
	Loopback    bool // addresses of the loopback instead of networks: no root needed, no network faults
}

// SetLayout is one broker name with its replicas.
type SetLayout struct {
	Name  string
	Raft  bool     // a raft group; otherwise a master and its slaves
	Sync  bool     // SYNC_MASTER
	Zones []string // of each member; their number is the number of members
}

// Pair is a master and a slave in two zones.
func Pair(name string, sync bool) SetLayout {
	return SetLayout{Name: name, Sync: sync, Zones: []string{"a", "b"}}
}

// Raft is a raft group of three in three zones.
func Raft(name string) SetLayout {
	return SetLayout{Name: name, Raft: true, Zones: []string{"a", "b", "c"}}
}

// Cluster is a running cluster.
type Cluster struct {
	Sets        []*Set
	NameServers []*Member

	t      testing.TB
	layout Layout
	binary string
	net    *network
	client *client.Client
	begun  time.Time
}

// Set is one broker name.
type Set struct {
	Name    string
	Raft    bool
	Members []*Member
}

// knobs names the environment variable that tells a build with knobs where they are.
const knobs = "RMQCTL_CHAOS_KNOBS"

const (
	namesrvPort = 9876
	brokerPort  = 10911
	haPort      = 10912
	raftPort    = 40911
)

// Start starts a cluster and waits until every set takes messages. It ends with the test.
func Start(t testing.TB, l Layout) *Cluster {
	t.Helper()
	if l.Program == "" {
		l.Program = peers.Ours
	}
	c := &Cluster{t: t, layout: l, net: newNetwork(t, l.Loopback), begun: time.Now()}
	if l.Program == peers.Ours {
		switch c.binary = l.Binary; {
		case c.binary != "":
		case l.Knobs:
			c.binary = withKnobs(t)
		default:
			c.binary = Program(t)
		}
	}
	for n := range max(l.NameServers, 1) {
		c.NameServers = append(c.NameServers, c.namesrv(n))
	}
	for _, s := range l.Sets {
		c.Sets = append(c.Sets, c.set(s))
	}
	t.Cleanup(c.stop)
	for _, m := range append(slices.Clone(c.NameServers), c.Brokers()...) {
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
		if m.Set == nil || !m.Set.Raft {
			c.mustReady(m) // a slave asks for its master when it registers
		}
	}
	for _, m := range c.Brokers() {
		c.mustReady(m)
	}
	var err error
	if c.client, err = client.New(client.Options{NameServers: c.namesrvs(), Timeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.client.Close() })
	for _, s := range c.Sets {
		if _, err := c.AwaitLeader(s, bootTime); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *Cluster) mustReady(m *Member) {
	c.t.Helper()
	if err := m.Ready(bootTime); err != nil {
		c.t.Fatal(err)
	}
}

func (c *Cluster) stop() {
	all := append(c.Brokers(), c.NameServers...)
	if c.t.Failed() {
		for _, m := range all {
			c.t.Logf("%s\n%s", m.Name, m.Log(6000))
		}
	}
	for _, m := range all {
		m.Kill()
	}
}

func (c *Cluster) member(name, kind string) *Member {
	h := c.net.add(c.t, name)
	m := &Member{Name: name, c: c, card: h, kind: kind, Home: filepath.Join(c.t.TempDir(), name)}
	if err := os.MkdirAll(m.Home, 0o755); err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *Cluster) namesrv(n int) *Member {
	m := c.member(fmt.Sprintf("namesrv-%d", n), peers.Namesrv)
	m.Zone = string(rune('a' + n))
	m.Addr = fmt.Sprintf("%v:%d", m.card.ip, namesrvPort)
	m.conf = map[string]string{
		"listenPort": strconv.Itoa(namesrvPort), "bindAddress": m.card.ip.String(), "kvConfigPath": filepath.Join(m.Home, "kvConfig.json"),
		"rocketmqHome": m.Home, "serverWorkerThreads": "2",
	}
	maps.Copy(m.conf, c.layout.NamesrvProp)
	return m
}

func (c *Cluster) namesrvs() []string {
	var addrs []string
	for _, m := range c.NameServers {
		addrs = append(addrs, m.Addr)
	}
	return addrs
}

func (c *Cluster) set(l SetLayout) *Set {
	s := &Set{Name: l.Name, Raft: l.Raft}
	var raftPeers []string
	for n, zone := range l.Zones {
		m := c.member(fmt.Sprintf("%s-%d", l.Name, n), peers.Broker)
		m.Zone, m.Set = zone, s
		m.Addr = fmt.Sprintf("%v:%d", m.card.ip, brokerPort)
		m.Store = filepath.Join(m.Home, "store")
		if c.layout.DiskMB > 0 {
			m.disk = c.disk(m.Store)
		}
		s.Members = append(s.Members, m)
		raftPeers = append(raftPeers, fmt.Sprintf("n%d-%v:%d", n, m.card.ip, raftPort))
	}
	for n, m := range s.Members {
		m.conf = c.properties(m)
		switch {
		case l.Raft:
			maps.Copy(m.conf, map[string]string{"enableDLegerCommitLog": "true", "dLegerGroup": l.Name, "dLegerPeers": strings.Join(raftPeers, ";"), "dLegerSelfId": fmt.Sprintf("n%d", n)})
		case n > 0:
			maps.Copy(m.conf, map[string]string{"brokerRole": "SLAVE", "brokerId": strconv.Itoa(n)})
		case l.Sync:
			maps.Copy(m.conf, map[string]string{"brokerRole": "SYNC_MASTER", "brokerId": "0"})
		default:
			maps.Copy(m.conf, map[string]string{"brokerRole": "ASYNC_MASTER", "brokerId": "0"})
		}
		maps.Copy(m.conf, c.layout.Props)
	}
	return s
}

// properties are small files, and patience: a busy test machine is no reason to refuse a message.
func (c *Cluster) properties(m *Member) map[string]string {
	ip := m.card.ip.String()
	return map[string]string{
		"brokerClusterName": "Disasters", "brokerName": m.Set.Name, "namesrvAddr": strings.Join(c.namesrvs(), ";"),
		"listenPort": strconv.Itoa(brokerPort), "haListenPort": strconv.Itoa(haPort), "brokerIP1": ip, "brokerIP2": ip, "bindAddress": ip,
		"waitTimeMillsInSendQueue": "60000", "waitTimeMillsInPullQueue": "60000", "osPageCacheBusyTimeOutMills": "60000",
		"storePathRootDir": m.Store, "storePathCommitLog": filepath.Join(m.Store, "commitlog"),
		"mappedFileSizeCommitLog": "4194304", "mappedFileSizeConsumeQueue": "60000", "maxHashSlotNum": "10000", "maxIndexNum": "40000",
		"maxMessageSize": "1048576", "diskMaxUsedSpaceRatio": "95", "fileReservedTime": "72", "slaveReadEnable": "true",
		"warmMapedFileEnable": "false", "transientStorePoolEnable": "false", "useEpollNativeSelector": "false",
		"rocketmqHome": m.Home, "serverWorkerThreads": "4", "flushConsumerOffsetInterval": "1000",
	}
}

func (c *Cluster) disk(dir string) *disk {
	c.t.Helper()
	NeedDisks(c.t)
	d, err := newDisk(dir, c.layout.DiskMB)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(d.remove)
	return d
}

// Brokers are the brokers of all sets.
func (c *Cluster) Brokers() []*Member {
	var all []*Member
	for _, s := range c.Sets {
		all = append(all, s.Members...)
	}
	return all
}

// Leader is the member of a set that the name servers send producers to, nil if there is none.
func (c *Cluster) Leader(s *Set) *Member {
	info, err := c.client.ClusterInfo(context.Background())
	if err != nil {
		return nil
	}
	b := info.BrokerAddrTable[s.Name]
	if b == nil {
		return nil
	}
	for _, m := range s.Members {
		if m.Addr == client.Master(b) {
			return m
		}
	}
	return nil
}

// AwaitLeader waits until the name servers know who leads a set.
func (c *Cluster) AwaitLeader(s *Set, within time.Duration) (*Member, error) {
	for late := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		if m := c.Leader(s); m != nil {
			return m, nil
		}
		if time.Now().After(late) {
			return nil, fmt.Errorf("%s has no leader within %v", s.Name, within)
		}
	}
}

// AwaitMembers waits until the name servers know all members of a set.
func (c *Cluster) AwaitMembers(s *Set, within time.Duration) error {
	for late := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		info, err := c.client.ClusterInfo(context.Background())
		if err == nil && info.BrokerAddrTable[s.Name] != nil && len(info.BrokerAddrTable[s.Name].BrokerAddrs) == len(s.Members) {
			return nil
		}
		if time.Now().After(late) {
			return fmt.Errorf("%s: the name servers know %+v within %v (%v)", s.Name, info, within, err)
		}
	}
}

// Topic makes a topic on every set and waits until all members have it.
func (c *Cluster) Topic(topic string, queues int32) {
	c.t.Helper()
	for _, s := range c.Sets {
		if err := c.until(30*time.Second, func() error { return c.makeTopic(s, topic, queues) }); err != nil {
			c.t.Fatalf("topic %s on %s: %v", topic, s.Name, err)
		}
	}
}

func (c *Cluster) makeTopic(s *Set, topic string, queues int32) error {
	m := c.Leader(s)
	if m == nil {
		return fmt.Errorf("no leader")
	}
	_, _, err := client.Call(context.Background(), c.client, m.Addr, protocol.UpdateAndCreateTopic, &protocol.UpdateTopicRequest{
		Topic: topic, DefaultTopic: topic, ReadQueueNums: queues, WriteQueueNums: queues, Perm: protocol.PermRead | protocol.PermWrite, TopicFilterType: "SINGLE_TAG",
	})
	if err != nil {
		return err
	}
	return c.until(5*time.Second, func() error {
		r, err := c.client.Route(context.Background(), topic)
		if err != nil {
			return err
		}
		for _, b := range r.BrokerDatas {
			if b.BrokerName == s.Name {
				return nil
			}
		}
		return fmt.Errorf("not in the route")
	})
}

func (c *Cluster) until(within time.Duration, holds func() error) error {
	for late := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		err := holds()
		if err == nil || time.Now().After(late) {
			return err
		}
	}
}
