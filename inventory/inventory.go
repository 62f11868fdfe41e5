// Package inventory is the file in which an operator writes down a cluster: hosts, name servers, groups of brokers.
//
// Load reads the file strictly (an unknown key is an error, every error is reported with its place), fills in what
// follows from it (broker ids and roles, ports, store directories, name-server lists) and hands out one immutable
// value. Every broker key remembers which layer of the file it came from: see Explain.
package inventory

import (
	"net"
	"path"
	"strconv"
	"strings"
	"time"
)

// Modes of a cluster. The words are RocketMQ's; "multi-master" is another name of NoSlave.
const (
	Single  = "single"      // one master, for development: a restart is an outage
	NoSlave = "2m-noslave"  // several masters, no slaves: a broker's unread messages wait for its return
	Async   = "2m-2s-async" // masters with slaves that follow: acknowledged when the master has it
	Sync    = "2m-2s-sync"  // masters with slaves that follow: acknowledged when master and slave have it
	Raft    = "raft"        // every group elects its leader: acknowledged when a majority has it
)

// Broker roles, as in the key brokerRole.
const (
	AsyncMaster = "ASYNC_MASTER"
	SyncMaster  = "SYNC_MASTER"
	Slave       = "SLAVE"
)

// Connections to a node.
const (
	ConnectSSH   = "ssh"
	ConnectLocal = "local" // a child process of this machine; every path lies below the node's Root
)

// Inventory is a cluster as it should be. It is not changed after Load.
type Inventory struct {
	File      string // as given to Load
	Dir       string // absolute directory of File: relative paths start here
	Name      string // the cluster's name
	Mode      string
	AskOutage bool // never take an outage without asking

	HostsFile   HostsFile
	Firewall    Firewall
	Service     Service
	Rollout     Rollout
	Sysctl      map[string]string
	Nodes       []*Node
	NameServers []*NameServer
	Groups      []*Group
	Warnings    []Problem // layouts that work, but not as one would hope

	source source
}

// SSH is how a node is reached. Each value of [ssh] may be overridden in node.ssh.
type SSH struct {
	User           string // "" = ssh config, then the operator's name
	Port           int    // 0 = ssh config, then 22
	Identity       []string
	Jump           []string
	HostKeys       string // strict, accept-new, off
	Fingerprint    string // SHA256:…, pins the host key
	Become         string // none, sudo, doas
	BecomePassword Secret
	Password       Secret
	Passphrase     Secret // of encrypted identities
	KeepAlive      time.Duration
	Timeout        time.Duration
}

// Paths are directories on a node. On a local node they lie below its root.
type Paths struct {
	Install string // releases of the binary
	Data    string // stores
	Logs    string // logs, where no journal takes them
	Conf    string // rendered properties
	State   string // what rmqctl remembers about the node: manifest, journal
	Run     string // lock, agent, supervisor
}

// HostsFile is the managed block of /etc/hosts.
type HostsFile struct {
	Manage bool
}

// Firewall says who opens ports.
type Firewall struct {
	Manage  string   // auto, firewalld, nft, off
	Clients []string // prefixes that may reach name servers and brokers; empty = everybody
}

// Service is how the processes run.
type Service struct {
	RunAs               string
	Supervisor          string // auto, systemd, builtin
	MemoryMax           int64  // brokers; 0 = no limit
	NameServerMemoryMax int64
	LimitNoFile         int
	StartTimeout        time.Duration
	StopTimeout         time.Duration
}

// Rollout holds the limits of a rolling restart.
type Rollout struct {
	MaxUnavailable  int
	MinHealthyTime  time.Duration
	DrainTimeout    time.Duration
	ClientWait      time.Duration // how long clients keep a route: their poll interval
	MaxLagBytes     int64
	RecoveryTimeout time.Duration
	OnGateFailure   string // pause, abort
}

// Node is a host.
type Node struct {
	Name       string
	Address    string   // where SSH goes
	Advertise  string   // the IP that brokers and name servers advertise
	Aliases    []string // further names in the hosts block
	Hostname   string   // "" = left alone
	Zone       string
	Connection string
	Root       string // local nodes: absolute directory of everything
	SSH        SSH
	Paths      Paths
	MemoryMax  int64

	NameServer *NameServer // nil: none here
	Brokers    []*Broker   // masters first; the order that gives ports and stores

	index int
}

// Local says whether the node is this machine, below Root.
func (n *Node) Local() bool { return n.Connection == ConnectLocal }

// NameServer is a name server on a node.
type NameServer struct {
	Cluster string
	Node    *Node
	Port    int

	settings settings
}

// Unit is the service's name.
func (s *NameServer) Unit() string { return "rmq-" + s.Cluster + "-namesrv.service" }

// Addr is where clients and brokers find it.
func (s *NameServer) Addr() string { return net.JoinHostPort(s.Node.Advertise, strconv.Itoa(s.Port)) }

// ConfPath is its properties file.
func (s *NameServer) ConfPath() string { return path.Join(s.Node.Paths.Conf, "namesrv.properties") }

// DataDir is where it keeps its key-value configuration.
func (s *NameServer) DataDir() string { return path.Join(s.Node.Paths.Data, "namesrv") }

// LogPath is its log on a host without journal.
func (s *NameServer) LogPath() string { return path.Join(s.Node.Paths.Logs, "namesrv.log") }

// Group is a set of brokers of one name: a master and its slaves, or the members of a raft group, which are equals.
type Group struct {
	Name      string
	Raft      bool
	Master    *Broker // nil in a raft group
	Slaves    []*Broker
	Brokers   []*Broker // Master, then Slaves; or the members in the file's order
	Preferred *Broker   // of a raft group: who should lead; nil: whoever is elected
}

// Majority is how many members of a raft group have to live.
func (g *Group) Majority() int { return len(g.Brokers)/2 + 1 }

// Broker is one broker process.
type Broker struct {
	Cluster    string
	Group      *Group `json:"-"`
	Name       string // brokerName: that of the group
	Member     string // its own name: broker-a, broker-a-s, broker-a-s2; of a raft group broker-r-n0, broker-r-n1
	ID         int64  // 0 = master; of a raft member its id while it follows
	Node       *Node  `json:"-"`
	Role       string
	ListenPort int
	HAPort     int
	RaftID     int // 1 is n1; without meaning outside of raft groups
	RaftPort   int // 0 outside of raft groups
	StoreDir   string

	settings settings
	index    int // of the group in the file
}

// FastPort is RocketMQ's "VIP" port, for clients that send on a second connection.
func (b *Broker) FastPort() int { return b.ListenPort - 2 }

// Master says whether the broker is its group's master. No member of a raft group is one by the inventory.
func (b *Broker) Master() bool { return b.ID == 0 }

// Raft says whether the broker is a member of a raft group.
func (b *Broker) Raft() bool { return b.Group.Raft }

// RaftName is the member's id as dLegerPeers has it: n1.
func (b *Broker) RaftName() string { return "n" + strconv.Itoa(b.RaftID) }

// RaftAddr is where the other members of its raft group find it.
func (b *Broker) RaftAddr() string {
	return net.JoinHostPort(b.Node.Advertise, strconv.Itoa(b.RaftPort))
}

// Unit is the service's name.
func (b *Broker) Unit() string { return "rmq-" + b.Cluster + "-" + b.Member + ".service" }

// Addr is the address it advertises to clients.
func (b *Broker) Addr() string { return net.JoinHostPort(b.Node.Advertise, strconv.Itoa(b.ListenPort)) }

// ConfPath is its properties file.
func (b *Broker) ConfPath() string { return path.Join(b.Node.Paths.Conf, b.Member+".properties") }

// LogPath is its log on a host without journal.
func (b *Broker) LogPath() string { return path.Join(b.Node.Paths.Logs, b.Member+".log") }

// Group finds a group by name; nil when there is none.
func (inv *Inventory) Group(name string) *Group {
	for _, g := range inv.Groups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// Broker finds a broker by its member name; nil when there is none.
func (inv *Inventory) Broker(member string) *Broker {
	for _, b := range inv.Brokers() {
		if b.Member == member {
			return b
		}
	}
	return nil
}

// On finds the group's broker on a node; nil when there is none.
func (g *Group) On(node string) *Broker {
	for _, b := range g.Brokers {
		if b.Node.Name == node {
			return b
		}
	}
	return nil
}

// Brokers lists all brokers, group by group, masters first.
func (inv *Inventory) Brokers() []*Broker {
	var all []*Broker
	for _, g := range inv.Groups {
		all = append(all, g.Brokers...)
	}
	return all
}

// Node finds a node by name; nil when there is none.
func (inv *Inventory) Node(name string) *Node {
	for _, n := range inv.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// NamesrvAddr is the list of all name servers as brokers and clients take it.
func (inv *Inventory) NamesrvAddr() string {
	addrs := make([]string, len(inv.NameServers))
	for i, s := range inv.NameServers {
		addrs[i] = s.Addr()
	}
	return strings.Join(addrs, ";")
}
