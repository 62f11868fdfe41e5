package step_test

import (
	"testing"
	"time"

	"rmqctl/provision/step"
	"rmqctl/provision/step/steptest"
)

const sum = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func unitText(spec string) string {
	return "[Service]\nExecStart=/opt/rmqctl broker -c /etc/a.properties\nEnvironment=RMQ_SPEC=" + spec + "\n"
}

func hostWith(change func(*steptest.Host)) func() *steptest.Host {
	return func() *steptest.Host {
		h := steptest.NewHost()
		h.PutDir("/var/lib/rmqctl")
		if change != nil {
			change(h)
		}
		return h
	}
}

func withDaemon(h *steptest.Host) {
	h.Put("/opt/rmqctl", "binary")
	h.Put("/etc/a.properties", "listenPort=10911\nbrokerName=broker-a\nbrokerId=0\nbrokerIP1=192.168.31.101\n")
}

var rules = []step.Rule{{Port: 9876}, {Port: 10911}, {Port: 10912, From: []string{"192.168.31.102", "192.168.31.103"}}}

func firewall() step.Firewall {
	return step.Firewall{Cluster: "orders", Address: "192.168.31.101", Rules: rules, Manage: "auto", Ledger: "/var/lib/rmqctl/firewall-orders.json"}
}

func hosts() step.HostsBlock {
	return step.HostsBlock{Cluster: "orders", Self: []string{"node1"}, Lines: []step.HostLine{
		{Address: "192.168.31.101", Names: []string{"node1", "rocketmq-nameserver1"}}, {Address: "192.168.31.102", Names: []string{"node2"}}}}
}

func withNft(policy string, rules ...steptest.NftRule) func(*steptest.Host) {
	return func(h *steptest.Host) {
		h.Nft = steptest.NewNft()
		h.Nft.Policy, h.Nft.Rules = policy, rules
		h.Put("/etc/nftables.conf", "flush ruleset\ntable inet filter {\n}\n")
		h.Put("/etc/systemd/system/multi-user.target.wants/nftables.service", "")
	}
}

func TestEveryStepKeepsTheContract(t *testing.T) {
	running := step.Running{Unit: "a.service", Spec: "1", StartTimeout: time.Minute, StopTimeout: time.Minute}
	for _, x := range []struct {
		name  string
		host  func(*steptest.Host)
		steps []step.Step
		stays bool
		free  bool
	}{
		{name: "hosts block", steps: []step.Step{hosts()}},
		{name: "hosts block in a file without final line end", host: func(h *steptest.Host) { h.Put("/etc/hosts", "127.0.0.1 localhost") }, steps: []step.Step{hosts()}},
		{name: "hosts block without a file", host: func(h *steptest.Host) { _ = h.Remove("/etc/hosts"); h.Writes = 0 }, steps: []step.Step{hosts()}},
		{name: "host name", steps: []step.Step{step.HostName{Want: "node1"}}, stays: true},
		{name: "group and user", steps: []step.Step{step.Group{Group: "rmq"}, step.User{User: "rmq", Group: "rmq"}}},
		{name: "file", steps: []step.Step{step.File{Path: "/etc/a.properties", Content: []byte("a=1\n"), Mode: 0o640}}},
		{name: "file of a user", steps: []step.Step{step.Group{Group: "rmq"}, step.User{User: "rmq", Group: "rmq"},
			step.File{Path: "/etc/a.properties", Content: []byte("a=1\n"), Owner: "rmq", Group: "rmq", Mode: 0o640}}},
		{name: "directories", steps: []step.Step{step.Dir{Path: "/data"}, step.Dir{Path: "/data/rmq", Mode: 0o750}}},
		{name: "link", steps: []step.Step{step.Link{Path: "/opt/current", Target: "releases/1"}}},
		{name: "upload", steps: []step.Step{step.Dir{Path: "/opt/rmq"}, step.Upload{From: "x", Sum: sum, To: "/opt/rmq/rmqctl", Perm: 0o755}}},
		{name: "unit", steps: []step.Step{step.Unit{Unit: "a.service", Text: unitText("1")}}},
		{name: "service", host: withDaemon, steps: []step.Step{step.Unit{Unit: "a.service", Text: unitText("1")}, step.Enabled{Unit: "a.service"}, running,
			step.Answers{Addr: "192.168.31.101:10911", Limit: time.Second},
			step.Registered{Broker: "broker-a", Member: "broker-a", Addr: "192.168.31.101:10911", NameServers: []string{"192.168.31.102:9876"}, Limit: time.Second}}},
		{name: "kernel settings", steps: []step.Step{step.Sysctl{Cluster: "orders", Values: map[string]string{"vm.swappiness": "1"}}}, stays: true},
		{name: "store identity", host: func(h *steptest.Host) { h.PutDir("/data/store") }, stays: true,
			steps: []step.Step{step.StoreIdentity{Dir: "/data/store", Cluster: "orders", Broker: "broker-a"}}},
		{name: "firewalld", host: func(h *steptest.Host) { h.Firewalld = steptest.NewFirewalld() }, steps: []step.Step{firewall()}},
		{name: "firewalld with a port that is open already", host: func(h *steptest.Host) {
			h.Firewalld = steptest.NewFirewalld()
			h.Firewalld.Now["port=9876/tcp"], h.Firewalld.Boot["port=9876/tcp"] = true, true
			h.Firewalld.Now["port=10900-10911/tcp"], h.Firewalld.Boot["port=10900-10911/tcp"] = true, true
		}, steps: []step.Step{firewall()}},
		{name: "nftables that drops", host: withNft("drop"), steps: []step.Step{firewall()}},
		{name: "nftables that rejects at the end", host: withNft("accept", steptest.NftRule{Handle: 3, Text: "ct state established accept"}, steptest.NftRule{Handle: 4, Text: "reject"}), steps: []step.Step{firewall()}},
		{name: "nftables that lets all through", host: withNft("accept"), steps: []step.Step{firewall()}, free: true},
		{name: "stopped firewalld", host: func(h *steptest.Host) { h.Firewalld = steptest.NewFirewalld(); h.Firewalld.Stopped = true }, steps: []step.Step{firewall()}, free: true},
		{name: "no firewall", steps: []step.Step{firewall()}, free: true},
		{name: "a usable host", steps: []step.Step{step.Linux{}, step.SystemdRuns{}, step.PortFree{Port: 9876, Unless: "a.service"}, step.DiskSpace{Path: "/data/store", Need: 1 << 30}}, free: true},
	} {
		t.Run(x.name, func(t *testing.T) {
			steptest.Contract(t, steptest.Case{Host: hostWith(x.host), Steps: func() []step.Step { return x.steps }, Stays: x.stays, Free: x.free})
		})
	}
}
