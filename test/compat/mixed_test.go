// Java servers and ours in one cluster.

package compat

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rmqctl/test/peers"
)

func TestServersOfDifferentMakeFormACluster(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ namesrv, broker string }{
		{peers.Ours, peers.Servers49},
		{peers.Ours, peers.All53},
		{peers.Servers49, peers.Ours},
		{peers.All53, peers.Ours},
	} {
		t.Run("namesrv "+c.namesrv+" broker "+c.broker, func(t *testing.T) {
			peers.Need(t, c.namesrv, c.broker, peers.GoClient)
			ns := peers.StartNamesrv(t, c.namesrv)
			b := peers.StartBroker(t, c.broker, ns.Addr, nil)
			exchange(t, ns.Addr, "Mixed")

			// The broker goes and comes back; clients find it again.
			b.Kill()
			b.Start()
			exchange(t, ns.Addr, "Again")
		})
	}
}

// exchange sends with a topic that nobody created and receives it.
func exchange(t *testing.T, ns, topic string) {
	t.Helper()
	var sent []peers.Event
	until(t, "a route for "+topic, func() bool {
		events := peers.Run(t, peers.GoClient, "produce", "namesrv="+ns, "topic="+topic, "n=1", "prefix=first")
		sent = peers.Of(events, "sent")
		return len(sent) == 1
	})
	sent = append(sent, peers.Of(peers.Run(t, peers.GoClient, "produce", "namesrv="+ns, "topic="+topic, "n=40", "size=100"), "sent")...)
	got := peers.Run(t, peers.GoClient, "consume", "namesrv="+ns, "topic="+topic, "group=g"+topic, "n=41", "idle=40000")
	same(t, topic, bodies(sent, "sent"), bodies(got, "received"))
}

// A pair whose halves are of different make: what was acknowledged before the master is killed is read from the slave.
func TestPairsOfDifferentMake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ master, slave string }{
		{peers.Ours, peers.Servers49},
		{peers.Servers49, peers.Ours},
		{peers.Ours, peers.All53},
		{peers.All53, peers.Ours},
		{peers.Ours, peers.Ours},
	} {
		t.Run("master "+c.master+" slave "+c.slave, func(t *testing.T) {
			t.Parallel() // a Java 5.x slave copies topics once a minute only
			peers.Need(t, c.master, c.slave, peers.Clients49, peers.GoClient)
			pair(t, c.master, c.slave)
		})
	}
}

func pair(t *testing.T, master, slave string) {
	ns := peers.StartNamesrv(t, peers.Ours)
	common := map[string]string{"mappedFileSizeCommitLog": "262144", "maxMessageSize": "65536", "slaveTimeout": "1500"}
	with := func(key ...string) map[string]string {
		props := map[string]string{}
		for k, v := range common {
			props[k] = v
		}
		for i := 0; i < len(key); i += 2 {
			props[key[i]] = key[i+1]
		}
		return props
	}
	role := []string{"brokerRole", "SYNC_MASTER", "inSyncReplicas", "2"}
	m := peers.StartBroker(t, master, ns.Addr, with(role...))

	// Five segments before there is a slave. A Java master gives a new slave its last segment only, so there it is less.
	before := 300
	if master != peers.Ours {
		before = 3
	}
	sent := peers.Of(peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=Pair", "n="+itoa(before), "prefix=alone", "size=3000"), "sent")
	for _, e := range sent {
		if master != peers.All53 && e.Status != "SLAVE_NOT_AVAILABLE" {
			t.Fatalf("SYNC_MASTER without a slave: %+v", e)
		}
	}
	s := peers.StartBroker(t, slave, ns.Addr, with("brokerRole", "SLAVE", "brokerId", "1", "slaveReadEnable", "true", "flushDiskType", "SYNC_FLUSH"))

	// The slave has caught up when a SYNC_MASTER says SEND_OK.
	probes := 0
	until(t, "SEND_OK", func() bool {
		e := peers.Of(peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=Pair", "n=1", "prefix=probe"+itoa(probes)), "sent")
		probes++
		sent = append(sent, e...)
		return len(e) == 1 && e[0].Status == "SEND_OK"
	})
	live := peers.Of(peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=Pair", "n=200", "prefix=live", "size=2000"), "sent")
	for _, e := range live {
		if e.Status != "SEND_OK" {
			t.Fatalf("SYNC_MASTER with a slave: %+v", e)
		}
	}
	sent = append(sent, live...)

	// The first half is consumed from the master and its offsets copied, the rest from the slave when the master is dead.
	until(t, "the slave knows the topic", func() bool {
		b, _ := os.ReadFile(filepath.Join(s.Store, "config", "topics.json"))
		return bytes.Contains(b, []byte(`"Pair"`))
	})
	m.Kill()
	got := peers.Run(t, peers.Clients49, "consume", "namesrv="+ns.Addr, "topic=Pair", "group=fromslave", "n="+itoa(len(sent)), "idle=60000")
	same(t, "read from the slave", bodies(sent, "sent"), bodies(got, "received"))
	for _, e := range peers.Of(got, "received") {
		// storeHost is the master's: a slave keeps the bytes as they are.
		if !strings.Contains(e.StoreHost, m.Addr) {
			t.Fatalf("store host %s", e.StoreHost)
		}
	}

	if master != peers.Ours {
		return // a Java master comes back with the offsets it had
	}
	// The master comes back with everything, and nothing that was read from the slave is read again.
	m.Start()
	more := exchangeMore(t, ns.Addr)
	again := peers.Run(t, peers.Clients49, "consume", "namesrv="+ns.Addr, "topic=Pair", "group=fromslave", "n="+itoa(len(more)), "idle=60000", "linger=2000")
	same(t, "read after the master's return", bodies(more, "sent"), bodies(again, "received"))
}

// exchangeMore sends once the master takes messages again.
func exchangeMore(t *testing.T, ns string) []peers.Event {
	t.Helper()
	var sent []peers.Event
	until(t, "the master is back", func() bool {
		sent = peers.Of(peers.Run(t, peers.GoClient, "produce", "namesrv="+ns, "topic=Pair", "n=30", "prefix=back"+itoa(len(sent))), "sent")
		return len(sent) == 30
	})
	return sent
}
