// The keys of each process, in layers: a later layer wins, and every value knows the layer and the line it came from.

package inventory

import (
	"bytes"
	"path"
	"strconv"

	"rmqctl/internal/conf"
)

// Origin is a value that one layer gives a key.
type Origin struct {
	Layer string // built-in, mode 2m-2s-sync, layout, [broker], group broker-a, node host1, member broker-a@host1
	Value string
	Where string // file:line; "" for a built-in
}

// settings maps a key's canonical name to what the layers say, lowest first. Built-in defaults are not in it.
type settings map[string][]Origin

func (s settings) add(key, layer, value, where string) {
	s[key] = append(s[key], Origin{Layer: layer, Value: value, Where: where})
}

func (s settings) value(key string) string {
	if chain := s[key]; len(chain) > 0 {
		return chain[len(chain)-1].Value
	}
	return ""
}

// text is the settings as a properties file, sorted.
func (s settings) text(head string) []byte {
	var b bytes.Buffer
	b.WriteString("# " + head + "\n# Written by rmqctl from the inventory; the next deploy overwrites it.\n")
	for _, k := range sortedKeys(s) {
		b.WriteString(conf.FormatProp(k, s.value(k)) + "\n")
	}
	return b.Bytes()
}

// Properties is the broker's properties file.
func (b *Broker) Properties() []byte {
	return b.settings.text("Broker " + b.Member + " of cluster " + b.Cluster + " on " + b.Node.Name + ".")
}

// Property is what the broker's file says about a key; "" when it leaves the default.
func (b *Broker) Property(key string) string { return b.settings.value(key) }

// Properties is the name server's properties file.
func (s *NameServer) Properties() []byte {
	return s.settings.text("Name server of cluster " + s.Cluster + " on " + s.Node.Name + ".")
}

// DataDirs are the directories the broker writes to: its store, and what has been put elsewhere.
func (b *Broker) DataDirs() []string {
	dirs := []string{b.StoreDir}
	for _, k := range storeDirKeys {
		if d := b.settings.value(k); d != "" && !within(path.Clean(d), b.StoreDir) {
			dirs = append(dirs, path.Clean(d))
		}
	}
	return dirs
}

var storeDirKeys = []string{"storePathCommitLog", "storePathConsumeQueue", "storePathIndex"}

// promised keys follow from the mode; [cluster] allow lets them be overridden. identity keys follow from the layout and
// are written nowhere else.
var (
	promised = map[string]bool{"brokerRole": true, "inSyncReplicas": true, "slaveReadEnable": true}
	identity = map[string]string{
		"brokerClusterName": "it is the cluster's name",
		"brokerName":        "it is the group's name",
		"brokerId":          "it follows from master and slaves",
		"namesrvAddr":       "it lists all of [nameserver]",
		"listenPort":        "pin it with member.NODE.port",
		"haListenPort":      "it is listenPort+1",
		"storePathRootDir":  "pin it with member.NODE.store",
		"brokerIP1":         "it is the node's advertise",
		"brokerIP2":         "it is the node's advertise",
		"bindAddress":       "it is set on local nodes only",

		"enableDLegerCommitLog": "a group with raft = [nodes] is a raft group",
		"dLegerGroup":           "it is the group's name",
		"dLegerPeers":           "it follows from raft = [nodes] of the group",
		"dLegerSelfId":          "it follows from raft = [nodes] of the group; pin it with member.NODE.raft_id",
		"preferredLeaderId":     "write preferred_leader in the group",
	}
)

func (b *builder) settings() {
	free := b.freeKeys("broker", b.file.Broker, b.keys.broker)
	perNode := make([]map[string]freeKey, len(b.inv.Nodes))
	for i, f := range b.file.Node {
		perNode[i] = b.freeKeys(child(item("node", i), "broker"), f.Broker, b.keys.broker)
	}
	for i, f := range b.file.Group {
		p := item("group", i)
		group := b.freeKeys(child(p, "broker"), f.Broker, b.keys.broker)
		member := map[string]map[string]freeKey{}
		for _, m := range sortedKeys(f.Member) {
			member[m] = b.freeKeys(child(child(child(p, "member"), m), "broker"), f.Member[m].Broker, b.keys.broker)
		}
		for _, br := range b.inv.Groups[i].Brokers {
			br.settings = b.derived(br)
			b.override(br, "[broker]", free)
			b.override(br, "group "+br.Name, group)
			b.override(br, "node "+br.Node.Name, perNode[br.Node.index])
			b.override(br, "member "+br.Member+"@"+br.Node.Name, member[br.Node.Name])
			b.lint(br)
		}
	}
	b.nameServerSettings()
}

// derived is what mode and layout say about a broker.
func (b *builder) derived(br *Broker) settings {
	s := settings{}
	p := item("group", br.index)
	groupLine := b.src.where(p)
	layout := func(key, value, where string) {
		if name, ok := b.keys.broker.acting(key); ok {
			s.add(name, "layout", value, where)
		}
	}
	layout("brokerClusterName", b.inv.Name, b.src.where("cluster.name"))
	layout("brokerName", br.Name, b.src.where(child(p, "name")))
	if !br.Raft() {
		at := child(p, "master")
		if !br.Master() {
			at = child(p, "slaves")
		}
		layout("brokerId", strconv.FormatInt(br.ID, 10), b.src.where(at))
	}
	layout("namesrvAddr", b.inv.NamesrvAddr(), b.src.where("nameserver.nodes"))
	layout("listenPort", strconv.Itoa(br.ListenPort), orWhere(b.src, child(memberPath(br), "port"), groupLine))
	layout("haListenPort", strconv.Itoa(br.HAPort), orWhere(b.src, child(memberPath(br), "port"), groupLine))
	store := orWhere(b.src, child(memberPath(br), "store"), groupLine)
	layout("storePathRootDir", br.StoreDir, store)
	layout("storePathCommitLog", path.Join(br.StoreDir, "commitlog"), store)
	nodeLine := b.src.where(item("node", br.Node.index) + ".address")
	layout("brokerIP1", br.Node.Advertise, nodeLine)
	layout("brokerIP2", br.Node.Advertise, nodeLine)
	if br.Node.Local() {
		layout("bindAddress", br.Node.Address, nodeLine)
	}
	if br.Raft() {
		b.deriveRaft(br, layout)
		return s
	}
	mode := func(key, value string) {
		if name, ok := b.keys.broker.acting(key); ok {
			s.add(name, "mode "+b.inv.Mode, value, b.src.where("cluster.mode"))
		}
	}
	mode("brokerRole", br.Role)
	if b.inv.Mode == Sync {
		mode("inSyncReplicas", "2")
	}
	if b.inv.Mode == Sync || b.inv.Mode == Async {
		mode("slaveReadEnable", "true")
	}
	return s
}

func orWhere(src source, p, or string) string {
	if _, ok := src.places.keys[p]; ok {
		return src.where(p)
	}
	return or
}

// freeKey is a key of RocketMQ written in the inventory.
type freeKey struct{ value, path string }

// freeKeys checks a table of RocketMQ's keys: known, of the right type, once.
func (b *builder) freeKeys(p string, m map[string]any, t keyTable) map[string]freeKey {
	out := map[string]freeKey{}
	for _, k := range sortedKeys(m) {
		at := child(p, k)
		name, ok := t.canonical(k)
		if !ok {
			hint := ""
			if n := t.nearest(k); n != "" {
				hint = "did you mean " + n + "?"
			}
			b.wrongKey(at, hint, "%s is no key of a %s", k, t.what)
			continue
		}
		v, ok := scalar(m[k])
		if !ok {
			b.wrongValue(at, "", "%s wants a text, a number, true or false, not %s", k, describe(m[k]))
			continue
		}
		if err := t.check(k, v); err != nil {
			b.wrongValue(at, "", "%v", err)
			continue
		}
		if first, twice := out[name]; twice {
			b.wrongKey(at, "", "%s is set already, in line %d", name, b.lineOf(first.path))
			continue
		}
		out[name] = freeKey{v, at}
	}
	return out
}

// override lays one table over a broker's settings. What the mode or the layout derived may be repeated, not changed.
func (b *builder) override(br *Broker, layer string, keys map[string]freeKey) {
	for _, k := range sortedKeys(keys) {
		f := keys[k]
		now, derived := br.settings.value(k), false
		for _, o := range br.settings[k] {
			derived = derived || o.Layer == "layout" || o.Layer == "mode "+b.inv.Mode
		}
		if why, fixed := identity[k]; fixed && f.value != now {
			b.wrongValue(f.path, why, "%s of %s is %s and cannot be written here", k, br.Member, orText(now, "not set"))
			continue
		}
		if promised[k] && derived && f.value != now && !contains(b.file.Cluster.Allow, k) {
			b.wrongValue(f.path, `if it is meant, write allow = ["`+k+`"] in [cluster]`, "%s of %s is %s in mode %s: %s breaks its promise", k, br.Member, now, b.inv.Mode, f.value)
			continue
		}
		if k == "brokerRole" && br.Raft() {
			b.wrongValue(f.path, "leave it out: the leader is master and the others are slaves", "the members of raft group %s take their roles by election", br.Name)
			continue
		}
		if k == "brokerRole" && ((f.value == Slave) == br.Master()) {
			b.wrongValue(f.path, "it follows from master and slaves", "%s of %s cannot be %s", k, br.Member, f.value)
			continue
		}
		br.settings.add(k, layer, f.value, b.src.where(f.path))
		if k == "brokerRole" {
			br.Role = f.value
		}
	}
}

func (b *builder) nameServerSettings() {
	if b.file.NameServer == nil {
		return
	}
	free := b.freeKeys("nameserver.config", b.file.NameServer.Config, b.keys.namesrv)
	for _, s := range b.inv.NameServers {
		s.settings = settings{}
		layout := func(key, value, where string) {
			if name, ok := b.keys.namesrv.canonical(key); ok {
				s.settings.add(name, "layout", value, where)
			}
		}
		layout("listenPort", strconv.Itoa(s.Port), b.src.where("nameserver.port"))
		layout("kvConfigPath", path.Join(s.DataDir(), "kvConfig.json"), b.src.where("nameserver.nodes"))
		layout("configStorePath", path.Join(s.DataDir(), "namesrv.properties"), b.src.where("nameserver.nodes"))
		if s.Node.Local() {
			layout("bindAddress", s.Node.Address, b.src.where(item("node", s.Node.index)+".address"))
		}
		for _, k := range sortedKeys(free) {
			if now := s.settings.value(k); now != "" && now != free[k].value {
				hint := ""
				if k == "listenPort" {
					hint = "write port in [nameserver]"
				}
				b.wrongValue(free[k].path, hint, "%s of the name servers is %s and cannot be written here", k, now)
				continue
			}
			s.settings.add(k, "[nameserver.config]", free[k].value, b.src.where(free[k].path))
		}
	}
}

// scalar is a TOML value as it stands in a properties file.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
