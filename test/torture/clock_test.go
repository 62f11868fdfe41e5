package torture

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/checker"
	"rmqctl/internal/client"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
	"rmqctl/internal/vfs"
	"rmqctl/namesrv"
	namesrvconfig "rmqctl/namesrv/config"
)

const year = 365 * 24 * time.Hour

// TestAClockThatIsSetChangesNothing sets the clock of a broker and of its name server under load, and back.
func TestAClockThatIsSetChangesNothing(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 10 * year, -10 * year} {
		t.Run(fmt.Sprint(jump), func(t *testing.T) {
			t.Parallel()
			setClock(t, jump)
		})
	}
}

func setClock(t *testing.T, jump time.Duration) {
	clk := &clock.Jumping{}
	ns := startNamesrv(t, clk)
	m := vfs.NewMem()
	m.Now = clk.Now
	b := startBroker(t, m, clk, "namesrvAddr="+ns, "messageDelayLevel=2s 4s", "mappedFileSizeCommitLog=65536",
		"deleteWhen=0;1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18;19;20;21;22;23", "fileReservedTime=1", "cleanResourceInterval=50")
	rec := checker.New()
	l := (&load{rec: rec, addr: b.Addr(), topic: "Clock", pause: 2 * time.Millisecond}).run(4)
	follow := (&readers{t: t, rec: rec, addr: b.Addr(), topic: "Clock"}).run()
	moreAcks(t, l, 400, 20*time.Second)
	quiet := dialQuiet(t, b.Addr()) // a connection that says nothing
	held := holdPull(t, b.Addr(), 1500*time.Millisecond)
	late := []*delayed{sendDelayed(t, b.Addr(), 2), sendDelayed(t, b.Addr(), 1)}

	clk.Jump(jump)
	late = append(late, sendDelayed(t, b.Addr(), 2), sendDelayed(t, b.Addr(), 1))
	hasRoute(t, ns, "Clock")
	newTopic(t, b.Addr(), ns, "AfterTheJump")
	moreAcks(t, l, 400, 20*time.Second)
	for _, d := range late {
		d.arrives(t, b.Addr())
	}
	if took := <-held; took < 1400*time.Millisecond || took > 4*time.Second {
		t.Errorf("a pull that was to be held for 1.5 s was held for %v", took)
	}
	time.Sleep(6 * time.Second) // silent connections are looked for every five
	clk.Jump(-jump)
	late = []*delayed{sendDelayed(t, b.Addr(), 1)}
	newTopic(t, b.Addr(), ns, "AfterTheJumpBack")
	for _, topic := range []string{"Clock", "AfterTheJump"} {
		hasRoute(t, ns, topic)
	}
	moreAcks(t, l, 400, 20*time.Second)
	late[0].arrives(t, b.Addr())
	l.end()
	follow.end()
	if b.log.has("file deleted") {
		t.Error("files were deleted")
	}
	if b.log.has("connection closed") || quiet.closed() {
		t.Error("a connection was closed")
	}
	if !b.log.has("the clock was set") {
		t.Error("the log does not say that the clock was set")
	}
	if _, none := l.said(-1); none != "" {
		t.Errorf("a send was not answered: %s", none)
	}
	drain(t, rec, b.Addr(), "Clock")
	rep := verdict(t, rec, checker.Rules{Replicas: []string{replica}})
	if rep.Failed+rep.Unknown > 0 {
		t.Errorf("%d sends were refused, %d have no outcome", rep.Failed, rep.Unknown)
	}
	table(t, []row{{"clock set by", jump.String() + ", and back"}, {"acknowledged", rep.Acked}, {"lost, refused, files deleted, connections closed", 0}})
}

// startNamesrv starts a name server in this process and returns its address.
func startNamesrv(t *testing.T, clk clock.Clock) string {
	t.Helper()
	live, _, err := namesrvconfig.Load([]conf.Prop{{Key: "kvConfigPath", Value: filepath.Join(t.TempDir(), "kv.json")}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n, err := namesrv.New(namesrv.Options{Config: live, Clock: clk, Log: slog.New(slog.DiscardHandler), Listener: ln})
	if err == nil {
		err = n.Start(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return ln.Addr().String()
}

func hasRoute(t *testing.T, ns, topic string) {
	t.Helper()
	c, err := client.New(client.Options{NameServers: []string{ns}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := c.Route(context.Background(), topic)
	if err != nil || len(r.BrokerDatas) != 1 || len(r.QueueDatas) != 1 {
		t.Errorf("route of %s: %+v %v", topic, r, err)
	}
}

// newTopic makes a topic by sending to it; it has to be known to the name server.
func newTopic(t *testing.T, addr, ns, topic string) {
	t.Helper()
	rec := checker.New()
	l := (&load{rec: rec, addr: addr, topic: topic}).run(1)
	moreAcks(t, l, 1, 10*time.Second)
	l.end()
	hasRoute(t, ns, topic)
}

// quietConn is a connection that is kept open and says nothing.
type quietConn struct{ gone chan struct{} }

func dialQuiet(t *testing.T, addr string) *quietConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	q := &quietConn{gone: make(chan struct{})}
	go func() {
		_, _ = nc.Read(make([]byte, 1))
		close(q.gone)
	}()
	return q
}

func (q *quietConn) closed() bool {
	select {
	case <-q.gone:
		return true
	default:
		return false
	}
}

// holdPull waits for a message that does not come.
func holdPull(t *testing.T, addr string, wait time.Duration) <-chan time.Duration {
	t.Helper()
	newTopicAlone(t, addr, "Silent")
	c, took := newClient(t, 5*time.Second), make(chan time.Duration, 1)
	begun := time.Now()
	go func() {
		_, _ = c.Pull(context.Background(), addr, client.PullRequest{Group: "held", Queue: protocol.MessageQueue{Topic: "Silent", QueueID: 3}, Wait: wait})
		took <- time.Since(begun)
	}()
	return took
}

// newTopicAlone makes a topic with one message in its first queue.
func newTopicAlone(t *testing.T, addr, topic string) {
	t.Helper()
	if status := sendPlain(t, addr, topic, 0, 0, "x"); status != protocol.Success {
		t.Fatalf("send to %s: %s", topic, protocol.StatusName(status))
	}
}

// delayed is a message that was sent with a delay level of 2 s (1) or 4 s (2).
type delayed struct {
	body string
	due  time.Time
}

func sendDelayed(t *testing.T, addr string, level int) *delayed {
	t.Helper()
	d := &delayed{body: fmt.Sprintf("delayed %d %d", level, time.Now().UnixNano()), due: time.Now().Add(time.Duration(2*level) * time.Second)}
	if status := sendPlain(t, addr, "Delayed", 0, level, d.body); status != protocol.Success {
		t.Fatalf("send delayed: %s", protocol.StatusName(status))
	}
	return d
}

// arrives waits for the message, which must not come more than 100 ms early.
func (d *delayed) arrives(t *testing.T, addr string) {
	t.Helper()
	c, ctx := newClient(t, 5*time.Second), context.Background()
	for {
		now := time.Now()
		got, err := c.Pull(ctx, addr, client.PullRequest{Group: "delayed", Queue: protocol.MessageQueue{Topic: "Delayed"}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range got.Messages {
			if !strings.HasPrefix(string(got.Messages[i].Body), d.body) {
				continue
			}
			if early := d.due.Sub(now); early > 100*time.Millisecond {
				t.Errorf("%q came %v early", d.body, early)
			}
			return
		}
		if now.Sub(d.due) > 5*time.Second {
			t.Errorf("%q has not come %v after it was due", d.body, now.Sub(d.due))
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
