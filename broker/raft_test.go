package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// raftSet is a raft group of brokers in this process.
type raftSet struct {
	t     *testing.T // of the story that is told
	dir   string     // outlives the stories
	ns    string
	c     *remoting.Client
	peers string
	dirs  []string
	b     []*Broker // nil: stopped
	more  []conf.Prop
}

// freeAddr is an address nobody listens on at the moment, nor two below it, and that the system gives to no connection
// of its own accord: it can be opened again.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		free := true
		for _, p := range []int{port, port - 2} {
			ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", p))
			if err == nil {
				_ = ln.Close()
			}
			free = free && err == nil
		}
		if free {
			return fmt.Sprint("127.0.0.1:", port)
		}
	}
	t.Fatal("no free port")
	return ""
}

func startRaft(t *testing.T, more ...conf.Prop) *raftSet {
	t.Helper()
	s := &raftSet{t: t, dir: t.TempDir(), ns: startRealNameServer(t), c: newClient(t), b: make([]*Broker, 3), more: more}
	for i := range s.b {
		s.peers += fmt.Sprintf("n%d-%s;", i, freeAddr(t))
		s.dirs = append(s.dirs, fmt.Sprint(s.dir, "/", i))
	}
	for i := range s.b {
		s.start(i)
	}
	t.Cleanup(func() {
		for _, b := range s.b {
			if b != nil {
				_ = b.Close()
			}
		}
	})
	s.leader()
	return s
}

func (s *raftSet) start(i int) {
	s.t.Helper()
	settings := append([]conf.Prop{
		prop("namesrvAddr", s.ns), prop("enableDLegerCommitLog", "true"), prop("dLegerGroup", "g"), prop("dLegerPeers", s.peers),
		prop("dLegerSelfId", fmt.Sprintf("n%d", i)),
	}, s.more...)
	b, err := startBroker(s.t, s.dirs[i], nil, settings...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.b[i] = b
}

func (s *raftSet) stop(i int) {
	s.t.Helper()
	if err := s.b[i].Close(); err != nil {
		s.t.Error(err)
	}
	s.b[i] = nil
}

// leader waits until one of them takes messages.
func (s *raftSet) leader() int {
	s.t.Helper()
	leader := -1
	until(s.t, "somebody leads", func() bool {
		for i, b := range s.b {
			if b != nil && b.role.Takes() {
				leader = i
				return true
			}
		}
		return false
	})
	return leader
}

// send sends to whomever, until the message is acknowledged.
func (s *raftSet) send(body string) {
	s.t.Helper()
	until(s.t, body+" is acknowledged", func() bool {
		status, _ := sendTo(s.t, s.c, s.b[s.leader()].Addr(), "T", body)
		return status == protocol.Success
	})
}

func (s *raftSet) everywhere(want string) {
	s.t.Helper()
	for i, b := range s.b {
		if b != nil {
			until(s.t, fmt.Sprintf("n%d has %q", i, want), func() bool { return bodies(s.t, s.c, b.Addr(), "T") == want })
		}
	}
}

func TestARaftGroup(t *testing.T) {
	s := startRaft(t)
	for _, story := range []struct {
		name string
		tell func(*testing.T, *raftSet)
	}{
		{"elects, replicates and goes on", electsAndGoesOn},
		{"topics and groups outlive their leader", topicsOutliveTheirLeader},
		{"leadership is transferred without a refused send", transferred},
		{"consumer offsets follow the leadership", offsetsFollow},
		{"tables are made again from the log", tablesFromTheLog},
		{"a member is added and another removed", membersChange},
	} {
		t.Run(story.name, func(t *testing.T) {
			s.t = t
			story.tell(t, s)
		})
	}
}

func electsAndGoesOn(t *testing.T, s *raftSet) {
	s.send("one")
	first := s.leader()
	st := state(t, s.c, s.b[first].Addr())
	if st.Mode != protocol.ModeRaft || st.Role != protocol.RoleLeader || !st.Writable || st.Leader != fmt.Sprintf("n%d", first) || len(st.Members) != 3 || st.LeaderAddr != s.b[first].Addr() {
		t.Errorf("%+v", st)
	}
	s.everywhere("one")
	until(t, "the route has the leader as master and the others as slaves", func() bool {
		a := addrs(t, s.c, s.ns)
		ok := len(a) == 3 && a[0] == s.b[first].Addr()
		for i, b := range s.b {
			ok = ok && (i == first || a[int64(i)+1] == b.Addr())
		}
		return ok
	})
	follower := (first + 1) % 3
	if status, _ := sendTo(t, s.c, s.b[follower].Addr(), "T", "two"); status != protocol.Success {
		t.Errorf("a follower did not hand a message on: %d", status)
	}
	if st := state(t, s.c, s.b[follower].Addr()); st.Role != protocol.RoleFollower || st.Writable || st.LeaderAddr != s.b[first].Addr() {
		t.Errorf("%+v", st)
	}

	s.stop(first) // hands over
	s.send("three")
	second := s.leader()
	if second == first {
		t.Fatal("a stopped broker leads")
	}
	s.start(first)
	s.everywhere("one two three")
	until(t, "everybody is in the route", func() bool {
		a := addrs(t, s.c, s.ns)
		return len(a) == 3 && a[0] == s.b[second].Addr()
	})
}

func topicsOutliveTheirLeader(t *testing.T, s *raftSet) {
	leader := s.leader()
	at := s.b[leader].Addr()
	_, _, err := remoting.Do(t.Context(), s.c, at, protocol.UpdateAndCreateTopic, &protocol.UpdateTopicRequest{Topic: "made", ReadQueueNums: 5, WriteQueueNums: 5, Perm: 6, TopicFilterType: "SINGLE_TAG"})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = remoting.Do(t.Context(), s.c, at, protocol.UpdateAndCreateTopic, &protocol.UpdateTopicRequest{Topic: "deleted", ReadQueueNums: 5, WriteQueueNums: 5, Perm: 6, TopicFilterType: "SINGLE_TAG"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := remoting.Do(t.Context(), s.c, at, protocol.DeleteTopicInBroker, &protocol.TopicRequest{Topic: "deleted"}); err != nil {
		t.Fatal(err)
	}
	cmd := protocol.UpdateAndCreateSubscriptionGroup.Request(nil, []byte(`{"groupName":"G7","consumeEnable":true,"retryMaxTimes":3,"retryQueueNums":2}`))
	if resp, err := s.c.Invoke(t.Context(), at, cmd); err != nil || resp.Code != protocol.Success {
		t.Fatal(resp, err)
	}
	status, _ := sendTo(t, s.c, at, "auto", "x") // makes it by itself
	if status != protocol.Success {
		t.Fatal(status)
	}
	for i, b := range s.b {
		until(t, fmt.Sprintf("n%d has them by the log", i), func() bool {
			c, ok := b.topics.Get("made")
			g, has := b.groups.Get("G7")
			_, still := b.topics.Get("deleted")
			made, auto := b.topics.Get("auto")
			return ok && c.ReadQueueNums == 5 && has && g.RetryMaxTimes == 3 && !still && auto && made.WriteQueueNums == 1
		})
	}
	follower := s.b[(leader+1)%3]
	_, _, err = remoting.Do(t.Context(), s.c, follower.Addr(), protocol.UpdateAndCreateTopic, &protocol.UpdateTopicRequest{Topic: "no", ReadQueueNums: 1, WriteQueueNums: 1, Perm: 6})
	if err == nil || !strings.Contains(err.Error(), "Can't modify topic") {
		t.Errorf("a follower made a topic: %v", err)
	}
	s.stop(leader)
	next := s.leader()
	if c, ok := s.b[next].topics.Get("made"); !ok || c.ReadQueueNums != 5 {
		t.Errorf("the next leader has %+v", c)
	}
	if _, ok := s.b[next].topics.Get(changesTopic); ok {
		t.Error("the group's changes are a topic")
	}
	s.start(leader)
}

func transferred(t *testing.T, s *raftSet) {
	s.send("one")
	stale := s.b[s.leader()].Addr() // a producer that does not look for routes
	stop, done := make(chan struct{}), make(chan []string)
	go func() {
		c := remoting.NewClient(remoting.ClientOptions{})
		defer c.Close()
		var failed []string
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- failed
				return
			default:
			}
			_, _, err := remoting.Do(context.Background(), c, stale, protocol.SendMessageV2, &protocol.SendMessageRequestV2{
				ProducerGroup: "P", Topic: "T", DefaultTopic: "TBW102", DefaultTopicQueueNums: 1, BornTimestamp: 1,
			}, []byte(fmt.Sprint(i)))
			if err != nil {
				failed = append(failed, err.Error())
			}
		}
	}()
	for range 3 {
		from := s.leader()
		to := fmt.Sprintf("n%d", (from+1)%3)
		if _, _, err := remoting.Do(t.Context(), s.c, s.b[from].Addr(), protocol.TransferLeadership, &protocol.TransferLeadershipRequest{To: to}); err != nil {
			t.Fatal(err)
		}
		until(t, to+" leads", func() bool { return s.b[(from+1)%3].role.Takes() })
		time.Sleep(100 * time.Millisecond)
	}
	old := s.b[(s.leader()+2)%3]
	commit(t, s.c, old.Addr(), "T", "late", 1) // by a consumer that has not looked for routes yet
	until(t, "the leader is told", func() bool { return committed(s.c, s.b[s.leader()].Addr(), "T", "late") == 1 })
	close(stop)
	if failed := <-done; len(failed) > 0 {
		t.Errorf("%d sends failed, the first: %s", len(failed), failed[0])
	}
	if _, _, err := remoting.Do(t.Context(), s.c, s.b[s.leader()].Addr(), protocol.TransferLeadership, &protocol.TransferLeadershipRequest{To: "n9"}); err == nil {
		t.Error("transferred to nobody")
	}
}

func offsetsFollow(t *testing.T, s *raftSet) {
	s.send("one")
	s.send("two")
	leader := s.leader()
	commit(t, s.c, s.b[leader].Addr(), "T", "G", 2)
	s.stop(leader)
	next := s.leader()
	if n := committed(s.c, s.b[next].Addr(), "T", "G"); n != 2 {
		t.Errorf("the next leader has the offset %d, committed right before the handover", n)
	}
	commit(t, s.c, s.b[next].Addr(), "T", "G", 1) // an operator sets it back
	s.start(leader)
	until(t, "the returned member follows that", func() bool { return committed(s.c, s.b[leader].Addr(), "T", "G") == 1 })
}

func tablesFromTheLog(t *testing.T, s *raftSet) {
	for i := range s.b {
		s.stop(i)
		if err := os.RemoveAll(s.dirs[i] + "/store/config"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range s.b {
		s.start(i)
	}
	b := s.b[s.leader()]
	c, ok := b.topics.Get("made")
	g, has := b.groups.Get("G7")
	if _, still := b.topics.Get("deleted"); !ok || c.ReadQueueNums != 5 || !has || g.RetryMaxTimes != 3 || still {
		t.Errorf("topic %+v, group %+v, the deleted one is there: %v", c, g, still)
	}
	if got := bodies(t, s.c, b.Addr(), "auto"); got != "x" {
		t.Errorf("the topic that made itself has %q", got)
	}
}

func membersChange(t *testing.T, s *raftSet) {
	addr := freeAddr(t)
	s.peers += "n3-" + addr
	s.more = append(s.more, prop("raftJoin", "true"))
	s.dirs = append(s.dirs, s.dir+"/3")
	s.b = append(s.b, nil)
	s.start(3)
	joined := s.b[3]
	change := func(op, id, addr string) error {
		_, _, err := remoting.Do(t.Context(), s.c, s.b[s.leader()].Addr(), protocol.ChangeRaftMember, &protocol.ChangeRaftMemberRequest{Op: op, ID: id, Address: addr})
		return err
	}
	for what, err := range map[string]error{"an id": change("add", "x3", addr), "an address": change("add", "n3", "nowhere"), "an op": change("swap", "n3", addr)} {
		if err == nil {
			t.Errorf("%s that is none was taken", what)
		}
	}
	if err := change(protocol.MemberAdd, "n3", addr); err != nil {
		t.Fatal(err)
	}
	until(t, "the new one votes and is level", func() bool {
		for _, m := range state(t, s.c, s.b[s.leader()].Addr()).Members {
			if m.ID == "n3" {
				return m.Voter && m.LagBytes == 0 && m.InSync
			}
		}
		return false
	})
	want := bodies(t, s.c, s.b[s.leader()].Addr(), "auto")
	until(t, "it serves what was sent before", func() bool { return bodies(t, s.c, joined.Addr(), "auto") == want && want != "" })
	gone := s.leader() // it hands over, and is taken out by the next one
	s.stop(gone)
	if err := change(protocol.MemberRemove, fmt.Sprintf("n%d", gone), ""); err != nil {
		t.Fatal(err)
	}
	if n := len(state(t, s.c, s.b[s.leader()].Addr()).Members); n != 3 {
		t.Errorf("%d members", n)
	}
	s.send("after the change")
}
