// The replication stream alone, with a Java broker at the other end and a log in memory at ours: byte for byte.

package compat

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"rmqctl/broker/ha"
	"rmqctl/broker/ha/epoch"
	"rmqctl/internal/vfs"
	"rmqctl/test/peers"
)

const smallSegment = 256 << 10

var manySegments = map[string]string{
	"mappedFileSizeCommitLog": fmt.Sprint(smallSegment), "maxMessageSize": "65536", "haSendHeartbeatInterval": "1000",
}

// javaLog reads a Java broker's commit log whole.
func javaLog(t *testing.T, b *peers.Server) (base int64, data []byte) {
	t.Helper()
	dir := filepath.Join(b.Store, "commitlog")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		part, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			fmt.Sscanf(e.Name(), "%d", &base)
		}
		data = append(data, part...)
	}
	return base, data
}

// Our slave announces itself, which Java masters ignore; then it is one of theirs.
func TestOurSlaveCopiesAJavaMaster(t *testing.T) {
	t.Parallel()
	for _, version := range []string{peers.Servers49, peers.All53} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			peers.Need(t, version, peers.GoClient)
			copyJavaMaster(t, version)
		})
	}
}

func copyJavaMaster(t *testing.T, version string) {
	ns := peers.StartNamesrv(t, version)
	props := map[string]string{"brokerRole": "SYNC_MASTER", "slaveTimeout": "10000", "inSyncReplicas": "2"}
	master := peers.StartBroker(t, version, ns.Addr, props)

	copied := newMemLog(4 << 20)
	history, err := epoch.Open(vfs.OS, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := ha.NewSlave(ha.SlaveOptions{Log: copied, Epochs: history})
	defer s.Close()
	s.SetMaster(master.HAAddr)

	// A Java SYNC_MASTER waits for our reports, so SEND_OK says that they are understood.
	until(t, "following", func() bool { return s.Status().BytesRead > 0 || s.Status().State == ha.Following })
	until(t, "a route for T", func() bool {
		return len(peers.Of(peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=T", "n=1", "prefix=first"), "sent")) == 1
	})
	sent := peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=T", "n=200", "size=3000")
	for _, e := range sent {
		if e.Event == "error" || e.Event == "sent" && e.Status != "SEND_OK" {
			t.Fatalf("sending to a Java SYNC_MASTER with our slave: %+v", e)
		}
	}
	base, want := javaLog(t, master)
	if copied.MaxPhysical() < 600_000 || base != copied.base || !bytes.HasPrefix(want, copied.bytes()) {
		t.Errorf("copy of %d bytes from %d differs from the Java master's log", len(copied.bytes()), copied.base)
	}
}

func TestJavaSlaveCopiesOurMasterFromTheBeginning(t *testing.T) {
	t.Parallel()
	peers.Need(t, peers.Servers49, peers.GoClient, peers.Clients49)
	ns := peers.StartNamesrv(t, peers.Servers49)
	// The bytes of a commit log of several segments, made by a Java broker.
	origin := peers.StartBroker(t, peers.Servers49, ns.Addr, manySegments)
	sent := peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=T", "n=300", "size=3000")
	if n := len(peers.Of(sent, "sent")); n != 300 {
		t.Fatalf("sent %d", n)
	}
	_, data := javaLog(t, origin)
	data = bytes.TrimRight(data, "\x00")
	log := newMemLog(smallSegment)
	log.append(data[:len(data)/2])

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := ha.NewMaster(ha.MasterOptions{Log: log})
	defer m.Close()
	go m.Serve(ln)
	// The slave is registered while its master of old still is: a route never comes from a slave alone.
	props := map[string]string{"brokerRole": "SLAVE", "brokerId": "1", "haMasterAddress": ln.Addr().String()}
	maps.Copy(props, manySegments)
	slave := peers.StartBroker(t, peers.Servers49, ns.Addr, props)
	until(t, "half is copied", func() bool { best, ok := m.Replicated(); return ok && best == log.MaxPhysical() })
	until(t, "topics are copied", func() bool {
		b, _ := os.ReadFile(filepath.Join(slave.Store, "config", "topics.json"))
		return bytes.Contains(b, []byte(`"T"`))
	})
	origin.Kill()

	// Live: what is appended now is acknowledged, piece by piece.
	for at := len(data) / 2; at < len(data); at = int(log.MaxPhysical()) {
		log.append(data[at:min(at+5000, len(data))])
		status := make(chan ha.Status, 1)
		m.Await(log.MaxPhysical(), bootTime, func(s ha.Status) { status <- s })
		if got := <-status; got != ha.Replicated {
			t.Fatalf("status %v", got)
		}
	}
	base, copied := javaLog(t, slave)
	if base != 0 || !bytes.HasPrefix(copied, data) {
		t.Fatalf("the Java slave's log of %d bytes from %d differs", len(copied), base)
	}
	got := peers.Run(t, peers.Clients49, "consume", "namesrv="+ns.Addr, "topic=T", "group=g", "n=300", "idle=60000")
	same(t, "read from the Java slave", bodies(sent, "sent"), bodies(got, "received"))
}

// memLog is a log in memory with a store's replication door.
type memLog struct {
	segment int64
	mu      sync.Mutex
	base    int64
	data    []byte
	watch   func(int64) // of the one slave
}

func newMemLog(segment int64) *memLog { return &memLog{segment: segment} }

func (l *memLog) append(b []byte) {
	l.mu.Lock()
	l.data = append(l.data, b...)
	end, watch := l.base+int64(len(l.data)), l.watch
	l.mu.Unlock()
	if watch != nil {
		watch(end)
	}
}

func (l *memLog) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.data)
}

func (l *memLog) MinPhysical() int64 { return l.base }

func (l *memLog) MaxPhysical() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.base + int64(len(l.data))
}

func (l *memLog) ReadLog(off int64, buf []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if off < l.base || off > l.base+int64(len(l.data)) {
		return 0, errors.New("outside of the log")
	}
	if left := l.segment - off%l.segment; int64(len(buf)) > left {
		buf = buf[:left]
	}
	return copy(buf, l.data[off-l.base:]), nil
}

func (l *memLog) Watch(grown func(int64)) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watch = grown
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.watch = nil
	}
}

func (l *memLog) SegmentSize() int64 { return l.segment }

func (l *memLog) QueueEnds(int64) ([]byte, error) { return nil, nil }

func (l *memLog) TruncateTo(int64) error { return errors.New("only agreed on with a master of ours") }

func (l *memLog) Reset(int64, []byte) error {
	return errors.New("only agreed on with a master of ours")
}

func (l *memLog) AppendRaw(off int64, b []byte) error {
	if end := l.MaxPhysical(); end == 0 {
		l.base = off
	} else if off != end {
		return fmt.Errorf("append at %d, the log ends at %d", off, end)
	}
	l.append(b)
	return nil
}
