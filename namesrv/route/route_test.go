package route

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/clock"
	"rmqctl/internal/protocol"
)

// bench is a table with a clock, and verbs that read like a story.
type bench struct {
	*Table
	*testing.T
	clk *clock.Fake
}

func newBench(t *testing.T) *bench {
	return &bench{New(), t, clock.NewFake(time.UnixMilli(1_700_000_000_000))}
}

func topics(perm int32, names ...string) map[string]*protocol.TopicConfig {
	m := map[string]*protocol.TopicConfig{}
	for _, n := range names {
		m[n] = &protocol.TopicConfig{TopicName: n, Perm: perm, ReadQueueNums: 8, WriteQueueNums: 8}
	}
	return m
}

func (b *bench) register(cluster, name string, id int64, addr string, owner Owner, tt map[string]*protocol.TopicConfig) Master {
	b.Helper()
	m, _, ok := b.Register(Registration{Broker: Broker{cluster, name, addr, id}, HAAddr: strings.Replace(addr, "911", "912", 1),
		Topics: tt, Owner: owner}, b.clk.Now())
	if !ok {
		b.Errorf("%s refused", addr)
	}
	return m
}

// route is a route in one line: queues with permissions, then brokers with addresses.
func (b *bench) route(topic string) string {
	r, ok := b.Topic(topic, b.clk.Now())
	if !ok {
		return "none"
	}
	var s []string
	for _, q := range r.QueueDatas {
		s = append(s, fmt.Sprintf("%s/%d", q.BrokerName, q.Perm))
	}
	for _, d := range r.BrokerDatas {
		s = append(s, fmt.Sprintf("%s%v", d.BrokerName, d.BrokerAddrs))
	}
	return strings.Join(s, " ")
}

func (b *bench) want(what, got, want string) {
	b.Helper()
	if got != want {
		b.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestMasterAndSlaveFormOneRoute(t *testing.T) {
	b := newBench(t)
	if m := b.register("C", "a", 1, "10.0.0.2:10911", "c2", topics(6, "S")); m != (Master{}) {
		t.Errorf("a slave without a master was told %v", m)
	}
	b.want("a slave brings no topics", b.route("S"), "none")
	b.register("C", "a", 0, "10.0.0.1:10911", "c1", topics(6, "T"))
	if m := b.register("C", "a", 1, "10.0.0.2:10911", "c2", nil); m != (Master{"10.0.0.1:10911", "10.0.0.1:10912"}) {
		t.Errorf("the slave was told %v", m)
	}
	if m := b.register("C", "a", 0, "10.0.0.1:10911", "c1", nil); m != (Master{}) {
		t.Errorf("the master was told %v", m)
	}
	b.register("C", "b", 0, "10.0.0.3:10911", "c3", topics(4, "T"))
	b.want("route", b.route("T"), "a/6 b/4 amap[0:10.0.0.1:10911 1:10.0.0.2:10911] bmap[0:10.0.0.3:10911]")
}

func TestASingleTopicIsMergedAndNoneIsDropped(t *testing.T) {
	b := newBench(t)
	b.register("C", "a", 0, "10.0.0.1:10911", "c1", topics(6, "T1", "T2"))
	b.register("C", "a", 0, "10.0.0.1:10911", "c1", topics(4, "T2"))
	b.register("C", "a", 0, "10.0.0.1:10911", "c1", topics(6, "T3"))
	for topic, want := range map[string]string{"T1": "a/6", "T2": "a/4", "T3": "a/6"} {
		b.want(topic, strings.Fields(b.route(topic))[0], want)
	}
}

// Upstream keeps the first state: the second registration has the version it knows already.
func TestTopicsAreMergedThoughTheVersionIsKnown(t *testing.T) {
	b := newBench(t)
	v := protocol.DataVersion{Counter: 5, Timestamp: 1}
	reg := Registration{Broker: Broker{"C", "a", "10.0.0.1:10911", 0}, Version: v, Topics: topics(6, "T5"), Owner: "c1"}
	b.Register(reg, b.clk.Now())
	reg.Topics = topics(6, "T4", "T5") // T4's own registration was lost on the way
	b.Register(reg, b.clk.Now())
	b.want("topics", strings.Join(b.Topics(), " "), "T4 T5")
}

func TestWhatALeavingBrokerTakesAlong(t *testing.T) {
	tests := []struct {
		name  string
		leave func(b *bench)
		want  string // route of T
	}{
		{"the slave's connection closes", func(b *bench) { b.Disconnected("c2", b.clk.Now()) }, "a/6 amap[0:10.0.0.1:10911]"},
		{"the master's connection closes: its queues stay readable", func(b *bench) { b.Disconnected("c1", b.clk.Now()) }, "a/6 amap[1:10.0.0.2:10911]"},
		{"both close", func(b *bench) { b.Disconnected("c1", b.clk.Now()); b.Disconnected("c2", b.clk.Now()) }, "none"},
		{"the master unregisters", func(b *bench) { b.Unregister(Broker{"C", "a", "10.0.0.1:10911", 0}) }, "a/6 amap[1:10.0.0.2:10911]"},
		{"another address unregisters under the master's id", func(b *bench) { b.Unregister(Broker{"C", "a", "10.9.9.9:10911", 0}) }, "a/6 amap[0:10.0.0.1:10911 1:10.0.0.2:10911]"},
		{"another broker's connection closes", func(b *bench) { b.Disconnected("c9", b.clk.Now()) }, "a/6 amap[0:10.0.0.1:10911 1:10.0.0.2:10911]"},
		{"120 s of silence are borne", func(b *bench) { b.clk.Advance(Silence); b.Expire(b.clk.Now()) }, "a/6 amap[0:10.0.0.1:10911 1:10.0.0.2:10911]"},
		{"more are not", func(b *bench) { b.clk.Advance(Silence + 1); b.Expire(b.clk.Now()) }, "none"},
		{"a sign of life of the slave keeps the slave", func(b *bench) {
			b.clk.Advance(time.Minute)
			b.Touch("10.0.0.2:10911", b.clk.Now())
			b.clk.Advance(time.Minute + 1)
			b.Expire(b.clk.Now())
		}, "a/6 amap[1:10.0.0.2:10911]"},
		{"a connection that was replaced closes late", func(b *bench) {
			b.register("C", "a", 0, "10.0.0.1:10911", "c1b", topics(6, "T"))
			b.Disconnected("c1", b.clk.Now())
		}, "a/6 amap[0:10.0.0.1:10911 1:10.0.0.2:10911]"},
		{"the slave becomes master", func(b *bench) {
			b.Disconnected("c1", b.clk.Now())
			b.register("C", "a", 0, "10.0.0.2:10911", "c2", topics(6, "T"))
		}, "a/6 amap[0:10.0.0.2:10911]"},
		{"the master's address gets another name", func(b *bench) {
			b.register("C", "z", 0, "10.0.0.1:10911", "c1", topics(6, "Z"))
		}, "a/6 amap[1:10.0.0.2:10911]"},
	}
	for _, tt := range tests {
		b := newBench(t)
		b.register("C", "a", 0, "10.0.0.1:10911", "c1", topics(6, "T"))
		b.register("C", "a", 1, "10.0.0.2:10911", "c2", nil)
		tt.leave(b)
		b.want(tt.name, b.route("T"), tt.want)
		if tt.want == "none" && (len(b.Topics()) != 0 || len(b.Cluster().BrokerAddrTable) != 0 || len(b.Cluster().ClusterAddrTable) != 0) {
			t.Errorf("%s: something stayed: %v %v", tt.name, b.Topics(), b.Cluster())
		}
	}
}

func TestABrokerMayNameItsOwnLimitOfSilence(t *testing.T) {
	b := newBench(t)
	b.Register(Registration{Broker: Broker{"C", "a", "10.0.0.1:10911", 0}, Timeout: 10 * time.Second}, b.clk.Now())
	b.clk.Advance(11 * time.Second)
	lost := b.Expire(b.clk.Now())
	if want := []Loss{{Broker{"C", "a", "10.0.0.1:10911", 0}, 11 * time.Second}}; !reflect.DeepEqual(lost, want) {
		t.Errorf("%v", lost)
	}
}

func TestTwoAddressesClaimOnePlace(t *testing.T) {
	b := newBench(t)
	b.register("C", "a", 0, "10.0.0.1:10911", "c1", topics(6, "T"))
	_, moved, ok := b.Register(Registration{Broker: Broker{"C", "a", "10.0.0.9:10911", 0}, Owner: "c9"}, b.clk.Now())
	if !ok || moved != "10.0.0.1:10911" {
		t.Errorf("moved from %q, accepted %v", moved, ok)
	}
	b.Disconnected("c1", b.clk.Now())
	b.want("the loser's end changes nothing", b.route("T"), "a/6 amap[0:10.0.0.9:10911]")

	reg := Registration{Broker: Broker{"C", "a", "10.0.0.7:10911", 0}, Version: protocol.DataVersion{StateVersion: 2}, Owner: "c7"}
	b.Register(reg, b.clk.Now())
	reg.Addr, reg.Version.StateVersion = "10.0.0.9:10911", 1
	if _, _, ok := b.Register(reg, b.clk.Now()); ok {
		t.Error("an earlier election took the place of a later one")
	}
	b.want("place", b.route("T"), "a/6 amap[0:10.0.0.7:10911]")
}

func TestALaterElectionKeepsTheMastersPlace(t *testing.T) {
	b := newBench(t)
	leads := func(addr string, term int64) (Master, bool) {
		m, _, ok := b.Register(Registration{Broker: Broker{"C", "a", addr, 0}, HAAddr: addr + "-ha", Version: protocol.DataVersion{StateVersion: term},
			Owner: "o" + addr, Topics: topics(6, "T")}, b.clk.Now())
		return m, ok
	}
	follows := func(addr string, id, term int64) Master {
		m, _, _ := b.Register(Registration{Broker: Broker{"C", "a", addr, id}, Version: protocol.DataVersion{StateVersion: term}, Owner: "o" + addr}, b.clk.Now())
		return m
	}
	leads("n0", 1)
	follows("n1", 2, 1)
	follows("n2", 3, 1)
	leads("n1", 2)
	b.want("the new leader has the place, and its own of a follower is free", b.route("T"), "a/6 amap[0:n1 3:n2]")
	if m, ok := leads("n0", 1); ok || m != (Master{"n1", "n1-ha"}) {
		t.Errorf("a late registration of the old leader: %v %v", m, ok)
	}
	b.want("it changes nothing", b.route("T"), "a/6 amap[0:n1 3:n2]")
	b.Unregister(Broker{"C", "a", "n0", 0})
	b.Disconnected("on0", b.clk.Now())
	b.want("nor does its end", b.route("T"), "a/6 amap[0:n1 3:n2]")
	if m := follows("n0", 1, 2); m.Addr != "n1" {
		t.Errorf("as a follower it is told %v", m)
	}
	b.Disconnected("on1", b.clk.Now())
	b.want("the dead leader is gone at once", b.route("T"), "a/6 amap[1:n0 3:n2]")
	if _, ok := leads("n0", 1); ok {
		t.Error("while the later leader is away, an earlier one took its place")
	}
	b.want("nobody leads, everybody can be read", b.route("T"), "a/6 amap[1:n0 3:n2]")
	leads("n2", 3)
	b.want("the next leader", b.route("T"), "a/6 amap[0:n2 1:n0]")
	b.Unregister(Broker{"C", "a", "n2", 0})
	b.Unregister(Broker{"C", "a", "n0", 1})
	if _, ok := leads("n0", 1); !ok {
		t.Error("a group that was taken down and set up anew is still held to its elections")
	}
}

func TestMask(t *testing.T) {
	const shown, masked = "a/6 b/6", "a/4 b/6"
	lease := 60 * time.Second
	back := func(b *bench) { b.register("C", "a", 0, "10.0.0.1:10911", "new", topics(6, "T")) }
	gone := func(b *bench) { b.Disconnected("c1", b.clk.Now()) }
	tests := []struct {
		name  string
		lease time.Duration
		then  func(b *bench)
		want  string
	}{
		{"hides the write permission", 0, func(b *bench) {}, masked},
		{"stays over a registration of the same", 0, func(b *bench) { b.register("C", "a", 0, "10.0.0.1:10911", "c1", topics(6, "T")) }, masked},
		{"ends when it is lifted", 0, func(b *bench) { b.Unmask("a") }, shown},
		{"lasts without a lease", 0, func(b *bench) {
			b.clk.Advance(time.Hour)
			b.Touch("10.0.0.1:10911", b.clk.Now())
		}, masked},
		{"without a lease it ends when the master comes back", 0, func(b *bench) { gone(b); back(b) }, shown},
		{"with a lease it stays when the master comes back", lease, func(b *bench) { gone(b); back(b) }, masked},
		{"with a lease it ends in time", lease, func(b *bench) { b.clk.Advance(lease) }, shown},
		{"a lease is renewed", lease, func(b *bench) {
			b.clk.Advance(lease - 1)
			b.Mask("a", lease, b.clk.Now())
			b.clk.Advance(lease - 1)
		}, masked},
		{"a lease that is over is forgotten", lease, func(b *bench) { b.clk.Advance(lease); b.Expire(b.clk.Now()) }, shown},
	}
	for _, tt := range tests {
		b := newBench(t)
		b.register("C", "a", 0, "10.0.0.1:10911", "c1", topics(6, "T", "T2"))
		b.register("C", "a", 1, "10.0.0.2:10911", "c2", nil)
		b.register("C", "b", 0, "10.0.0.3:10911", "c3", topics(6, "T"))
		if n := b.Mask("a", tt.lease, b.clk.Now()); n != 2 {
			t.Errorf("%s: %d topics masked", tt.name, n)
		}
		tt.then(b)
		b.want(tt.name, strings.Join(strings.Fields(b.route("T"))[:2], " "), tt.want)
	}
}

func TestMaskCoversNewTopicsAndGivesBackWhatWasThere(t *testing.T) {
	b := newBench(t)
	b.register("C", "a", 0, "10.0.0.1:10911", "c1", topics(4, "ReadOnly"))
	b.Mask("a", 0, b.clk.Now())
	b.register("C", "a", 0, "10.0.0.1:10911", "c1", topics(6, "%RETRY%g"))
	b.want("created under the mask", strings.Fields(b.route("%RETRY%g"))[0], "a/4")
	if n := b.Unmask("a"); n != 2 {
		t.Errorf("%d topics unmasked", n)
	}
	b.want("writable again", strings.Fields(b.route("%RETRY%g"))[0], "a/6")
	b.want("still read-only", strings.Fields(b.route("ReadOnly"))[0], "a/4")
	if n := b.Mask("nobody", 0, b.clk.Now()); n != 0 {
		t.Errorf("%d topics of an unknown broker", n)
	}
}

func TestLists(t *testing.T) {
	b := newBench(t)
	flags := topics(6, "plain", "unit", "sub", "both")
	flags["unit"].TopicSysFlag, flags["sub"].TopicSysFlag, flags["both"].TopicSysFlag = 1, 2, 3
	b.register("C1", "a", 0, "10.0.0.1:10911", "c1", flags)
	b.register("C2", "b", 1, "10.0.0.2:10911", "c2", nil)
	b.register("C2", "b", 0, "10.0.0.3:10911", "c3", topics(6, "only2", "plain"))
	system, addr := b.SystemTopics()
	for what, got := range map[string][]string{
		"all: both only2 plain sub unit": b.Topics(), "C1: both plain sub unit": b.TopicsOfCluster("C1"), "C2: only2 plain": b.TopicsOfCluster("C2"),
		"C3:": b.TopicsOfCluster("C3"), "unit: both unit": b.UnitTopics(), "sub: both sub": b.UnitSubTopics(), "subonly: sub": b.UnitSubOnlyTopics(),
		"system: C1 C2 a b": system, "addr: 10.0.0.1:10911": {addr},
	} {
		name, want, _ := strings.Cut(what, ":")
		b.want(name, strings.Join(got, " "), strings.TrimSpace(want))
	}
	info := b.Cluster()
	if !reflect.DeepEqual(info.ClusterAddrTable, map[string][]string{"C1": {"a"}, "C2": {"b"}}) || info.BrokerAddrTable["b"].BrokerAddrs[1] != "10.0.0.2:10911" {
		t.Errorf("%+v", info)
	}
	if g := b.Group("C2", "b"); !reflect.DeepEqual(g.BrokerAddrs, map[int64]string{0: "10.0.0.3:10911", 1: "10.0.0.2:10911"}) {
		t.Errorf("%+v", g)
	}
	if g := b.Group("C1", "b"); len(g.BrokerAddrs) != 0 || g.BrokerAddrs == nil {
		t.Errorf("%+v", g)
	}
}

func TestDeleteTopic(t *testing.T) {
	for cluster, want := range map[string]string{"": "none", "C1": "b/6 bmap[0:10.0.0.3:10911]", "C3": "a/6 b/6 amap[0:10.0.0.1:10911] bmap[0:10.0.0.3:10911]"} {
		b := newBench(t)
		b.register("C1", "a", 0, "10.0.0.1:10911", "c1", topics(6, "T"))
		b.register("C2", "b", 0, "10.0.0.3:10911", "c3", topics(6, "T"))
		b.DeleteTopic("T", cluster)
		b.want("deleted from "+cluster, b.route("T"), want)
	}
}

func TestAddTopicTakesKnownBrokersOnly(t *testing.T) {
	b := newBench(t)
	b.register("C", "a", 0, "10.0.0.1:10911", "c1", nil)
	if n := b.AddTopic("T", []*protocol.QueueData{{BrokerName: "a", Perm: 6}, {BrokerName: "ghost", Perm: 6}, nil}); n != 1 {
		t.Errorf("%d queues", n)
	}
	b.want("route", b.route("T"), "a/6 amap[0:10.0.0.1:10911]")
}

func TestFilterServersComeAndGo(t *testing.T) {
	b := newBench(t)
	reg := Registration{Broker: Broker{"C", "a", "10.0.0.1:10911", 0}, Topics: topics(6, "T"), FilterServers: []string{"10.0.0.1:9999"}}
	b.Register(reg, b.clk.Now())
	if r, _ := b.Topic("T", b.clk.Now()); !reflect.DeepEqual(r.FilterServerTable, map[string][]string{"10.0.0.1:10911": {"10.0.0.1:9999"}}) {
		t.Errorf("%v", r.FilterServerTable)
	}
	reg.FilterServers = nil
	b.Register(reg, b.clk.Now())
	if r, _ := b.Topic("T", b.clk.Now()); len(r.FilterServerTable) != 0 || r.FilterServerTable == nil {
		t.Errorf("%v", r.FilterServerTable)
	}
}

func TestVersionIsThatOfTheLastRegistration(t *testing.T) {
	b := newBench(t)
	v := protocol.DataVersion{Counter: 3, Timestamp: 9}
	b.Register(Registration{Broker: Broker{"C", "a", "10.0.0.1:10911", 0}, Version: v}, b.clk.Now())
	if got, ok := b.Version("10.0.0.1:10911"); !ok || got != v {
		t.Errorf("%v %v", got, ok)
	}
	if _, ok := b.Version("10.0.0.2:10911"); ok || b.Touch("10.0.0.2:10911", b.clk.Now()) {
		t.Error("an unknown broker is known")
	}
}
