// Does the bed behave like a set of real hosts? Each check is something a deployment relies on.
package bed

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// One bed serves all checks; those that change a node reset it or come last.
func TestBed(t *testing.T) {
	b := New(t, Options{Nodes: 3, Firewalls: []string{"firewalld", "nftables", "none"}})
	checks := []struct {
		fact string
		run  func(*testing.T, *Bed)
	}{
		{"systemd runs with no failed unit", systemdRuns},
		{"ssh opens by key and by password and refuses a wrong one", sshLogins},
		{"sudo asks dev for a password, ops for none and lets guest do nothing", sudoRights},
		{"sftp carries a file both ways", sftpCarries},
		{"the operator's namespace runs programs and knows the nodes by name", operatorRuns},
		{"a node reaches a node and nothing reaches the world", bedIsClosed},
		{"each node has the firewall it was given and no other", firewallsDiffer},
		{"firewalld rejects 9876 until the port is added", firewalldOpens},
		{"nftables drops 9876 until a rule accepts it", nftablesOpens},
		{"a unit restarts, is confined and starts again after a reboot", unitsAndReboot},
		{"a power cut is silent and keeps files and enabled units", powerCut},
		{"partitions and pulled cables cut what they say and heal", partitions},
		{"an orderly shutdown and a reset give a node as new with its old keys", resetForgets},
	}
	for _, c := range checks {
		if !t.Run(c.fact, func(t *testing.T) { c.run(t, b) }) {
			for _, n := range b.Nodes {
				text, _ := os.ReadFile(n.Console())
				t.Logf("%s console: %s", n.Name, tail(string(text), 1500))
			}
		}
	}
}

// A second bed beside the first has the same addresses; when a bed is gone nothing of it is left.
func TestBedsStandSideBySideAndLeaveNothing(t *testing.T) {
	a := New(t, Options{Nodes: 1, Firewalls: []string{"none"}})
	b := New(t, Options{Nodes: 1, Firewalls: []string{"none"}})
	sh(t, a.Nodes[0], "touch /only-here")
	if _, err := os.Stat(filepath.Join(b.Nodes[0].Root(), "only-here")); err == nil {
		t.Error("both beds share a disk")
	}
	if err := b.Down(); err != nil {
		t.Fatal(err)
	}
	sh(t, a.Nodes[0], "true") // the other one still stands
	nothingLeft(t, b)
	must(t, b.Down()) // a second time is harmless
}

// What a killed test run leaves (its lock is free, its nodes run) is gone after the next sweep.
func TestNextRunSweepsUpAfterACrash(t *testing.T) {
	b := New(t, Options{Nodes: 1, Firewalls: []string{"none"}})
	b.lock() // as the kernel does when the process dies
	if err := sweep(ctxOf(t), CacheDir(), t.Logf); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, b)
	b.lock = nil // nothing to take down
}

func nothingLeft(t *testing.T, b *Bed) {
	t.Helper()
	if left := namespaces(b.id); len(left) > 0 {
		t.Errorf("namespaces left: %v", left)
	}
	if left := mountsUnder(b.dir); len(left) > 0 {
		t.Errorf("mounts left: %v", left)
	}
	if left := nspawnsOf(b.dir); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
	for _, path := range []string{b.dir, etcNetns(b.id)} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
}

func systemdRuns(t *testing.T, b *Bed) {
	for _, n := range b.Nodes {
		if got := sh(t, n, "ps -o comm= -p 1; systemctl is-system-running --wait; systemctl --failed --no-legend"); got != "systemd\nrunning\n" {
			t.Errorf("%s: %s", n.Name, got)
		}
	}
}

func sshLogins(t *testing.T, b *Bed) {
	n := b.Node("node1")
	for _, user := range []string{"root", "ops", "dev"} {
		if got, err := n.Sh(ctxOf(t), user, "", "id -un"); err != nil || got != user+"\n" {
			t.Errorf("by key as %s: %q %v", user, got, err)
		}
		if got, err := n.Sh(ctxOf(t), user, "", "id -un", ssh.Password(Password)); err != nil || got != user+"\n" {
			t.Errorf("by password as %s: %q %v", user, got, err)
		}
	}
	if _, err := n.SSH(ctxOf(t), "root", ssh.Password("wrong")); err == nil {
		t.Error("a wrong password opens root")
	}
	if _, err := n.SSH(ctxOf(t), "guest"); err == nil {
		t.Error("the operator's key opens guest")
	}
}

func sudoRights(t *testing.T, b *Bed) {
	n := b.Node("node1")
	if got, err := n.Sh(ctxOf(t), "ops", "", "sudo -n id -u"); err != nil || got != "0\n" {
		t.Errorf("ops: %q %v", got, err)
	}
	if got, err := n.Sh(ctxOf(t), "dev", "", "sudo -n true"); err == nil {
		t.Errorf("dev needs no password: %q", got)
	}
	if got, err := n.Sh(ctxOf(t), "dev", Password+"\n", "sudo -S -p '' id -u"); err != nil || got != "0\n" {
		t.Errorf("dev with a password: %q %v", got, err)
	}
	if got, err := n.Sh(ctxOf(t), "guest", Password+"\n", "sudo -S -p '' id -u", ssh.Password(Password)); err == nil {
		t.Errorf("guest may use sudo: %q", got)
	}
}

func sftpCarries(t *testing.T, b *Bed) {
	client, err := b.Node("node2").SSH(ctxOf(t), "ops")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	files, err := sftp.NewClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	sent := make([]byte, 3<<20)
	rand.Read(sent)
	f, err := files.Create("/tmp/sent")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadFrom(bytes.NewReader(sent)); err != nil {
		t.Fatal(err)
	}
	f.Seek(0, io.SeekStart)
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes back of %d: %v", len(got), len(sent), err)
	}
}

func operatorRuns(t *testing.T, b *Bed) {
	out, err := b.Command(ctxOf(t), "sh", "-c", "getent hosts node2; ip -4 -o addr show eth0; echo $HOME").Output()
	for _, want := range []string{b.Node("node2").Addr, operatorIP + "/24", b.Home()} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("no %s in %s: %v", want, out, err)
		}
	}
}

func bedIsClosed(t *testing.T, b *Bed) {
	if got := probe(t, b, "node2", b.Node("node1").Addr+":22"); got != Open {
		t.Errorf("node2 sees node1's sshd as %s", got)
	}
	if got := probe(t, b, "node1", "198.18.255.1:80"); got == Open || got == Refused {
		t.Errorf("a way out of the bed: %s", got)
	}
}

func firewallsDiffer(t *testing.T, b *Bed) {
	for name, want := range map[string]string{
		"node1": "firewalld is-active=active nft=yes firewall-cmd=yes\n",
		"node2": "firewalld is-active=inactive nft=yes firewall-cmd=no\n",
		"node3": "firewalld is-active=inactive nft=no firewall-cmd=no\n",
	} {
		got := sh(t, b.Node(name), `has() { command -v $1 >/dev/null && echo yes || echo no; }
echo "firewalld is-active=$(systemctl is-active firewalld) nft=$(has nft) firewall-cmd=$(has firewall-cmd)"`)
		if got != want {
			t.Errorf("%s: got %swant %s", name, got, want)
		}
	}
}

// listener is a small service that needs no program of its own: systemd listens on 9876 and starts a cat per connection.
const listener = `cat >/etc/systemd/system/echo.socket <<'U'
[Socket]
ListenStream=9876
Accept=yes
[Install]
WantedBy=sockets.target
U
cat >/etc/systemd/system/echo@.service <<'U'
[Service]
ExecStart=/bin/cat
StandardInput=socket
U
systemctl daemon-reload && systemctl enable --now echo.socket 2>&1`

func firewalldOpens(t *testing.T, b *Bed) {
	n := b.Node("node1")
	before, err := n.FirewallState(ctxOf(t))
	if err != nil || !strings.Contains(before, "running") {
		t.Fatalf("%s %v", before, err)
	}
	sh(t, n, listener)
	portIs(t, b, n.Addr+":9876", Rejected)
	sh(t, n, "firewall-cmd --permanent --add-port=9876/tcp && firewall-cmd --reload")
	portIs(t, b, n.Addr+":9876", Open)
	portIs(t, b, n.Addr+":9877", Rejected)
	after, err := n.FirewallState(ctxOf(t))
	if err != nil || strings.Count(after, "9876/tcp") != 2 || after == before {
		t.Errorf("the state does not show the port in force and for ever: %s %v", after, err)
	}
}

func nftablesOpens(t *testing.T, b *Bed) {
	n := b.Node("node2")
	sh(t, n, listener)
	portIs(t, b, n.Addr+":9876", Silent)
	sh(t, n, "nft add rule inet filter input tcp dport 9876 accept")
	portIs(t, b, n.Addr+":9876", Open)
	state, err := n.FirewallState(ctxOf(t))
	if err != nil || !strings.Contains(state, "tcp dport 9876 accept") {
		t.Errorf("%s %v", state, err)
	}
}

func unitsAndReboot(t *testing.T, b *Bed) {
	n := b.Node("node1")
	sh(t, n, `install -d -o dev /data/keep
cat >/etc/systemd/system/confined.service <<'U'
[Service]
User=dev
ExecStart=/bin/sh -c 'echo $(date +%%s%%N) >>/data/keep/starts; touch /etc/x /opt/x; exec sleep infinity'
Restart=always
RestartSec=100ms
ProtectSystem=strict
ReadWritePaths=/data/keep
PrivateTmp=yes
NoNewPrivileges=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
SystemCallFilter=@system-service
CapabilityBoundingSet=
[Install]
WantedBy=multi-user.target
U
systemctl daemon-reload && systemctl enable --now confined 2>&1`)
	starts := func(want string) {
		t.Helper()
		eventually(t, func() bool { return strings.TrimSpace(sh(t, n, "wc -l </data/keep/starts")) == want }, "%s starts of the unit", want)
	}
	starts("1")
	sh(t, n, "kill -9 $(systemctl show -P MainPID confined)")
	starts("2")
	if got := sh(t, n, "journalctl -u confined -o cat | grep -c 'Read-only file system'"); got != "4\n" {
		t.Errorf("the unit could write outside its paths: %s", got)
	}
	before, err := n.BootID(ctxOf(t))
	if err != nil {
		t.Fatal(err)
	}
	n.Sh(ctxOf(t), "root", "", "systemctl reboot") // the connection may or may not end first
	// A look into a node that is just going down may hang: each gets a few seconds, the reboot as long as a stubborn service.
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		id, err := n.BootID(ctx)
		cancel()
		if err == nil && id != before {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain for another boot id; now %q %v", id, err)
		}
	}
	if err := n.Wait(ctxOf(t)); err != nil {
		t.Fatal(err)
	}
	starts("3")
	portIs(t, b, n.Addr+":9876", Open) // unit enabled, firewall rule permanent
}

func powerCut(t *testing.T, b *Bed) {
	n := b.Node("node1")
	must(t, n.Wait(ctxOf(t)))
	held, err := b.Dial(ctxOf(t), operator, n.Addr+":9876")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	sh(t, n, "echo written >/data/keep/file")
	if err := n.Cut(ctxOf(t)); err != nil {
		t.Fatal(err)
	}
	portIs(t, b, n.Addr+":22", Silent, Rejected) // rejected: by our own neighbour table, once ARP has failed
	held.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	if _, err := held.Read(make([]byte, 1)); !isTimeout(err) {
		t.Errorf("the client of a dead host hears %v", err)
	}
	sh(t, b.Node("node2"), "true")
	if err := n.On(ctxOf(t)); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, n, "cat /data/keep/file; systemctl is-active confined"); got != "written\nactive\n" {
		t.Error(got)
	}
}

func partitions(t *testing.T, b *Bed) {
	ctx := ctxOf(t)
	one, two := b.Node("node1"), b.Node("node2")
	must(t, b.Partition(ctx, "node1", "node2"))
	if got := probe(t, b, "node1", two.Addr+":22"); got == Open || got == Refused {
		t.Errorf("node1 sees node2 as %s in spite of the partition", got)
	}
	portIs(t, b, one.Addr+":22", Open)
	portIs(t, b, two.Addr+":22", Open)
	must(t, b.Heal(ctx))
	eventually(t, func() bool { return probe(t, b, "node1", two.Addr+":22") == Open }, "node1 to reach node2 again")

	must(t, two.Unplug(ctx))
	portIs(t, b, two.Addr+":22", Silent, Rejected)
	if _, err := two.Exec(ctx, "true"); err != nil {
		t.Errorf("an unplugged node stopped: %v", err)
	}
	must(t, two.Plug(ctx))
	portIs(t, b, two.Addr+":22", Open)
}

func resetForgets(t *testing.T, b *Bed) {
	n := b.Node("node1")
	must(t, n.Off(ctxOf(t)))
	must(t, n.Reset(ctxOf(t)))
	if got := sh(t, n, "ls -d /data 2>&1; hostname"); !strings.Contains(got, "No such file") || !strings.HasSuffix(got, "node1\n") {
		t.Error(got)
	}
	portIs(t, b, n.Addr+":9876", Rejected)
}

// sh runs a command as root over SSH; the host's key is checked by every one of them.
func sh(t *testing.T, n *Node, command string) string {
	t.Helper()
	out, err := n.Sh(ctxOf(t), "root", "", command)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func probe(t *testing.T, b *Bed, from, addr string) Port {
	t.Helper()
	got, err := b.Probe(ctxOf(t), from, addr)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// portIs waits until the operator sees one of the wanted answers.
func portIs(t *testing.T, b *Bed, addr string, want ...Port) {
	t.Helper()
	eventually(t, func() bool {
		got := probe(t, b, operator, addr)
		for _, w := range want {
			if got == w {
				return true
			}
		}
		return false
	}, "%s to be %v", addr, want)
}

func eventually(t *testing.T, ok func() bool, what string, args ...any) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for "+what, args...)
		}
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ctxOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
