package broker

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/internal/vfs"
)

// A producer has one connection for all it asks. While the disk hangs under its send, the rest must be answered.
func TestAHeartbeatBehindASendThatHangsIsAnswered(t *testing.T) {
	for _, c := range []struct{ kind, flush string }{{"sync", "SYNC_FLUSH"}, {"write", "ASYNC_FLUSH"}} {
		var shut atomic.Bool
		release, stuck := make(chan struct{}), make(chan struct{}, 100)
		disk := &vfs.Fault{FS: vfs.OS, Before: func(op vfs.Op) error {
			if op.Kind == c.kind && strings.Contains(op.Name, "commitlog/0") && shut.Load() {
				stuck <- struct{}{}
				<-release
			}
			return nil
		}}
		ready := make(chan struct{})
		b, err := startBrokerOn(t, disk, t.TempDir(), func() { close(ready) }, prop("flushDiskType", c.flush))
		if err != nil {
			t.Fatal(err)
		}
		<-ready
		client := newClient(t)
		if status, _ := sendTo(t, client, b.Addr(), "T", "before"); status != protocol.Success {
			t.Fatal(status)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		conn, err := client.Conn(ctx, b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		shut.Store(true)
		sent := make(chan error, 1)
		err = remoting.Start(conn, protocol.SendMessageV2, &protocol.SendMessageRequestV2{ProducerGroup: "P", Topic: "T", DefaultTopic: "TBW102", BornTimestamp: 1},
			[]byte("hangs"), time.Minute, func(_ *protocol.SendMessageResponse, _ []byte, err error) { sent <- err })
		if err != nil {
			t.Fatal(err)
		}
		<-stuck
		if _, _, err := remoting.Do(ctx, client, b.Addr(), protocol.HeartBeat, nil, []byte(`{"clientID":"c","producerDataSet":[{"groupName":"P"}]}`)); err != nil {
			t.Errorf("%s hangs: %v", c.kind, err)
		}
		commit(t, client, b.Addr(), "T", "G", 1) // answered by the goroutine that reads
		select {
		case err := <-sent:
			t.Errorf("%s hangs, and the send was answered: %v", c.kind, err)
		default:
		}
		shut.Store(false)
		close(release)
		if err := <-sent; err != nil {
			t.Errorf("%s: %v", c.kind, err)
		}
		if n := b.store.MaxOffset("T", 0); n != 2 {
			t.Errorf("%s: %d messages", c.kind, n)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}
