package chaos

// The network: a bridge in the namespace of the test, a cable from it to each host. Clients live at the bridge.

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var errNoNetwork = errors.New("the loopback is no network that could be cut")

const dialTimeout = 3 * time.Second

var networks atomic.Int32

// network is one bridge with its hosts, or (loopback) nothing but addresses.
type network struct {
	no       int
	loopback bool
	home     *host // of clients and of the bridge
	mu       sync.Mutex
	hosts    []*card
	cuts     map[cut]int // how many faults want it
	silent   map[*card]int
}

// card is what a member is on the network.
type card struct {
	*host
	ip netip.Addr
	no int
}

// cut: what from sends does not reach to. nil is the clients' side.
type cut struct{ from, to *card }

func newNetwork(t testing.TB, loopback bool) *network {
	t.Helper()
	n := &network{no: int(networks.Add(1)), loopback: loopback, home: &host{name: "clients"}, cuts: map[cut]int{}, silent: map[*card]int{}}
	if loopback {
		return n
	}
	Need(t)
	if n.no > 250 {
		t.Fatal("more networks than addresses")
	}
	br := n.bridge()
	for _, args := range [][]string{
		{"link", "add", br, "type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"},
		{"addr", "add", n.address(1).String() + "/24", "dev", br},
		{"link", "set", br, "up"},
	} {
		if err := command("ip", args...); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_ = command("ip", "link", "del", br)
		_ = command("nft", "delete", "table", "ip", n.table())
	})
	return n
}

func (n *network) bridge() string { return fmt.Sprintf("br%d", n.no) }
func (n *network) table() string  { return fmt.Sprintf("chaos%d", n.no) }

func (n *network) address(no int) netip.Addr {
	if n.loopback {
		return netip.AddrFrom4([4]byte{127, 77, byte(n.no), byte(no)})
	}
	return netip.AddrFrom4([4]byte{10, 77, byte(n.no), byte(no)})
}

// add makes a host with a cable to the bridge.
func (n *network) add(t testing.TB, name string) *card {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	no := 10 + len(n.hosts)
	h, err := newHost(name, n.loopback)
	if err != nil {
		t.Fatal(err)
	}
	c := &card{ip: n.address(no), no: no, host: h}
	n.hosts = append(n.hosts, c)
	t.Cleanup(c.close)
	if n.loopback {
		return c
	}
	far := n.cable(c)
	err = command("ip", "link", "add", far, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(c.tid))
	if err == nil {
		err = feed(fmt.Sprintf("link set %s master %s up\n", far, n.bridge()), "ip", "-batch", "-")
	}
	if err == nil {
		err = c.feed(fmt.Sprintf("link set lo up\naddr add %v/24 dev eth0\nlink set eth0 up\nroute add default via %v\n", c.ip, n.address(1)), "ip", "-batch", "-")
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (n *network) cable(c *card) string { return fmt.Sprintf("v%d-%d", n.no, c.no) }

// change adds (by 1) or takes back (by -1) cuts. Faults overlap: a way is open when nobody wants it cut.
func (n *network) change(by int, cuts ...cut) error {
	if n.loopback {
		return errNoNetwork
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	touched := []*card{}
	for _, c := range cuts {
		if n.cuts[c] += by; n.cuts[c] == 0 {
			delete(n.cuts, c)
		}
		if !slices.Contains(touched, c.to) {
			touched = append(touched, c.to)
		}
	}
	for _, to := range touched {
		if err := n.applyLocked(to); err != nil {
			return err
		}
	}
	return nil
}

// hush makes hosts silent (by 1) or lets them speak again: nothing comes in or goes out, the cable stays plugged.
func (n *network) hush(by int, c *card) error {
	if n.loopback {
		return errNoNetwork
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.silent[c] += by; n.silent[c] == 0 {
		delete(n.silent, c)
	}
	return n.applyLocked(c)
}

// applyLocked writes the rules of one receiver anew, in one transaction. Dropping happens where a packet arrives: a packet
// dropped where it is sent would be an error that the sender sees.
func (n *network) applyLocked(to *card) error {
	var b strings.Builder
	t := n.table()
	fmt.Fprintf(&b, "table ip %s {}\ndelete table ip %s\ntable ip %s {\n chain in { type filter hook input priority 0; policy accept;\n", t, t, t)
	for c := range n.cuts {
		if c.to == to {
			ip := n.address(1)
			if c.from != nil {
				ip = c.from.ip
			}
			fmt.Fprintf(&b, "  ip saddr %v drop\n", ip)
		}
	}
	if to != nil && n.silent[to] > 0 {
		b.WriteString("  iifname != \"lo\" drop\n }\n chain out { type filter hook postrouting priority 0; policy accept;\n  oifname != \"lo\" drop\n")
	}
	b.WriteString(" }\n}\n")
	h := n.home
	if to != nil {
		h = to.host
	}
	return h.feed(b.String(), "nft", "-f", "-")
}

// plug pulls or plugs the cable of a host.
func (n *network) plug(c *card, in bool) error {
	if n.loopback {
		return errNoNetwork
	}
	state := "down"
	if in {
		state = "up"
	}
	return command("ip", "link", "set", n.cable(c), state)
}

// dial connects from a host.
func (c *card) dial(addr string) (conn net.Conn, err error) {
	err = c.do(func() error {
		conn, err = net.DialTimeout("tcp4", addr, dialTimeout)
		return err
	})
	return conn, err
}
