package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"rmqctl/broker/store"
	"rmqctl/internal/conf"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

func prop(key, value string) conf.Prop { return conf.Prop{Key: key, Value: value} }

// mustStart starts a broker and waits until it is ready.
func mustStart(t *testing.T, dir string, settings ...conf.Prop) *Broker {
	t.Helper()
	ready := make(chan struct{})
	b, err := startBroker(t, dir, func() { close(ready) }, settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Fatal("not ready")
	}
	return b
}

func newClient(t *testing.T) *remoting.Client {
	c := remoting.NewClient(remoting.ClientOptions{})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// until waits for a condition that holds soon.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func sendTo(t *testing.T, c *remoting.Client, addr, topic, body string) (int32, *protocol.SendMessageResponse) {
	t.Helper()
	resp, _, err := remoting.Do(context.Background(), c, addr, protocol.SendMessageV2, &protocol.SendMessageRequestV2{
		ProducerGroup: "P", Topic: topic, DefaultTopic: "TBW102", DefaultTopicQueueNums: 1, BornTimestamp: 1,
	}, []byte(body))
	if err != nil && !errors.As(err, new(*protocol.Error)) {
		t.Fatal(err)
	}
	return protocol.StatusOf(err), resp
}

func commit(t *testing.T, c *remoting.Client, addr, topic, group string, n int64) {
	t.Helper()
	_, _, err := remoting.Do(context.Background(), c, addr, protocol.UpdateConsumerOffset,
		&protocol.UpdateConsumerOffsetRequest{ConsumerGroup: group, Topic: topic, CommitOffset: n})
	if err != nil {
		t.Fatal(err)
	}
}

func committed(c *remoting.Client, addr, topic, group string) int64 {
	no := false
	resp, _, err := remoting.Do(context.Background(), c, addr, protocol.QueryConsumerOffset,
		&protocol.QueryConsumerOffsetRequest{ConsumerGroup: group, Topic: topic, SetZeroIfNotFound: &no})
	if err != nil {
		return -1
	}
	return resp.Offset
}

func pull(c *remoting.Client, addr, topic string, from int64) (int32, *protocol.PullMessageResponse, []byte) {
	resp, body, err := remoting.Do(context.Background(), c, addr, protocol.PullMessage, &protocol.PullMessageRequest{
		ConsumerGroup: "G", Topic: topic, QueueOffset: from, MaxMsgNums: 32, SysFlag: protocol.PullSubscription, Subscription: "*",
	})
	return protocol.StatusOf(err), resp, body
}

func TestATopicIsKnownToTheNameServerBeforeItsFirstSendIsAnswered(t *testing.T) {
	ns := startNameServer(t)
	b := mustStart(t, t.TempDir(), prop("namesrvAddr", ns.addr))
	if ns.topic("TBW102") == nil {
		t.Error("the template topic was not registered before the broker was ready")
	}
	status, _ := sendTo(t, newClient(t), b.Addr(), "T", "x")
	if c := ns.topic("T"); status != protocol.Success || c == nil || c.WriteQueueNums != 1 {
		t.Errorf("status %d, the name server has %+v", status, c)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if ns.knows(0) {
		t.Error("a stopped broker is still in the routes")
	}
}

func TestReadyAlthoughOneNameServerIsDeadButNotWithoutAny(t *testing.T) {
	ns, refusing := startNameServer(t), startNameServer(t)
	refusing.refuse = true
	mustStart(t, t.TempDir(), prop("namesrvAddr", ns.addr+";127.0.0.1:1"))

	ready := make(chan struct{})
	b, err := startBroker(t, t.TempDir(), func() { close(ready) }, prop("namesrvAddr", refusing.addr))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	select {
	case <-ready:
		t.Error("ready although no name server took the registration")
	case <-time.After(100 * time.Millisecond):
	}
	refusing.mu.Lock()
	refusing.refuse = false
	refusing.mu.Unlock()
	<-ready
}

func TestAStoreOfAnotherBrokerIsRefused(t *testing.T) {
	dir := t.TempDir()
	b := mustStart(t, dir)
	_, err := startBroker(t, dir, nil)
	if !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second broker on a running store: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := startBroker(t, dir, nil, prop("brokerName", "other")); !errors.Is(err, ErrForeignStore) {
		t.Errorf("another broker's store: %v", err)
	} else {
		t.Log(err)
	}
	mustStart(t, dir)
}

func TestASlaveFollowsServesReadsAndGivesBackOffsets(t *testing.T) {
	ns, c := startNameServer(t), newClient(t)
	dir := t.TempDir()
	asMaster := []conf.Prop{prop("namesrvAddr", ns.addr), prop("brokerRole", "SYNC_MASTER")}
	master := mustStart(t, dir, asMaster...)
	if status, resp := sendTo(t, c, master.Addr(), "T", "alone"); status != protocol.SlaveNotAvailable || resp.MsgID == "" {
		t.Fatalf("a synchronous master without a slave: %d %+v", status, resp)
	}
	slave := mustStart(t, t.TempDir(), prop("namesrvAddr", ns.addr), prop("brokerRole", "SLAVE"), prop("brokerId", "1"))
	until(t, "the slave is level", func() bool {
		status, _ := sendTo(t, c, master.Addr(), "T", "together")
		return status == protocol.Success
	})
	commit(t, c, master.Addr(), "T", "G", 1)
	until(t, "the slave has topic and offset", func() bool {
		if err := slave.tables.Round(t.Context(), master.Addr()); err != nil {
			t.Fatal(err)
		}
		_, ok := slave.topics.Get("T")
		return ok && committed(c, slave.Addr(), "T", "G") == 1
	})
	var seen protocol.HARuntimeInfo
	_, text, err := remoting.Do(t.Context(), c, slave.Addr(), protocol.GetBrokerHAStatus, nil)
	if err != nil || protocol.DecodeJSON(text, &seen) != nil || seen.Master || seen.Client == nil || !seen.Client.Activated {
		t.Errorf("the slave says of itself: %s %v", text, err)
	}
	if status, _ := sendTo(t, c, slave.Addr(), "T", "to the slave"); status != protocol.ServiceNotAvailable {
		t.Errorf("a send to a slave: %d", status)
	}
	_, fromMaster, want := pull(c, master.Addr(), "T", 0)
	status, fromSlave, got := pull(c, slave.Addr(), "T", 0)
	if status != protocol.Success || string(got) != string(want) || fromSlave.MaxOffset != fromMaster.MaxOffset {
		t.Errorf("pull from the slave: %d, %+v, from the master %+v", status, fromSlave, fromMaster)
	}

	if err := master.Close(); err != nil {
		t.Fatal(err)
	}
	commit(t, c, slave.Addr(), "T", "G", 2) // consumed from the slave while the master was away
	master = mustStart(t, dir, asMaster...)
	if n := committed(c, master.Addr(), "T", "G"); n != 2 {
		t.Errorf("the returned master has %d", n)
	}

	slave.registrar.Kick() // its ports are others now

	// The master was there all the time, but not for the client: the slave tells it.
	commit(t, c, slave.Addr(), "T", "G", 3)
	if err := slave.tables.Round(t.Context(), master.Addr()); err != nil {
		t.Fatal(err)
	}
	if n := committed(c, master.Addr(), "T", "G"); n != 3 {
		t.Errorf("the master was told %d", n)
	}

	// An operator sets the group back at the master: that is not undone by the slave.
	commit(t, c, master.Addr(), "T", "G", 0)
	for range 2 {
		if err := slave.tables.Round(t.Context(), master.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	if m, s := committed(c, master.Addr(), "T", "G"), committed(c, slave.Addr(), "T", "G"); m != 0 || s != 0 {
		t.Errorf("after a reset: master %d slave %d", m, s)
	}
	until(t, "the slave follows the returned master", func() bool {
		status, _ := sendTo(t, c, master.Addr(), "T", "again")
		return status == protocol.Success
	})
}

func TestAMasterThatCannotAskItsSlaveStarts(t *testing.T) {
	ns := startNameServer(t)
	ns.brokers[1] = protocol.RegisterBrokerRequest{BrokerName: "b", ClusterName: "C", BrokerID: 1, BrokerAddr: "127.0.0.1:1"}
	mustStart(t, t.TempDir(), prop("namesrvAddr", ns.addr))
}

func TestFlushedBeforeAcknowledged(t *testing.T) {
	b := mustStart(t, t.TempDir(), prop("flushDiskType", "SYNC_FLUSH"))
	c := newClient(t)
	for range 3 {
		if status, _ := sendTo(t, c, b.Addr(), "T", "x"); status != protocol.Success {
			t.Fatalf("status %d", status)
		}
		if end, flushed := b.store.MaxPhysical(), b.store.FlushedPhysical(); flushed < end {
			t.Fatalf("acknowledged at %d, flushed up to %d", end, flushed)
		}
	}
}

func TestABatchBecomesMessagesInARow(t *testing.T) {
	b, c := mustStart(t, t.TempDir()), newClient(t)
	var body []byte
	for _, text := range []string{"one", "two", "three"} {
		body = message.AppendBatchItem(body, message.BatchItem{
			Body: []byte(text), Properties: []byte("UNIQ_KEY\x01" + text), // no last separator: Java 4.9 writes none
		})
	}
	q := &protocol.SendMessageRequestV2{
		ProducerGroup: "P", Topic: "T", DefaultTopic: "TBW102", DefaultTopicQueueNums: 1, QueueID: -1, Batch: true, Properties: []byte("WAIT\x01true\x02"),
	}
	resp, _, err := remoting.Do(t.Context(), c, b.Addr(), protocol.SendBatchMessage, q, body)
	if err != nil || strings.Count(resp.MsgID, ",") != 2 || resp.QueueOffset != 0 {
		t.Fatalf("%+v %v", resp, err)
	}
	_, _, got := pull(c, b.Addr(), "T", 0)
	text, ok := printMessages(got)
	want := `T/0@0 "one" [CLUSTER=C UNIQ_KEY=one]
T/0@1 "two" [CLUSTER=C UNIQ_KEY=two]
T/0@2 "three" [CLUSTER=C UNIQ_KEY=three]
`
	if !ok || text != want {
		t.Errorf("stored:\n%s", text)
	}
	if _, _, err := remoting.Do(t.Context(), c, b.Addr(), protocol.SendBatchMessage, q, body[:len(body)-1]); protocol.StatusOf(err) != protocol.MessageIllegal {
		t.Errorf("a torn batch: %v", err)
	}
}

func TestABrokerThatWasKilledHasEverythingAcknowledged(t *testing.T) {
	dir, c := t.TempDir(), newClient(t)
	b := mustStart(t, dir+"/live", prop("flushDiskType", "SYNC_FLUSH"))
	const n = 50
	for i := range n {
		if status, _ := sendTo(t, c, b.Addr(), "T", fmt.Sprint(i)); status != protocol.Success {
			t.Fatalf("send %d: %d", i, status)
		}
	}
	commit(t, c, b.Addr(), "T", "G", 7)
	if err := b.saveOffsets(); err != nil {
		t.Fatal(err)
	}
	commit(t, c, b.Addr(), "T", "G", 9) // not written yet: at most these are consumed again
	if err := os.CopyFS(dir+"/copy", os.DirFS(dir+"/live")); err != nil {
		t.Fatal(err)
	}
	killed := mustStart(t, dir+"/copy")
	_, resp, body := pull(c, killed.Addr(), "T", 0)
	if text, ok := printMessages(body); !ok || resp.MaxOffset != n || !strings.HasPrefix(text, `T/0@0 "0"`) {
		t.Errorf("%+v\n%s", resp, text)
	}
	if at := committed(c, killed.Addr(), "T", "G"); at != 7 {
		t.Errorf("offset %d", at)
	}
}

func TestASlaveHoldsAPullForWhatItDoesNotHaveYet(t *testing.T) {
	ns, c := startNameServer(t), newClient(t)
	master := mustStart(t, t.TempDir(), prop("namesrvAddr", ns.addr))
	slave := mustStart(t, t.TempDir(), prop("namesrvAddr", ns.addr), prop("brokerRole", "SLAVE"), prop("brokerId", "1"))
	sendTo(t, c, master.Addr(), "T", "first")
	until(t, "the slave is level", func() bool {
		if err := slave.tables.Round(t.Context(), master.Addr()); err != nil {
			t.Fatal(err)
		}
		status, _, _ := pull(c, slave.Addr(), "T", 0)
		return status == protocol.Success
	})
	status, resp, _ := pull(c, slave.Addr(), "T", 5) // a master would answer 21 and correct the offset
	if status != protocol.PullNotFound || resp.NextBeginOffset != 5 {
		t.Errorf("status %d, next %d", status, resp.NextBeginOffset)
	}
	answered := make(chan string, 1)
	go func() {
		resp, body, err := remoting.Do(context.Background(), c, slave.Addr(), protocol.PullMessage, &protocol.PullMessageRequest{
			ConsumerGroup: "G", Topic: "T", QueueOffset: 1, MaxMsgNums: 32, SysFlag: protocol.PullSubscription | protocol.PullSuspend,
			Subscription: "*", SuspendTimeoutMillis: 20000,
		})
		text, _ := printMessages(body)
		answered <- fmt.Sprint(resp.NextBeginOffset, err, text)
	}()
	until(t, "the pull is held", func() bool { return slave.polls.Len() == 1 })
	sendTo(t, c, master.Addr(), "T", "second")
	if got, want := <-answered, "2 <nil>T/0@1 \"second\" [CLUSTER=C]\n"; got != want {
		t.Errorf("answered %q", got)
	}
}

func TestAStoppingBrokerAnswersHeldPulls(t *testing.T) {
	b, c := mustStart(t, t.TempDir()), newClient(t)
	sendTo(t, c, b.Addr(), "T", "x")
	answered := make(chan int32, 1)
	go func() {
		_, _, err := remoting.Do(context.Background(), c, b.Addr(), protocol.PullMessage, &protocol.PullMessageRequest{
			ConsumerGroup: "G", Topic: "T", QueueOffset: 1, MaxMsgNums: 32, SysFlag: protocol.PullSubscription | protocol.PullSuspend,
			Subscription: "*", SuspendTimeoutMillis: 4000,
		})
		answered <- protocol.StatusOf(err)
	}()
	until(t, "the pull is held", func() bool { return b.polls.Len() == 1 })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if status := <-answered; status != protocol.PullNotFound {
		t.Errorf("status %d", status)
	}
}
