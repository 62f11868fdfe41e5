// Clients of other people in the operator's namespace, and what an application would say of them.
package e2e

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"rmqctl/test/hosts/bed"
	"rmqctl/test/peers"
)

type client struct {
	*peers.Client
	s *site
}

// client starts the client-go program.
func (s *site) client(subcommand string, args ...string) client {
	s.t.Helper()
	return s.peer(peers.GoClient, subcommand, args...)
}

func (s *site) peer(version, subcommand string, args ...string) client {
	s.t.Helper()
	args = append([]string{"namesrv=" + s.namesrv()}, args...)
	return client{peers.StartVia(s.t, s.Via("operator"), version, subcommand, args...), s}
}

// ends waits for a client that ends by itself and returns what it printed.
func (c client) ends() []peers.Event {
	c.s.t.Helper()
	if err := c.Wait(4 * time.Minute); err != nil {
		c.s.t.Fatalf("%s: %v", c.Name, err)
	}
	return c.Events()
}

// account is what an application saw of its sends and receives.
type account struct {
	sent, failed, notOK int
	longest             time.Duration // of one send, retries of the client included
	lost, unasked       int           // acknowledged but never received; received without an acknowledgement
	twice               int           // messages received more than once
	firstError          string
}

func settle(produced, consumed []peers.Event) account {
	var a account
	acked := map[string]bool{}
	for _, e := range produced {
		took := time.Duration(e.Ms) * time.Millisecond
		switch {
		case e.Event == "error":
			a.failed++
			if a.firstError == "" {
				a.firstError = e.Body + ": " + e.Error
			}
		case e.Event == "sent" && e.Status != "SEND_OK":
			a.notOK++
			if a.firstError == "" {
				a.firstError = e.Body + ": " + e.Status
			}
		case e.Event == "sent":
			a.sent++
			acked[e.Body] = true
		}
		a.longest = max(a.longest, took)
	}
	got := peers.Bodies(peers.Of(consumed, "received"))
	for body := range acked {
		if got[body] == 0 {
			a.lost++
		}
	}
	for body, n := range got {
		if !acked[body] {
			a.unasked++
		}
		if n > 1 {
			a.twice++
		}
	}
	return a
}

func (a account) String() string {
	return fmt.Sprintf("%d acknowledged, %d failed, %d not SEND_OK, %d acknowledged but lost, %d received twice, longest send %v",
		a.sent, a.failed, a.notOK, a.lost, a.twice, a.longest)
}

func itoa(n int) string { return strconv.Itoa(n) }

func consoles(t *testing.T, b *bed.Bed) {
	for _, n := range b.Nodes {
		text, _ := os.ReadFile(n.Console())
		if len(text) > 1000 {
			text = text[len(text)-1000:]
		}
		log, _ := n.Exec(ctxOf(t), "journalctl -b -p warning --no-pager -n 30; journalctl -b -u 'rmq-*' --no-pager -n 40")
		t.Logf("%s\n%s\n%s", n.Name, text, log)
	}
}
