package inventory

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// base is D6: two groups crossed on two hosts.
const base = `[cluster]
name = "orders"
mode = "2m-2s-sync"

[ssh]
user = "ops"
become_password = "env:RMQ_SUDO"

[paths]
data = "/data/rmq"

[broker]
fileReservedTime = 120

[[node]]
name = "host1"
address = "192.168.31.101"
aliases = ["rocketmq-nameserver1", "rocketmq-master1"]

[[node]]
name = "host2"
address = "192.168.31.102"

[nameserver]
nodes = ["host1", "host2"]

[[group]]
name = "broker-a"
master = "host1"
slaves = ["host2"]

[[group]]
name = "broker-b"
master = "host2"
slaves = ["host1"]
`

// TestScripts runs testdata/*.txt. "edit" replaces words of the base inventory, one "old => new" a line; "load" takes a
// whole inventory; "show" is what follows from the base; "explain NODE KEY" says where values come from.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		text := base
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "edit":
				edited := edit(t, d.Input)
				if d.HasArg("keep") {
					text = edited
				}
				return report(edited)
			case "load":
				return report(d.Input)
			case "show":
				return show(t, text)
			case "properties":
				return properties(t, text, d.CmdArgs[0].Key)
			case "explain":
				return explain(t, text, d.CmdArgs[0].Key, d.CmdArgs[1].Key)
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func edit(t *testing.T, script string) string {
	text := base
	for _, line := range strings.Split(script, "\n") {
		old, now, ok := strings.Cut(line, " => ")
		old, now = strings.ReplaceAll(old, `\n`, "\n"), strings.ReplaceAll(now, `\n`, "\n")
		switch {
		case old == "end":
			text += now + "\n"
		case !ok || !strings.Contains(text, old):
			t.Fatalf("%q is not in the base", old)
		default:
			text = strings.Replace(text, old, now, 1)
		}
	}
	return text
}

// report is what Load says.
func report(text string) string {
	inv, err := Parse("orders.toml", "/home/ops", text)
	if err != nil {
		return err.Error()
	}
	out := fmt.Sprintf("ok: %d nodes, %d groups, %d brokers, %d name servers", len(inv.Nodes), len(inv.Groups), len(inv.Brokers()), len(inv.NameServers))
	for _, w := range inv.Warnings {
		out += "\nwarning: " + w.String()
	}
	return out
}

func mustParse(t *testing.T, text string) *Inventory {
	t.Helper()
	inv, err := Parse("orders.toml", "/home/ops", text)
	if err != nil {
		t.Fatalf("\n%v", err)
	}
	return inv
}

func show(t *testing.T, text string) string {
	var b strings.Builder
	inv := mustParse(t, text)
	for _, n := range inv.Nodes {
		fmt.Fprintf(&b, "%s %s\n", n.Name, n.Advertise)
		if n.NameServer != nil {
			fmt.Fprintf(&b, "  %s %s %s\n", n.NameServer.Unit(), n.NameServer.Addr(), n.NameServer.ConfPath())
		}
		for _, br := range n.Brokers {
			fmt.Fprintf(&b, "  %s %s ha=%d fast=%d %s[%d] %s %s %s\n", br.Unit(), br.Addr(), br.HAPort, br.FastPort(), br.Name, br.ID, br.Role,
				strings.Join(br.DataDirs(), " "), br.ConfPath())
		}
	}
	return b.String()
}

func properties(t *testing.T, text, member string) string {
	for _, b := range mustParse(t, text).Brokers() {
		if b.Member == member {
			return string(b.Properties())
		}
	}
	return "no such broker"
}

func explain(t *testing.T, text, node, key string) string {
	all, err := mustParse(t, text).Explain(node, key)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, e := range all {
		fmt.Fprintf(&b, "%s %s = %s\n", e.Process, e.Key, e.Value())
		for _, o := range e.Chain {
			fmt.Fprintf(&b, "  %-20s %-12s %s\n", o.Layer, o.Value, o.Where)
		}
	}
	return b.String()
}

func TestEveryKeyAndValueIsLocated(t *testing.T) {
	text := "a.b = 1\n\"c d\" = { e = [ 1, 'x', { f = \"g\" } ], h.i = true }\n[[t.u]]\nv = \"\"\"\nlong\n\"\"\"\n[[t.u]]\n  w = 2024-01-01 # c\n[t.u.x]\ny = 'z'"
	p := locate(text)
	for path, want := range map[string]span{
		"a.b": {1, 7, 1}, `"c d".e`: {2, 15, 23}, `"c d".e[1]`: {2, 20, 3}, `"c d".e[2].f`: {2, 31, 3}, `"c d".h.i`: {2, 46, 4},
		"t.u[0].v": {4, 5, 3}, "t.u[1].w": {8, 7, 10}, "t.u[1].x.y": {10, 5, 3},
	} {
		if got := p.values[path]; got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	for path, want := range map[string]span{"t.u[0]": {3, 5, 1}, "t.u[1]": {7, 5, 1}, "t.u[1].x": {9, 6, 1}, `"c d".h`: {2, 40, 1}} {
		if got := p.keys[path]; got != want {
			t.Errorf("key %s: %v, want %v", path, got, want)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	for _, text := range []string{
		strings.Replace(base, `"env:RMQ_SUDO"`, `"hunter2"`, 1),
		strings.Replace(base, `"env:RMQ_SUDO"`, `"hunter2`, 1),
		strings.Replace(base, `become_password = "env:RMQ_SUDO"`, `password = "hunter2" "`, 1),
		strings.Replace(base, `become_password = "env:RMQ_SUDO"`, `pasword = { a = "x", passphrase = "hunter2", b = hunter2 }`, 1),
	} {
		_, err := Parse("orders.toml", "/", text)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in the message, or there is none:\n%v", err)
		}
	}
	inv := mustParse(t, strings.Replace(base, `"env:RMQ_SUDO"`, `"cmd:pass show hunter2"`, 1))
	s := inv.Nodes[0].SSH.BecomePassword
	if text := inv.Redacted() + fmt.Sprint(s) + fmt.Sprintf("%v", inv.Nodes[0].SSH); strings.Contains(text, "hunter2") {
		t.Errorf("the command is printed:\n%s", text)
	}
	if s.Kind() != SecretCmd || s.Arg() != "pass show hunter2" {
		t.Errorf("%s %s", s.Kind(), s.Arg())
	}
	if _, err := Parse("orders.toml", "/", inv.Redacted()); err != nil {
		t.Errorf("the redacted inventory does not load: %v", err)
	}
}

func TestHashIsAboutTheMeaning(t *testing.T) {
	was := mustParse(t, base).Hash()
	if mustParse(t, "# a comment\n"+base).Hash() != was {
		t.Error("a comment changed the hash")
	}
	for _, x := range []string{"120 => 121", "host1 => node1", "env:RMQ_SUDO => env:OTHER"} {
		old, now, _ := strings.Cut(x, " => ")
		if mustParse(t, strings.ReplaceAll(base, old, now)).Hash() == was {
			t.Errorf("%s did not change the hash", x)
		}
	}
}

func TestLocalNodesLiveBelowTheirRoot(t *testing.T) {
	inv := mustParse(t, strings.Replace(base, `address = "192.168.31.102"`, "address = \"127.77.0.2\"\nconnection = \"local\"", 1))
	n := inv.Node("host2")
	want := Paths{"/home/ops/.rmqctl/orders/host2/install", "/home/ops/.rmqctl/orders/host2/data/rmq", "/home/ops/.rmqctl/orders/host2/logs",
		"/home/ops/.rmqctl/orders/host2/conf", "/home/ops/.rmqctl/orders/host2/state", "/home/ops/.rmqctl/orders/host2/run"}
	if n.Paths != want {
		t.Errorf("%+v", n.Paths)
	}
	if got := inv.Groups[1].Master.Property("bindAddress"); got != "127.77.0.2" {
		t.Errorf("bindAddress %q", got)
	}
	if got := inv.Groups[0].Master.Property("bindAddress"); got != "" {
		t.Errorf("a host of its own binds %q", got)
	}
}

func TestLoadSaysWhatCannotBeRead(t *testing.T) {
	_, err := Load(t.TempDir() + "/none.toml")
	if err == nil || IsInvalid(err) || !strings.Contains(err.Error(), "none.toml") {
		t.Errorf("%v", err)
	}
	name := t.TempDir() + "/inventory.toml"
	if err := os.WriteFile(name, []byte(base), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(name); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(base)
	f.Add(strings.ReplaceAll(base, "=", "= ="))
	f.Add("[[node]]\nname = 1\n[group]\n[ssh]\nport = -1\npassword = 'x'")
	f.Add("[[group]]\nmember.a = { port = 1, broker = { x = [1] } }\nmaster = \"a\"")
	f.Fuzz(func(t *testing.T, text string) {
		inv, err := Parse("f.toml", "/home/ops", text)
		if err == nil {
			for _, b := range inv.Brokers() {
				_ = b.Properties()
			}
			_ = inv.Hash()
		}
	})
}

func FuzzLocate(f *testing.F) {
	f.Add(base)
	f.Add("[[a]]\nb = [[1, [2]], {c = '''x'''}]\n\"\\u00e9\".x = \"\\\"\"")
	f.Fuzz(func(t *testing.T, text string) {
		p := locate(text)
		for path, sp := range p.keys {
			if sp.line < 1 || sp.col < 1 || sp.width < 0 {
				t.Errorf("%s at %v", path, sp)
			}
		}
	})
}
