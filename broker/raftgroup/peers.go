// The members as dLegerPeers lists them: n0-host:port;n1-[::1]:port;...

package raftgroup

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Peer is one member: its raft id and where its group connections go.
type Peer struct {
	ID   uint64
	Addr string // host:port
}

// Name is the peer's name in the configuration.
func (p Peer) Name() string { return PeerName(p.ID) }

// PeerName is nX of a raft id, "" of 0.
func PeerName(id uint64) string {
	if id == 0 {
		return ""
	}
	return "n" + strconv.FormatUint(id-1, 10)
}

// ParseName is the raft id of nX: X+1, for 0 is nobody.
func ParseName(s string) (uint64, error) {
	digits, ok := strings.CutPrefix(s, "n")
	x, err := strconv.ParseUint(digits, 10, 31)
	if !ok || err != nil || strconv.FormatUint(x, 10) != digits {
		return 0, fmt.Errorf("member %q is not n and a number", s)
	}
	return x + 1, nil
}

// ParsePeers reads dLegerPeers. Java splits at the first '-' and, for the port, at the last ':', as is done here.
func ParsePeers(s string) ([]Peer, error) {
	var out []Peer
	for _, part := range strings.Split(s, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		p, err := parsePeer(part)
		if err != nil {
			return nil, fmt.Errorf("peer %q: %w", part, err)
		}
		for _, o := range out {
			if o.ID == p.ID {
				return nil, fmt.Errorf("peer %s is named twice", p.Name())
			}
			if o.Addr == p.Addr {
				return nil, fmt.Errorf("peers %s and %s have the same address %s", o.Name(), p.Name(), p.Addr)
			}
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no peers in %q", s)
	}
	return out, nil
}

func parsePeer(s string) (Peer, error) {
	name, addr, ok := strings.Cut(s, "-")
	if !ok {
		return Peer{}, fmt.Errorf("want name-host:port")
	}
	id, err := ParseName(name)
	if err != nil {
		return Peer{}, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		i := strings.LastIndexByte(addr, ':') // an IPv6 address without brackets, as Java takes it
		if i < 0 || net.ParseIP(addr[:i]) == nil {
			return Peer{}, err
		}
		host, port = addr[:i], addr[i+1:]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return Peer{}, fmt.Errorf("want name-host:port")
	}
	return Peer{ID: id, Addr: net.JoinHostPort(host, port)}, nil
}
