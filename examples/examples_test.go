// Beside each example lies the plan that it gives on empty hosts. The plans are compared here; -update writes them.

package examples

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rmqctl/inventory"
	"rmqctl/provision/role"
	"rmqctl/provision/step"
	"rmqctl/provision/step/steptest"
)

var update = flag.Bool("update", false, "write the plans anew")

var binary = role.Binary{Path: "rmqctl", Sum: strings.Repeat("0123456789abcdef", 4), Size: 20 << 20, Version: "1.0.0"}

func load(t *testing.T, name string) *inventory.Inventory {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	inv, err := inventory.Parse(name, "/home/ops", string(text))
	if err != nil {
		t.Fatalf("\n%v", err)
	}
	return inv
}

func all(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("*.toml")
	if err != nil || len(names) < 13 {
		t.Fatalf("examples: %v %v", names, err)
	}
	return names
}

// emptyHost is the node as it is before the first deploy.
func emptyHost(n *inventory.Node) *steptest.Host {
	h := steptest.NewHost()
	h.NoAgent = true
	h.Addresses = "2: eth0    inet " + n.Advertise + "/24 brd 192.168.31.255 scope global eth0"
	h.PutDir(n.Paths.State)
	if n.Local() {
		h.PutDir(n.Root)
	} else {
		h.Firewalld = steptest.NewFirewalld()
	}
	return h
}

// steps is everything that should hold on a node.
func steps(inv *inventory.Inventory, n *inventory.Node) []step.Step {
	s := role.Host(inv, n, binary)
	if n.NameServer != nil {
		s = append(s, role.NameServer(inv, n.NameServer, binary)...)
	}
	for _, b := range n.Brokers {
		s = append(s, role.Broker(inv, b, binary)...)
	}
	return s
}

func TestPlanOfEveryExample(t *testing.T) {
	for _, name := range all(t) {
		t.Run(name, func(t *testing.T) {
			got := plan(t, load(t, name))
			golden := strings.TrimSuffix(name, ".toml") + ".plan"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(want) != got {
				t.Errorf("the plan differs from %s (go test ./examples -update writes it):\n%s", golden, step.Diff(golden, string(want), got))
			}
		})
	}
}

// plan renders what a first deploy would do on every node.
func plan(t *testing.T, inv *inventory.Inventory) string {
	var b strings.Builder
	for _, w := range inv.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w.Message)
	}
	b.WriteString(inventory.LossesText(inv.Losses()))
	for _, n := range inv.Nodes {
		h := emptyHost(n)
		before := h.Snapshot()
		fmt.Fprintf(&b, "== %s %s\n", n.Name, n.Advertise)
		for _, s := range steps(inv, n) {
			c, err := s.Check(context.Background(), h.Reader())
			if err != nil {
				t.Fatalf("%s: %s: %v", n.Name, s.Name(), err)
			}
			if c == nil {
				continue
			}
			fmt.Fprintf(&b, "%s: %s", s.Name(), c.Why)
			if c.Consequence != step.None {
				fmt.Fprintf(&b, " [%s]", c.Consequence)
			}
			b.WriteByte('\n')
			for _, l := range strings.Split(strings.TrimSuffix(c.Diff, "\n"), "\n") {
				if c.Diff != "" {
					b.WriteString("    " + l + "\n")
				}
			}
		}
		if h.Snapshot() != before {
			t.Errorf("the plan of %s changed the host", n.Name)
		}
	}
	return b.String()
}

func TestEveryRoleKeepsTheContract(t *testing.T) {
	seen := map[string]bool{} // one node of each kind is enough
	for _, name := range all(t) {
		inv := load(t, name)
		for _, n := range inv.Nodes {
			kind := fmt.Sprint(n.Local(), n.NameServer != nil)
			for _, b := range n.Brokers {
				kind += fmt.Sprint(" ", b.Role, b.Raft())
			}
			if seen[kind] {
				continue
			}
			seen[kind] = true
			t.Run(name+"/"+n.Name, func(t *testing.T) {
				host := func() *steptest.Host {
					h := emptyHost(n)
					h.NoAgent = false
					return h
				}
				steptest.Contract(t, steptest.Case{Host: host, Steps: func() []step.Step { return steps(inv, n) }})
			})
		}
	}
}

func TestEveryDeploymentIsHere(t *testing.T) {
	for i := 1; i <= 11; i++ {
		if found, err := filepath.Glob(fmt.Sprintf("d%d-*.toml", i)); err != nil || len(found) != 1 {
			t.Errorf("D%d: %v", i, found)
		}
	}
}
