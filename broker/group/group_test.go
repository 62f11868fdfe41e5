package group

import (
	"context"
	"errors"
	"net"
	"reflect"
	"testing"
	"time"

	"rmqctl/internal/protocol"
	"rmqctl/internal/vfs"
)

// conn is a connection that only has an identity.
type conn struct{ port int }

func (c *conn) RemoteAddr() net.Addr                { return &net.TCPAddr{Port: c.port} }
func (c *conn) WriteOneway(*protocol.Command) error { return nil }
func (c *conn) Call(context.Context, *protocol.Command) (*protocol.Command, error) {
	return nil, errors.New("no peer")
}

func sub(topic string, version int64) *protocol.SubscriptionData {
	return &protocol.SubscriptionData{Topic: topic, SubString: "*", SubVersion: version}
}

func TestOnlyRealChangesOfAGroupAreChanges(t *testing.T) {
	c := NewConsumers()
	a, b := &conn{1}, &conn{2}
	clustering := About{MessageModel: "CLUSTERING"}
	for _, row := range []struct {
		what string
		conn Conn
		id   string
		subs []*protocol.SubscriptionData
		want bool
	}{
		{"the first member", a, "a", []*protocol.SubscriptionData{sub("T", 1)}, true},
		{"the same heartbeat", a, "a", []*protocol.SubscriptionData{sub("T", 1)}, false},
		{"a newer version of the subscription", a, "a", []*protocol.SubscriptionData{sub("T", 2)}, false},
		{"a second member", b, "b", []*protocol.SubscriptionData{sub("T", 2)}, true},
		{"a second topic", b, "b", []*protocol.SubscriptionData{sub("T", 2), sub("U", 2)}, true},
		{"a topic less", b, "b", []*protocol.SubscriptionData{sub("U", 2)}, true},
		{"another id on the connection", b, "c", []*protocol.SubscriptionData{sub("U", 2)}, true},
	} {
		if got := c.Register("G", Client{Conn: row.conn, ID: row.id}, clustering, row.subs); got != row.want {
			t.Errorf("%s: changed %v", row.what, got)
		}
	}
	if s, _, online := c.Subscription("G", "T"); s != nil || !online {
		t.Errorf("subscription to T: %v online %v", s, online)
	}
	if got := c.Groups("U"); !reflect.DeepEqual(got, []string{"G"}) {
		t.Errorf("groups of U: %v", got)
	}
}

func TestAnOlderSubscriptionDoesNotReplaceANewerOne(t *testing.T) {
	c := NewConsumers()
	c.Register("G", Client{Conn: &conn{1}, ID: "a"}, About{}, []*protocol.SubscriptionData{sub("T", 5)})
	c.Register("G", Client{Conn: &conn{2}, ID: "b"}, About{}, []*protocol.SubscriptionData{sub("T", 4)})
	if s, _, _ := c.Subscription("G", "T"); s.SubVersion != 5 {
		t.Errorf("version %d", s.SubVersion)
	}
}

func TestAClosedConnectionLeavesAllItsGroups(t *testing.T) {
	c := NewConsumers()
	a, b := &conn{1}, &conn{2}
	for _, group := range []string{"G", "H"} {
		c.Register(group, Client{Conn: a, ID: "a"}, About{}, nil)
	}
	c.Register("G", Client{Conn: b, ID: "b"}, About{}, nil)
	if got := c.Disconnected(a); !reflect.DeepEqual(got, []string{"G"}) {
		t.Errorf("to be told: %v", got) // nobody is left in H
	}
	if got := c.Members("H"); got != nil {
		t.Errorf("members of H: %v", got)
	}
	if c.Unregister("G", a) || !c.Unregister("G", b) {
		t.Error("unregister: a is gone, b is not")
	}
}

func TestSilentConnectionsAreFound(t *testing.T) {
	c, p := NewConsumers(), NewProducers()
	a, b := &conn{1}, &conn{2}
	start := time.Unix(1000, 0)
	c.Register("G", Client{Conn: a, ID: "a", Seen: start}, About{}, nil)
	c.Register("G", Client{Conn: b, ID: "b", Seen: start.Add(time.Minute)}, About{}, nil)
	p.Register("P", Client{Conn: a, ID: "a", Seen: start})
	p.Register("Q", Client{Conn: a, ID: "a", Seen: start.Add(time.Minute)})
	limit := start.Add(time.Second)
	if got := c.Silent(limit); !reflect.DeepEqual(got, []Conn{a}) {
		t.Errorf("consumers %v", got)
	}
	if got := p.Silent(limit); len(got) != 0 {
		t.Errorf("producers %v", got)
	}
	p.Disconnected(a)
	if _, ok := p.Find("a"); ok || len(p.All()) != 0 {
		t.Error("a producer outlived its connection")
	}
}

func TestAnOrderLockIsHeldUntilUnlockedOrAMinuteSilent(t *testing.T) {
	l, now := NewLocks(), time.Unix(1000, 0)
	q := []protocol.MessageQueue{{Topic: "T", BrokerName: "b", QueueID: 0}, {Topic: "T", BrokerName: "b", QueueID: 1}}
	grants := func(client string, queues []protocol.MessageQueue, at time.Duration) int {
		return len(l.Lock("G", client, queues, now.Add(at)))
	}
	if n := grants("a", q, 0); n != 2 {
		t.Errorf("a first: %d", n)
	}
	if n := grants("b", q, time.Second); n != 0 {
		t.Errorf("b while a holds: %d", n)
	}
	grants("a", q[:1], 50*time.Second)
	if n := grants("b", q, 61*time.Second); n != 1 {
		t.Errorf("b after a refreshed one only: %d", n)
	}
	l.Unlock("G", "a", q)
	if n := grants("b", q, 62*time.Second); n != 2 {
		t.Errorf("b after a unlocked: %d", n)
	}
}

func TestTheGroupFileIsRocketMQs(t *testing.T) {
	m := vfs.NewMem()
	if err := m.MkdirAll("/c", 0o755); err != nil {
		t.Fatal(err)
	}
	const file = "/c/subscriptionGroup.json"
	const text = "{\n\t\"dataVersion\":{\n\t\t\"counter\":3,\n\t\t\"timestamp\":1700000000000\n\t},\n\t\"subscriptionGroupTable\":{\n\t\t\"G\":{\n" +
		"\t\t\t\"brokerId\":0,\n\t\t\t\"consumeBroadcastEnable\":true,\n\t\t\t\"consumeEnable\":true,\n\t\t\t\"consumeFromMinEnable\":true,\n" +
		"\t\t\t\"groupName\":\"G\",\n\t\t\t\"notifyConsumerIdsChangedEnable\":true,\n\t\t\t\"retryMaxTimes\":16,\n\t\t\t\"retryQueueNums\":1,\n" +
		"\t\t\t\"whichBrokerWhenConsumeSlowly\":1\n\t\t}\n\t}\n}"
	if err := vfs.WriteFileAtomic(m, file, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	var c Configs
	if err := c.Load(m, file); err != nil {
		t.Fatal(err)
	}
	if g, ok := c.Get("G"); !ok || !reflect.DeepEqual(g, New("G")) {
		t.Errorf("loaded %+v", g)
	}
	rows, version := c.All()
	c.Replace(rows, version)
	if err := c.Save(m, file); err != nil {
		t.Fatal(err)
	}
	if b, _ := vfs.ReadFile(m, file); string(b) != text {
		t.Errorf("saved\n%s", b)
	}
}

func TestAGroupIsMadeOnlyWhenAllowed(t *testing.T) {
	var c Configs
	now := time.Unix(1, 0)
	if g, _ := c.Find("G", false, now); g != nil {
		t.Error("made although not allowed")
	}
	if g, isNew := c.Find("G", true, now); g == nil || !isNew || c.Version().Counter != 1 {
		t.Errorf("made %v new %v version %v", g, isNew, c.Version())
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"dataVersion":{"counter":1},"subscriptionGroupTable":{"G":{"groupName":"G"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, v, err := Decode(b)
		if err != nil {
			return
		}
		if _, err := Encode(rows, v); err != nil {
			t.Error(err)
		}
	})
}
