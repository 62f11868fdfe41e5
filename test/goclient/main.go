// goclient is the rocketmq-client-go program that our servers are proved with.
//
//	goclient SUBCOMMAND key=value...
//
// It has the subcommands and keys of test/java/src/Peer.java and prints the same lines: one JSON object for each
// result, {"event":"sent"|"received"|"error"|"ready"|"done", ...}.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

type peer struct{ args map[string]string }

func main() {
	p := peer{args: map[string]string{}}
	for _, a := range os.Args[2:] {
		k, v, _ := strings.Cut(a, "=")
		p.args[k] = v
	}
	rlog.SetLogLevel(p.str("log", "warn"))
	run, ok := map[string]func() error{
		"produce": p.produce, "produce-loop": p.produceLoop,
		"produce-told": p.produceTold, "consume-told": p.consumeTold,
		"consume": p.consume, "consume-loop": p.consumeLoop, "pull": p.pull,
	}[os.Args[1]]
	if !ok {
		fmt.Fprintf(os.Stderr, "no subcommand %s\n", os.Args[1])
		os.Exit(2)
	}
	if !strings.HasSuffix(os.Args[1], "-loop") && !strings.HasSuffix(os.Args[1], "-told") {
		go func() { <-stdinClosed(); os.Exit(3) }()
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type fields map[string]any

var printing sync.Mutex

func show(event string, f fields) {
	if f == nil {
		f = fields{}
	}
	f["event"], f["at"] = event, time.Now().UnixMilli()
	b, _ := json.Marshal(f)
	printing.Lock()
	defer printing.Unlock()
	fmt.Printf("%s\n", b)
}

func showError(err error, body string, t0 time.Time) {
	show("error", fields{"error": err.Error(), "body": body, "ms": time.Since(t0).Milliseconds()})
}

// nameOf is what names a message; the padding behind 64 characters is left out.
func nameOf(body []byte) string { return string(body[:min(len(body), 64)]) }

func (p peer) str(key, otherwise string) string {
	if v, ok := p.args[key]; ok {
		return v
	}
	return otherwise
}

func (p peer) num(key string, otherwise int) int {
	if v, err := strconv.Atoi(p.args[key]); err == nil {
		return v
	}
	return otherwise
}

// pick takes the i-th of a comma list, round and round; keys=k% gives each message a key of its own.
func (p peer) pick(key string, i int) string {
	of := strings.Split(p.str(key, ""), ",")
	return strings.ReplaceAll(of[i%len(of)], "%", strconv.Itoa(i))
}

func (p peer) namesrv() []string { return strings.Split(p.str("namesrv", "127.0.0.1:9876"), ";") }

func (p peer) instance() string { return p.str("instance", "peer-"+strconv.Itoa(os.Getpid())) }

func stdinClosed() <-chan struct{} {
	closed := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(closed)
	}()
	return closed
}
