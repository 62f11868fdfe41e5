package torture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rmqctl/internal/checker"
	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
	"rmqctl/test/peers"
)

// smallDisk is a file system of a few megabytes in a mount namespace of its own, kept by a process that sleeps.
type smallDisk struct {
	dir  string // as the broker sees it
	seen string // as this process sees it
	pid  int
}

func newSmallDisk(t *testing.T, megabytes int) *smallDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI must be root: a disk has to be mounted")
		}
		t.Skip("only root may mount a disk")
	}
	dir := t.TempDir()
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c",
		`mount -t tmpfs -o "size=$2m" tmpfs "$1" && echo mounted && exec cat`, "sh", dir, fmt.Sprint(megabytes))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "mounted\n" {
		t.Fatalf("mount a small disk: %q %v", line, err)
	}
	return &smallDisk{dir: dir, seen: fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, dir), pid: cmd.Process.Pid}
}

// program is our program as it runs with this disk.
func (d *smallDisk) program(t *testing.T) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "rmqctl")
	text := fmt.Sprintf("#!/bin/sh\nexec nsenter --target %d --mount -- '%s' \"$@\"\n", d.pid, peers.Program(t))
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return script
}

// fill takes all space there is, to the last byte.
func (d *smallDisk) fill(t *testing.T) {
	t.Helper()
	f, err := os.Create(filepath.Join(d.seen, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, syscall.ENOSPC):
			size /= 16
		case err != nil:
			t.Fatal(err)
		}
	}
}

func (d *smallDisk) free(t *testing.T) {
	t.Helper()
	if err := os.Remove(filepath.Join(d.seen, "filler")); err != nil {
		t.Fatal(err)
	}
}

// TestADiskThatFillsUpRefusesMessagesAndNothingElse fills the disk under the running program, five times, to the last byte; in one
// of them the program is killed and has to start on the full disk.
func TestADiskThatFillsUpRefusesMessagesAndNothingElse(t *testing.T) {
	for _, mode := range []string{"ASYNC_FLUSH", "SYNC_FLUSH"} {
		t.Run(mode, func(t *testing.T) { fillDisk(t, mode) })
	}
}

func fillDisk(t *testing.T, mode string) {
	disk := newSmallDisk(t, 192)
	ns := peers.StartNamesrv(t, peers.Ours)
	t.Setenv("RMQCTL", disk.program(t))
	b := peers.StartBroker(t, peers.Ours, ns.Addr, map[string]string{
		"storePathRootDir": filepath.Join(disk.dir, "store"), "flushDiskType": mode, "cleanFileForciblyEnable": "false",
		"mappedFileSizeConsumeQueue": "20000", "maxHashSlotNum": "10000", "maxIndexNum": "40000",
	})
	rec := checker.New()
	l := (&load{rec: rec, addr: b.Addr, topic: "Full", pause: time.Millisecond}).run(4)
	var resumed []time.Duration
	for cycle := range 5 {
		moreAcks(t, l, 200, 10*time.Second)
		disk.fill(t)
		refusedMore(t, l, 20)
		readsGoOn(t, b.Addr, "Full")
		if cycle == 2 {
			b.Kill()
			b.Start()
			refusedMore(t, l, 20)
			readsGoOn(t, b.Addr, "Full")
		}
		disk.free(t)
		begun := time.Now()
		moreAcks(t, l, 1, 20*time.Second)
		resumed = append(resumed, time.Since(begun))
	}
	moreAcks(t, l, 200, 10*time.Second)
	l.end()
	drain(t, rec, b.Addr, "Full")
	rep := verdict(t, rec, checker.Rules{Replicas: []string{replica}})
	b.Kill()
	b.Start()
	drain(t, rec, b.Addr, "Full")
	verdict(t, rec, checker.Rules{Replicas: []string{replica}})
	b.Stop()
	refusals, text := l.said(protocol.ServiceNotAvailable)
	for _, want := range []string{"disk is full", disk.dir} {
		if !strings.Contains(text, want) {
			t.Errorf("a producer is told %q, which does not say %q", text, want)
		}
	}
	if n, text := l.said(protocol.SystemError); n > 0 {
		t.Errorf("%d sends were answered with a system error: %s", n, text)
	}
	mean, most := spread(resumed)
	if most > 5*time.Second {
		t.Errorf("messages were taken again only %v after there was room, promised are 5 s", most)
	}
	table(t, []row{
		{"flush", mode},
		{"times the disk was full", len(resumed)},
		{"acknowledged, refused, unknown", fmt.Sprint(rep.Acked, refusals, rep.Unknown)},
		{"lost", rep.Count(checker.Lost)},
		{"room to first acknowledgement, mean", mean},
		{"room to first acknowledgement, longest", most},
		{"said to producers", text},
	})
}

func moreAcks(t *testing.T, l *load, n int64, within time.Duration) {
	t.Helper()
	was, late := l.acks.Load(), time.Now().Add(within)
	for l.acks.Load() < was+n {
		if time.Now().After(late) {
			_, none := l.said(-1)
			_, unavailable := l.said(protocol.ServiceNotAvailable)
			_, system := l.said(protocol.SystemError)
			t.Fatalf("%d of %d messages were acknowledged within %v; refusals: %q %q %q", l.acks.Load()-was, n, within, none, unavailable, system)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func refusedMore(t *testing.T, l *load, n int) {
	t.Helper()
	was, _ := l.said(protocol.ServiceNotAvailable)
	for late := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if now, _ := l.said(protocol.ServiceNotAvailable); now >= was+n {
			return
		}
		if time.Now().After(late) {
			_, system := l.said(protocol.SystemError)
			t.Fatalf("messages are not refused on a full disk; %q", system)
		}
	}
}

// readsGoOn pulls the first messages of each queue and asks what a tool asks.
func readsGoOn(t *testing.T, addr, topic string) {
	t.Helper()
	c, ctx := newClient(t, 5*time.Second), context.Background()
	for id := range int32(topicQueues) {
		got, err := c.Pull(ctx, addr, client.PullRequest{Group: "full", Queue: protocol.MessageQueue{Topic: topic, QueueID: id}})
		if err != nil || len(got.Messages) == 0 {
			t.Fatalf("queue %d cannot be read: %v", id, err)
		}
	}
	if _, err := c.RuntimeInfo(ctx, addr); err != nil {
		t.Fatal(err)
	}
}
