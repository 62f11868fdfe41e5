package torture

// A broker in this process, on a disk and a clock that the test holds in its hand.

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"rmqctl/broker"
	"rmqctl/broker/config"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/vfs"
)

// rig is one running broker.
type rig struct {
	*broker.Broker
	log *logText
}

// logText is what the broker logs.
type logText struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startBroker starts a broker whose store is /store of the given file system.
func startBroker(t *testing.T, fsys vfs.FS, clk clock.Clock, settings ...string) *rig {
	t.Helper()
	props := []conf.Prop{
		{Key: "brokerName", Value: "b"}, {Key: "brokerClusterName", Value: "C"}, {Key: "storePathRootDir", Value: "/store"},
		{Key: "listenPort", Value: "0"}, {Key: "bindAddress", Value: "127.0.0.1"}, {Key: "brokerIP1", Value: "127.0.0.1"},
		{Key: "mappedFileSizeCommitLog", Value: "1048576"}, {Key: "mappedFileSizeConsumeQueue", Value: "20000"},
		{Key: "maxHashSlotNum", Value: "1000"}, {Key: "maxIndexNum", Value: "40000"},
	}
	for _, s := range settings {
		k, v, _ := strings.Cut(s, "=")
		props = append(props, conf.Prop{Key: k, Value: v})
	}
	live, _, err := config.Load(props)
	if err != nil {
		t.Fatal(err)
	}
	log, ready := &logText{}, make(chan struct{})
	b, err := broker.New(broker.Options{Config: live, FS: fsys, Clock: clk, Ready: func() { close(ready) }, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err == nil {
		err = b.Start(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = b.Close()
		if t.Failed() {
			text := log.String()
			t.Logf("the broker's log\n%s", text[max(len(text)-6000, 0):])
		}
	})
	select {
	case <-ready:
	case <-time.After(30 * time.Second):
		t.Fatal("the broker is not ready")
	}
	return &rig{b, log}
}

// until waits for something that has to come soon.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
