package role

import (
	"reflect"
	"strings"
	"testing"

	"rmqctl/inventory"
	"rmqctl/provision/step"
)

const crossed = `
[cluster]
name = "orders"
mode = "2m-2s-sync"
[firewall]
clients = ["192.168.31.0/24", "10.0.0.0/8"]
[[node]]
name = "node1"
address = "192.168.31.101"
[[node]]
name = "node2"
address = "172.16.0.2"
[nameserver]
nodes = ["node1", "node2"]
[[group]]
name = "broker-a"
master = "node1"
slaves = ["node2"]
[[group]]
name = "broker-b"
master = "node2"
slaves = ["node1"]
`

func parse(t *testing.T, text string) *inventory.Inventory {
	t.Helper()
	inv, err := inventory.Parse("inventory.toml", "/home/ops", text)
	if err != nil {
		t.Fatalf("\n%v", err)
	}
	return inv
}

var bin = Binary{Sum: strings.Repeat("ab", 32)}

func TestPortsAreOpenForClientsAndHAForMembersOnly(t *testing.T) {
	inv := parse(t, crossed)
	everyone := []string{"10.0.0.0/8", "172.16.0.2", "192.168.31.0/24"}
	want := []step.Rule{
		{Port: 9876, From: everyone, For: "name server"},
		{Port: 10911, From: everyone, For: "broker-a"},
		{Port: 10909, From: everyone, For: "broker-a, fast port"},
		{Port: 10912, From: []string{"172.16.0.2"}, For: "broker-a, HA"},
		{Port: 11011, From: everyone, For: "broker-b-s"},
		{Port: 11009, From: everyone, For: "broker-b-s, fast port"},
		{Port: 11012, From: []string{"172.16.0.2"}, For: "broker-b-s, HA"},
	}
	if got := Ports(inv, inv.Node("node1")); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// spec is the hash of a broker's process.
func spec(t *testing.T, inv *inventory.Inventory, b *inventory.Broker, bin Binary) string {
	t.Helper()
	for _, s := range Broker(inv, b, bin) {
		if r, ok := s.(step.Running); ok {
			return r.Spec
		}
	}
	t.Fatal("the broker does not run")
	return ""
}

func TestSpecChangesWithBinaryConfigurationAndUnitOnly(t *testing.T) {
	one := parse(t, crossed)
	was := spec(t, one, one.Brokers()[0], bin)
	for _, x := range []struct {
		name    string
		text    string
		bin     Binary
		changes bool
	}{
		{"nothing", crossed, bin, false},
		{"a comment", "# hello\n" + crossed, bin, false},
		{"an alias", strings.Replace(crossed, `name = "node2"`, "name = \"node2\"\naliases = [\"b\"]", 1), bin, false},
		{"another group's key", crossed + "broker = { fileReservedTime = 9 }\n", bin, false},
		{"a key", crossed + "[broker]\nfileReservedTime = 9\n", bin, true},
		{"the memory limit", crossed + "[service]\nmemory_max = \"2G\"\n", bin, true},
		{"the binary", crossed, Binary{Sum: strings.Repeat("cd", 32)}, true},
	} {
		inv := parse(t, x.text)
		if got := spec(t, inv, inv.Brokers()[0], x.bin) != was; got != x.changes {
			t.Errorf("%s: restart %t, want %t", x.name, got, x.changes)
		}
	}
}

func TestLocalNodesNeedNoRoot(t *testing.T) {
	inv := parse(t, strings.NewReplacer(`"192.168.31.101"`, "\"127.77.0.1\"\nconnection = \"local\"",
		`"172.16.0.2"`, "\"127.77.0.2\"\nconnection = \"local\"").Replace(crossed))
	for _, n := range inv.Nodes {
		steps := append(Host(inv, n, bin), NameServer(inv, n.NameServer, bin)...)
		for _, b := range n.Brokers {
			steps = append(steps, Broker(inv, b, bin)...)
		}
		for _, s := range steps {
			switch s := s.(type) {
			case step.User, step.Group, step.HostsBlock, step.Firewall, step.Sysctl, step.Enabled:
				t.Errorf("%s: %s needs root", n.Name, s.Name())
			case step.Dir:
				if s.Owner != "" || !strings.HasPrefix(s.Path, n.Root) {
					t.Errorf("%s: %s", n.Name, s.Name())
				}
			case step.File:
				if s.Owner != "" || !strings.HasPrefix(s.Path, n.Root) {
					t.Errorf("%s: %s", n.Name, s.Name())
				}
			}
		}
	}
}

func TestRemovalIsTheListBackwards(t *testing.T) {
	inv := parse(t, crossed)
	steps := Host(inv, inv.Nodes[0], bin)
	back := Removal(steps)
	if len(back) == 0 || back[len(back)-1].Name() != "names in /etc/hosts" {
		t.Errorf("last to be taken back: %s", back[len(back)-1].Name())
	}
}
