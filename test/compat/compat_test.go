// Package compat proves our servers with other people's programs: the Java clients, mqadmin, name server and broker of
// RocketMQ 4.9 and 5.x, and rocketmq-client-go.
package compat

import (
	"os"
	"sort"
	"testing"
	"time"

	"rmqctl/test/peers"
)

const bootTime = time.Minute

// until waits for a condition that another process brings about.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(bootTime); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// bodies lists the bodies of one kind of event, sorted, as often as they occur.
func bodies(events []peers.Event, kind string) []string {
	var all []string
	for _, e := range peers.Of(events, kind) {
		all = append(all, e.Body)
	}
	sort.Strings(all)
	return all
}

// same fails unless got holds what want holds: nothing lost, nothing twice, nothing else.
func same(t *testing.T, what string, want, got []string) {
	t.Helper()
	count := map[string]int{}
	for _, b := range want {
		count[b]++
	}
	for _, b := range got {
		count[b]--
	}
	lost, more := 0, 0
	for b, n := range count {
		if n != 0 && lost+more < 5 {
			t.Logf("%s: %s: %d times too few", what, b, n)
		}
		lost, more = lost+max(n, 0), more+max(-n, 0)
	}
	if lost+more > 0 || len(want) == 0 {
		t.Errorf("%s: of %d messages %d are lost and %d are too many", what, len(want), lost, more)
	}
}

// servers is the version of the servers under test: ours. COMPAT_SERVERS=4.9.7 runs the same tests against Java's, which
// is how their expectations were found.
func servers() string {
	if v := os.Getenv("COMPAT_SERVERS"); v != "" {
		return v
	}
	return peers.Ours
}

// cluster starts a name server and one master.
func cluster(t *testing.T, props map[string]string) (ns, broker *peers.Server) {
	t.Helper()
	peers.Need(t, servers())
	ns = peers.StartNamesrv(t, servers())
	return ns, peers.StartBroker(t, servers(), ns.Addr, props)
}

// clients are the programs that every kind of sending and receiving is tried with.
var clients = []string{peers.Clients49, peers.All53, peers.GoClient}
