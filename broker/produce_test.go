package broker

// Facts about sends that come in bursts.

import (
	"context"
	"runtime"
	"testing"
	"time"

	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// A broker allocates while it starts and now and then; per message it must not.
func TestProducingAllocatesNothingPerMessage(t *testing.T) {
	for _, flush := range []string{"ASYNC_FLUSH", "SYNC_FLUSH"} {
		for _, enc := range []protocol.Encoding{protocol.JSON, protocol.Binary} {
			b := mustStart(t, t.TempDir(), prop("flushDiskType", flush), prop("mappedFileSizeCommitLog", "1073741824"), prop("maxIndexNum", "4000000"))
			p := newProducer(t, b.Addr(), enc, 0, 32)
			const n = 30000
			if err := p.run(n / 10); err != nil { // the topic is made, pools and rounds have their size
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := p.run(n); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if per := float64(after.Mallocs-before.Mallocs) / n; per > 0.2 && !raceEnabled {
				t.Errorf("%s, encoding %d: %.2f allocations per message, client included", flush, enc, per)
			}
			if got := b.store.MaxOffset("orders", 0); got != n+n/10 {
				t.Errorf("%d messages stored", got)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Sends of one burst are stored together, whatever else is in it, and each is answered for itself.
func TestABurstOfManyTopicsQueuesAndMistakes(t *testing.T) {
	b := mustStart(t, t.TempDir())
	c := newClient(t)
	for _, topic := range []string{"A", "B"} {
		if status, _ := sendTo(t, c, b.Addr(), topic, "first"); status != protocol.Success {
			t.Fatal(status)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := c.Conn(ctx, b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	type sent struct {
		topic  string
		queue  int32
		status int32
		offset int64
	}
	want := []sent{
		{"A", 0, protocol.Success, 1}, {"B", 0, protocol.Success, 1}, {"A", 0, protocol.Success, 2}, {"A", 99, protocol.SystemError, 0},
		{"A", 0, protocol.Success, 3}, {"SCHEDULE_TOPIC_XXXX", 0, protocol.NoPermission, 0}, {"B", 0, protocol.Success, 2},
		{"bad topic", 0, protocol.SystemError, 0}, {"B", 0, protocol.Success, 3},
	}
	type answer struct {
		i      int
		status int32
		offset int64
	}
	got := make(chan answer, len(want))
	for i, w := range want { // one after the other without waiting: they leave in few writes
		err := remoting.Start(conn, protocol.SendMessageV2, &protocol.SendMessageRequestV2{
			ProducerGroup: "P", Topic: w.topic, DefaultTopic: "TBW102", DefaultTopicQueueNums: 1, QueueID: w.queue, BornTimestamp: 1,
		}, []byte("x"), 10*time.Second, func(r *protocol.SendMessageResponse, _ []byte, err error) {
			a := answer{i: i, status: protocol.StatusOf(err)}
			if r != nil {
				a.offset = r.QueueOffset
			}
			got <- a
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range want {
		a := <-got
		if w := want[a.i]; a.status != w.status || a.offset != w.offset {
			t.Errorf("%d: %+v, want %+v", a.i, a, w)
		}
	}
}
