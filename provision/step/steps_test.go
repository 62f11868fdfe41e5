package step_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/clock"
	"rmqctl/provision/step"
	"rmqctl/provision/step/steptest"
)

// check looks and fails on an error.
func check(t *testing.T, h *steptest.Host, s step.Step) *step.Change {
	t.Helper()
	before := h.Snapshot()
	c, err := s.Check(context.Background(), h.Reader())
	if err != nil {
		t.Fatalf("%s: %v", s.Name(), err)
	}
	if h.Snapshot() != before {
		t.Fatalf("%s: looking changed the host", s.Name())
	}
	return c
}

func apply(t *testing.T, h *steptest.Host, steps ...step.Step) {
	t.Helper()
	if err := steptest.Apply(h, steps, nil); err != nil {
		t.Fatal(err)
	}
}

func service(spec string) []step.Step {
	return []step.Step{step.Unit{Unit: "a.service", Text: unitText(spec)}, step.Enabled{Unit: "a.service"},
		step.Running{Unit: "a.service", Spec: spec, StartTimeout: time.Minute, StopTimeout: time.Minute}}
}

func TestObstacles(t *testing.T) {
	identity := step.StoreIdentity{Dir: "/data/store", Cluster: "orders", Broker: "broker-a"}
	marked := func(owner step.StoreIdentity) func(*steptest.Host) {
		return func(h *steptest.Host) {
			h.PutDir("/data/store/commitlog")
			owner.Dir = "/data/store"
			if err := steptest.Apply(h, []step.Step{owner}, nil); err != nil {
				panic(err)
			}
		}
	}
	topics := func(names string) func(*steptest.Host) {
		return func(h *steptest.Host) {
			h.WriteAsDaemon("/data/store/commitlog/00000000000000000000", "x", "root")
			h.WriteAsDaemon("/data/store/config/topics.json", `{"topicConfigTable":{`+names+`}}`, "root")
		}
	}
	for _, x := range []struct {
		name string
		host func(*steptest.Host)
		step step.Step
		why  string // "" = no obstacle
	}{
		{"name with another address", func(h *steptest.Host) { h.Put("/etc/hosts", "10.0.0.9 x Node2 # old\n") }, hosts(), "/etc/hosts line 1 says Node2 is 10.0.0.9, the inventory says 192.168.31.102"},
		{"name in another cluster's block", func(h *steptest.Host) {
			h.Put("/etc/hosts", "# rmqctl:old begin\n10.0.0.9 node1\n# rmqctl:old end\n")
		}, hosts(), "/etc/hosts line 2 says node1 is 10.0.0.9, the inventory says 192.168.31.101"},
		{"name with the right address", func(h *steptest.Host) { h.Put("/etc/hosts", "192.168.31.102 node2\n") }, hosts(), ""},
		{"own name at the loopback address", func(h *steptest.Host) { h.Put("/etc/hosts", "127.0.1.1 node1\n::1 node2\n") }, hosts(), ""},
		{"another node's name at the loopback address", func(h *steptest.Host) { h.Put("/etc/hosts", "127.0.1.1 node2\n") }, hosts(), "/etc/hosts line 1 says node2 is 127.0.1.1, the inventory says 192.168.31.102"},
		{"damaged block", func(h *steptest.Host) { h.Put("/etc/hosts", "# rmqctl:orders begin\n") }, hosts(), `/etc/hosts: "# rmqctl:orders begin" without "# rmqctl:orders end"`},
		{"port of another process", func(h *steptest.Host) { h.Listeners = []string{"0.0.0.0:10911 4121 java -cp x"} }, step.PortFree{Port: 10911, Unless: "a.service"}, "port 10911 is taken: process 4121 (java -cp x) listens on 0.0.0.0:10911"},
		{"port of somebody unknown", func(h *steptest.Host) { h.Listeners = []string{"*:10911 - -"} }, step.PortFree{Port: 10911, Unless: "a.service"}, "port 10911 is taken: another process listens on *:10911"},
		{"little disk", func(h *steptest.Host) { h.Free = 1 << 30 }, step.DiskSpace{Path: "/data/store", Need: 2 << 30}, "no space: 1.0 GiB free for /data/store, 2.0 GiB needed"},
		{"full disk", func(h *steptest.Host) { h.Free, h.Total = 5<<30, 100<<30 }, step.DiskSpace{Path: "/data/store", Need: 2 << 30}, "no space: the disk of /data/store is 95% full, and a broker takes no messages from 90%"},
		{"full disk with a store", func(h *steptest.Host) { h.Free = 0; h.WriteAsDaemon("/data/store/commitlog/0", "x", "root") }, step.DiskSpace{Path: "/data/store", Need: 2 << 30}, ""},
		{"store of another broker", marked(step.StoreIdentity{Cluster: "orders", Broker: "broker-b", ID: 1}), identity, "the store in /data/store holds messages of broker-b[1] of cluster orders, not of broker-a[0] of cluster orders"},
		{"store of another cluster", marked(step.StoreIdentity{Cluster: "dev", Broker: "broker-a"}), identity, "the store in /data/store holds messages of broker-a[0] of cluster dev, not of broker-a[0] of cluster orders"},
		{"damaged mark of a store", func(h *steptest.Host) { h.WriteAsDaemon("/data/store/.rmqctl-store.json", "{", "root") }, identity, "/data/store/.rmqctl-store.json is damaged"},
		{"store of RocketMQ's other broker", topics(`"broker-b":{},"orders":{}`), identity, "the store in /data/store holds messages of an unknown broker, not of broker-a[0] of cluster orders"},
		{"store of RocketMQ's other cluster", topics(`"broker-a":{},"dev":{}`), identity, "the store in /data/store holds messages of broker-a of another cluster, not of broker-a[0] of cluster orders"},
		{"directory in a file's place", func(h *steptest.Host) { h.PutDir("/etc/a.properties") }, step.File{Path: "/etc/a.properties"}, "/etc/a.properties is a directory"},
		{"file in a directory's place", func(h *steptest.Host) { h.Put("/data", "") }, step.Dir{Path: "/data", Mode: 0o755}, "/data is not a directory"},
		{"file in a link's place", func(h *steptest.Host) { h.Put("/opt/current", "") }, step.Link{Path: "/opt/current", Target: "x"}, "/opt/current is not a link"},
		{"root as user", nil, step.User{User: "root", Group: "root"}, "user root is root"},
		{"no systemd", func(h *steptest.Host) { h.NoSystemd = true }, step.SystemdRuns{}, "systemd does not run here"},
		{"ufw", func(h *steptest.Host) { h.PutDir("/etc/ufw"); h.Put("/etc/ufw/ufw.conf", "# x\nENABLED=yes\n") }, firewall(), "ufw is active, which rmqctl does not manage"},
		{"chain that nobody loads at boot", func(h *steptest.Host) { h.Nft = steptest.NewNft() }, firewall(), "nftables' chain inet filter input drops, and nftables.service does not load it at boot: a rule put there would be lost"},
		{"firewalld demanded and not running", nil, step.Firewall{Cluster: "orders", Manage: "firewalld"}, "firewalld does not run"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := check(t, hostWith(x.host)(), x.step)
			switch {
			case x.why == "" && c != nil && c.Apply == nil:
				t.Errorf("obstacle: %s", c.Why)
			case x.why != "" && (c == nil || c.Apply != nil || c.Why != x.why):
				t.Errorf("got %+v\nwant %s", c, x.why)
			case x.why != "" && c.Hint == "":
				t.Error("no hint what to do")
			}
		})
	}
}

func TestStoreOfTheSameBrokerIsAdopted(t *testing.T) {
	h := hostWith(nil)()
	h.WriteAsDaemon("/data/store/commitlog/0", "x", "root")
	h.WriteAsDaemon("/data/store/config/topics.json", `{"topicConfigTable":{"broker-a":{},"orders":{}}}`, "root")
	s := step.StoreIdentity{Dir: "/data/store", Cluster: "orders", Broker: "broker-a"}
	apply(t, h, s)
	if c := check(t, h, s); c != nil {
		t.Error(c.Why)
	}
}

func TestServiceIsRestartedExactlyWhenNeeded(t *testing.T) {
	h := hostWith(withDaemon)()
	apply(t, h, service("1")...)
	first := h.PID("a.service")
	apply(t, h, service("1")...)
	if h.PID("a.service") != first {
		t.Error("a second run restarted the service")
	}
	steps := service("2")
	apply(t, h, steps[:2]...) // the run ends between the unit and the restart
	c := check(t, h, steps[2])
	if c == nil || c.Consequence != step.Restart {
		t.Fatalf("%+v", c)
	}
	apply(t, h, steps...)
	if h.PID("a.service") == first {
		t.Error("the process is the old one")
	}
	h.Crash("a.service")
	if c := check(t, h, steps[2]); c == nil || c.Consequence != step.Start || c.Why != "does not run" {
		t.Errorf("%+v", c)
	}
}

func TestUnitThatSystemdHasNotReadIsRead(t *testing.T) {
	h := hostWith(withDaemon)()
	apply(t, h, service("1")...)
	h.Put("/etc/systemd/system/a.service", unitText("2")) // written, and the cable was pulled
	unit := service("2")[0]
	if c := check(t, h, unit); c == nil || c.Consequence != step.Reload || c.Why != "systemd has not read it yet" {
		t.Fatalf("%+v", c)
	}
	apply(t, h, service("2")...)
}

func TestFailedStartShowsTheLog(t *testing.T) {
	h := hostWith(withDaemon)()
	h.Broken["a.service"] = "bind 192.168.31.101:10911: address already in use"
	err := steptest.Apply(h, service("1"), nil)
	if err == nil || !strings.Contains(err.Error(), "start a.service") || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("%v", err)
	}
}

func TestOwnPortIsNotInTheWay(t *testing.T) {
	h := hostWith(withDaemon)()
	apply(t, h, service("1")...)
	if c := check(t, h, step.PortFree{Port: 10912, Unless: "a.service"}); c != nil {
		t.Error(c.Why)
	}
	if c := check(t, h, step.PortFree{Port: 10912, Unless: "b.service"}); c == nil || c.Apply != nil {
		t.Error("the port of another unit is free")
	}
}

func TestRightsArePutBack(t *testing.T) {
	h := hostWith(nil)()
	dir := step.Dir{Path: "/data/store", Owner: "rmq", Group: "rmq", Mode: 0o750, Deep: true, Data: true}
	user := []step.Step{step.Group{Group: "rmq"}, step.User{User: "rmq", Group: "rmq"}}
	apply(t, h, append(user, dir)...)
	h.WriteAsDaemon("/data/store/commitlog/0", "x", "999") // of a user that is gone
	h.Own("/data/store", "999")
	if c := check(t, h, dir); c == nil || c.Why != "belongs to 999:999, not rmq:rmq" {
		t.Fatalf("%+v", c)
	}
	apply(t, h, dir)
	if i, err := h.Stat("/data/store/commitlog/0"); err != nil || i.Owner != "rmq" {
		t.Errorf("what is in the directory belongs to %s (%v)", i.Owner, err)
	}
}

func TestDirectoryWithOthersFilesIsLeft(t *testing.T) {
	h := hostWith(nil)()
	owned := map[step.Owned]bool{}
	steps := []step.Step{step.Dir{Path: "/data"}, step.Dir{Path: "/data/store", Mode: 0o750, Data: true}}
	if err := steptest.Apply(h, steps, owned); err != nil {
		t.Fatal(err)
	}
	h.WriteAsDaemon("/data/store/commitlog/0", "x", "root")
	if err := steptest.Destroy(h, steps, owned, false); err != nil {
		t.Fatal(err)
	}
	if h.Text("/data/store/commitlog/0") != "x" {
		t.Error("the messages are gone")
	}
	if err := steptest.Destroy(h, steps, owned, true); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Stat("/data"); err == nil {
		t.Error("the directory is still there")
	}
}

func TestLeftoverOfAnotherClusterIsNotTouched(t *testing.T) {
	const other = "# rmqctl:old begin\n10.0.0.9 oldnode\n# rmqctl:old end\n"
	h := hostWith(func(h *steptest.Host) { h.Put("/etc/hosts", other) })()
	apply(t, h, hosts())
	if !strings.HasPrefix(h.Text("/etc/hosts"), other) {
		t.Errorf("%s", h.Text("/etc/hosts"))
	}
	apply(t, h, hosts().Absent())
	if h.Text("/etc/hosts") != other {
		t.Errorf("%s", h.Text("/etc/hosts"))
	}
}

func TestFirewallRuleThatIsNoLongerWantedGoes(t *testing.T) {
	for name, host := range map[string]func(*steptest.Host){
		"firewalld": func(h *steptest.Host) { h.Firewalld = steptest.NewFirewalld() },
		"nftables":  withNft("drop"),
	} {
		h := hostWith(host)()
		apply(t, h, firewall())
		f := firewall()
		f.Rules = []step.Rule{{Port: 9876}, {Port: 10912, From: []string{"192.168.31.104"}}}
		apply(t, h, f)
		if s := h.Snapshot(); strings.Contains(s, "10911") || strings.Contains(s, "192.168.31.103") || !strings.Contains(s, "192.168.31.104") {
			t.Errorf("%s:\n%s", name, s)
		}
		h.PutDir("/var/lib/rmqctl")
		apply(t, h, f.Absent())
		if s := h.Snapshot(); strings.Contains(s, "9876") || strings.Contains(s, "firewall-orders") {
			t.Errorf("%s: destroy left\n%s", name, s)
		}
	}
}

func TestPortThatTheAdministratorOpenedStaysOpen(t *testing.T) {
	h := hostWith(func(h *steptest.Host) {
		h.Firewalld = steptest.NewFirewalld()
		h.Firewalld.Now["port=9876/tcp"], h.Firewalld.Boot["port=9876/tcp"] = true, true
	})()
	apply(t, h, firewall(), firewall().Absent())
	if !h.Firewalld.Boot["port=9876/tcp"] || h.Firewalld.Boot["port=10911/tcp"] {
		t.Errorf("%v", h.Firewalld.Boot)
	}
}

func TestRejectingChainGetsItsRulesInFront(t *testing.T) {
	h := hostWith(withNft("accept", steptest.NftRule{Handle: 4, Text: "reject"}))()
	apply(t, h, firewall())
	if last := h.Nft.Rules[len(h.Nft.Rules)-1]; last.Text != "reject" || len(h.Nft.Rules) != 4 {
		t.Errorf("%+v", h.Nft.Rules)
	}
}

func TestNoFirewallIsSaid(t *testing.T) {
	note, err := firewall().Note(context.Background(), hostWith(nil)().Reader())
	if err != nil || note != "no firewall is active: nothing to open" {
		t.Errorf("%q %v", note, err)
	}
	note, err = firewall().Note(context.Background(), hostWith(func(h *steptest.Host) { h.Firewalld = steptest.NewFirewalld() })().Reader())
	if err != nil || note != "" {
		t.Errorf("%q %v", note, err)
	}
}

// slow is a host on which the unit starts after some looks.
type slow struct {
	*steptest.Host
	looks int
	start func()
}

func (s *slow) Query(q step.Query) (string, error) {
	if s.looks--; s.looks == 0 {
		s.start()
	}
	return s.Host.Query(q)
}

// hasty is a clock on which every wait is over at once.
type hasty struct {
	clock.Clock
	now time.Time
}

func (h *hasty) Now() time.Time { return h.now }

func (h *hasty) After(d time.Duration) <-chan time.Time {
	h.now = h.now.Add(d)
	c := make(chan time.Time, 1)
	c <- h.now
	return c
}

func TestRegistrationIsWaitedFor(t *testing.T) {
	r := step.Registered{Broker: "broker-a", Member: "broker-a", Addr: "192.168.31.101:10911", NameServers: []string{"192.168.31.102:9876", "192.168.31.103:9876"},
		Limit: time.Minute, Clock: &hasty{now: time.Unix(0, 0)}}
	h := hostWith(withDaemon)()
	c := check(t, h, r)
	if c == nil || c.Why != "not registered at 192.168.31.102:9876; not registered at 192.168.31.103:9876" {
		t.Fatalf("%+v", c)
	}
	s := &slow{Host: h, looks: 10, start: func() { apply(t, h, service("1")...) }}
	if err := c.Apply(context.Background(), s); err != nil {
		t.Error(err)
	}
	other := r
	other.Addr = "10.0.0.1:10911"
	c = check(t, h, other)
	if c == nil || !strings.HasPrefix(c.Why, "registered at 192.168.31.102:9876 as 192.168.31.101:10911, not 10.0.0.1:10911") {
		t.Fatalf("%+v", c)
	}
	if err := c.Apply(context.Background(), h); err == nil || !strings.Contains(err.Error(), "still after 1m0s: registered at") {
		t.Errorf("%v", err)
	}
}

func TestEmptyHostAnswersWithoutAgent(t *testing.T) {
	h := hostWith(func(h *steptest.Host) { h.NoAgent = true })()
	for _, s := range []step.Step{step.Answers{Addr: "192.168.31.101:9876"}, step.Registered{NameServers: []string{"192.168.31.101:9876"}}} {
		if c := check(t, h, s); c == nil || c.Why != "not there yet" {
			t.Errorf("%s: %+v", s.Name(), c)
		}
	}
	builtin := step.Supervisor{Builtin: true, Dir: "/run/units"}
	if c := check(t, h, step.Running{Unit: "a.service", Sup: builtin}); c == nil || c.Consequence != step.Start {
		t.Errorf("%+v", c)
	}
	if c := check(t, h, step.Stopped{Unit: "a.service", Sup: builtin}); c != nil {
		t.Errorf("%+v", c)
	}
}
