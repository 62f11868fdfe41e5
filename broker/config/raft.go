package config

// This file reads the keys of a raft group. RocketMQ's spelling, "DLeger", is part of the names.

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Peer is one member of a raft group, as dLegerPeers names it: n0-10.0.0.1:40911.
type Peer struct {
	ID     string // n0
	Number int64  // the number in it and one more: its brokerId while it follows, and its id in the group
	Addr   string // host:port of its port for the others
}

// ParsePeer reads id-host:port.
func ParsePeer(text string) (Peer, error) {
	id, addr, ok := strings.Cut(text, "-")
	if !ok {
		return Peer{}, fmt.Errorf("%q is not id-host:port, such as n0-10.0.0.1:40911", text)
	}
	n, err := PeerNumber(id)
	if err != nil {
		return Peer{}, fmt.Errorf("%q: %w", text, err)
	}
	host, port, err := net.SplitHostPort(addr)
	if p, e := strconv.Atoi(port); err != nil || e != nil || p < 1 || p > 65535 || host == "" {
		return Peer{}, fmt.Errorf("%q: %q is not host:port", text, addr)
	}
	return Peer{id, n, addr}, nil
}

// PeerNumber reads n0 as 1, n1 as 2 and so on.
func PeerNumber(id string) (int64, error) {
	digits, ok := strings.CutPrefix(id, "n")
	n, err := strconv.ParseUint(digits, 10, 31)
	if !ok || err != nil || strconv.FormatUint(n, 10) != digits {
		return 0, fmt.Errorf("%q is not the id of a member: n0, n1, n2 and so on", id)
	}
	return int64(n) + 1, nil
}

// PeerID is the reverse of PeerNumber.
func PeerID(number int64) string { return "n" + strconv.FormatInt(number-1, 10) }

// Peers is dLegerPeers as a list, in its order.
func (c *Config) Peers() []Peer {
	var out []Peer
	for _, text := range splitList(c.DLegerPeers) {
		if p, err := ParsePeer(text); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// Self is this broker among the peers; the zero Peer if it is not there.
func (c *Config) Self() Peer {
	for _, p := range c.Peers() {
		if p.ID == c.DLegerSelfID {
			return p
		}
	}
	return Peer{}
}

// PreferredLeaders is preferredLeaderId as a list: the first that lives and is level should lead.
func (c *Config) PreferredLeaders() []string { return splitList(c.PreferredLeaderID) }

// checkRaft: a raft group elects its leader, so brokerRole and brokerId of the file mean nothing; while a member follows,
// its id is that of its place among the peers.
func (c *Config) checkRaft(f *findings) {
	if !c.EnableDLegerCommitLog {
		return
	}
	if c.BrokerRole != AsyncMaster {
		f.warn("brokerRole", "%s is not used: a raft group elects its leader", c.BrokerRole)
	}
	if c.DLegerGroup == "" {
		f.fatal("dLegerGroup", "is empty: a raft group needs a name, the same at all its members")
	}
	seen := map[string]string{}
	for _, text := range splitList(c.DLegerPeers) {
		p, err := ParsePeer(text)
		if err != nil {
			f.fatal("dLegerPeers", "%v", err)
			continue
		}
		for _, name := range []string{p.ID, p.Addr} {
			if other, twice := seen[name]; twice {
				f.fatal("dLegerPeers", "%q: %s is %q already", text, name, other)
			}
			seen[name] = text
		}
	}
	self := c.Self()
	switch n := len(splitList(c.DLegerPeers)); {
	case n == 0:
		f.fatal("dLegerPeers", "is empty: want the members of the group, such as n0-10.0.0.1:40911;n1-10.0.0.2:40911;n2-10.0.0.3:40911")
	case c.DLegerSelfID == "":
		f.fatal("dLegerSelfId", "is empty: want this broker's id in dLegerPeers %q", c.DLegerPeers)
	case self.ID == "":
		f.fatal("dLegerSelfId", "%q is none of dLegerPeers %q", c.DLegerSelfID, c.DLegerPeers)
	case n < 3:
		f.warn("dLegerPeers", "%d members: a group without a third takes no message once one of them is down", n)
	}
	for _, id := range c.PreferredLeaders() {
		if !strings.Contains(";"+c.DLegerPeers, ";"+id+"-") {
			f.fatal("preferredLeaderId", "%q is none of dLegerPeers %q", id, c.DLegerPeers)
		}
	}
	if c.BrokerID != 0 && c.BrokerID != self.Number {
		f.warn("brokerId", "%d is not used: the leader of a raft group has the id 0, and %s has %d while it follows", c.BrokerID, cmp.Or(self.ID, c.DLegerSelfID), self.Number)
	}
	c.BrokerID = self.Number
	c.checkRaftPort(f, self)
}

func (c *Config) checkRaftPort(f *findings, self Peer) {
	_, text, err := net.SplitHostPort(self.Addr)
	port, _ := strconv.Atoi(text)
	if err != nil || c.ListenPort == 0 {
		return
	}
	for _, other := range []struct {
		name string
		port int
	}{{"listenPort", c.ListenPort}, {"the VIP port, two below listenPort,", c.VIPPort()}} {
		if port == other.port {
			f.fatal("dLegerPeers", "port %d of %s is %s as well", port, self.ID, other.name)
		}
	}
}
