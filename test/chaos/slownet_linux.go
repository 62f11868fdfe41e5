package chaos

// A slow network. Where the kernel has no sch_netem, packets take a detour through this process: what a host sends is routed
// into a TUN device; from there it is read, kept for a while, and sent on through a raw socket that a mark keeps from the
// detour. TCP, ARP and addresses stay the kernel's own; what is slow is each packet, as on a long line.
//
//	program > TCP > route > TUN > here: wait > raw socket, marked > eth0 > bridge
//
// What a host receives is not delayed here: a delay counts once for a round trip.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	detour     = "slow0"
	detourMark = 77
	maxPacket  = 1500
)

// slowLine delays all that one host sends, until it is closed.
type slowLine struct {
	host    *card
	subnet  string
	tun     *os.File
	raw     int
	delay   time.Duration
	jitter  time.Duration
	lose    float64
	packets atomic.Int64
	stopped sync.WaitGroup
}

type packet struct {
	due time.Time
	b   []byte
}

// slow begins the detour. Packets stay in their order, as on one line; lose is the share of them that never arrives.
func (n *network) slow(c *card, delay, jitter time.Duration, lose float64) (*slowLine, error) {
	if n.loopback {
		return nil, errNoNetwork
	}
	l := &slowLine{host: c, subnet: n.address(0).String() + "/24", delay: delay, jitter: jitter, lose: lose}
	if err := c.do(l.open); err != nil {
		return nil, fmt.Errorf("slow line of %s: %w", c.name, err)
	}
	script := fmt.Sprintf("link set %s up mtu %d\nroute replace %s dev eth0 table %d\nrule add fwmark %d lookup %d\nroute replace %s dev %s src %v\n",
		detour, maxPacket, l.subnet, detourMark, detourMark, detourMark, l.subnet, detour, c.ip)
	err := errors.Join(c.sysctl("ipv4/conf/all/rp_filter", "0"), c.sysctl("ipv4/conf/eth0/rp_filter", "0"))
	if err == nil {
		err = c.feed(script, "ip", "-batch", "-")
	}
	if err != nil {
		l.tun.Close()
		unix.Close(l.raw)
		return nil, err
	}
	line := make(chan packet, 1<<16)
	l.stopped.Go(func() { l.take(line) })
	l.stopped.Go(func() { l.give(line) })
	return l, nil
}

func (l *slowLine) open() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ifr, err := unix.NewIfreq(detour)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	l.tun = os.NewFile(uintptr(fd), detour)
	if l.raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err == nil {
		err = unix.SetsockoptInt(l.raw, unix.SOL_SOCKET, unix.SO_MARK, detourMark)
	}
	if err != nil {
		l.tun.Close()
	}
	return err
}

func (l *slowLine) take(line chan<- packet) {
	defer close(line)
	var last time.Time
	for {
		b := make([]byte, maxPacket)
		n, err := l.tun.Read(b)
		if err != nil {
			return
		}
		if n < 20 || b[0]>>4 != 4 || rand.Float64() < l.lose {
			continue
		}
		due := time.Now().Add(l.delay)
		if l.jitter > 0 {
			due = due.Add(rand.N(l.jitter))
		}
		if due.Before(last) {
			due = last
		}
		last = due
		select {
		case line <- packet{due, b[:n]}:
		default: // a line that is full drops, as lines do
		}
	}
}

func (l *slowLine) give(line <-chan packet) {
	for p := range line {
		time.Sleep(time.Until(p.due))
		to := &unix.SockaddrInet4{Addr: [4]byte(p.b[16:20])}
		if unix.Sendto(l.raw, p.b, 0, to) == nil {
			l.packets.Add(1)
		}
	}
}

// close ends the detour; what is on the line still arrives.
func (l *slowLine) close() error {
	err := l.host.feed(fmt.Sprintf("route replace %s dev eth0 src %v\nrule del fwmark %d\n", l.subnet, l.host.ip, detourMark), "ip", "-batch", "-")
	err = errors.Join(err, l.tun.Close())
	l.stopped.Wait()
	return errors.Join(err, unix.Close(l.raw))
}
