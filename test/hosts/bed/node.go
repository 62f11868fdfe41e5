//go:build linux

// A node: its disk (an overlay over the image), and looking into it.
package bed

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Node is one host.
type Node struct {
	Name     string // node1 …
	Addr     string // 192.168.31.101 …
	Firewall string // firewalld, nftables or none

	bed   *Bed
	index int
	dir   string

	mu    sync.Mutex // guards power: On, Cut, Off and Reset exclude each other
	power *power     // nil: switched off
}

// Root is the node's root folder as the machine sees it.
func (n *Node) Root() string { return filepath.Join(n.dir, "root") }

// Console is the log of everything the node printed while booting and shutting down.
func (n *Node) Console() string { return filepath.Join(n.dir, "console.log") }

// Exec runs a shell script as root inside the node without SSH. It keeps the machine's capabilities, so it proves nothing about
// what a login on the node may do.
func (n *Node) Exec(ctx context.Context, script string) (string, error) {
	leader, err := n.leader()
	if err != nil {
		return "", err
	}
	return run(ctx, "nsenter", "-t", leader, "-a", "--", "/usr/bin/env", "-i", "HOME=/root", "LANG=C.UTF-8",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "/bin/sh", "-c", script)
}

// FirewallState is what an operator would compare: the rules in force and the permanent ones, without counters.
func (n *Node) FirewallState(ctx context.Context) (string, error) {
	script := "true"
	switch n.Firewall {
	case "firewalld":
		script = "firewall-cmd --state; firewall-cmd --list-all-zones; echo permanent; firewall-cmd --permanent --list-all-zones"
	case "nftables":
		script = "nft -s list ruleset; echo permanent; cat /etc/nftables.conf; ls /etc/nftables.d 2>/dev/null || true"
	}
	return n.Exec(ctx, script)
}

// mount puts the node's own layer over the image.
func (n *Node) mount() error {
	for _, sub := range []string{"root", "upper", "work"} {
		if err := os.MkdirAll(filepath.Join(n.dir, sub), 0o755); err != nil {
			return err
		}
	}
	if mounted(n.Root()) {
		return nil
	}
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", n.bed.image, filepath.Join(n.dir, "upper"), filepath.Join(n.dir, "work"))
	if err := unix.Mount(n.bed.id, n.Root(), "overlay", 0, layers); err != nil {
		return fmt.Errorf("mount the disk of %s: %w", n.Name, err)
	}
	return nil
}

// personalise makes the common image this host, once per disk.
func (n *Node) personalise(ctx context.Context) error {
	done := filepath.Join(n.dir, "personal")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	root := n.Root()
	machine := md5.Sum([]byte(n.bed.id + n.Name)) // stays over a reset
	for path, text := range map[string]string{
		"etc/hostname":   n.Name + "\n",
		"etc/hosts":      "127.0.0.1\tlocalhost\n127.0.1.1\t" + n.Name + "\n\n::1\tlocalhost ip6-localhost ip6-loopback\n",
		"etc/machine-id": fmt.Sprintf("%x\n", machine),
	} {
		path = filepath.Join(root, path)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o644), os.Chmod(path, 0o644)); err != nil {
			return err
		}
	}
	if err := n.writeHostKeys(); err != nil {
		return err
	}
	for _, home := range []string{"root", "home/ops", "home/dev"} {
		if err := n.authorize(filepath.Join(root, home)); err != nil {
			return err
		}
	}
	if err := inRoot(ctx, root, firewallScripts[n.Firewall]); err != nil {
		return fmt.Errorf("choose firewall %q: %w", n.Firewall, err)
	}
	return os.WriteFile(done, nil, 0o644)
}

func (n *Node) authorize(home string) error {
	st, err := os.Stat(home)
	if err != nil {
		return err
	}
	owner := st.Sys().(*syscall.Stat_t)
	dir := filepath.Join(home, ".ssh")
	file := filepath.Join(dir, "authorized_keys")
	list := append(n.bed.keys.operator.public(), n.bed.keys.sealed.public()...)
	return errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(file, list, 0o600),
		os.Chown(dir, int(owner.Uid), int(owner.Gid)), os.Chown(file, int(owner.Uid), int(owner.Gid)))
}

// firewallScripts choose a node's firewall. The programs of the others are taken away, so that a tool that looks for them is
// tested for real; firewalld may keep nft, as on a host that has both installed.
var firewallScripts = map[string]string{
	"firewalld": "systemctl enable firewalld 2>/dev/null",
	"nftables": `rm -f /usr/sbin/firewalld /usr/bin/firewall-cmd /usr/bin/firewall-offline-cmd /lib/systemd/system/firewalld.service
cat >/etc/nftables.conf <<'N'
#!/usr/sbin/nft -f
flush ruleset
table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iif lo accept
		meta l4proto { icmp, ipv6-icmp } accept
		tcp dport 22 accept
	}
}
N
systemctl enable nftables 2>/dev/null`,
	"none": `rm -f /usr/sbin/firewalld /usr/bin/firewall-cmd /usr/bin/firewall-offline-cmd /lib/systemd/system/firewalld.service
rm -f /usr/sbin/nft /lib/systemd/system/nftables.service`,
}

// unmount waits for the last user of the disk to go.
func unmount(ctx context.Context, path string) error {
	if !mounted(path) {
		return nil
	}
	return until(ctx, func() error { return unix.Unmount(path, 0) })
}

func mounted(path string) bool {
	for _, m := range mountsUnder(path) {
		if m == path {
			return true
		}
	}
	return false
}

// mountsUnder lists the mount points at and below path, deepest last.
func mountsUnder(path string) []string {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var list []string
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 4 && (f[4] == path || strings.HasPrefix(f[4], path+"/")) {
			list = append(list, f[4])
		}
	}
	return list
}
