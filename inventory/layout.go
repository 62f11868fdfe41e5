// Who runs where: name servers, groups, and the ports and stores of the brokers that share a host.

package inventory

import (
	"path"
	"strconv"
	"strings"
)

const (
	namesrvPort = 9876
	brokerPort  = 10911
	portStride  = 100 // the second broker of a host listens on 11011
)

func (b *builder) nodeNamesList() []string {
	names := make([]string, 0, len(b.inv.Nodes))
	for _, n := range b.inv.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// node finds the node that the value at p names.
func (b *builder) node(p, name string) *Node {
	n := b.nodes[name]
	if n == nil && len(b.inv.Nodes) > 0 { // without any node that is what is wrong, and it has been said
		b.wrongValue(p, didYouMean(name, b.nodeNamesList()), "there is no node %q", name)
	}
	return n
}

func (b *builder) nameServers() {
	f := b.file.NameServer
	if f == nil || len(f.Nodes) == 0 {
		b.wrongKey("nameserver", `write [nameserver] with nodes = ["…"]; two or more are better than one`, "there are no name servers")
		return
	}
	port := orInt(f.Port, namesrvPort)
	b.port("nameserver.port", port, 1)
	for i, name := range f.Nodes {
		p := item("nameserver.nodes", i)
		n := b.node(p, name)
		if n == nil {
			continue
		}
		if n.NameServer != nil {
			b.wrongValue(p, "", "%s is in the list twice", name)
			continue
		}
		n.NameServer = &NameServer{Cluster: b.inv.Name, Node: n, Port: port}
		b.inv.NameServers = append(b.inv.NameServers, n.NameServer)
	}
}

func (b *builder) groups() {
	if len(b.file.Group) == 0 {
		b.wrongKey("group", "write [[group]] with a name and a master, or raft = [three nodes]", "there are no groups of brokers")
	}
	seen := map[string]string{}
	for i, f := range b.file.Group {
		p := item("group", i)
		switch {
		case f.Name == "":
			b.wrongKey(child(p, "name"), `write name = "broker-a"`, "group %d has no name", i+1)
		case !nameRule.MatchString(f.Name) || f.Name == "namesrv":
			b.wrongValue(child(p, "name"), "letters, digits, - _ . (63 at most)", "%q cannot be a broker's name", f.Name)
		default:
			b.unique(child(p, "name"), f.Name, seen)
		}
		g := &Group{Name: f.Name}
		if g.Raft = f.Raft != nil; g.Raft {
			b.raftMembers(p, i, f, g)
		} else {
			b.members(p, i, f, g)
			b.noRaftKeys(p, f)
			b.modeOf(p, f)
		}
		b.inv.Groups = append(b.inv.Groups, g)
	}
	switch n := len(b.file.Group); {
	case b.inv.Mode == Single && n > 1:
		b.wrongKey(item("group", 1), "mode = \"2m-noslave\" has several masters", "mode single has one group, and this is a second")
	case b.inv.Mode == NoSlave && n == 1:
		b.wrongKey(item("group", 0), "mode = \"single\" has one", "mode 2m-noslave has two groups or more")
	}
}

func (b *builder) members(p string, index int, f fileGroup, g *Group) {
	if f.Master == "" {
		b.wrongKey(child(p, "master"), `write master = "…", the name of a node, or raft = [three of them]`, "group %s has no master", f.Name)
	}
	placed := map[string]bool{}
	add := func(at, name string, id int64) {
		n := b.node(at, name)
		if n == nil {
			return
		}
		member := f.Name
		if id > 0 {
			member += "-s"
		}
		if id > 1 {
			member += strconv.FormatInt(id, 10)
		}
		if placed[name] {
			if id > 0 && name == f.Master {
				b.wrongValue(at, "choose another node", "%s is the master's node: losing it would lose both copies of %s", name, f.Name)
			} else {
				b.wrongValue(at, "", "%s is a slave of %s already", name, f.Name)
			}
			return
		}
		placed[name] = true
		br := &Broker{Cluster: b.inv.Name, Group: g, Name: f.Name, Member: member, ID: id, Node: n, Role: b.role(id), index: index}
		g.Brokers = append(g.Brokers, br)
		if id == 0 {
			g.Master = br
		} else {
			g.Slaves = append(g.Slaves, br)
		}
	}
	if f.Master != "" {
		add(child(p, "master"), f.Master, 0)
	}
	for i, s := range f.Slaves {
		add(item(child(p, "slaves"), i), s, int64(i+1))
	}
	b.memberTables(p, f, append([]string{f.Master}, f.Slaves...))
}

// memberTables checks what is pinned for single members.
func (b *builder) memberTables(p string, f fileGroup, names []string) {
	for _, m := range sortedKeys(f.Member) {
		at := child(child(p, "member"), m)
		if !contains(names, m) {
			b.wrongKey(at, didYouMean(m, names), "%s is not a member of group %s", m, f.Name)
			continue
		}
		if mem := f.Member[m]; mem.Port != 0 {
			b.port(child(at, "port"), mem.Port, 3)
		}
		if mem := f.Member[m]; mem.Store != "" {
			b.absolute(child(at, "store"), mem.Store)
		}
	}
}

func (b *builder) role(id int64) string {
	switch {
	case id > 0:
		return Slave
	case b.inv.Mode == Sync:
		return SyncMaster
	}
	return AsyncMaster
}

func (b *builder) modeOf(p string, f fileGroup) {
	switch b.inv.Mode {
	case Raft:
		if f.Master != "" {
			b.wrongKey(child(p, "master"), `write raft = [three nodes], or mode = "2m-2s-sync": raft groups may stand beside others there`, "group %s has a master, and in mode raft every group elects one", f.Name)
		}
	case Single, NoSlave:
		if len(f.Slaves) > 0 {
			b.wrongKey(child(p, "slaves"), "mode 2m-2s-async or 2m-2s-sync has slaves", "mode %s has no slaves", b.inv.Mode)
		}
	case Async, Sync:
		if len(f.Slaves) == 0 {
			b.wrongKey(p, `write slaves = ["…"]`, "group %s has no slave, and mode %s promises one", f.Name, b.inv.Mode)
		}
	}
}

// member is what the file pins for a broker.
func (b *builder) member(br *Broker) fileMember { return b.file.Group[br.index].Member[br.Node.Name] }

func memberPath(br *Broker) string {
	return child(item("group", br.index)+".member", br.Node.Name)
}

// placeBrokers gives each broker its port and store. On every node masters and raft members come first, in the order of the groups; the
// first broker gets 10911 and store, the second 11011 and store2. What a member pins is taken out first.
func (b *builder) placeBrokers() {
	for _, n := range b.inv.Nodes {
		for _, masters := range []bool{true, false} {
			for _, br := range b.inv.Brokers() {
				if br.Node == n && (br.Master() || br.Raft()) == masters {
					n.Brokers = append(n.Brokers, br)
				}
			}
		}
		ports, stores := map[int]bool{}, map[string]bool{}
		if n.NameServer != nil {
			ports[n.NameServer.Port] = true
		}
		for _, br := range n.Brokers {
			if m := b.member(br); m.Port != 0 {
				br.ListenPort = m.Port
				ports[m.Port], ports[m.Port+1], ports[m.Port-2] = true, true, true
			}
			if m := b.member(br); m.Store != "" {
				br.StoreDir = path.Clean(m.Store)
				if n.Local() {
					br.StoreDir = path.Join(n.Root, m.Store)
				}
				stores[br.StoreDir] = true
			}
		}
		for _, br := range n.Brokers {
			for p := brokerPort; br.ListenPort == 0; p += portStride {
				if !ports[p] && !ports[p+1] && !ports[p-2] {
					br.ListenPort = p
					ports[p], ports[p+1], ports[p-2] = true, true, true
				}
			}
			for i := 1; br.StoreDir == ""; i++ {
				if s := path.Join(n.Paths.Data, storeName(i)); !stores[s] {
					br.StoreDir = s
					stores[s] = true
				}
			}
			br.HAPort = br.ListenPort + 1
		}
		b.raftPorts(n)
	}
}

func storeName(i int) string {
	if i == 1 {
		return "store"
	}
	return "store" + strconv.Itoa(i)
}

// collisions finds two processes that want one name, one port or one directory.
func (b *builder) collisions() {
	members := map[string]string{}
	for _, br := range b.inv.Brokers() {
		if g, taken := members[br.Member]; taken {
			b.wrongValue(child(item("group", br.index), "name"), "rename the group", "%s is the name of a broker of group %s already", br.Member, g)
		}
		members[br.Member] = br.Name
	}
	for _, n := range b.inv.Nodes {
		ports := map[int]string{}
		if n.NameServer != nil {
			ports[n.NameServer.Port] = "the name server"
		}
		for _, br := range n.Brokers {
			for _, x := range []struct {
				port       int
				what       string
				key, apart string
			}{{br.ListenPort, "clients", "port", "that is at least 4 away"}, {br.HAPort, "HA, listenPort+1", "port", "that is at least 4 away"},
				{br.FastPort(), "the fast port, listenPort-2", "port", "that is at least 4 away"}, {br.RaftPort, "raft", "raft_port", "of its own"}} {
				if x.port == 0 {
					continue
				}
				user := br.Member + " (" + x.what + ")"
				if other, taken := ports[x.port]; taken {
					b.wrongValue(child(memberPath(br), x.key), "pin member."+n.Name+"."+x.key+" to a number "+x.apart,
						"port %d of %s is wanted by %s and by %s", x.port, n.Name, other, user)
				}
				ports[x.port] = user
			}
		}
		b.storeCollisions(n)
	}
}

func (b *builder) storeCollisions(n *Node) {
	type claim struct{ dir, user string }
	var claims []claim
	if n.NameServer != nil {
		claims = append(claims, claim{n.NameServer.DataDir(), "the name server"})
	}
	for _, br := range n.Brokers {
		for _, dir := range br.DataDirs() {
			for _, c := range claims {
				if within(dir, c.dir) || within(c.dir, dir) {
					b.wrongValue(child(memberPath(br), "store"), "give each broker a directory of its own",
						"%s of %s belongs to %s and to %s", dir, n.Name, c.user, br.Member)
				}
			}
		}
		for _, dir := range br.DataDirs() {
			claims = append(claims, claim{dir, br.Member})
		}
	}
}

// within says whether dir is base or lies below it.
func within(dir, base string) bool { return dir == base || strings.HasPrefix(dir, base+"/") }

// advice names layouts that work but not as well as the mode promises.
func (b *builder) advice() {
	zones := map[string]bool{}
	loop := 0
	for i, n := range b.inv.Nodes {
		zones[n.Zone] = true
		if strings.HasPrefix(n.Advertise, "127.") {
			loop++
		}
		if n.NameServer == nil && len(n.Brokers) == 0 {
			b.warn(item("node", i), "", "nothing runs on node %s", n.Name)
		}
	}
	for i, n := range b.inv.Nodes {
		if strings.HasPrefix(n.Advertise, "127.") && loop < len(b.inv.Nodes) {
			b.warn(child(item("node", i), "address"), "set advertise", "node %s advertises %s, which other hosts cannot reach", n.Name, n.Advertise)
		}
	}
	if len(b.inv.NameServers) == 1 && b.inv.Mode != Single {
		b.warn("nameserver.nodes", "name a second node", "with one name server clients find no brokers while it is down")
	}
	for i, g := range b.inv.Groups {
		same := len(zones) > 1 && len(g.Slaves) > 0
		for _, s := range g.Slaves {
			same = same && s.Node.Zone == g.Brokers[0].Node.Zone
		}
		if same {
			b.warn(item("group", i), "", "all of %s is in zone %q: losing it loses the group", g.Name, g.Brokers[0].Node.Zone)
		}
		if g.Raft && len(zones) > 1 {
			b.raftZones(i, g)
		}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
