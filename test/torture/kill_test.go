package torture

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"rmqctl/internal/checker"
	bulk "rmqctl/internal/load"
	"rmqctl/internal/protocol"
	"rmqctl/test/peers"
)

const (
	producers    = 8
	offsetsSaved = 200 * time.Millisecond // flushConsumerOffsetInterval of the killed brokers: shorter than the shortest life
)

var kills = flag.Int("kills", 12, "kills in each flush mode")

// TestNothingIsLostByKill kills the real program with SIGKILL again and again under eight producers, readers and a group that
// commits; one kill of four comes while it recovers from the one before.
func TestNothingIsLostByKill(t *testing.T) {
	for _, mode := range []string{"ASYNC_FLUSH", "SYNC_FLUSH"} {
		t.Run(mode, func(t *testing.T) { killLoop(t, mode, *kills) })
	}
}

func killLoop(t *testing.T, mode string, kills int) {
	ns := peers.StartNamesrv(t, peers.Ours)
	b := peers.StartBroker(t, peers.Ours, ns.Addr, map[string]string{
		"flushDiskType": mode, "flushConsumerOffsetInterval": fmt.Sprint(offsetsSaved.Milliseconds()), "mappedFileSizeConsumeQueue": "20000",
	})
	rec := checker.New()
	l := (&load{rec: rec, addr: b.Addr, topic: "Torture", pause: time.Millisecond}).run(producers)
	plain := (&readers{t: t, rec: rec, addr: b.Addr, topic: "Torture"}).run()
	group := (&readers{t: t, rec: rec, addr: b.Addr, topic: "Torture", group: "torture-group", saved: 2*offsetsSaved + 2*time.Second}).run()

	var ready []time.Duration
	for n := range kills {
		before := l.acks.Load()
		time.Sleep(500*time.Millisecond + rand.N(1200*time.Millisecond))
		if l.acks.Load() == before {
			t.Fatalf("nothing was acknowledged before kill %d", n)
		}
		b.Kill()
		if n%4 == 3 {
			b.Launch()
			time.Sleep(rand.N(150 * time.Millisecond))
			b.Kill()
		}
		begun := time.Now()
		b.Start()
		ready = append(ready, time.Since(begun))
	}
	time.Sleep(time.Second)
	l.end()
	group.end()
	plain.end()
	b.Kill()
	b.Start()
	drain(t, rec, b.Addr, "Torture")
	rep := verdict(t, rec, checker.Rules{Replicas: []string{replica}, OffsetsMayGoBack: true})
	findByKey(t, b.Addr, "Torture", rec.SomeAcked(400))
	b.Stop()

	size := storeSize(t, b.Store)
	mean, most := spread(l.outages)
	readyMean, readyMost := spread(ready)
	table(t, []row{
		{"flush", mode},
		{"kills", kills + kills/4 + 1},
		{"sent, acknowledged, unknown", fmt.Sprint(rep.Sent, rep.Acked, rep.Unknown)},
		{"lost", rep.Count(checker.Lost)},
		{"duplicated by the broker", rep.Count(checker.Duplicated)},
		{"outage seen by a producer, mean", mean},
		{"outage seen by a producer, longest", most},
		{"program started to ready, mean", readyMean},
		{"program started to ready, longest", readyMost},
		{"store, MiB", size >> 20},
	})
	if len(l.outages) < kills {
		t.Errorf("%d outages were seen by producers in %d kills: the kills did not hurt", len(l.outages), kills)
	}
	if mean > 2*time.Second {
		t.Errorf("producers saw an outage of %v on average, promised are 2 s", mean)
	}
	soonEnough(t, readyMean, readyMean, size)
}

// soonEnough: promised are 1 s, and 1 s more for each 10 GiB. Twice that fails the test if the program has worked as long: on a
// busy machine it waits for its turn.
func soonEnough(t *testing.T, ready, worked time.Duration, size int64) {
	t.Helper()
	promised := time.Second + time.Duration(float64(size)/(10<<30)*float64(time.Second))
	if min(ready, worked) > 2*promised {
		t.Errorf("ready %v after its start, of which it worked %v; promised are %v", ready, worked, promised)
	}
}

// worked is the processor time that a process has taken.
func worked(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0 // not Linux: nobody knows
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		t.Fatalf("/proc/%d/stat says %q", pid, b)
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// TestALargeStoreIsReadySoonAfterAKill kills a broker right after a gigabyte has been written to it, most of which its recovery
// has to read again.
func TestALargeStoreIsReadySoonAfterAKill(t *testing.T) {
	const messages, size = 1_000_000, 1024
	ns := peers.StartNamesrv(t, peers.Ours)
	b := peers.StartBroker(t, peers.Ours, ns.Addr, map[string]string{"mappedFileSizeCommitLog": "1073741824", "mappedFileSizeConsumeQueue": "6000000", "messageIndexEnable": "true"})
	newTopicAlone(t, b.Addr, "Large")
	_, _, err := bulk.Produce(context.Background(), bulk.Options{
		Targets: []bulk.Target{{Addr: b.Addr, Queues: topicQueues}}, Topics: []string{"Large"}, Size: size, Connections: 8, InFlight: 32, Count: messages, Duration: 2 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Kill()
	begun := time.Now()
	b.Start()
	ready, cpu := time.Since(begun), worked(t, b.Pid())
	newTopicAlone(t, b.Addr, "Large")
	first := time.Since(begun)
	stored := int64(-2) // one before and one after the kill
	for q := range int32(topicQueues) {
		end, err := newClient(t, 5*time.Second).MaxOffset(context.Background(), b.Addr, protocol.MessageQueue{Topic: "Large", QueueID: q})
		if err != nil {
			t.Fatal(err)
		}
		stored += end
	}
	if stored != messages {
		t.Errorf("%d messages of %d are there", stored, messages)
	}
	b.Stop()
	table(t, []row{{"messages, MiB of bodies", fmt.Sprint(messages, " ", messages*size>>20)}, {"program started to ready", ready}, {"of which it worked", cpu}, {"program started to first acknowledgement", first}})
	soonEnough(t, ready, cpu, messages*size)
}

type row struct {
	what string
	is   any
}

func table(t *testing.T, rows []row) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		if d, ok := r.is.(time.Duration); ok {
			r.is = d.Round(time.Millisecond)
		}
		fmt.Fprintf(w, "  %s\t%v\n", r.what, r.is)
	}
	w.Flush()
	t.Logf("\n%s", b.String())
}

func storeSize(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
