//go:build linux

// The network of a bed: one bridge in a switch namespace, one cable to every node and to the operator.
package bed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	operator    = "operator"
	operatorIP  = "192.168.31.1"
	nodeNetwork = "192.168.31."
	firstNode   = 101
)

func (b *Bed) ns(who string) string { return b.id + "-" + who }

func nsPath(ns string) string { return filepath.Join("/run/netns", ns) }

func addNS(ctx context.Context, ns string) error {
	if _, err := run(ctx, "ip", "netns", "add", ns); err != nil {
		return err
	}
	// A new namespace may inherit the machine's forwarding; nothing in a bed routes.
	_, err := run(ctx, "ip", "netns", "exec", ns, "sh", "-ec", "echo 0 >/proc/sys/net/ipv4/ip_forward; ip link set lo up")
	return err
}

func (b *Bed) addSwitch(ctx context.Context) error {
	if err := addNS(ctx, b.ns("switch")); err != nil {
		return err
	}
	_, err := runIn(ctx, "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set br0 up\n",
		"ip", "-n", b.ns("switch"), "-batch", "-")
	return err
}

// plugIn gives who a fresh namespace and a cable to the switch. The card's address follows from the IP address: with a new one
// after every boot the peers would go on talking to the old card until their ARP entries expire.
func (b *Bed) plugIn(ctx context.Context, who, addr string) error {
	ns := b.ns(who)
	if err := addNS(ctx, ns); err != nil {
		return err
	}
	ip := net.ParseIP(addr).To4()
	mac := fmt.Sprintf("02:72:%02x:%02x:%02x:%02x", ip[0], ip[1], ip[2], ip[3])
	_, err := runIn(ctx, fmt.Sprintf("link add p-%s type veth peer name eth0 address %s netns %s\nlink set p-%s master br0 up\n", who, mac, ns, who),
		"ip", "-n", b.ns("switch"), "-batch", "-")
	if err != nil {
		return err
	}
	script := fmt.Sprintf("addr add %s/24 dev eth0\nlink set eth0 up\n", addr)
	if who != operator {
		// Programs ask for the route to the world to learn their own address; this one leads to the operator, who forwards nothing.
		script += "route add default via " + operatorIP + "\n"
	}
	_, err = runIn(ctx, script, "ip", "-n", ns, "-batch", "-")
	return err
}

// discard pulls the cable and throws the namespace away, with its sockets and firewall rules.
func (b *Bed) discard(ctx context.Context, who string) error {
	ns := b.ns(who)
	if _, err := os.Stat(nsPath(b.ns("switch"))); err == nil {
		run(ctx, "ip", "-n", b.ns("switch"), "link", "del", "p-"+who) // absent when the namespace went first
	}
	if _, err := os.Stat(nsPath(ns)); err != nil {
		return nil
	}
	_, err := run(ctx, "ip", "netns", "del", ns)
	return err
}

func (b *Bed) cable(ctx context.Context, who, state string) error {
	_, err := run(ctx, "ip", "-n", b.ns("switch"), "link", "set", "p-"+who, state)
	return err
}

// Partition drops everything between two members of the bed, ARP included, until Heal. Members are node names or "operator".
func (b *Bed) Partition(ctx context.Context, x, y string) error {
	rules := fmt.Sprintf(`table bridge bed {
	chain forward { type filter hook forward priority 0; policy accept; }
}
add rule bridge bed forward iifname "p-%s" oifname "p-%s" drop
add rule bridge bed forward iifname "p-%s" oifname "p-%s" drop
`, x, y, y, x)
	_, err := runIn(ctx, rules, "ip", "netns", "exec", b.ns("switch"), "nft", "-f", "-")
	return err
}

// Heal removes every partition. The first connection afterwards may still meet a failed ARP entry, as between real hosts.
func (b *Bed) Heal(ctx context.Context) error {
	_, err := runIn(ctx, "table bridge bed\ndelete table bridge bed\n", "ip", "netns", "exec", b.ns("switch"), "nft", "-f", "-")
	return err
}

// Dial connects from a member's namespace ("operator" or a node's name). The address holds an IP, never a name.
func (b *Bed) Dial(ctx context.Context, from, addr string) (conn net.Conn, err error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, err
	}
	inside := inNS(b.ns(from), func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp4", addr)
		return nil
	})
	return conn, errors.Join(inside, err)
}

// inNS runs f on a thread that is inside the named namespace. A socket stays where it was made, whoever uses it later.
func inNS(ns string, f func() error) error {
	target, err := os.Open(nsPath(ns))
	if err != nil {
		return err
	}
	defer target.Close()
	runtime.LockOSThread()
	home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter %s: %w", ns, err)
	}
	result := f()
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		return errors.Join(result, err) // the thread stays locked and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return result
}

// Port is what a client sees of a TCP port.
type Port string

// The answers of Probe.
const (
	Open     Port = "open"     // somebody listens and the firewall lets us in
	Refused  Port = "refused"  // reachable, nobody listens
	Rejected Port = "rejected" // a firewall says no
	Silent   Port = "silent"   // no answer: dropped, unplugged or off
)

// Probe looks at one TCP port from a member's namespace.
func (b *Bed) Probe(ctx context.Context, from, addr string) (Port, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := b.Dial(ctx, from, addr)
	switch {
	case err == nil:
		conn.Close()
		return Open, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused, nil
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return Rejected, nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return Silent, nil
	}
	return "", err
}

// pidsIn lists the processes of a namespace.
func pidsIn(ctx context.Context, ns string) []string {
	out, err := run(ctx, "ip", "netns", "pids", ns)
	if err != nil {
		return nil
	}
	return strings.Fields(out)
}
