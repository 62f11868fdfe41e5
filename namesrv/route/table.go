// Package route is what a name server knows: which brokers there are, where, alive since when, and which topics have
// queues on them. It is pure: no network, no files, and the time is handed in.
//
// A broker is known by its address; brokers that share a name are a group, in which id 0 is the master. Queues belong
// to a broker name, not to an address: a group keeps its queues as long as one of its brokers is there, so that what a
// dead master holds can be read from its slave.
//
// Four things are done otherwise than in RocketMQ, because they lose routes or permissions there:
//   - A write mask (see mask.go) lies over the permissions and does not replace them: it outlives the registrations
//     that come every 30 s, and lifting it gives each topic the permission it had, not 6.
//   - The topics of a master's registration are merged whatever its data version says. A broker that sends one changed
//     topic raises the version; a name server that missed an earlier change would never get it.
//   - An unregistration or a closed connection removes an address only if it is still the one that holds the id.
//   - A master of an earlier election or promotion (StateVersion) does not get the place of a later one, also when that one
//     is away: as long as anybody of the group is there, it is remembered. It is told who the later one is.
package route

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"rmqctl/internal/protocol"
)

// Silence is how long a broker may be silent, unless it names its own limit.
const Silence = 120 * time.Second

// MasterID is the id of the master of a group.
const MasterID = 0

// Owner is the connection a broker registered over; two are the same if they are ==.
type Owner any

// Broker says who registers.
type Broker struct {
	Cluster, Name, Addr string
	ID                  int64
}

// Registration is one REGISTER_BROKER.
type Registration struct {
	Broker
	HAAddr        string
	Timeout       time.Duration // 0 is Silence
	Version       protocol.DataVersion
	Topics        map[string]*protocol.TopicConfig
	FilterServers []string
	Owner         Owner
}

// Master is what a slave is told of its master; empty while there is none.
type Master struct{ Addr, HAAddr string }

// Loss is a broker that was dropped.
type Loss struct {
	Broker
	Silent time.Duration // since its last sign of life
}

// Table is the state. Its methods are safe to call at the same time.
type Table struct {
	mu      sync.RWMutex                              // guards all below
	queues  map[string]map[string]*protocol.QueueData // topic -> broker name
	groups  map[string]*group                         // broker name
	live    map[string]*live                          // broker address
	filters map[string][]string                       // broker address -> filter servers
	masks   map[string]mask                           // broker name
}

type group struct {
	cluster string
	addrs   map[int64]string
	state   int64 // the highest StateVersion of a master
}

type live struct {
	Broker
	seen    time.Time
	timeout time.Duration
	version protocol.DataVersion
	haAddr  string
	owner   Owner
}

// New returns an empty table.
func New() *Table {
	return &Table{
		queues: map[string]map[string]*protocol.QueueData{}, groups: map[string]*group{}, live: map[string]*live{},
		filters: map[string][]string{}, masks: map[string]mask{},
	}
}

// Register takes a registration in. moved names the address that held the same id until now, if it was another one:
// two machines that claim one place are told apart by nothing but this. accepted is false when the place belongs to a
// broker of a later election: moved is that one, if it is there, and master tells where.
func (t *Table) Register(r Registration, now time.Time) (master Master, moved string, accepted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.live[r.Addr]; l != nil && l.Name != r.Name {
		t.dropLocked(l) // the address has a new name: nothing else would ever remove the old one
	}
	g := t.groups[r.Name]
	if g == nil {
		g = &group{addrs: map[int64]string{}}
		t.groups[r.Name] = g
	}
	old, had := g.addrs[r.ID]
	if r.ID == MasterID {
		if r.Version.StateVersion < g.state {
			t.refuseLocked(g, r)
			return t.holderLocked(g), old, false
		}
		g.state = r.Version.StateVersion
	}
	if had && old != r.Addr {
		moved = old
	}
	g.cluster = r.Cluster
	for id, addr := range g.addrs {
		if addr == r.Addr && id != r.ID {
			delete(g.addrs, id) // a slave that was made master keeps its address
		}
	}
	g.addrs[r.ID] = r.Addr
	if r.ID == MasterID {
		if !had {
			t.endPlainMaskLocked(r.Name)
		}
		t.mergeLocked(r.Name, r.Topics)
	}
	t.live[r.Addr] = &live{r.Broker, now, cmp.Or(r.Timeout, Silence), r.Version, r.HAAddr, r.Owner}
	if len(r.FilterServers) > 0 {
		t.filters[r.Addr] = slices.Clone(r.FilterServers)
	} else {
		delete(t.filters, r.Addr)
	}
	return t.masterLocked(r, g), moved, true
}

// masterLocked is what a slave asks for; a master gets nothing.
func (t *Table) masterLocked(r Registration, g *group) Master {
	if r.ID == MasterID {
		return Master{}
	}
	return t.holderLocked(g)
}

// refuseLocked takes a master that was replaced out of the place it had: it is no master, and has not said yet what it is.
func (t *Table) refuseLocked(g *group, r Registration) {
	if g.addrs[MasterID] == r.Addr {
		delete(g.addrs, MasterID)
	}
}

// holderLocked is who has the master's place now.
func (t *Table) holderLocked(g *group) Master {
	l := t.live[g.addrs[MasterID]]
	if l == nil {
		return Master{}
	}
	return Master{Addr: l.Addr, HAAddr: l.haAddr}
}

// mergeLocked adds and replaces topics. It never drops one: a registration may name a single changed topic.
func (t *Table) mergeLocked(broker string, topics map[string]*protocol.TopicConfig) {
	for name, c := range topics {
		if c == nil {
			continue
		}
		t.putQueueLocked(cmp.Or(c.TopicName, name), &protocol.QueueData{BrokerName: broker, Perm: c.Perm,
			ReadQueueNums: c.ReadQueueNums, WriteQueueNums: c.WriteQueueNums, TopicSysFlag: c.TopicSysFlag})
	}
}

// putQueueLocked: a QueueData is never changed once it is in the table, so readers may hand it out.
func (t *Table) putQueueLocked(topic string, q *protocol.QueueData) {
	if t.queues[topic] == nil {
		t.queues[topic] = map[string]*protocol.QueueData{}
	}
	t.queues[topic][q.BrokerName] = q
}

// AddTopic registers queues that a tool names, for brokers that are known; it counts them.
func (t *Table) AddTopic(topic string, queues []*protocol.QueueData) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, q := range queues {
		if q == nil || t.groups[q.BrokerName] == nil {
			continue
		}
		own := *q
		t.putQueueLocked(topic, &own)
		n++
	}
	return n
}

// Unregister removes a broker that leaves. It reports whether it was there.
func (t *Table) Unregister(b Broker) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.live[b.Addr]
	if l == nil || l.Name != b.Name {
		return false
	}
	t.dropLocked(l)
	return true
}

// Touch is a sign of life. It reports whether the broker is known.
func (t *Table) Touch(addr string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.live[addr]
	if l != nil {
		l.seen = now
	}
	return l != nil
}

// Version is the data version a broker last registered, and whether it is known.
func (t *Table) Version(addr string) (protocol.DataVersion, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	l := t.live[addr]
	if l == nil {
		return protocol.DataVersion{}, false
	}
	return l.version, true
}

// Expire drops brokers that have been silent for too long. A mask whose lease is over ends by itself.
func (t *Table) Expire(now time.Time) []Loss {
	return t.drop(now, func(l *live) bool { return now.Sub(l.seen) > l.timeout })
}

// Disconnected drops the brokers that registered over a connection that has closed. A broker that has registered over
// another one since then stays.
func (t *Table) Disconnected(owner Owner, now time.Time) []Loss {
	return t.drop(now, func(l *live) bool { return l.owner != nil && l.owner == owner })
}

func (t *Table) drop(now time.Time, gone func(*live) bool) []Loss {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lost []Loss
	for _, addr := range slices.Sorted(maps.Keys(t.live)) {
		if l := t.live[addr]; gone(l) {
			t.dropLocked(l)
			lost = append(lost, Loss{l.Broker, now.Sub(l.seen)})
		}
	}
	for name, m := range t.masks {
		if m.over(now) {
			delete(t.masks, name)
		}
	}
	return lost
}

// dropLocked forgets an address, and the group with its queues when that was its last one.
func (t *Table) dropLocked(l *live) {
	delete(t.live, l.Addr)
	delete(t.filters, l.Addr)
	g := t.groups[l.Name]
	if g == nil {
		return
	}
	for id, addr := range g.addrs {
		if addr == l.Addr {
			delete(g.addrs, id)
		}
	}
	if len(g.addrs) > 0 {
		return
	}
	delete(t.groups, l.Name)
	t.endPlainMaskLocked(l.Name)
	for topic := range t.queues {
		t.removeQueueLocked(topic, l.Name)
	}
}

func (t *Table) removeQueueLocked(topic, broker string) {
	delete(t.queues[topic], broker)
	if len(t.queues[topic]) == 0 {
		delete(t.queues, topic)
	}
}

// DeleteTopic removes a topic: everywhere, or from the brokers of one cluster.
func (t *Table) DeleteTopic(topic, cluster string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cluster == "" {
		delete(t.queues, topic)
		return
	}
	for broker := range t.queues[topic] {
		if g := t.groups[broker]; g != nil && g.cluster == cluster {
			t.removeQueueLocked(topic, broker)
		}
	}
}
