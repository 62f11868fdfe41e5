package provision

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"rmqctl/inventory"
	"rmqctl/provision/agent"
)

// The test binary is the agent of local nodes.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "agent" {
		if err := agent.Serve(os.Stdin, os.Stdout, agent.Options{Version: "test"}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

var built struct {
	sync.Once
	dir, path string
	err       error
}

// program builds the real rmqctl, once.
func program(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs the real program")
	}
	built.Do(func() {
		built.dir, built.err = os.MkdirTemp("", "rmqctl-built")
		if built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "rmqctl")
		cmd := exec.Command("go", "build", "-o", built.path, "rmqctl/cmd/rmqctl")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

var net8 struct {
	sync.Mutex
	n int
}

// localCluster is an inventory of local nodes with loopback addresses of their own. format's verbs are filled with the
// first three bytes of the addresses.
func localCluster(t *testing.T, format string) (*inventory.Inventory, string) {
	t.Helper()
	net8.Lock()
	net8.n++
	prefix := fmt.Sprintf("127.%d.%d", 100+os.Getpid()%100, net8.n)
	net8.Unlock()
	dir := t.TempDir()
	inv, err := inventory.Parse("inventory.toml", dir, strings.ReplaceAll(format, "NET", prefix))
	if err != nil {
		t.Fatal(err)
	}
	return inv, dir
}

const twoGroups = `
schema = 1
[cluster]
name = "t"
mode = "2m-2s-sync"
[rollout]
min_healthy_time = "1s"
client_wait = "1s"
[broker]
mappedFileSizeCommitLog = 1048576
mappedFileSizeConsumeQueue = 60000
[[node]]
name = "node1"
address = "NET.1"
connection = "local"
[[node]]
name = "node2"
address = "NET.2"
connection = "local"
[nameserver]
nodes = ["node1", "node2"]
[[group]]
name = "broker-a"
master = "node1"
slaves = ["node2"]
[[group]]
name = "broker-b"
master = "node2"
slaves = ["node1"]
`

// news collects events.
type news struct {
	mu  sync.Mutex
	all []Event
}

func (n *news) add(e Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, e)
}

func (n *news) text() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var b strings.Builder
	for _, e := range n.all {
		if e.State != OK {
			fmt.Fprintf(&b, "%s %s/%s %s %s: %s %v\n", e.Time.Format("05.000"), e.Host, e.Role, e.State, e.Step, e.Why, e.Err)
		}
	}
	return b.String()
}

func (n *news) count(s State, step string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := 0
	for _, e := range n.all {
		if e.State == s && strings.HasPrefix(e.Step, step) {
			k++
		}
	}
	return k
}

func options(t *testing.T, inv *inventory.Inventory) (Options, *news) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n := &news{}
	return Options{Inventory: inv, Self: self, Binary: program(t), Version: "test", Command: "rmqctl test", Sink: n.add}, n
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if p != dir {
			out = append(out, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLocalClusterFromNothingToNothing(t *testing.T) {
	t.Parallel()
	inv, dir := localCluster(t, twoGroups)
	o, n := options(t, inv)
	ctx := t.Context()
	t.Cleanup(func() { Destroy(context.Background(), o, DestroyOptions{Data: true}) })

	p, err := MakePlan(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if p.Empty() || len(p.Obstacles()) > 0 {
		t.Errorf("plan of nothing: %s %v", p.Summary(), p.Obstacles())
	}
	if left := files(t, dir); len(left) > 0 {
		t.Fatalf("the plan touched something: %v", left)
	}

	r, err := Deploy(ctx, o)
	if err != nil {
		t.Fatalf("deploy: %v\n%s", err, n.text())
	}
	if r.Changed == 0 || r.Nothing {
		t.Errorf("deploy: %+v", r)
	}

	again, m := options(t, inv)
	r, err = Deploy(ctx, again)
	if err != nil || !r.Nothing || r.Changed != 0 {
		p, _ := MakePlan(ctx, again)
		var b strings.Builder
		p.WriteText(&b, true)
		t.Fatalf("second deploy: %+v, %v\n%s\n%s", r, err, m.text(), b.String())
	}

	roll, m := options(t, inv)
	r, err = Restart(ctx, roll)
	if err != nil || r.Restarts != 6 {
		t.Fatalf("restart: %+v, %v\n%s", r, err, m.text())
	}
	t.Log(m.text())

	stop, m := options(t, inv)
	if _, err = Stop(ctx, stop); err != nil {
		t.Fatalf("stop: %v\n%s", err, m.text())
	}
	start, m := options(t, inv)
	if _, err = Start(ctx, start); err != nil {
		t.Fatalf("start: %v\n%s", err, m.text())
	}
	if err := Verify(ctx, start); err != nil {
		t.Errorf("verify: %v", err)
	}

	down, m := options(t, inv)
	if _, err := Destroy(ctx, down, DestroyOptions{Data: true}); err != nil {
		t.Fatalf("destroy: %v\n%s", err, m.text())
	}
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("destroy left:\n%s\n%s", strings.Join(left, "\n"), m.text())
	}
}
