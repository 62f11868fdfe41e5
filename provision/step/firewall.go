// Ports in the host's firewall, which is never switched off.
//
// Whatever filters is asked, not what is installed: firewalld if it runs, else the nftables rule set if a chain on the
// input hook drops. Where nothing filters, nothing is changed. What this cluster opened it knows by itself, so it takes
// back just that: firewalld's rules stand in a ledger on the host (ports have no comments there), nftables' rules carry
// the cluster's name as comment.

package step

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sort"
	"strconv"
	"strings"
)

// Rule is a TCP port that should be open.
type Rule struct {
	Port int
	From []string // addresses or prefixes that may; empty = everybody
	For  string   // who listens: "broker-a HA"
}

// Firewall is ports that are open in the host's active firewall.
type Firewall struct {
	Cluster string
	Address string // the address clients use: its interface decides the zone
	Rules   []Rule
	Manage  string // auto, firewalld, nft
	Ledger  string // file on the host
}

// Name says what it is.
func (f Firewall) Name() string {
	ports := make([]string, 0, len(f.Rules))
	for _, r := range sortedRules(f.Rules) {
		ports = append(ports, strconv.Itoa(r.Port))
	}
	return "firewall open: " + strings.Join(ports, " ")
}

// Check asks the active firewall.
func (f Firewall) Check(_ context.Context, h Reader) (*Change, error) {
	b, err := f.backend(h)
	if b == nil || err != nil {
		return nil, err
	}
	return b.check(h)
}

// Noter is a step that may have something to say although it holds.
type Noter interface {
	Step
	Note(ctx context.Context, h Reader) (string, error)
}

// Note says what was found where there is nothing to do.
func (f Firewall) Note(_ context.Context, h Reader) (string, error) {
	b, err := f.backend(h)
	if b == nil && err == nil {
		return "no firewall is active: nothing to open", nil
	}
	return "", err
}

// Owned is all rules of the cluster.
func (f Firewall) Owned() Owned { return Owned{Kind: "firewall", Name: f.Cluster} }

// Absent takes them back.
func (f Firewall) Absent() Step { return NoFirewall{Cluster: f.Cluster, Ledger: f.Ledger} }

// backend is what filters on the host; nil when nothing does.
func (f Firewall) backend(h Reader) (interface{ check(Reader) (*Change, error) }, error) {
	if f.Manage != "nft" {
		runs, err := firewalldRuns(h)
		if err != nil {
			return nil, err
		}
		if runs {
			return firewalld{f}, nil
		}
		if f.Manage == "firewalld" {
			return obstacle{Obstacle("firewalld does not run", "start it, or set manage in [firewall] to auto or off")}, nil
		}
	}
	if text, _, err := readText(h, "/etc/ufw/ufw.conf"); err != nil {
		return nil, err
	} else if ufwEnabled(text) {
		return obstacle{Obstacle("ufw is active, which rmqctl does not manage", f.ufwHint())}, nil
	}
	set, err := nftRules(h)
	if err != nil {
		return nil, err
	}
	chains := set.blocking()
	if len(chains) == 0 && f.Manage != "nft" && len(set.owned(f.Cluster)) == 0 {
		return nil, nil
	}
	return nft{f, set, chains}, nil
}

type obstacle struct{ change *Change }

func (o obstacle) check(Reader) (*Change, error) { return o.change, nil }

func ufwEnabled(conf string) bool {
	for _, line := range strings.Split(conf, "\n") {
		if strings.EqualFold(strings.ReplaceAll(strings.TrimSpace(line), " ", ""), "enabled=yes") {
			return true
		}
	}
	return false
}

func (f Firewall) ufwHint() string {
	var cmds []string
	for _, r := range sortedRules(f.Rules) {
		if len(r.From) == 0 {
			cmds = append(cmds, fmt.Sprintf("ufw allow %d/tcp", r.Port))
		}
		for _, from := range r.From {
			cmds = append(cmds, fmt.Sprintf("ufw allow proto tcp from %s to any port %d", from, r.Port))
		}
	}
	return strings.Join(cmds, "; ") + `; then set manage = "off" in [firewall]`
}

func sortedRules(rules []Rule) []Rule {
	out := append([]Rule(nil), rules...)
	sort.SliceStable(out, func(i, j int) bool { return out[i].Port < out[j].Port })
	return out
}

// firewalldRuns asks firewalld for its state; no answer is no.
func firewalldRuns(h Reader) (bool, error) {
	out, err := h.Query(AskFirewallCmd("--state"))
	var no *ExitError
	switch {
	case errors.Is(err, ErrNoCommand) || errors.As(err, &no):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("ask for firewalld: %w", err)
	}
	return strings.TrimSpace(out) == "running", nil
}

// interfaceOf finds the interface with the address in the output of "ip -o addr show".
func interfaceOf(out, address string) string {
	for _, line := range strings.Split(out, "\n") {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		if p, err := netip.ParsePrefix(f[3]); err == nil && p.Addr().String() == address {
			name, _, _ := strings.Cut(f[1], "@")
			return strings.TrimSuffix(name, ":")
		}
	}
	return ""
}

// NoFirewall is a cluster's rules that should not be there.
type NoFirewall struct{ Cluster, Ledger string }

// Name says what it is.
func (n NoFirewall) Name() string { return "no firewall rules of " + n.Cluster }

// Check looks into the ledger, the nftables rule set and the file it is loaded from.
func (n NoFirewall) Check(ctx context.Context, h Reader) (*Change, error) {
	ledger, err := readLedger(h, n.Ledger)
	if err != nil {
		return nil, err
	}
	f := Firewall{Cluster: n.Cluster, Ledger: n.Ledger}
	if ledger.exists {
		runs, err := firewalldRuns(h)
		if err != nil {
			return nil, err
		}
		if !runs && len(ledger.Rules) > 0 {
			return Obstacle("the cluster's rules are firewalld's, which does not run", "start firewalld, or remove "+n.Ledger), nil
		}
		return firewalld{f}.change(h, ledger)
	}
	set, err := nftRules(h)
	if err != nil {
		return nil, err
	}
	conf, err := nftConf(h)
	if err != nil {
		return nil, err
	}
	block, err := NoBlock{Path: conf, Cluster: n.Cluster}.Check(ctx, h)
	owned := set.owned(n.Cluster)
	if err != nil || block == nil && len(owned) == 0 {
		return block, err
	}
	if block != nil && block.Apply == nil {
		return block, nil
	}
	c := &Change{Why: fmt.Sprintf("%d rules are still there", len(owned))}
	if block != nil {
		c.Diff = block.Diff
	}
	c.Apply = func(ctx context.Context, w Writer) error {
		if len(owned) > 0 {
			if err := w.Run(Command{Argv: []string{"nft", "-f", "-"}, Stdin: []byte(deleteRules(owned))}); err != nil {
				return err
			}
		}
		if block == nil {
			return nil
		}
		return block.Apply(ctx, w)
	}
	return c, nil
}
