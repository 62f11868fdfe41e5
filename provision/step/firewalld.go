// firewalld: rules of the zone of the clients' interface, permanent and in force.

package step

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

type firewalld struct{ Firewall }

// ledger is which of firewalld's rules this cluster added. It is written before a rule is added and after one is removed,
// so it never lacks a rule that is there.
type ledger struct {
	Zone  string   `json:"zone"`
	Rules []string `json:"rules"` // "port=9876/tcp", "rich-rule=rule family=…": what follows --add- and --remove-

	exists bool
}

func readLedger(h Reader, name string) (ledger, error) {
	text, exists, err := readText(h, name)
	if err != nil || !exists {
		return ledger{}, err
	}
	l := ledger{exists: true}
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return ledger{}, fmt.Errorf("read %s: %w", name, err)
	}
	return l, nil
}

func (l ledger) write(w Writer, name string) error {
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := w.Mkdir(path.Dir(name), 0o700); err != nil {
		return err
	}
	return w.WriteFile(name, append(text, '\n'), 0o600)
}

// zone is what firewalld says about a zone.
type zone struct {
	open  bool // its target accepts everything
	ports []portRange
	rules map[string]bool
}

type portRange struct{ from, to int }

func (f firewalld) check(h Reader) (*Change, error) {
	l, err := readLedger(h, f.Ledger)
	if err != nil {
		return nil, err
	}
	return f.change(h, l)
}

// change compares the zone with the rules that should be there, and the ledger with those that should be no more.
func (f firewalld) change(h Reader, l ledger) (*Change, error) {
	name := l.Zone
	if len(f.Rules) > 0 {
		var err error
		if name, err = f.zoneName(h); err != nil {
			return nil, err
		}
	}
	if l.exists && l.Zone != name && len(l.Rules) > 0 {
		return Obstacle(fmt.Sprintf("the interface of %s moved from zone %s to zone %s", f.Address, l.Zone, name),
			"destroy and deploy, or move it back"), nil
	}
	var now, boot zone
	if name != "" {
		var err error
		if now, err = askZone(h, name, false); err != nil {
			return nil, err
		}
		if boot, err = askZone(h, name, true); err != nil {
			return nil, err
		}
	}
	d := f.compare(now, boot, l)
	if d.none() && (!l.exists || len(f.Rules) > 0) {
		return nil, nil
	}
	c := &Change{Why: d.why(name), Diff: d.text(), Creates: !l.exists && len(d.owned) > 0}
	c.Apply = func(_ context.Context, w Writer) error { return f.apply(w, name, d) }
	return c, nil
}

// difference is what has to be added and removed, each in force and permanently.
type difference struct {
	addNow, addBoot, dropNow, dropBoot []string
	owned                              []string // the ledger afterwards
	ledgerDiffers                      bool
}

func (d difference) none() bool {
	return len(d.addNow)+len(d.addBoot)+len(d.dropNow)+len(d.dropBoot) == 0 && !d.ledgerDiffers
}

func (f firewalld) compare(now, boot zone, l ledger) difference {
	var d difference
	wanted, ours := map[string]bool{}, map[string]bool{}
	for _, r := range l.Rules {
		ours[r] = true
	}
	for _, r := range sortedRules(f.Rules) {
		for _, w := range firewalldRules(r) {
			if wanted[w] {
				continue
			}
			wanted[w] = true
			n, b := now.has(w), boot.has(w)
			if !n {
				d.addNow = append(d.addNow, w)
			}
			if !b {
				d.addBoot = append(d.addBoot, w)
			}
			if ours[w] || !b {
				d.owned = append(d.owned, w)
			}
		}
	}
	for _, r := range l.Rules {
		if wanted[r] {
			continue
		}
		d.ledgerDiffers = true
		if now.rules[r] {
			d.dropNow = append(d.dropNow, r)
		}
		if boot.rules[r] {
			d.dropBoot = append(d.dropBoot, r)
		}
	}
	return d
}

func (d difference) why(zone string) string {
	switch {
	case len(d.addNow)+len(d.addBoot) > 0:
		return "ports closed in firewalld's zone " + zone
	case len(d.dropNow)+len(d.dropBoot) > 0:
		return "rules no longer wanted in firewalld's zone " + zone
	}
	return "its ledger is out of date"
}

func (d difference) text() string {
	lines := map[string]bool{}
	for _, r := range append(append([]string(nil), d.addNow...), d.addBoot...) {
		lines["+"+r] = true
	}
	for _, r := range append(append([]string(nil), d.dropNow...), d.dropBoot...) {
		lines["-"+r] = true
	}
	out := make([]string, 0, len(lines))
	for l := range lines {
		out = append(out, l)
	}
	sort.Strings(out)
	if len(out) == 0 {
		return ""
	}
	return strings.Join(out, "\n") + "\n"
}

func (f firewalld) apply(w Writer, zone string, d difference) error {
	all := ledger{Zone: zone, Rules: append(append([]string(nil), d.owned...), d.dropBoot...)}
	for _, r := range d.dropNow {
		if !containsText(all.Rules, r) {
			all.Rules = append(all.Rules, r)
		}
	}
	if err := all.write(w, f.Ledger); err != nil {
		return err
	}
	for _, x := range []struct {
		verb  string
		rules []string
		boot  bool
	}{{"--add-", d.addBoot, true}, {"--add-", d.addNow, false}, {"--remove-", d.dropBoot, true}, {"--remove-", d.dropNow, false}} {
		// One call takes rules of one kind only.
		for _, kind := range []string{"port=", "rich-rule="} {
			argv := []string{"firewall-cmd", "--quiet", "--zone=" + zone}
			if x.boot {
				argv = append(argv, "--permanent")
			}
			bare := len(argv)
			for _, r := range x.rules {
				if strings.HasPrefix(r, kind) {
					argv = append(argv, x.verb+r)
				}
			}
			if len(argv) == bare {
				continue
			}
			if err := w.Run(Cmd(argv...)); err != nil {
				return err
			}
		}
	}
	if len(f.Rules) == 0 {
		return w.Remove(f.Ledger)
	}
	return ledger{Zone: zone, Rules: d.owned}.write(w, f.Ledger)
}

// firewalldRules is a rule in firewalld's words, after --add- or --remove-, as firewalld itself prints them.
func firewalldRules(r Rule) []string {
	if len(r.From) == 0 {
		return []string{fmt.Sprintf("port=%d/tcp", r.Port)}
	}
	var out []string
	for _, from := range r.From {
		out = append(out, fmt.Sprintf(`rich-rule=rule family="ipv4" source address="%s" port port="%d" protocol="tcp" accept`, from, r.Port))
	}
	return out
}

func (z zone) has(rule string) bool {
	if z.open || z.rules[rule] {
		return true
	}
	port, ok := strings.CutPrefix(rule, "port=")
	if !ok {
		return false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(port, "/tcp"))
	for _, r := range z.ports {
		if err == nil && r.from <= n && n <= r.to {
			return true
		}
	}
	return false
}

// zoneName is the zone of the interface with the clients' address, else the default zone.
func (f firewalld) zoneName(h Reader) (string, error) {
	addrs, err := h.Query(AskInterfaces())
	if err != nil {
		return "", fmt.Errorf("list interfaces: %w", err)
	}
	active, err := h.Query(AskFirewallCmd("--get-active-zones"))
	if err != nil {
		return "", fmt.Errorf("ask firewalld for its zones: %w", err)
	}
	if z := parseActiveZones(active)[interfaceOf(addrs, f.Address)]; z != "" {
		return z, nil
	}
	z, err := h.Query(AskFirewallCmd("--get-default-zone"))
	if err != nil {
		return "", fmt.Errorf("ask firewalld for its default zone: %w", err)
	}
	return strings.TrimSpace(z), nil
}

// parseActiveZones reads
//
//	public (default)
//	  interfaces: eth0 eth1
//
// into interface -> zone.
func parseActiveZones(out string) map[string]string {
	zones, now := map[string]string{}, ""
	for _, line := range strings.Split(out, "\n") {
		if f := strings.Fields(line); len(f) > 0 && line[0] != ' ' && line[0] != '\t' {
			now = f[0]
		} else if len(f) > 0 && f[0] == "interfaces:" {
			for _, i := range f[1:] {
				zones[i] = now
			}
		}
	}
	return zones
}

func askZone(h Reader, name string, permanent bool) (zone, error) {
	args := []string{"--zone=" + name, "--list-all"}
	if permanent {
		args = append([]string{"--permanent"}, args...)
	}
	out, err := h.Query(AskFirewallCmd(args...))
	if err != nil {
		return zone{}, fmt.Errorf("ask firewalld for zone %s: %w", name, err)
	}
	return parseZone(out), nil
}

var spaces = regexp.MustCompile(`\s+`)

// parseZone reads the output of firewall-cmd --list-all.
func parseZone(out string) zone {
	z := zone{rules: map[string]bool{}}
	for _, line := range strings.Split(out, "\n") {
		line = strings.TrimSpace(line)
		switch key, rest, _ := strings.Cut(line, ":"); {
		case key == "target":
			z.open = strings.TrimSpace(rest) == "ACCEPT"
		case key == "ports":
			for _, p := range strings.Fields(rest) {
				z.addPort(p)
			}
		case strings.HasPrefix(line, "rule "):
			z.rules["rich-rule="+spaces.ReplaceAllString(line, " ")] = true
		case strings.HasPrefix(line, "rich rules: rule "):
			z.rules["rich-rule="+spaces.ReplaceAllString(strings.TrimPrefix(line, "rich rules: "), " ")] = true
		}
	}
	return z
}

func (z *zone) addPort(word string) {
	span, ok := strings.CutSuffix(word, "/tcp")
	if !ok {
		return
	}
	z.rules["port="+word] = true
	from, to, isRange := strings.Cut(span, "-")
	if !isRange {
		to = from
	}
	a, err1 := strconv.Atoi(from)
	b, err2 := strconv.Atoi(to)
	if err1 == nil && err2 == nil {
		z.ports = append(z.ports, portRange{a, b})
	}
}

func containsText(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
