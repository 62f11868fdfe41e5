// The firewalls of the host in memory.

package steptest

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"rmqctl/provision/step"
)

// Firewalld is a running firewalld with one active zone.
type Firewalld struct {
	Stopped   bool
	Zone      string
	Now, Boot map[string]bool // rules as they follow --add-
}

// NewFirewalld has the zone public with ssh open.
func NewFirewalld() *Firewalld {
	return &Firewalld{Zone: "public", Now: map[string]bool{}, Boot: map[string]bool{}}
}

func (f *Firewalld) snapshot() string {
	if f == nil {
		return ""
	}
	return "firewalld now " + f.list(f.Now) + "firewalld boot " + f.list(f.Boot)
}

func (f *Firewalld) look(args []string) (string, error) {
	if f == nil {
		return "", step.ErrNoCommand
	}
	if f.Stopped {
		return "", &step.ExitError{Argv: args, Code: 252, Stderr: "FirewallD is not running"}
	}
	switch strings.Join(args, " ") {
	case "--state":
		return "running", nil
	case "--get-active-zones":
		return f.Zone + "\n  interfaces: eth0", nil
	case "--get-default-zone":
		return f.Zone, nil
	case "--zone=" + f.Zone + " --list-all":
		return f.list(f.Now), nil
	case "--permanent --zone=" + f.Zone + " --list-all":
		return f.list(f.Boot), nil
	}
	return "", &step.ExitError{Argv: args, Code: 2}
}

func (f *Firewalld) list(rules map[string]bool) string {
	var ports, rich []string
	for r := range rules {
		if p, ok := strings.CutPrefix(r, "port="); ok {
			ports = append(ports, p)
		} else {
			rich = append(rich, "\t"+strings.TrimPrefix(r, "rich-rule="))
		}
	}
	sort.Strings(ports)
	sort.Strings(rich)
	return fmt.Sprintf("%s (active)\n  target: default\n  interfaces: eth0\n  services: ssh\n  ports: %s\n  rich rules: \n%s\n",
		f.Zone, strings.Join(ports, " "), strings.Join(rich, "\n"))
}

func (f *Firewalld) run(args []string, no refusal) error {
	if f == nil || f.Stopped {
		return no("FirewallD is not running")
	}
	rules := f.Now
	for _, a := range args {
		if a == "--permanent" {
			rules = f.Boot
		}
	}
	if words := strings.Join(args, "\n"); strings.Contains(words, "-port=") && strings.Contains(words, "-rich-rule=") {
		return no("argument --add-rich-rule: not allowed with argument --add-port")
	}
	for _, a := range args {
		if r, ok := strings.CutPrefix(a, "--add-"); ok {
			rules[r] = true
		} else if r, ok := strings.CutPrefix(a, "--remove-"); ok {
			delete(rules, r)
		} else if a != "--permanent" && a != "--quiet" && a != "--zone="+f.Zone {
			return no("unknown option %s", a)
		}
	}
	return nil
}

// Nft is a kernel's rule set with one input chain.
type Nft struct {
	Policy string
	Rules  []NftRule
	next   int
}

// NftRule is a rule of the chain inet filter input.
type NftRule struct {
	Handle        int
	Text, Comment string
}

// NewNft has a chain that drops.
func NewNft() *Nft { return &Nft{Policy: "drop", next: 10} }

func (n *Nft) snapshot() string {
	if n == nil {
		return ""
	}
	var b strings.Builder
	for _, r := range n.Rules {
		b.WriteString("nft " + r.Text + "\n")
	}
	return b.String()
}

func (n *Nft) look() (string, error) {
	if n == nil {
		return "", step.ErrNoCommand
	}
	type object = map[string]any
	items := []object{{"metainfo": object{"version": "1.0.6"}},
		{"table": object{"family": "inet", "name": "filter"}},
		{"chain": object{"family": "inet", "table": "filter", "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": n.Policy}}}
	for _, r := range n.Rules {
		rule := object{"family": "inet", "table": "filter", "chain": "input", "handle": r.Handle, "expr": []object{{"match": object{}}, {"accept": nil}}}
		if r.Comment != "" {
			rule["comment"] = r.Comment
		}
		if r.Text == "drop" || r.Text == "reject" {
			rule["expr"] = []object{{"counter": object{}}, {r.Text: nil}}
		}
		items = append(items, object{"rule": rule})
	}
	out, err := json.Marshal(object{"nftables": items})
	return string(out), err
}

// load runs a script of rules of the chain; lines that are none of its business are passed over.
func (n *Nft) load(script string, check bool, no refusal) error {
	if n == nil {
		return no("nft: not found")
	}
	for _, l := range strings.Split(script, "\n") {
		verb, rest, ok := strings.Cut(strings.TrimSpace(l), " rule inet filter input ")
		if !ok || check {
			continue
		}
		if verb == "delete" {
			for i, r := range n.Rules {
				if rest == fmt.Sprintf("handle %d", r.Handle) {
					n.Rules = append(n.Rules[:i:i], n.Rules[i+1:]...)
					break
				}
			}
			continue
		}
		_, comment, _ := strings.Cut(rest, `comment "`)
		n.next++
		r := NftRule{Handle: n.next, Text: rest, Comment: strings.TrimSuffix(comment, `"`)}
		if verb == "insert" {
			n.Rules = append([]NftRule{r}, n.Rules...)
		} else {
			n.Rules = append(n.Rules, r)
		}
	}
	return nil
}
