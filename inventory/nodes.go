// Cluster-wide tables and nodes: defaults, and what cannot be.

package inventory

import (
	"net/netip"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

var (
	nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)
	hostRule = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)
	userRule = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)
)

func (b *builder) cluster() {
	c := b.file.Cluster
	if b.file.Schema > 1 {
		b.wrongValue("schema", "this rmqctl knows schema 1: take a newer one", "schema %d is not known", b.file.Schema)
	}
	b.inv.Name, b.inv.Mode, b.inv.AskOutage = c.Name, c.Mode, orTrue(c.AskOutage)
	switch {
	case c.Name == "":
		b.wrongKey("cluster.name", `write name = "…" in [cluster]`, "the cluster has no name")
	case !nameRule.MatchString(c.Name):
		b.wrongValue("cluster.name", "letters, digits, - _ . (63 at most)", "%q cannot be a cluster's name", c.Name)
	}
	switch c.Mode {
	case "":
		if b.inv.Mode = Raft; !b.allRaft() {
			b.inv.Mode = ""
			b.wrongKey("cluster.mode", "one of single, 2m-noslave, 2m-2s-async, 2m-2s-sync, raft", "the cluster has no mode")
		}
	case "multi-master":
		b.inv.Mode = NoSlave
	default:
		b.oneOf("cluster.mode", c.Mode, Single, NoSlave, "multi-master", Async, Sync, Raft)
	}
	for i, k := range c.Allow {
		if !promised[k] {
			b.wrongValue(item("cluster.allow", i), "", "allow is for brokerRole, inSyncReplicas and slaveReadEnable, not %s", k)
		}
	}
}

func (b *builder) hostTables() {
	f, inv := b.file, b.inv
	inv.HostsFile.Manage = orTrue(f.HostsFile.Manage)
	inv.Firewall = Firewall{Manage: orText(f.Firewall.Manage, "auto"), Clients: f.Firewall.Clients}
	b.oneOf("firewall.manage", inv.Firewall.Manage, "auto", "firewalld", "nft", "off")
	for i, c := range inv.Firewall.Clients {
		if p, err := netip.ParsePrefix(c); err == nil && p == p.Masked() {
			continue
		} else if err == nil {
			b.wrongValue(item("firewall.clients", i), "write "+p.Masked().String(), "%s has bits set outside its prefix", c)
		} else {
			b.wrongValue(item("firewall.clients", i), `such as "10.0.0.0/8"`, "%q is not an address prefix", c)
		}
	}
	s := f.Service
	inv.Service = Service{
		RunAs:               orText(f.Paths.RunAs, "rmq"),
		Supervisor:          orText(s.Supervisor, "auto"),
		MemoryMax:           int64(s.MemoryMax),
		NameServerMemoryMax: int64(s.NameServerMemoryMax),
		LimitNoFile:         orInt(s.LimitNoFile, 655350),
		StartTimeout:        orTime(s.StartTimeout, 2*time.Minute),
		StopTimeout:         orTime(s.StopTimeout, 10*time.Minute),
	}
	if inv.Service.NameServerMemoryMax == 0 {
		inv.Service.NameServerMemoryMax = 512 << 20
	}
	b.oneOf("service.supervisor", inv.Service.Supervisor, "auto", "systemd", "builtin")
	if !userRule.MatchString(inv.Service.RunAs) || inv.Service.RunAs == "root" {
		b.wrongValue("paths.run_as", "a system user of its own, such as rmq", "%q cannot run the brokers", inv.Service.RunAs)
	}
	b.rollout()
	inv.Sysctl = map[string]string{}
	for _, k := range sortedKeys(f.Sysctl) {
		if v, ok := scalar(f.Sysctl[k]); ok {
			inv.Sysctl[k] = v
		} else {
			b.wrongValue(child("sysctl", k), `quote the key: "vm.max_map_count" = 655360`, "%s wants a number or a text", k)
		}
	}
}

func (b *builder) rollout() {
	r := b.file.Rollout
	b.inv.Rollout = Rollout{
		MaxUnavailable:  orInt(r.MaxUnavailable, 1),
		MinHealthyTime:  orTime(r.MinHealthyTime, 10*time.Second),
		DrainTimeout:    orTime(r.DrainTimeout, 2*time.Minute),
		ClientWait:      orTime(r.ClientWait, 30*time.Second),
		MaxLagBytes:     1 << 20,
		RecoveryTimeout: orTime(r.RecoveryTimeout, 2*time.Hour),
		OnGateFailure:   orText(r.OnGateFailure, "pause"),
	}
	if r.MaxLagBytes != nil {
		b.inv.Rollout.MaxLagBytes = int64(*r.MaxLagBytes)
	}
	b.oneOf("rollout.on_gate_failure", b.inv.Rollout.OnGateFailure, "pause", "abort")
	if b.inv.Rollout.MaxUnavailable != 1 {
		b.wrongValue("rollout.max_unavailable", "", "brokers are restarted one at a time: max_unavailable is 1")
	}
}

func (b *builder) allNodes() {
	b.sshTable("ssh", b.file.SSH)
	if b.file.SSH.Fingerprint != "" {
		b.wrongKey("ssh.fingerprint", "write it into the node: ssh = { fingerprint = … }", "a fingerprint belongs to one host")
	}
	b.pathTable("paths", b.file.Paths)
	if len(b.file.Node) == 0 {
		b.wrongKey("node", "write [[node]] with a name and an address for each host", "there are no nodes")
	}
	seen := map[string]string{} // a name, alias or address -> the path that has it
	for i, f := range b.file.Node {
		p := item("node", i)
		n := &Node{index: i, Name: f.Name, Address: f.Address, Advertise: f.Advertise, Aliases: f.Aliases, Hostname: f.Hostname,
			Zone: f.Zone, Connection: orText(f.Connection, ConnectSSH), MemoryMax: int64(f.MemoryMax)}
		if n.MemoryMax == 0 {
			n.MemoryMax = b.inv.Service.MemoryMax
		}
		b.nodeNames(p, n, seen)
		b.nodeAddress(p, n, seen)
		b.oneOf(child(p, "connection"), n.Connection, ConnectSSH, ConnectLocal)
		b.sshTable(child(p, "ssh"), f.SSH)
		n.SSH = mergeSSH(b.file.SSH, f.SSH)
		b.pathTable(child(p, "paths"), f.Paths)
		if f.Paths.RunAs != "" {
			b.wrongKey(p+".paths.run_as", "write it into [paths]", "one user runs all brokers of a cluster")
		}
		b.place(p, n, f)
		b.inv.Nodes = append(b.inv.Nodes, n)
	}
}

func (b *builder) nodeNames(p string, n *Node, seen map[string]string) {
	switch {
	case n.Name == "":
		b.wrongKey(child(p, "name"), `write name = "…"`, "node %d has no name", n.index+1)
	case !nameRule.MatchString(n.Name):
		b.wrongValue(child(p, "name"), "letters, digits, - _ . (63 at most)", "%q cannot be a node's name", n.Name)
	default:
		b.unique(child(p, "name"), n.Name, seen)
		if b.nodes[n.Name] == nil {
			b.nodes[n.Name] = n
		}
	}
	for i, a := range n.Aliases {
		if !hostRule.MatchString(a) {
			b.wrongValue(item(child(p, "aliases"), i), "", "%q cannot be a host name", a)
		} else if a != n.Name {
			b.unique(item(child(p, "aliases"), i), a, seen)
		}
	}
	if n.Hostname != "" && !hostRule.MatchString(n.Hostname) {
		b.wrongValue(child(p, "hostname"), "", "%q cannot be a host name", n.Hostname)
	}
}

func (b *builder) unique(p, word string, seen map[string]string) {
	if first, ok := seen[word]; ok {
		b.wrongValue(p, "", "%s is taken already, in line %d", word, b.lineOf(first))
		return
	}
	seen[word] = p
}

func (b *builder) lineOf(p string) int {
	if sp, ok := b.src.places.values[p]; ok {
		return sp.line
	}
	return b.src.find(b.src.places.keys, p).line
}

func (b *builder) nodeAddress(p string, n *Node, seen map[string]string) {
	if n.Address == "" {
		b.wrongKey(child(p, "address"), `write address = "…"`, "node %s has no address", n.Name)
		return
	}
	ip, err := netip.ParseAddr(n.Address)
	if err != nil && !hostRule.MatchString(n.Address) {
		b.wrongValue(child(p, "address"), "", "%q is neither an IP address nor a host name", n.Address)
		return
	}
	if n.Address != n.Name {
		b.unique(child(p, "address"), n.Address, seen)
	}
	at := child(p, "advertise")
	switch {
	case n.Advertise == "" && err != nil:
		b.wrongValue(child(p, "address"), `add advertise = "the IP address that brokers hand to clients"`, "%s is a name, and brokers advertise an IP address", n.Address)
		return
	case n.Advertise == "":
		n.Advertise, at = n.Address, child(p, "address")
	default:
		if ip, err = netip.ParseAddr(n.Advertise); err != nil {
			b.wrongValue(at, "", "%q is not an IP address", n.Advertise)
			return
		}
		if n.Advertise != n.Address {
			b.unique(at, n.Advertise, seen)
		}
	}
	switch {
	case ip.Is6():
		b.wrongValue(at, "", "RocketMQ clients expect an IPv4 address, not %s", ip)
	case ip.IsUnspecified() || ip.IsMulticast():
		b.wrongValue(at, "", "no client can connect to %s", ip)
	}
}

func (b *builder) sshTable(p string, s fileSSH) {
	if s.HostKeys != "" {
		b.oneOf(child(p, "host_keys"), s.HostKeys, "strict", "accept-new", "off")
	}
	if s.Become != "" {
		b.oneOf(child(p, "become"), s.Become, "none", "sudo", "doas")
	}
	if s.Port != 0 {
		b.port(child(p, "port"), s.Port, 1)
	}
	if s.Fingerprint != "" && !strings.HasPrefix(s.Fingerprint, "SHA256:") {
		b.wrongValue(child(p, "fingerprint"), "as printed by ssh-keygen -lf", "%q does not begin with SHA256:", s.Fingerprint)
	}
}

func (b *builder) port(p string, n, low int) {
	if n < low || n > 65534 {
		b.wrongValue(p, "", "port %d is not between %d and 65534", n, low)
	}
}

func (b *builder) pathTable(p string, f filePaths) {
	for _, x := range []struct{ key, value string }{{"install", f.Install}, {"data", f.Data}, {"logs", f.Logs}, {"conf", f.Conf},
		{"state", f.State}, {"run", f.Run}} {
		if x.value != "" {
			b.absolute(child(p, x.key), x.value)
		}
	}
}

func (b *builder) absolute(p, dir string) {
	switch {
	case !path.IsAbs(dir):
		b.wrongValue(p, "", "%s is not an absolute path", dir)
	case path.Clean(dir) == "/":
		b.wrongValue(p, "", "/ is no place for it")
	case strings.ContainsAny(dir, " \t\n\"'\\%$"):
		b.wrongValue(p, "", "%q holds a character that units and properties files treat as special", dir)
	}
}

// place fills in a node's directories.
func (b *builder) place(p string, n *Node, f fileNode) {
	own, all := f.Paths, b.file.Paths
	pick := func(own, all, ssh, local string) string {
		switch {
		case n.Local():
			return path.Join(n.Root, orText(own, orText(all, local)))
		default:
			return path.Clean(orText(own, orText(all, ssh)))
		}
	}
	if !n.Local() && f.Root != "" {
		b.wrongKey(child(p, "root"), `it goes with connection = "local"; see also paths`, "a node reached by ssh has no root of its own")
	}
	if n.Local() {
		n.Root = orText(f.Root, path.Join(".rmqctl", b.inv.Name, n.Name))
		if !path.IsAbs(n.Root) {
			n.Root = path.Join(filepath.ToSlash(b.inv.Dir), n.Root)
		}
		n.Root = path.Clean(n.Root)
		b.absolute(child(p, "root"), n.Root)
		if n.Hostname != "" {
			b.wrongKey(child(p, "hostname"), "", "the host name of this machine is left alone")
		}
	}
	n.Paths = Paths{
		Install: pick(own.Install, all.Install, "/opt/rmq", "install"),
		Data:    pick(own.Data, all.Data, "/var/lib/rmq", "data"),
		Logs:    pick(own.Logs, all.Logs, "/var/log/rmq", "logs"),
		Conf:    pick(own.Conf, all.Conf, "/etc/rmq", "conf"),
		State:   pick(own.State, all.State, "/var/lib/rmqctl", "state"),
		Run:     pick(own.Run, all.Run, "/run/rmqctl", "run"),
	}
}

func mergeSSH(all, own fileSSH) SSH {
	s := SSH{
		User:           orText(own.User, all.User),
		Port:           orInt(own.Port, all.Port),
		Identity:       orList(own.Identity, all.Identity),
		Jump:           orList(own.Jump, all.Jump),
		HostKeys:       orText(own.HostKeys, orText(all.HostKeys, "accept-new")),
		Fingerprint:    own.Fingerprint,
		Become:         orText(own.Become, orText(all.Become, "sudo")),
		BecomePassword: orSecret(own.BecomePassword, all.BecomePassword),
		Password:       orSecret(own.Password, all.Password),
		Passphrase:     orSecret(own.Passphrase, all.Passphrase),
		KeepAlive:      orTime(own.KeepAlive, orTime(all.KeepAlive, 15*time.Second)),
		Timeout:        orTime(own.Timeout, orTime(all.Timeout, 15*time.Second)),
	}
	if s.User == "root" && own.Become == "" && all.Become == "" {
		s.Become = "none"
	}
	return s
}

func orText(s, or string) string {
	if s == "" {
		return or
	}
	return s
}

func orInt(n, or int) int {
	if n == 0 {
		return or
	}
	return n
}

func orTime(t, or time.Duration) time.Duration {
	if t == 0 {
		return or
	}
	return t
}

func orTrue(b *bool) bool { return b == nil || *b }

func orList(l, or []string) []string {
	if l == nil {
		return or
	}
	return l
}

func orSecret(s, or Secret) Secret {
	if s.IsZero() {
		return or
	}
	return s
}
