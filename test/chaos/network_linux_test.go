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
	at, home := echo(t, b), &card{host: n.home}
	// hears tells over a fresh connection, which is made before the cut, whether b answers.
	hears := func(what string, cutNow func(), fromA, fromHome bool) {
		t.Helper()
		conns := []net.Conn{mustDial(t, a, at), mustDial(t, home, at)}
		cutNow()
		for k, want := range []bool{fromA, fromHome} {
			limit := 150 * time.Millisecond
			if want {
				limit = 5 * time.Second
			}
			if _, err := roundTrip(conns[k], limit); want != (err == nil) {
				t.Errorf("%s: %s: %v", what, []string{"a", "the clients"}[k], err)
			}
			conns[k].Close()
		}
	}
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
		hears(c.what, func() {
			must(t, n.change(1, c.cut))
			must(t, n.change(1, c.cut)) // two faults want it
			must(t, n.change(-1, c.cut))
		}, c.a, c.other)
		must(t, n.change(-1, c.cut))
		hears("after: "+c.what, func() {}, true, true)
	}
	hears("b is silent", func() { must(t, n.hush(1, b)) }, false, false)
	must(t, n.hush(-1, b))
	hears("the cable of b is pulled", func() { must(t, n.plug(b, false)) }, false, false)
	must(t, n.plug(b, true))
	hears("nothing is cut any more", func() {}, true, true)
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
