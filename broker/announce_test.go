package broker

import (
	"fmt"
	"sync"
	"testing"

	"rmqctl/broker/topic"
	"rmqctl/internal/protocol"
)

func TestTopicsMadeAtTheSameTimeShareARegistration(t *testing.T) {
	ns := startNameServer(t)
	b := mustStart(t, t.TempDir(), prop("namesrvAddr", ns.addr))
	const topics = 200
	ns.mu.Lock() // the name server does not answer yet
	before := ns.rounds
	var told sync.WaitGroup
	for i := range topics {
		told.Go(func() {
			c := topic.New(fmt.Sprint("T", i), 1, protocol.PermRead|protocol.PermWrite)
			b.registrar.Announce(c)
			if ns.topic(c.TopicName) == nil {
				t.Errorf("%s is announced and not known", c.TopicName)
			}
		})
	}
	until(t, "one registration is under way and the other topics wait for the next", func() bool {
		b.registrar.amu.Lock()
		defer b.registrar.amu.Unlock()
		return b.registrar.open != nil && len(b.registrar.open.rows) == topics-1
	})
	ns.mu.Unlock()
	told.Wait()
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if n := ns.rounds - before; n > 4 { // two of ours; the period and a lost connection may bring more
		t.Errorf("%d registrations for %d topics", n, topics)
	}
}
