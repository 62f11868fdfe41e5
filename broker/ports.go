// The ports of a broker and the addresses under which others reach them.

package broker

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"rmqctl/broker/config"
)

// socket finds clients and slaves that went away without a word within half a minute: their groups are rebalanced then
// instead of after 120 s without a heartbeat.
var socket = net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}}

// listen opens the ports before anything else, so that a port in use is found before anything has begun.
func (b *Broker) listen(cfg *config.Config) error {
	for _, port := range []int{cfg.ListenPort, cfg.VIPPort()} {
		ln, err := b.openPort(cfg, port)
		if err != nil {
			return err
		}
		b.listeners = append(b.listeners, ln)
	}
	if cfg.IsMaster() && !cfg.EnableDLegerCommitLog {
		ln, err := b.openPort(cfg, cfg.HAListenPort)
		if err != nil {
			return err
		}
		b.haListener = ln
		b.haPort.Store(int64(portOf(ln)))
	}
	if cfg.EnableDLegerCommitLog {
		ln, err := b.openPeerPort(cfg)
		if err != nil {
			return err
		}
		b.raftListener = ln
	}
	ip, err := advertised(cfg)
	if err != nil {
		return err
	}
	b.advertise = netip.AddrPortFrom(ip, uint16(portOf(b.listeners[0])))
	return nil
}

// openPeerPort opens the port that dLegerPeers names for this broker.
func (b *Broker) openPeerPort(cfg *config.Config) (net.Listener, error) {
	_, text, err := net.SplitHostPort(cfg.Self().Addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	return b.openPort(cfg, port)
}

func portOf(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

// dial connects to name servers and to the master. A host that lost its power is noticed within seconds, and a name
// server that came back on it is told of this broker then, not at the next period.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: 3 * time.Second, Count: 3}}
	return d.DialContext(ctx, "tcp", addr)
}

// Addr is the address clients are told, VIPAddr the port beside it, HAAddr where slaves connect ("" on a slave).
func (b *Broker) Addr() string { return b.advertise.String() }
func (b *Broker) VIPAddr() string {
	return netip.AddrPortFrom(b.advertise.Addr(), uint16(portOf(b.listeners[1]))).String()
}
func (b *Broker) HAAddr() string {
	if b.master.Load() == nil {
		return ""
	}
	return b.haAddr()
}

// haAddr is where slaves find this broker, once it is master.
func (b *Broker) haAddr() string {
	cfg := b.o.Config.Load()
	port := cfg.HAListenPort
	if at := int(b.haPort.Load()); at != 0 {
		port = at
	}
	host := unbracket(cfg.BrokerIP2)
	if host == "" {
		host = b.advertise.Addr().String()
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// unbracket takes the brackets off an IPv6 address: RocketMQ wants brokerIP1=[::1].
func unbracket(host string) string {
	if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
		return inner[:len(inner)-1]
	}
	return host
}

// advertised is the address clients are told: the configured one, else the one this broker binds to, else the host's
// first address that is not loopback.
func advertised(cfg *config.Config) (netip.Addr, error) {
	for _, text := range []string{cfg.BrokerIP1, cfg.BindAddress} {
		if text = unbracket(text); text == "" {
			continue
		}
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("brokerIP1 or bindAddress %q is not an IP address: %w", text, err)
		}
		if !ip.IsUnspecified() {
			return ip, nil
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find this host's address: %w", err)
	}
	found := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if ip := prefix.Addr(); ip.Is4() && ip.IsGlobalUnicast() {
			return ip, nil
		}
	}
	return found, nil
}
