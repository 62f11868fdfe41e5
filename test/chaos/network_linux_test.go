package chaos

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// echo answers on port 7 of a host.
func echo(t *testing.T, c *card) string {
	t.Helper()
	var ln net.Listener
	if err := c.do(func() (err error) {
		ln, err = net.Listen("tcp4", c.ip.String()+":7")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); conn.Close() }()
		}
	}()
	return ln.Addr().String()
}

// roundTrip is how long an open connection takes to answer; an error when it does not within limit.
func roundTrip(conn net.Conn, limit time.Duration) (time.Duration, error) {
	begun := time.Now()
	_ = conn.SetDeadline(begun.Add(limit))
	if _, err := conn.Write([]byte("x")); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return time.Since(begun), err
}

func mustDial(t *testing.T, c *card, addr string) net.Conn {
	t.Helper()
	conn, err := c.dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestCutsAreWhatTheySay: two hosts and the clients, and each kind of cut between them.
func TestCutsAreWhatTheySay(t *testing.T) {
	n := newNetwork(t, false)
	a, b := n.add(t, "a"), n.add(t, "b")
	at := echo(t, b)
	fromA, fromHome := mustDial(t, a, at), mustDial(t, &card{host: n.home}, at)
	check := func(what string, aHears, homeHears bool) {
		t.Helper()
		for _, c := range []struct {
			who   string
			conn  *net.Conn
			from  *card
			hears bool
		}{{"a", &fromA, a, aHears}, {"the clients", &fromHome, &card{host: n.home}, homeHears}} {
			limit := 200 * time.Millisecond
			if c.hears {
				limit = 5 * time.Second // TCP tries again after a cut only when its timer says so
			}
			_, err := roundTrip(*c.conn, limit)
			if !c.hears {
				(*c.conn).Close()
				defer func() { *c.conn = mustDial(t, c.from, at) }()
			}
			if c.hears != (err == nil) {
				t.Errorf("%s: %s: %v", what, c.who, err)
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check("nothing is cut", true, true)
	for _, c := range []struct {
		what     string
		cut      cut
		a, other bool
	}{
		{"a does not reach b", cut{a, b}, false, true},
		{"b does not reach a", cut{b, a}, false, true},
		{"b does not reach the clients", cut{b, nil}, true, false},
		{"the clients do not reach b", cut{nil, b}, true, false},
	} {
		must(n.change(1, c.cut))
		must(n.change(1, c.cut)) // two faults want it
		must(n.change(-1, c.cut))
		func() {
			defer func() { must(n.change(-1, c.cut)) }()
			for _, conn := range []struct {
				who  string
				from *card
				c    net.Conn
				open bool
			}{{"a", a, fromA, c.a}, {"the clients", nil, fromHome, c.other}} {
				_, err := roundTrip(conn.c, map[bool]time.Duration{true: 5 * time.Second, false: 150 * time.Millisecond}[conn.open])
				if conn.open != (err == nil) {
					t.Errorf("%s: %s: %v", c.what, conn.who, err)
				}
			}
		}()
		fromA, fromHome = mustDial(t, a, at), mustDial(t, &card{host: n.home}, at)
		check("after: "+c.what, true, true)
	}
	must(n.hush(1, b))
	if _, err := roundTrip(fromA, 150*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a silent host answers: %v", err)
	}
	must(n.hush(-1, b))
	fromA = mustDial(t, a, at)
	must(n.plug(b, false))
	if _, err := roundTrip(fromA, 150*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an unplugged host answers: %v", err)
	}
	must(n.plug(b, true))
	mustDial(t, a, at)
	if _, err := a.dial(b.ip.String() + ":8"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a dead port: %v", err)
	}
}

// TestASlowLineIsSlow: connections that are open when it becomes slow, and new ones.
func TestASlowLineIsSlow(t *testing.T) {
	n := newNetwork(t, false)
	a, b := n.add(t, "a"), n.add(t, "b")
	at := echo(t, b)
	conn := mustDial(t, a, at)
	if _, err := roundTrip(conn, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	const delay = 60 * time.Millisecond
	for range 2 {
		line, err := n.slow(b, delay, 20*time.Millisecond, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []net.Conn{conn, mustDial(t, a, at)} {
			took, err := roundTrip(c, 5*time.Second)
			if err != nil || took < delay {
				t.Errorf("an answer over a line of %v took %v: %v", delay, took, err)
			}
		}
		if line.packets.Load() == 0 {
			t.Error("no packet took the detour")
		}
		if err := line.close(); err != nil {
			t.Fatal(err)
		}
		took, err := roundTrip(mustDial(t, a, at), 5*time.Second)
		if err != nil {
			t.Error(err)
		}
		t.Logf("afterwards: %v", took)
	}
}
