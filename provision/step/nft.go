// nftables without firewalld: an accept rule in every chain that drops what comes in. An accept in a table of our own
// would not help: it ends that chain only, and the packet still has to pass the one that drops.

package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

type nft struct {
	Firewall
	set    ruleset
	chains []nftChain
}

// ruleset is the part of "nft -j list ruleset" that matters.
type ruleset struct {
	chains []nftChain
	rules  []nftRule
}

type nftChain struct {
	Family string `json:"family"`
	Table  string `json:"table"`
	Name   string `json:"name"`
	Type   string `json:"type"`
	Hook   string `json:"hook"`
	Policy string `json:"policy"`
}

type nftRule struct {
	Family  string                       `json:"family"`
	Table   string                       `json:"table"`
	Chain   string                       `json:"chain"`
	Handle  int                          `json:"handle"`
	Comment string                       `json:"comment"`
	Expr    []map[string]json.RawMessage `json:"expr"`
}

func (c nftChain) String() string { return c.Family + " " + c.Table + " " + c.Name }
func (r nftRule) chain() string   { return r.Family + " " + r.Table + " " + r.Chain }

// nftRules asks for the rule set; a host without nft has none.
func nftRules(h Reader) (ruleset, error) {
	out, err := h.Query(AskNftRuleset())
	if errors.Is(err, ErrNoCommand) {
		return ruleset{}, nil
	}
	if err != nil {
		return ruleset{}, fmt.Errorf("list nftables rules: %w", err)
	}
	return parseRuleset(out)
}

func parseRuleset(out string) (ruleset, error) {
	var all struct {
		Items []struct {
			Chain *nftChain `json:"chain"`
			Rule  *nftRule  `json:"rule"`
		} `json:"nftables"`
	}
	if strings.TrimSpace(out) == "" {
		return ruleset{}, nil
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return ruleset{}, fmt.Errorf("nftables rules: %w", err)
	}
	var s ruleset
	for _, i := range all.Items {
		if i.Chain != nil {
			s.chains = append(s.chains, *i.Chain)
		}
		if i.Rule != nil {
			s.rules = append(s.rules, *i.Rule)
		}
	}
	return s, nil
}

// blocking is the chains on the input hook that let through only what a rule accepts.
func (s ruleset) blocking() []nftChain {
	var out []nftChain
	for _, c := range s.chains {
		if c.Type == "filter" && c.Hook == "input" && (c.Family == "inet" || c.Family == "ip") && (c.Policy == "drop" || s.endsClosed(c)) {
			out = append(out, c)
		}
	}
	return out
}

// endsClosed says whether a rule of the chain drops or rejects all that reaches it.
func (s ruleset) endsClosed(c nftChain) bool {
	for _, r := range s.rules {
		if r.chain() == c.String() && r.closes() {
			return true
		}
	}
	return false
}

func (r nftRule) closes() bool {
	verdict := false
	for _, e := range r.Expr {
		for word := range e {
			switch word {
			case "drop", "reject":
				verdict = true
			case "counter", "log", "comment":
			default:
				return false
			}
		}
	}
	return verdict
}

// owned is the rules that carry the cluster's name.
func (s ruleset) owned(cluster string) []nftRule {
	var out []nftRule
	for _, r := range s.rules {
		if strings.HasPrefix(r.Comment, "rmqctl:"+cluster+" ") {
			out = append(out, r)
		}
	}
	return out
}

func (n nft) check(h Reader) (*Change, error) {
	if o := n.notLoaded(h); o != nil && len(n.chains) > 0 {
		return o, nil
	}
	conf, err := nftConf(h)
	if err != nil {
		return nil, err
	}
	old, exists, err := readText(h, conf)
	if err != nil {
		return nil, err
	}
	b, err := findBlock(old, n.Cluster)
	if err != nil {
		return Obstacle(fmt.Sprintf("%s: %v", conf, err), "repair the block of cluster "+n.Cluster+" by hand"), nil
	}
	lines, script := n.rules()
	text := old
	if len(lines) > 0 {
		text, err = setBlock(old, n.Cluster, lines, exists)
	} else if b.from >= 0 {
		text, _, err = dropBlock(old, n.Cluster)
	}
	if err != nil || text == old && script == "" {
		return nil, err
	}
	why := "ports closed in nftables' chain " + n.chainNames()
	if script == "" {
		why = conf + " differs: the rules would not survive a reboot"
	}
	return &Change{Why: why, Diff: Diff(conf, old, text), Creates: b.from < 0 && len(n.set.owned(n.Cluster)) == 0,
		Apply: func(_ context.Context, w Writer) error { return n.apply(w, conf, old, text, script) }}, nil
}

// apply writes the file that is loaded at boot, checked by nft itself before, and then the kernel's rules.
func (n nft) apply(w Writer, conf, old, text, script string) error {
	if text != old {
		trial := conf + ".rmqctl"
		if err := rewrite(w, trial, text, 0o644); err != nil {
			return err
		}
		bad := w.Run(Cmd("nft", "-c", "-f", trial))
		if err := w.Remove(trial); err != nil {
			return err
		}
		if bad != nil {
			return fmt.Errorf("%s would not load with the cluster's rules: %w", conf, bad)
		}
		if err := rewrite(w, conf, text, 0o644); err != nil {
			return err
		}
	}
	if script == "" {
		return nil
	}
	return w.Run(Command{Argv: []string{"nft", "-f", "-"}, Stdin: []byte(script)})
}

// notLoaded is the obstacle of rules that nobody would load at boot.
func (n nft) notLoaded(h Reader) *Change {
	state, err := h.Query(AskEnabled("nftables.service"))
	if err == nil && strings.HasPrefix(state, "enabled") {
		return nil
	}
	return Obstacle("nftables' chain "+n.chainNames()+" drops, and nftables.service does not load it at boot: a rule put there would be lost",
		`open the ports where that chain is made, then set manage = "off" in [firewall]; or systemctl enable nftables`)
}

// rules is the lines for the file, and the script that brings the kernel's rules to the same.
func (n nft) rules() (lines []string, script string) {
	have := map[string]int{}
	for _, r := range n.set.owned(n.Cluster) {
		have[r.chain()+"|"+r.Comment] = r.Handle
	}
	var add strings.Builder
	wanted := map[string]bool{}
	for _, c := range n.chains {
		verb := "add"
		if n.set.endsClosed(c) {
			verb = "insert" // after the rule that drops the rest it would never be reached
		}
		for _, r := range sortedRules(n.Rules) {
			comment := n.comment(r)
			line := fmt.Sprintf("%s rule %s %stcp dport %d accept comment \"%s\"", verb, c, sources(r), r.Port, comment)
			key := c.String() + "|" + comment
			if wanted[key] {
				continue
			}
			wanted[key] = true
			lines = append(lines, line)
			if _, there := have[key]; !there {
				add.WriteString(line + "\n")
			}
		}
	}
	var stale []nftRule
	for _, r := range n.set.owned(n.Cluster) {
		if key := r.chain() + "|" + r.Comment; !wanted[key] || have[key] != r.Handle {
			stale = append(stale, r)
		}
	}
	return lines, deleteRules(stale) + add.String()
}

// comment tells the cluster's rules from each other and from everybody else's.
func (n nft) comment(r Rule) string {
	c := fmt.Sprintf("rmqctl:%s %d", n.Cluster, r.Port)
	if len(r.From) > 0 {
		c += " " + Hash(r.From...)
	}
	return c
}

func sources(r Rule) string {
	if len(r.From) == 0 {
		return ""
	}
	return "ip saddr { " + strings.Join(r.From, ", ") + " } "
}

func deleteRules(rules []nftRule) string {
	var b strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&b, "delete rule %s handle %d\n", r.chain(), r.Handle)
	}
	return b.String()
}

func (n nft) chainNames() string {
	names := make([]string, len(n.chains))
	for i, c := range n.chains {
		names[i] = c.String()
	}
	return strings.Join(names, ", ")
}

// nftConf is the file that nftables.service loads: Red Hat's place if there is such a file, else Debian's.
func nftConf(h Reader) (string, error) {
	const redhat, debian = "/etc/sysconfig/nftables.conf", "/etc/nftables.conf"
	_, exists, err := readText(h, redhat)
	if err != nil || exists {
		return redhat, err
	}
	return debian, nil
}
