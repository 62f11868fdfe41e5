// A site is a bed with an inventory for it: running rmqctl on it, and looking at what the hosts have become.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"rmqctl/inventory"
	"rmqctl/test/hosts/bed"
)

type site struct {
	*bed.Bed
	t    *testing.T
	inv  *inventory.Inventory // as rmqctl understands the file
	file string

	written table
	laps    []string
	lapped  time.Time
}

// program is the binary under test: RMQCTL, or built here once.
var program = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("RMQCTL"); path != "" {
		return path, nil
	}
	path := filepath.Join(os.TempDir(), fmt.Sprintf("rmqctl-e2e-%d", os.Getpid()))
	cmd := exec.Command("go", "build", "-o", path, "rmqctl/cmd/rmqctl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build rmqctl: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv("RMQCTL") == "" {
		if path, err := program(); err == nil {
			os.Remove(path)
		}
	}
	os.Exit(code)
}

// table is an inventory being written.
type table = map[string]any

// layout reads an example and sends it to the bed: node1, node2 … are the bed's, ssh is what the test says, and clients and gates
// wait less long than between real data centres.
func layout(t *testing.T, b *bed.Bed, example string, ssh table, changes ...func(table)) *site {
	t.Helper()
	files, err := filepath.Glob("../../examples/" + example + "-*.toml")
	if err != nil || len(files) != 1 {
		t.Fatalf("examples/%s-*.toml: %d files, %v", example, len(files), err)
	}
	var inv table
	if _, err := toml.DecodeFile(files[0], &inv); err != nil {
		t.Fatal(err)
	}
	for i, n := range inv["node"].([]table) {
		n["address"] = b.Nodes[i].Addr
		delete(n, "ssh")
		delete(n, "advertise")
	}
	inv["ssh"] = ssh
	section(inv, "rollout")["min_healthy_time"] = "1s"
	section(inv, "broker")["mapedFileSizeCommitLog"] = 64 << 20 // a dozen brokers share one disk
	for _, change := range changes {
		change(inv)
	}
	return write(t, b, inv)
}

func section(inv table, name string) table {
	if inv[name] == nil {
		inv[name] = table{}
	}
	return inv[name].(table)
}

func write(t *testing.T, b *bed.Bed, inv table) *site {
	t.Helper()
	s := &site{Bed: b, t: t, file: filepath.Join(t.TempDir(), "inventory.toml"), written: inv}
	s.with(func(table) {})
	return s
}

// with changes the inventory and writes it again.
func (s *site) with(change func(table)) {
	s.t.Helper()
	inv := s.written
	change(inv)
	var text bytes.Buffer
	err := toml.NewEncoder(&text).Encode(inv)
	if err == nil {
		err = os.WriteFile(s.file, text.Bytes(), 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.inv, err = inventory.Load(s.file)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, text.String())
	}
}

// result of one rmqctl run.
type result struct {
	args []string
	out  string // both streams, in order
	code int
	took time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("rmqctl %s: exit %d after %v\n%s", strings.Join(r.args, " "), r.code, r.took.Round(time.Millisecond), r.out)
}

// rmqctl runs the program in the operator's namespace with a terminal-less stdin.
func (s *site) rmqctl(stdin string, args ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	return s.rmqctlCtx(ctx, stdin, args...)
}

func (s *site) rmqctlCtx(ctx context.Context, stdin string, args ...string) result {
	s.t.Helper()
	var out bytes.Buffer
	cmd := s.command(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("rmqctl %v: %v", args, err)
	}
	return result{args, out.String(), cmd.ProcessState.ExitCode(), time.Since(start)}
}

// command is rmqctl in the operator's namespace; the secrets that inventories name are in its environment.
func (s *site) command(ctx context.Context, args ...string) *exec.Cmd {
	s.t.Helper()
	path, err := program()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := s.Command(ctx, path, args...)
	cmd.Env = append(cmd.Env, "BED_PASSWORD="+bed.Password, "BED_PASSPHRASE="+bed.KeyPassphrase)
	return cmd
}

// must runs rmqctl and expects exit code 0.
func (s *site) must(stdin string, args ...string) result {
	s.t.Helper()
	r := s.rmqctl(stdin, args...)
	if r.code != 0 {
		s.t.Fatal(r)
	}
	return r
}

func (s *site) deploy() result { s.t.Helper(); return s.must("", "deploy", s.file, "-y") }
func (s *site) destroy() result {
	s.t.Helper()
	return s.must(s.inv.Name+"\n", "destroy", s.file, "--data")
}

// namesrv lists the name servers on hosts that are up. Java's client cannot be started with a dead host in its list: connecting
// takes as long as the whole request may (both 3 s).
func (s *site) namesrv() string {
	var up []string
	for _, ns := range s.inv.NameServers {
		if s.host(ns.Node).Running() {
			up = append(up, ns.Addr())
		}
	}
	return strings.Join(up, ";")
}

// units lists every service of the cluster on its node: "node1 rmq-x-namesrv.service".
func (s *site) units() []unit {
	var all []unit
	for _, ns := range s.inv.NameServers {
		all = append(all, unit{s.host(ns.Node), ns.Unit()})
	}
	for _, b := range s.inv.Brokers() {
		all = append(all, unit{s.host(b.Node), b.Unit()})
	}
	return all
}

func (s *site) host(n *inventory.Node) *bed.Node {
	for _, h := range s.Nodes {
		if h.Addr == n.Address {
			return h
		}
	}
	s.t.Fatalf("%s is not a node of the bed", n.Address)
	return nil
}

type unit struct {
	host *bed.Node
	name string
}

// runs maps every unit to its main process and to how often systemd has started it since the node booted.
func (s *site) runs() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	for _, u := range s.units() {
		found[u.host.Name+" "+u.name] = s.exec(u.host, "systemctl show -P MainPID -P ActiveState "+u.name+" | xargs")
	}
	return found
}

// starts counts the invocations of every unit in the journal.
func (s *site) starts() map[string]int {
	s.t.Helper()
	found := map[string]int{}
	for _, u := range s.units() {
		ids := s.exec(u.host, "journalctl -b -u "+u.name+` -o json --no-pager | grep -o '"INVOCATION_ID":"[0-9a-f]*"' | sort -u | wc -l`)
		fmt.Sscan(ids, new(int))
		var n int
		fmt.Sscan(ids, &n)
		found[u.host.Name+" "+u.name] = n
	}
	return found
}

func (s *site) exec(n *bed.Node, script string) string {
	s.t.Helper()
	out, err := n.Exec(ctxOf(s.t), script)
	if err != nil {
		s.t.Fatalf("%s: %v", n.Name, err)
	}
	return strings.TrimSpace(out)
}

// noise is what a Debian host writes all by itself, and the backup copies that useradd and firewalld keep.
var noise = regexp.MustCompile(`^(/var/log/(journal|wtmp|btmp|lastlog|firewalld)|/var/lib/systemd/|/var/lib/sudo/|/var/tmp/systemd-private-|` +
	`/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|/etc/\.pwd\.lock$|/etc/firewalld/)`)

// disks describes what the nodes hold beyond noise, and their firewalls as an operator sees them.
func (s *site) disks() map[string]string { s.t.Helper(); return s.disksOf(s.Nodes...) }

func (s *site) disksOf(nodes ...*bed.Node) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for _, n := range nodes {
		files, err := n.Written()
		if err != nil {
			s.t.Fatal(err)
		}
		for path, what := range files {
			if !noise.MatchString(path) {
				all[n.Name+":"+path] = what
			}
		}
		rules, err := n.FirewallState(ctxOf(s.t))
		if err != nil {
			s.t.Fatal(err)
		}
		all[n.Name+" firewall"] = rules
	}
	return all
}

// same fails the test for every path that differs.
func same(t *testing.T, what string, before, after map[string]string) {
	t.Helper()
	paths := slices.Sorted(maps.Keys(before))
	for p := range after {
		if _, ok := before[p]; !ok {
			paths = append(paths, p)
		}
	}
	for _, p := range paths {
		if before[p] != after[p] {
			t.Errorf("%s: %s\n  before: %s\n  after:  %s", what, p, before[p], after[p])
		}
	}
}

// clock prints at its end how long the parts of a test took, which lap names.
func (s *site) clock() (stop func()) {
	s.laps, s.lapped = nil, time.Now()
	return func() { s.lap("end"); s.t.Logf("seconds: %s", strings.Join(s.laps, ", ")) }
}

func (s *site) lap(name string) {
	s.laps = append(s.laps, fmt.Sprintf("%s %.1f", name, time.Since(s.lapped).Seconds()))
	s.lapped = time.Now()
}

func eventually(t *testing.T, within time.Duration, ok func() bool, what string, args ...any) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain for "+what, append([]any{within}, args...)...)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ctxOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
