package provision

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rmqctl/inventory"
	"rmqctl/provision/agent"
)

func TestSecondRunIsLockedOutAndNamesTheFirst(t *testing.T) {
	inv, _ := localCluster(t, twoGroups)
	o, _ := options(t, inv)
	o.connect = bare(t)
	first, err := newEngine(o)
	if err != nil {
		t.Fatal(err)
	}
	defer first.close()
	if err := first.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.Command = "rmqctl stop"
	_, err = Stop(t.Context(), o)
	var locked *LockedError
	if !errors.As(err, &locked) || ExitCode(err) != 5 || locked.Holder.Command != "rmqctl test" || locked.Holder.PID != os.Getpid() {
		t.Errorf("second run: %v", err)
	}
	first.finish(t.Context(), nil)
	if _, err := Stop(t.Context(), o); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}

// bare connects local nodes to agents in processes of their own.
func bare(t *testing.T) func(context.Context, *inventory.Node) (machine, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &dialer{self: self}
	return d.connect
}

func TestUnreachableHostsAreAllNamedAndNothingIsBegun(t *testing.T) {
	inv, dir := localCluster(t, twoGroups)
	o, _ := options(t, inv)
	o.connect = func(_ context.Context, n *inventory.Node) (machine, error) {
		return nil, errors.New("no way to " + n.Name)
	}
	_, err := Deploy(t.Context(), o)
	if ExitCode(err) != 6 || !strings.Contains(err.Error(), "no way to node1") || !strings.Contains(err.Error(), "no way to node2") {
		t.Errorf("error: %v", err)
	}
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("touched: %v", left)
	}
}

func TestObstacleStopsBeforeAnythingIsTouched(t *testing.T) {
	inv, dir := localCluster(t, twoGroups)
	o, _ := options(t, inv)
	// Something else lies where the data directory should be.
	root := inv.Nodes[0].Root
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "data"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	_, err := Deploy(t.Context(), o)
	if ExitCode(err) != 3 || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("error: %v", err)
	}
	if after := files(t, dir); len(after) != len(before) {
		t.Errorf("touched: %v", after)
	}
	r, err := Check(t.Context(), o)
	if err != nil || r.Failed() == 0 {
		t.Errorf("check: %+v, %v", r, err)
	}
}

func TestDeclinedPlanChangesNothing(t *testing.T) {
	inv, dir := localCluster(t, twoGroups)
	o, _ := options(t, inv)
	o.Confirm = func(_ context.Context, p *Plan) (bool, error) { return p.Empty(), nil }
	if _, err := Deploy(t.Context(), o); !errors.Is(err, ErrDeclined) {
		t.Errorf("error: %v", err)
	}
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("touched: %v", left)
	}
}

const oneHost = `
schema = 1
[cluster]
name = "t"
mode = "single"
ask_outage = true
[rollout]
min_healthy_time = "0s"
client_wait = "1s"
[broker]
mappedFileSizeCommitLog = 1048576
mappedFileSizeConsumeQueue = 60000
registerNameServerPeriod = 10000
[[node]]
name = "node1"
address = "NET.1"
connection = "local"
[nameserver]
nodes = ["node1"]
[[group]]
name = "broker-a"
master = "node1"
`

// stride is how many changes lie between two cuts; RMQCTL_EVERY_CUT=1 makes it one.
func stride() int64 {
	if os.Getenv("RMQCTL_EVERY_CUT") != "" {
		return 1
	}
	return 17
}

// TestCutAtEveryChangeIsHealedByTheNextRun pulls the cable at the first change, at the second, and so on: each time the
// next run ends with nothing left to do.
func TestCutAtEveryChangeIsHealedByTheNextRun(t *testing.T) {
	t.Parallel()
	inv, dir := localCluster(t, oneHost)
	o, n := options(t, inv)
	o.SkipVerify = true
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Destroy(context.Background(), o, DestroyOptions{Data: true}) })
	cuts := 0
	for at := int64(1); ; at += stride() {
		var left atomic.Int64
		left.Store(at)
		cut := o
		cut.connect = func(ctx context.Context, n *inventory.Node) (machine, error) {
			c, err := agent.Child(ctx, self, "agent", "--stdio")
			if err != nil {
				return nil, err
			}
			c.CutAfterChanges(&left)
			return &localMachine{c}, nil
		}
		_, err := Deploy(t.Context(), cut)
		if err == nil {
			break
		}
		if !errors.Is(err, agent.ErrGone) {
			t.Fatalf("cut at change %d: %v", at, err)
		}
		cuts++
		if _, err := Deploy(t.Context(), o); err != nil {
			t.Fatalf("after the cut at change %d: %v\n%s", at, err, n.text())
		}
		p, err := MakePlan(t.Context(), o)
		if err != nil || !p.Empty() {
			t.Fatalf("after the cut at change %d: %s, %v", at, p.Summary(), err)
		}
		if _, err := Destroy(t.Context(), o, DestroyOptions{Data: true}); err != nil {
			t.Fatal(err)
		}
		if leftover := files(t, dir); len(leftover) > 0 {
			t.Fatalf("after the cut at change %d destroy left %v", at, leftover)
		}
	}
	if cuts < 3 {
		t.Errorf("only %d cuts", cuts)
	}
}

func TestSingleMasterIsNotRestartedUnasked(t *testing.T) {
	t.Parallel()
	inv, dir := localCluster(t, oneHost)
	o, n := options(t, inv)
	t.Cleanup(func() { Destroy(context.Background(), o, DestroyOptions{Data: true}) })
	if _, err := Deploy(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, n.text())
	}
	_, err := Restart(t.Context(), o)
	var gate *GateError
	if !errors.As(err, &gate) || ExitCode(err) != 7 || !strings.Contains(gate.Next, "--accept-outage") || n.count(Running, "restart") > 0 {
		t.Fatalf("restart: %v\n%s", err, n.text())
	}
	o.AcceptOutage = true
	if r, err := Restart(t.Context(), o); err != nil || r.Restarts != 2 {
		t.Errorf("restart with leave: %+v, %v", r, err)
	}
	st, err := LookAt(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if ok, why := st.Healthy(); !ok || len(st.Services) != 2 {
		t.Errorf("status: %v %+v", why, st.Services)
	}
	dyingAgentIsReplaced(t, o)
	var mu sync.Mutex
	lines := map[string]int{}
	if err := Logs(t.Context(), o, LogOptions{}, func(l LogLine) { mu.Lock(); lines[l.Role]++; mu.Unlock() }); err != nil {
		t.Error(err)
	}
	if lines["namesrv"] == 0 || lines["broker-a"] == 0 {
		t.Errorf("logs: %v", lines)
	}
	dataStaysUntilAskedFor(t, o, dir)
}

// dataStaysUntilAskedFor: destroy keeps the store, deploy takes it up again, and a later destroy still knows whose it is.
func dataStaysUntilAskedFor(t *testing.T, o Options, dir string) {
	t.Helper()
	store := filepath.Join(o.Inventory.Groups[0].Master.StoreDir, "commitlog")
	for i := range 2 {
		if _, err := Destroy(t.Context(), o, DestroyOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(store); err != nil {
			t.Fatalf("destroy took the data: %v", err)
		}
		if _, err := os.Stat(o.Inventory.Nodes[0].Paths.Install); err == nil {
			t.Error("destroy left the binary")
		}
		if i == 0 {
			if _, err := Deploy(t.Context(), o); err != nil {
				t.Fatalf("deploy on kept data: %v", err)
			}
		}
	}
	if _, err := Destroy(t.Context(), o, DestroyOptions{Data: true}); err != nil {
		t.Fatal(err)
	}
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("destroy with data left:\n%s", strings.Join(left, "\n"))
	}
}

// dyingAgentIsReplaced: a view stays usable when an agent is killed under it.
func dyingAgentIsReplaced(t *testing.T, o Options) {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := s.e.hosts[0].m.Agent()
	if err := syscall.Kill(a.Hello.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for !a.Gone() {
		time.Sleep(time.Millisecond)
	}
	s.tried = time.Time{}
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if ok, why := st.Healthy(); !ok {
		t.Errorf("after the agent was killed: %v", why)
	}
}

func TestChangedPropertiesGoThroughTheRoll(t *testing.T) {
	t.Parallel()
	inv, dir := localCluster(t, twoGroups)
	o, n := options(t, inv)
	t.Cleanup(func() { Destroy(context.Background(), o, DestroyOptions{Data: true}) })
	if _, err := Deploy(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, n.text())
	}
	prefix := strings.TrimSuffix(inv.Nodes[0].Address, ".1")
	text := strings.ReplaceAll(twoGroups, "NET", prefix)
	text = strings.Replace(text, "[broker]\n", "[broker]\nfileReservedTime = 11\n", 1)
	changed, err := inventory.Parse("inventory.toml", dir, text)
	if err != nil {
		t.Fatal(err)
	}
	o.Inventory = changed
	var m news
	o.Sink = m.add
	p, err := MakePlan(t.Context(), o)
	if err != nil || p.Restarts() != 4 || !strings.Contains(strings.Join(p.Order, "\n"), "broker-b-s on node1 → broker-a-s on node2 → broker-a on node1 → broker-b on node2") {
		t.Fatalf("plan: %v, %v", p.Order, err)
	}
	r, err := Deploy(t.Context(), o)
	if err != nil || r.Restarts != 4 {
		t.Fatalf("deploy: %+v, %v\n%s", r, err, m.text())
	}
	if m.count(Changed, "stop ") != 4 {
		t.Errorf("not every broker was stopped once:\n%s", m.text())
	}
	// A slave that is away is a gate for its master.
	for _, g := range changed.Groups {
		stop := o
		stop.Only = []string{g.Slaves[0].Member}
		if _, err := Stop(t.Context(), stop); err != nil {
			t.Fatal(err)
		}
	}
	o.Only = []string{"broker-a"}
	begun := time.Now()
	_, err = Restart(t.Context(), Options{Inventory: changed, Self: o.Self, Binary: o.Binary, Only: []string{"node1/broker-a"}})
	var gate *GateError
	if !errors.As(err, &gate) || !strings.Contains(gate.What, "broker-a-s") {
		t.Errorf("restart of a master without its slave (%s): %v", time.Since(begun), err)
	}
}
