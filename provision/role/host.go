// The steps of every host.

package role

import (
	"encoding/json"
	"net/netip"
	"path"
	"sort"

	"rmqctl/inventory"
	"rmqctl/provision/step"
)

// Host is what every node of a cluster has, whatever runs on it.
func Host(inv *inventory.Inventory, n *inventory.Node, bin Binary) []step.Step {
	var steps []step.Step
	add := func(s ...step.Step) { steps = append(steps, s...) }
	user := owner(inv, n)
	if !n.Local() {
		add(step.Linux{})
	}
	if !Builtin(inv, n) {
		add(step.SystemdRuns{})
	}
	if n.Hostname != "" {
		add(step.HostName{Want: n.Hostname})
	}
	if !n.Local() && inv.HostsFile.Manage {
		add(hostsBlock(inv, n))
	}
	if !n.Local() && len(inv.Sysctl) > 0 {
		add(step.Sysctl{Cluster: inv.Name, Values: inv.Sysctl})
	}
	if user != "" {
		add(step.Group{Group: user}, step.User{User: user, Group: user})
	}
	add(dirs(n, step.Dir{Path: n.Paths.Install, Mode: 0o755, Whole: true})...)
	add(dirs(n, step.Dir{Path: bin.releaseDir(n), Mode: 0o755})...)
	add(step.Upload{From: bin.Path, Sum: bin.Sum, Size: bin.Size, To: bin.Release(n), Perm: 0o755, IsSelf: true})
	add(step.Link{Path: path.Join(n.Paths.Install, "current"), Target: path.Join("releases", path.Base(bin.releaseDir(n)))})
	// The processes write their own configuration when mqadmin changes a key, as RocketMQ's do.
	add(dirs(n, step.Dir{Path: n.Paths.Conf, Owner: user, Group: user, Mode: 0o750})...)
	add(dirs(n, step.Dir{Path: n.Paths.Data, Owner: user, Group: user, Mode: 0o750})...)
	if Builtin(inv, n) {
		add(dirs(n, step.Dir{Path: n.Paths.Logs, Mode: 0o755, Whole: true})...)
		add(dirs(n, step.Dir{Path: path.Join(n.Paths.Run, "units"), Mode: 0o755, Whole: true})...)
	}
	if !n.Local() && inv.Firewall.Manage != "off" {
		if rules := Ports(inv, n); len(rules) > 0 {
			add(step.Firewall{Cluster: inv.Name, Address: n.Advertise, Rules: rules, Manage: inv.Firewall.Manage,
				Ledger: path.Join(n.Paths.State, "firewall-"+inv.Name+".json")})
		}
	}
	return unique(steps)
}

// hostsBlock gives every node's names to every node.
func hostsBlock(inv *inventory.Inventory, n *inventory.Node) step.HostsBlock {
	b := step.HostsBlock{Cluster: inv.Name, Self: append([]string{n.Name, n.Hostname}, n.Aliases...)}
	for _, m := range inv.Nodes {
		names := []string{m.Name}
		for _, a := range m.Aliases {
			if a != m.Name {
				names = append(names, a)
			}
		}
		b.Lines = append(b.Lines, step.HostLine{Address: m.Advertise, Names: names})
	}
	return b
}

// Ports is what has to be open on a node: name server and broker ports for clients and for the cluster's own nodes, the
// HA or raft port for the members of the broker's group only.
func Ports(inv *inventory.Inventory, n *inventory.Node) []step.Rule {
	var rules []step.Rule
	everyone := clients(inv)
	if n.NameServer != nil {
		rules = append(rules, step.Rule{Port: n.NameServer.Port, From: everyone, For: "name server"})
	}
	for _, b := range n.Brokers {
		rules = append(rules,
			step.Rule{Port: b.ListenPort, From: everyone, For: b.Member},
			step.Rule{Port: b.FastPort(), From: everyone, For: b.Member + ", fast port"})
		if b.Raft() {
			rules = append(rules, step.Rule{Port: b.RaftPort, From: others(b), For: b.Member + ", raft"})
		} else if members := others(b); len(members) > 0 {
			rules = append(rules, step.Rule{Port: b.HAPort, From: members, For: b.Member + ", HA"})
		}
	}
	return rules
}

// clients is who may reach name servers and brokers; empty = everybody.
func clients(inv *inventory.Inventory) []string {
	if len(inv.Firewall.Clients) == 0 {
		return nil
	}
	from := append([]string(nil), inv.Firewall.Clients...)
	for _, n := range inv.Nodes {
		from = append(from, n.Advertise)
	}
	return distinct(from)
}

// others is the addresses of the other members of a broker's group.
func others(b *inventory.Broker) []string {
	var from []string
	for _, m := range b.Group.Brokers {
		if m.Node != b.Node {
			from = append(from, m.Node.Advertise)
		}
	}
	return distinct(from)
}

// distinct is the addresses and prefixes without those that lie in another one: nftables refuses sets that overlap.
func distinct(from []string) []string {
	prefixes := make([]netip.Prefix, 0, len(from))
	for _, f := range from {
		if p, err := netip.ParsePrefix(f); err == nil {
			prefixes = append(prefixes, p)
		} else if a, err := netip.ParseAddr(f); err == nil {
			prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	sort.SliceStable(prefixes, func(i, j int) bool { return prefixes[i].Bits() < prefixes[j].Bits() })
	var kept []netip.Prefix
	for _, p := range prefixes {
		inside := false
		for _, k := range kept {
			inside = inside || k.Overlaps(p)
		}
		if !inside {
			kept = append(kept, p)
		}
	}
	out := make([]string, len(kept))
	for i, p := range kept {
		out[i] = p.String()
		if p.IsSingleIP() {
			out[i] = p.Addr().String()
		}
	}
	sort.Strings(out)
	return out
}

// serviceText is a builtin supervisor's unit file.
func serviceText(s step.Service) string {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic("role: " + err.Error()) // plain values only
	}
	return string(text) + "\n"
}
