// Clients of other people against any server: the Peer programs of test/java and test/goclient, and mqadmin.

package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Event is one line that a Peer program printed.
type Event struct {
	Event       string `json:"event"` // sent, received, error, ready, done
	Status      string `json:"status"`
	MsgID       string `json:"msgId"`
	OffsetMsgID string `json:"offsetMsgId"`
	Topic       string `json:"topic"`
	Broker      string `json:"broker"`
	Queue       int    `json:"queue"`
	Offset      int64  `json:"offset"`
	Tags        string `json:"tags"`
	Keys        string `json:"keys"`
	Reconsume   int    `json:"reconsume"`
	From        string `json:"from"`
	StoreHost   string `json:"storeHost"`
	Body        string `json:"body"`
	Accepted    bool   `json:"accepted"`
	Error       string `json:"error"`
	Ms          int64  `json:"ms"`
	N           int    `json:"n"`
	At          int64  `json:"at"` // ms since 1970
}

// Client is a running Peer program.
type Client struct{ *Process }

// Start starts a Peer program of a version (Clients49, All53, GoClient) with a subcommand and key=value arguments.
func Start(t testing.TB, version, subcommand string, args ...string) *Client {
	t.Helper()
	return StartVia(t, nil, version, subcommand, args...)
}

// StartVia is Start behind a program that puts it elsewhere and then becomes it, such as `ip netns exec NAME`.
func StartVia(t testing.TB, via []string, version, subcommand string, args ...string) *Client {
	t.Helper()
	name := fmt.Sprintf("%s %s %s", version, subcommand, strings.Join(args, " "))
	var cmd *exec.Cmd
	if version == GoClient {
		cmd = exec.Command(goClient(t), append([]string{subcommand}, args...)...)
		cmd.Dir = t.TempDir()
		cmd.Env = append(environ("HOME"), "HOME="+cmd.Dir) // a broadcasting consumer keeps its offsets there
	} else {
		cmd = java(t, version, t.TempDir(), append([]string{"Peer", subcommand}, args...)...)
	}
	return &Client{start(t, name, behind(via, cmd))}
}

func behind(via []string, cmd *exec.Cmd) *exec.Cmd {
	if len(via) == 0 {
		return cmd
	}
	all := append(append(append([]string{}, via[1:]...), cmd.Path), cmd.Args[1:]...)
	outer := exec.Command(via[0], all...)
	outer.Env, outer.Dir = cmd.Env, cmd.Dir
	return outer
}

// Run starts a Peer program, waits for its end and returns what it printed. The test fails if it did not end well.
func Run(t testing.TB, version, subcommand string, args ...string) []Event {
	t.Helper()
	c := Start(t, version, subcommand, args...)
	if err := c.Wait(2 * time.Minute); err != nil {
		t.Fatalf("%s: %v\n%s", c.Name, err, c.tail())
	}
	return c.Events()
}

// Events are what the program printed so far.
func (c *Client) Events() []Event {
	var all []Event
	for _, line := range c.Lines() {
		var e Event
		if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil {
			continue // a library that writes to stdout
		}
		all = append(all, e)
	}
	return all
}

// Ready waits until a consumer or a loop has started.
func (c *Client) Ready() *Client {
	c.t.Helper()
	c.Await(`"event":"ready"`, bootTime)
	return c
}

// AwaitN waits until n events of one kind were printed.
func (c *Client) AwaitN(event string, n int, within time.Duration) []Event {
	c.t.Helper()
	end := time.Now().Add(within)
	for {
		if got := Of(c.Events(), event); len(got) >= n {
			return got
		}
		if time.Now().After(end) {
			c.t.Fatalf("%s: fewer than %d %s events within %v\n%s", c.Name, n, event, within, c.tail())
		}
		select {
		case <-c.done:
			if got := Of(c.Events(), event); len(got) < n {
				c.t.Fatalf("%s ended with %d of %d %s events\n%s", c.Name, len(got), n, event, c.tail())
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Of picks the events of one kind.
func Of(events []Event, kind string) []Event {
	var some []Event
	for _, e := range events {
		if e.Event == kind {
			some = append(some, e)
		}
	}
	return some
}

// Bodies counts how often each body occurs.
func Bodies(events []Event) map[string]int {
	count := map[string]int{}
	for _, e := range events {
		count[e.Body]++
	}
	return count
}

// Admin runs mqadmin of a version and returns what it printed on both streams, whatever its exit code.
func Admin(t testing.TB, version string, args ...string) string {
	t.Helper()
	return AdminVia(t, nil, version, args...)
}

// AdminVia is Admin behind another program, as StartVia is Start.
func AdminVia(t testing.TB, via []string, version string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	argv := append([]string{"Serve", "org.apache.rocketmq.tools.command.MQAdminStartup"}, args...)
	full := behind(via, java(t, version, t.TempDir(), argv...))
	cmd := exec.CommandContext(ctx, full.Path, full.Args[1:]...)
	cmd.Env, cmd.Dir = full.Env, full.Dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // mqadmin tells its errors in words; some of its commands end with 1 after success
	if ctx.Err() != nil {
		t.Fatalf("mqadmin %q did not end\n%s", args, out.String())
	}
	return out.String()
}
