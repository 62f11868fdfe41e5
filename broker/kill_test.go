package broker

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"rmqctl/broker/config"
	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/internal/vfs"
)

// childEnv makes this test's program a broker of the properties in the named file: one that can be killed.
const childEnv = "RMQCTL_TEST_BROKER"

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		runChild(name)
		return
	}
	os.Exit(m.Run())
}

func runChild(name string) {
	text, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	props, err := conf.ParseProperties(strings.NewReader(string(text)), name)
	if err != nil {
		panic(err)
	}
	live, _, err := config.Load(props)
	if err != nil {
		panic(err)
	}
	b, err := New(Options{Config: live, FS: vfs.OS})
	if err != nil {
		panic(err)
	}
	if err := b.Start(context.Background()); err != nil {
		panic(err)
	}
	select {} // until it is killed
}

// A leader is killed right after it said yes: to an operator who made a topic, to a producer whose message made one. The
// next leader has both, and the message.
func TestWhatALeaderSaidYesToOutlivesItsKill(t *testing.T) {
	ns, c, dir := startRealNameServer(t), newClient(t), t.TempDir()
	var addrs, peers [3]string
	for i := range peers {
		peers[i], addrs[i] = fmt.Sprintf("n%d-%s", i, freeAddr(t)), freeAddr(t)
	}
	procs := make([]*exec.Cmd, 3)
	start := func(i int) {
		file := fmt.Sprintf("%s/%d.properties", dir, i)
		text := fmt.Sprintf("brokerName=b\nbrokerClusterName=C\nbindAddress=127.0.0.1\nlistenPort=%s\nnamesrvAddr=%s\nstorePathRootDir=%s/%d\n"+
			"enableDLegerCommitLog=true\ndLegerGroup=g\ndLegerPeers=%s\ndLegerSelfId=n%d\nmappedFileSizeCommitLog=4194304\nmaxHashSlotNum=1000\nmaxIndexNum=4000\n",
			strings.TrimPrefix(addrs[i], "127.0.0.1:"), ns, dir, i, strings.Join(peers[:], ";"), i)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p := exec.Command(os.Args[0])
		p.Env = append(os.Environ(), childEnv+"="+file)
		p.Stderr = os.Stderr
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		procs[i] = p
	}
	kill := func(i int) {
		_ = procs[i].Process.Kill()
		_ = procs[i].Wait()
		procs[i] = nil
	}
	t.Cleanup(func() {
		for i, p := range procs {
			if p != nil {
				kill(i)
			}
		}
	})
	look := func(i int) *protocol.ReplicationState {
		st := &protocol.ReplicationState{}
		_, body, err := remoting.Do(context.Background(), c, addrs[i], protocol.GetReplicationState, nil)
		if err != nil || protocol.DecodeJSON(body, st) != nil {
			return &protocol.ReplicationState{}
		}
		return st
	}
	leader := func() (found int) {
		until(t, "somebody leads", func() bool {
			for i, p := range procs {
				if found = i; p != nil && look(i).Writable {
					return true
				}
			}
			return false
		})
		return found
	}
	for i := range procs {
		start(i)
	}
	for round := range 3 {
		old := leader()
		made, auto := fmt.Sprint("made", round), fmt.Sprint("auto", round)
		_, _, err := remoting.Do(t.Context(), c, addrs[old], protocol.UpdateAndCreateTopic, &protocol.UpdateTopicRequest{
			Topic: made, ReadQueueNums: 5, WriteQueueNums: 5, Perm: 6, TopicFilterType: "SINGLE_TAG",
		})
		if err != nil {
			t.Fatal(err)
		}
		if status, _ := sendTo(t, c, addrs[old], auto, "x"); status != protocol.Success {
			t.Fatalf("round %d: send %d", round, status)
		}
		kill(old)
		killed := time.Now()
		next := leader()
		t.Logf("round %d: n%d killed, n%d takes messages after %v", round, old, next, time.Since(killed))
		for _, name := range []string{made, auto} {
			if _, _, err := remoting.Do(t.Context(), c, addrs[next], protocol.GetTopicConfig, &protocol.GetTopicConfigRequest{Topic: name}); err != nil {
				t.Errorf("round %d: %s: %v", round, name, err)
			}
		}
		if got := bodies(t, c, addrs[next], auto); got != "x" {
			t.Errorf("round %d: the message: %q", round, got)
		}
		start(old)
		until(t, "the killed one is level again", func() bool {
			for _, m := range look(next).Members {
				if !m.InSync || m.LagBytes > 0 {
					return false
				}
			}
			return look(next).Leader != ""
		})
	}
}
