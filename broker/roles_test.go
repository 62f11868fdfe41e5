package broker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/namesrv"
	nsconfig "rmqctl/namesrv/config"
)

// startRealNameServer is a name server as it is deployed.
func startRealNameServer(t *testing.T) string {
	t.Helper()
	live, _, err := nsconfig.Load(nsconfig.Surroundings(t.TempDir(), ""), []conf.Prop{prop("bindAddress", "127.0.0.1"), prop("listenPort", "0")})
	if err != nil {
		t.Fatal(err)
	}
	s, err := namesrv.New(namesrv.Options{Config: live})
	if err == nil {
		err = s.Start(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s.Addr()
}

// addrs is the group "b" as the name server has it.
func addrs(t *testing.T, c *remoting.Client, ns string) map[int64]string {
	t.Helper()
	_, body, err := remoting.Do(t.Context(), c, ns, protocol.GetBrokerCluster, nil)
	var info protocol.ClusterInfo
	if err != nil || protocol.DecodeJSON(body, &info) != nil {
		t.Fatal(err)
	}
	if d := info.BrokerAddrTable["b"]; d != nil {
		return d.BrokerAddrs
	}
	return nil
}

func state(t *testing.T, c *remoting.Client, addr string) *protocol.ReplicationState {
	t.Helper()
	st := &protocol.ReplicationState{}
	_, body, err := remoting.Do(t.Context(), c, addr, protocol.GetReplicationState, nil)
	if err != nil || protocol.DecodeJSON(body, st) != nil {
		t.Fatal(err)
	}
	return st
}

func changeRole(c *remoting.Client, addr string, q protocol.ChangeBrokerRoleRequest) error {
	_, _, err := remoting.Do(context.Background(), c, addr, protocol.ChangeBrokerRole, &q)
	return err
}

// bodies is the whole queue 0 of a topic.
func bodies(t *testing.T, c *remoting.Client, addr, topic string) string {
	t.Helper()
	_, _, body := pull(c, addr, topic, 0)
	text, ok := printMessages(body)
	if !ok {
		t.Fatalf("%q", body)
	}
	var out []string
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if _, rest, ok := strings.Cut(line, `"`); ok {
			out = append(out, rest[:strings.IndexByte(rest, '"')])
		}
	}
	return strings.Join(out, " ")
}

type pair struct {
	ns                  string
	c                   *remoting.Client
	masterDir, slaveDir string
	master, slave       *Broker
	asMaster, asSlave   []conf.Prop
}

func startPair(t *testing.T, more ...conf.Prop) *pair {
	p := &pair{ns: startRealNameServer(t), c: newClient(t), masterDir: t.TempDir(), slaveDir: t.TempDir()}
	p.asMaster = append([]conf.Prop{prop("namesrvAddr", p.ns), prop("brokerRole", "SYNC_MASTER")}, more...)
	p.asSlave = append([]conf.Prop{prop("namesrvAddr", p.ns), prop("brokerRole", "SLAVE"), prop("brokerId", "1")}, more...)
	p.slave = mustStart(t, p.slaveDir, p.asSlave...) // it asks again until there is a master
	p.master = mustStart(t, p.masterDir, p.asMaster...)
	p.send(t, p.master, "one")
	return p
}

// send sends until the message is where it has to be.
func (p *pair) send(t *testing.T, b *Broker, body string) {
	t.Helper()
	sent := false
	until(t, body+" is stored and copied", func() bool {
		if !sent {
			status, _ := sendTo(t, p.c, b.Addr(), "T", body)
			sent = status == protocol.Success || status == protocol.SlaveNotAvailable || status == protocol.FlushSlaveTimeout
		}
		m := b.master.Load()
		if !sent || m == nil {
			return false
		}
		for _, s := range m.Status().Slaves {
			if s.Ack >= b.store.MaxPhysical() {
				return true
			}
		}
		return false
	})
}

func TestASlaveIsPromotedAndTheOldMasterFollowsWithoutARestart(t *testing.T) {
	p := startPair(t)
	commit(t, p.c, p.master.Addr(), "T", "G", 1)
	if err := changeRole(p.c, p.slave.Addr(), protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster}); err == nil || !strings.Contains(err.Error(), "still takes messages: fence it first") {
		t.Fatalf("promoted beside a master: %v", err)
	}
	if err := changeRole(p.c, p.master.Addr(), protocol.ChangeBrokerRoleRequest{Role: protocol.RoleFenced}); err != nil {
		t.Fatal(err)
	}
	if status, _ := sendTo(t, p.c, p.master.Addr(), "T", "refused"); status != protocol.ServiceNotAvailable {
		t.Errorf("a send to a fenced master: %d", status)
	}
	if st := state(t, p.c, p.master.Addr()); st.Role != protocol.RoleFenced || st.Writable || st.Why == "" {
		t.Errorf("%+v", st)
	}
	until(t, "the slave is promoted", func() bool {
		err := changeRole(p.c, p.slave.Addr(), protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster, Sync: true})
		if err != nil && !strings.Contains(err.Error(), "does not have yet") {
			t.Fatal(err)
		}
		return err == nil
	})
	if st := state(t, p.c, p.slave.Addr()); st.Role != protocol.RoleMaster || st.Epoch != 2 || !st.Writable || !st.SyncMaster {
		t.Errorf("%+v", st)
	}
	if n := committed(p.c, p.slave.Addr(), "T", "G"); n != 1 {
		t.Errorf("the new master has the offset %d", n)
	}
	if err := changeRole(p.c, p.master.Addr(), protocol.ChangeBrokerRoleRequest{Role: protocol.RoleSlave, Epoch: 2, MasterAddr: p.slave.Addr(), MasterHAAddr: p.slave.HAAddr()}); err != nil {
		t.Fatal(err)
	}
	p.send(t, p.slave, "two")
	until(t, "the route has both", func() bool {
		a := addrs(t, p.c, p.ns)
		return len(a) == 2 && a[0] == p.slave.Addr() && a[1] == p.master.Addr()
	})
	until(t, "the old master serves the new one's messages", func() bool { return bodies(t, p.c, p.master.Addr(), "T") == "one two" })

	// Both come back with their new roles, whatever their files say.
	for _, b := range []*Broker{p.master, p.slave} {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p.slave = mustStart(t, p.slaveDir, p.asSlave...)
	p.master = mustStart(t, p.masterDir, p.asMaster...)
	if a, b := state(t, p.c, p.slave.Addr()), state(t, p.c, p.master.Addr()); a.Role != protocol.RoleMaster || a.Epoch != 2 || b.Role != protocol.RoleSlave {
		t.Fatalf("after a restart: %+v and %+v", a, b)
	}
	p.send(t, p.slave, "three")

	// And back again.
	if err := changeRole(p.c, p.slave.Addr(), protocol.ChangeBrokerRoleRequest{Role: protocol.RoleFenced}); err != nil {
		t.Fatal(err)
	}
	until(t, "the first master is promoted", func() bool {
		return changeRole(p.c, p.master.Addr(), protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster}) == nil
	})
	until(t, "the second one hears of it by itself", func() bool { return state(t, p.c, p.slave.Addr()).Role == protocol.RoleSlave })
	p.send(t, p.master, "four")
	until(t, "all is everywhere", func() bool {
		return bodies(t, p.c, p.master.Addr(), "T") == "one two three four" && bodies(t, p.c, p.slave.Addr(), "T") == "one two three four"
	})
	if a := addrs(t, p.c, p.ns); a[0] != p.master.Addr() || a[1] != p.slave.Addr() || len(a) != 2 {
		t.Errorf("route %v", a)
	}
}

func TestAMasterThatReturnsAfterAPromotionTakesNoMessage(t *testing.T) {
	p := startPair(t)
	old := p.master
	if err := p.slave.slave.Load().Close(); err != nil { // the last message does not reach it
		t.Fatal(err)
	}
	if status, _ := sendTo(t, p.c, old.Addr(), "T", "lost"); status == protocol.Success {
		t.Fatal("acknowledged without a slave")
	}
	killed := t.TempDir()
	if err := os.CopyFS(killed, os.DirFS(p.masterDir)); err != nil { // as kill -9 leaves it
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	if err := changeRole(p.c, p.slave.Addr(), protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster}); err == nil || !strings.Contains(err.Error(), "force it") {
		t.Errorf("promoted although nobody knows of the master: %v", err)
	}
	if err := changeRole(p.c, p.slave.Addr(), protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster, Force: true}); err != nil {
		t.Fatal(err)
	}
	if status, _ := sendTo(t, p.c, p.slave.Addr(), "T", "two"); status != protocol.Success && status != protocol.SlaveNotAvailable {
		t.Fatalf("send to the promoted: %d", status)
	}
	p.master = mustStart(t, killed, p.asMaster...)
	if status, _ := sendTo(t, p.c, p.master.Addr(), "T", "by the old route"); status != protocol.Success && status != protocol.SlaveNotAvailable {
		t.Errorf("the returned master does not hand a message on: %d", status)
	}
	if got := bodies(t, p.c, p.slave.Addr(), "T"); got != "one two by the old route" {
		t.Errorf("the promoted one has %q", got)
	}
	until(t, "it has the promoted one's log", func() bool { return bodies(t, p.c, p.master.Addr(), "T") == "one two by the old route" })
	kept, _ := filepath.Glob(killed + "/store/lost+found/*")
	found := false
	for _, name := range kept {
		text, err := os.ReadFile(name)
		found = found || err == nil && strings.Contains(string(text), "lost")
	}
	if !found {
		t.Errorf("its own tail is not kept: %q", kept)
	}
	p.send(t, p.slave, "three")
	if a := addrs(t, p.c, p.ns); a[0] != p.slave.Addr() {
		t.Errorf("route %v", a)
	}
}

func TestARoleIsNotChangedBackwards(t *testing.T) {
	b, c := mustStart(t, t.TempDir()), newClient(t)
	for _, tt := range []struct {
		q    protocol.ChangeBrokerRoleRequest
		want string
	}{
		{protocol.ChangeBrokerRoleRequest{Role: "boss"}, `role "boss": want master, slave or fenced`},
		{protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster, Epoch: 5}, "master already, with epoch 1"},
		{protocol.ChangeBrokerRoleRequest{Role: protocol.RoleSlave, MasterAddr: b.Addr()}, "its own slave"},
		{protocol.ChangeBrokerRoleRequest{Role: protocol.RoleFenced, Epoch: 7}, ""},
		{protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster, Epoch: 6}, "epoch 6 is older than this broker's 7"},
		{protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster}, ""},
		{protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster}, ""},
	} {
		if err := changeRole(c, b.Addr(), tt.q); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt.q, err)
		}
	}
	if st := state(t, c, b.Addr()); st.Epoch != 8 || st.Role != protocol.RoleMaster {
		t.Errorf("%+v", st)
	}
	if status, _ := sendTo(t, c, b.Addr(), "T", "x"); status != protocol.Success {
		t.Errorf("a master again, and a send: %d", status)
	}
	for what, err := range map[string]error{
		"transfer": func() error {
			_, _, err := remoting.Do(t.Context(), c, b.Addr(), protocol.TransferLeadership, &protocol.TransferLeadershipRequest{})
			return err
		}(),
		"member": func() error {
			_, _, err := remoting.Do(t.Context(), c, b.Addr(), protocol.ChangeRaftMember, &protocol.ChangeRaftMemberRequest{Op: protocol.MemberAdd, ID: "n3", Address: "127.0.0.1:1"})
			return err
		}(),
	} {
		if err == nil || !strings.Contains(err.Error(), "no member of a raft group") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Nothing that a fenced master has acknowledged is missing at the promoted one, however busy producers are.
func TestWhatIsAcknowledgedBeforeTheFenceIsPromoted(t *testing.T) {
	p := startPair(t)
	type sent struct {
		body string
		ok   bool
	}
	results := make(chan []sent)
	stop := make(chan struct{})
	for g := range 4 {
		go func() {
			c := remoting.NewClient(remoting.ClientOptions{})
			defer c.Close()
			var all []sent
			for i := 0; ; i++ {
				select {
				case <-stop:
					results <- all
					return
				default:
				}
				body := fmt.Sprintf("g%d-%d", g, i)
				_, _, err := remoting.Do(context.Background(), c, p.master.Addr(), protocol.SendMessageV2, &protocol.SendMessageRequestV2{
					ProducerGroup: "P", Topic: "T", DefaultTopic: "TBW102", DefaultTopicQueueNums: 1, BornTimestamp: 1,
				}, []byte(body))
				all = append(all, sent{body, err == nil})
			}
		}()
	}
	time.Sleep(200 * time.Millisecond)
	if err := changeRole(p.c, p.master.Addr(), protocol.ChangeBrokerRoleRequest{Role: protocol.RoleFenced}); err != nil {
		t.Fatal(err)
	}
	end := state(t, p.c, p.master.Addr()).End
	time.Sleep(100 * time.Millisecond) // producers go on sending
	if now := state(t, p.c, p.master.Addr()).End; now != end {
		t.Errorf("the fenced master's log grew from %d to %d", end, now)
	}
	until(t, "the slave is promoted", func() bool {
		return changeRole(p.c, p.slave.Addr(), protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster}) == nil
	})
	close(stop)
	acknowledged := map[string]bool{}
	for range 4 {
		for _, s := range <-results {
			if s.ok {
				acknowledged[s.body] = true
			}
		}
	}
	for at := int64(0); ; {
		status, resp, body := pull(p.c, p.slave.Addr(), "T", at)
		if status != protocol.Success {
			break
		}
		text, _ := printMessages(body)
		for _, line := range strings.Split(text, "\n") {
			if _, rest, ok := strings.Cut(line, `"`); ok {
				delete(acknowledged, rest[:strings.IndexByte(rest, '"')])
			}
		}
		at = resp.NextBeginOffset
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d acknowledged messages are not at the promoted master", len(acknowledged))
	}
}

func TestFewerReplicasThanTheMinimumStoreNothing(t *testing.T) {
	p := startPair(t, prop("minInSyncReplicas", "2"))
	before := p.master.store.MaxPhysical()
	if err := p.slave.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the master has seen that its slave is gone", func() bool {
		before = p.master.store.MaxPhysical()
		_, _, err := remoting.Do(t.Context(), p.c, p.master.Addr(), protocol.SendMessageV2, &protocol.SendMessageRequestV2{
			ProducerGroup: "P", Topic: "T", DefaultTopic: "TBW102", DefaultTopicQueueNums: 1, BornTimestamp: 1,
		}, []byte("x"))
		return protocol.StatusOf(err) == protocol.SystemError && strings.Contains(err.Error(), "in-sync replicas not enough")
	})
	if end := p.master.store.MaxPhysical(); end != before {
		t.Errorf("a refused message is stored: %d, before %d", end, before)
	}
	// The rule is lifted while the master runs: it is stored, and said that no slave has it.
	if resp, err := p.c.Invoke(t.Context(), p.master.Addr(), protocol.UpdateBrokerConfig.Request(nil, []byte("minInSyncReplicas=1"))); err != nil || resp.Code != protocol.Success {
		t.Fatal(resp, err)
	}
	if status, _ := sendTo(t, p.c, p.master.Addr(), "T", "alone"); status != protocol.SlaveNotAvailable {
		t.Errorf("status %d", status)
	}
	if resp, err := p.c.Invoke(t.Context(), p.master.Addr(), protocol.UpdateBrokerConfig.Request(nil, []byte("inSyncReplicas=1"))); err != nil || resp.Code != protocol.Success {
		t.Fatal(resp, err)
	}
	if status, _ := sendTo(t, p.c, p.master.Addr(), "T", "nobody is waited for, as in 5.x"); status != protocol.Success {
		t.Errorf("status %d", status)
	}
}

func TestAConsumerIsSentToTheSlaveAndBack(t *testing.T) {
	p := startPair(t, prop("accessMessageInMemoryMaxRatio", "0")) // whoever is behind at all is far behind
	for i := range 40 {
		p.send(t, p.master, fmt.Sprint(i))
	}
	if _, resp, _ := pull(p.c, p.master.Addr(), "T", 0); resp.SuggestWhichBrokerID != 1 {
		t.Errorf("a master sends one who lags to %d", resp.SuggestWhichBrokerID)
	}
	end := p.master.store.MaxOffset("T", 0)
	if _, resp, _ := pull(p.c, p.slave.Addr(), "T", end-1); resp.SuggestWhichBrokerID != 0 {
		t.Errorf("a slave sends one who is level to %d", resp.SuggestWhichBrokerID)
	}
}

// Three brokers exchange their roles until somebody's own id is another's.
func TestEveryBrokerOfAGroupHasAnIDOfItsOwn(t *testing.T) {
	p := startPair(t)
	third := mustStart(t, t.TempDir(), append(p.asSlave[:len(p.asSlave):len(p.asSlave)], prop("brokerId", "2"))...)
	all := []*Broker{p.master, p.slave, third}
	for _, next := range []int{1, 2, 0, 2} {
		for _, b := range all {
			if b.role.Takes() {
				if err := changeRole(p.c, b.Addr(), protocol.ChangeBrokerRoleRequest{Role: protocol.RoleFenced}); err != nil {
					t.Fatal(err)
				}
			}
		}
		until(t, "the next is promoted", func() bool {
			return changeRole(p.c, all[next].Addr(), protocol.ChangeBrokerRoleRequest{Role: protocol.RoleMaster}) == nil
		})
		until(t, "all three have a place", func() bool {
			a := addrs(t, p.c, p.ns)
			return len(a) == 3 && a[0] == all[next].Addr() && a[1] != a[2] && all[next].master.Load() != nil && len(all[next].master.Load().Status().Slaves) == 2
		})
	}
}
