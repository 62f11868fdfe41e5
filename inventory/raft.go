// Raft groups: who is a member under which id, on which port, and what the broker is told of it.

package inventory

import (
	"path"
	"strconv"
	"strings"
)

const raftPort = 40911

// allRaft says whether every group of the file is a raft group: then the mode needs not be written.
func (b *builder) allRaft() bool {
	for _, f := range b.file.Group {
		if f.Raft == nil {
			return false
		}
	}
	return len(b.file.Group) > 0
}

// noRaftKeys complains about keys that say nothing where a group has a master.
func (b *builder) noRaftKeys(p string, f fileGroup) {
	const hint = `it goes with raft = [nodes] in place of master and slaves`
	if f.RaftPort != 0 {
		b.wrongKey(child(p, "raft_port"), hint, "group %s is no raft group", f.Name)
	}
	if f.PreferredLeader != "" {
		b.wrongKey(child(p, "preferred_leader"), hint, "group %s is no raft group", f.Name)
	}
	for _, m := range sortedKeys(f.Member) {
		at := child(child(p, "member"), m)
		if f.Member[m].RaftPort != 0 {
			b.wrongKey(child(at, "raft_port"), hint, "group %s is no raft group", f.Name)
		}
		if f.Member[m].RaftID != nil {
			b.wrongKey(child(at, "raft_id"), hint, "group %s is no raft group", f.Name)
		}
	}
}

// raftMembers reads raft = [...]. The order gives the ids n0, n1, n2, unless a member's is pinned: an id is never used
// again, so who takes the place of another gets a new one.
func (b *builder) raftMembers(p string, index int, f fileGroup, g *Group) {
	at := child(p, "raft")
	for key, written := range map[string]bool{"master": f.Master != "", "slaves": f.Slaves != nil} {
		if written {
			b.wrongKey(child(p, key), "keep raft or keep master and slaves", "group %s is a raft group, whose members elect their leader: it has no %s", f.Name, key)
		}
	}
	if b.inv.Mode == Single {
		b.wrongValue(at, `mode = "raft"`, "mode single is one broker, and group %s has %d", f.Name, len(f.Raft))
	}
	switch n := len(f.Raft); {
	case n == 1:
		b.wrongValue(at, "write three nodes, or master = "+strconv.Quote(f.Raft[0]), "a raft group of one tolerates nothing")
	case n < 3:
		b.wrongValue(at, "write three nodes, or master and slaves", "a raft group has three members or more, and %s has %d", f.Name, n)
	case n%2 == 0:
		b.wrongValue(at, "leave one out or add one", "a raft group has an odd number of members: %d tolerate no more losses than %d", n, n-1)
	}
	placed, ids := map[string]bool{}, map[int]string{}
	for i, name := range f.Raft {
		where := item(at, i)
		n := b.node(where, name)
		if n == nil {
			continue
		}
		if placed[name] {
			b.wrongValue(where, "choose another node", "%s is a member of %s already: losing it would lose two of its copies", name, f.Name)
			continue
		}
		placed[name] = true
		id := i
		if pinned := f.Member[name].RaftID; pinned != nil {
			where = child(child(child(p, "member"), name), "raft_id")
			if id = *pinned; id < 0 || id > 1000 {
				b.wrongValue(where, "", "raft_id %d is not between 0 and 1000", id)
			}
		}
		if other, taken := ids[id]; taken {
			b.wrongValue(where, "pin a free number with member.NODE.raft_id", "n%d is %s and %s in group %s", id, other, name, f.Name)
		}
		ids[id] = name
		br := &Broker{Cluster: b.inv.Name, Group: g, Name: f.Name, Member: f.Name + "-n" + strconv.Itoa(id), ID: int64(id) + 1, RaftID: id, Node: n, index: index}
		g.Brokers = append(g.Brokers, br)
		if name == f.PreferredLeader {
			g.Preferred = br
		}
	}
	if f.PreferredLeader != "" && g.Preferred == nil {
		b.wrongValue(child(p, "preferred_leader"), didYouMean(f.PreferredLeader, f.Raft), "%s is not a member of group %s", f.PreferredLeader, f.Name)
	}
	if f.RaftPort != 0 {
		b.port(child(p, "raft_port"), f.RaftPort, 1)
	}
	for _, m := range sortedKeys(f.Member) {
		if n := f.Member[m].RaftPort; n != 0 {
			b.port(child(child(child(p, "member"), m), "raft_port"), n, 1)
		}
	}
	b.memberTables(p, f, f.Raft)
}

// raftPorts gives the raft members of a node their ports: what is pinned first, then 40911 and up.
func (b *builder) raftPorts(n *Node) {
	taken := map[int]bool{}
	if n.NameServer != nil {
		taken[n.NameServer.Port] = true
	}
	for _, br := range n.Brokers {
		taken[br.ListenPort], taken[br.HAPort], taken[br.FastPort()] = true, true, true
		if !br.Raft() {
			continue
		}
		if br.RaftPort = orInt(b.member(br).RaftPort, b.file.Group[br.index].RaftPort); br.RaftPort != 0 {
			taken[br.RaftPort] = true
		}
	}
	for _, br := range n.Brokers {
		for p := raftPort; br.Raft() && br.RaftPort == 0; p++ {
			if !taken[p] {
				br.RaftPort, taken[p] = p, true
			}
		}
	}
}

// raftPeers is dLegerPeers.
func raftPeers(g *Group) string {
	peers := make([]string, len(g.Brokers))
	for i, br := range g.Brokers {
		peers[i] = br.RaftName() + "-" + br.RaftAddr()
	}
	return strings.Join(peers, ";")
}

// deriveRaft is what a member of a raft group is told. Its role and broker id are not: they follow from elections.
func (b *builder) deriveRaft(br *Broker, layout func(key, value, where string)) {
	p := item("group", br.index)
	list := b.src.where(child(p, "raft"))
	layout("enableDLegerCommitLog", "true", list)
	layout("dLegerGroup", br.Name, b.src.where(child(p, "name")))
	layout("dLegerPeers", raftPeers(br.Group), list)
	layout("dLegerSelfId", br.RaftName(), orWhere(b.src, child(memberPath(br), "raft_id"), list))
	if pref := br.Group.Preferred; pref != nil {
		layout("preferredLeaderId", pref.RaftName(), b.src.where(child(p, "preferred_leader")))
	}
	layout("slaveReadEnable", "true", list)
}

// raftZones names the zone whose loss stops a group.
func (b *builder) raftZones(index int, g *Group) {
	in := map[string]int{}
	for _, br := range g.Brokers {
		in[br.Node.Zone]++
	}
	for _, z := range sortedKeys(in) {
		if z != "" && in[z] >= g.Majority() {
			b.warn(child(item("group", index), "raft"), "a third zone with one member would make each of them dispensable",
				"zone %q holds %d of the %d members of %s: losing it stops the group until it is back", z, in[z], len(g.Brokers), g.Name)
		}
	}
}

// RaftDir is where a member keeps its part of the group's consensus.
func (b *Broker) RaftDir() string { return path.Join(b.StoreDir, "raft") }
