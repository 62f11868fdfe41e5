package route

// This file answers: every list is sorted, so that two equal tables give equal answers.

import (
	"maps"
	"slices"
	"time"

	"rmqctl/internal/protocol"
)

// Bits of a topic's system flag.
const (
	flagUnit    = 1
	flagUnitSub = 2
)

// Topic is the route of a topic: its queues, and the brokers that hold them and have an address. ok is false when no
// such broker is there.
func (t *Table) Topic(topic string, now time.Time) (r *protocol.TopicRouteData, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r = &protocol.TopicRouteData{FilterServerTable: map[string][]string{}}
	queues := t.queues[topic]
	for _, broker := range slices.Sorted(maps.Keys(queues)) {
		r.QueueDatas = append(r.QueueDatas, t.shownLocked(queues[broker], now))
		g := t.groups[broker]
		if g == nil || len(g.addrs) == 0 {
			continue
		}
		r.BrokerDatas = append(r.BrokerDatas, t.brokerDataLocked(broker))
		for _, addr := range g.addrs {
			if list := t.filters[addr]; list != nil {
				r.FilterServerTable[addr] = list
			}
		}
	}
	return r, len(r.BrokerDatas) > 0
}

// Cluster is every broker and every cluster.
func (t *Table) Cluster() *protocol.ClusterInfo {
	t.mu.RLock()
	defer t.mu.RUnlock()
	info := &protocol.ClusterInfo{BrokerAddrTable: map[string]*protocol.BrokerData{}, ClusterAddrTable: map[string][]string{}}
	for _, name := range slices.Sorted(maps.Keys(t.groups)) {
		info.BrokerAddrTable[name] = t.brokerDataLocked(name)
		cluster := t.groups[name].cluster
		info.ClusterAddrTable[cluster] = append(info.ClusterAddrTable[cluster], name)
	}
	return info
}

// Group is the brokers of one name; without addresses when there are none.
func (t *Table) Group(cluster, name string) *protocol.BrokerMemberGroup {
	t.mu.RLock()
	defer t.mu.RUnlock()
	g := &protocol.BrokerMemberGroup{BrokerAddrs: map[int64]string{}, BrokerName: name, Cluster: cluster}
	if own := t.groups[name]; own != nil && own.cluster == cluster {
		g.BrokerAddrs = maps.Clone(own.addrs)
	}
	return g
}

func (t *Table) brokerDataLocked(name string) *protocol.BrokerData {
	g := t.groups[name]
	return &protocol.BrokerData{BrokerAddrs: maps.Clone(g.addrs), BrokerName: name, Cluster: g.cluster}
}

// Topics is every topic.
func (t *Table) Topics() []string {
	return t.topics(func(map[string]*protocol.QueueData) bool { return true })
}

// TopicsOfCluster is every topic with a queue on a broker of the cluster.
func (t *Table) TopicsOfCluster(cluster string) []string {
	return t.topics(func(queues map[string]*protocol.QueueData) bool {
		for broker := range queues {
			if g := t.groups[broker]; g != nil && g.cluster == cluster {
				return true
			}
		}
		return false
	})
}

// UnitTopics, UnitSubTopics and UnitSubOnlyTopics are the topics marked so in their system flag.
func (t *Table) UnitTopics() []string {
	return t.flagged(func(f int32) bool { return f&flagUnit != 0 })
}
func (t *Table) UnitSubTopics() []string {
	return t.flagged(func(f int32) bool { return f&flagUnitSub != 0 })
}
func (t *Table) UnitSubOnlyTopics() []string {
	return t.flagged(func(f int32) bool { return f&flagUnitSub != 0 && f&flagUnit == 0 })
}

func (t *Table) flagged(is func(sysFlag int32) bool) []string {
	return t.topics(func(queues map[string]*protocol.QueueData) bool {
		for _, q := range queues {
			if is(q.TopicSysFlag) {
				return true
			}
		}
		return false
	})
}

// topics calls the test with the lock held.
func (t *Table) topics(is func(map[string]*protocol.QueueData) bool) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	names := []string{}
	for topic, queues := range t.queues {
		if is(queues) {
			names = append(names, topic)
		}
	}
	slices.Sort(names)
	return names
}

// SystemTopics is what stands for system topics here: the names of clusters and brokers. A broker's address comes
// with it, which is then asked for its own.
func (t *Table) SystemTopics() (names []string, brokerAddr string) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	set := map[string]bool{}
	for name, g := range t.groups {
		set[name], set[g.cluster] = true, true
	}
	for _, name := range slices.Sorted(maps.Keys(t.groups)) {
		addrs := t.groups[name].addrs
		for _, id := range slices.Sorted(maps.Keys(addrs)) {
			if brokerAddr == "" {
				brokerAddr = addrs[id]
			}
		}
	}
	return append([]string{}, slices.Sorted(maps.Keys(set))...), brokerAddr
}
