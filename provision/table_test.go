package provision

import (
	"strings"
	"testing"

	"rmqctl/provision/step"
)

func TestConsumersThatWentBackAreNamed(t *testing.T) {
	was := offsets{"T@g": {0: 10, 1: 5}}
	for _, c := range []struct {
		name string
		now  offsets
		want string
	}{
		{"the same", offsets{"T@g": {0: 10, 1: 5}}, ""},
		{"further on, and others", offsets{"T@g": {0: 12, 1: 5}, "U@g": {0: 0}}, ""},
		{"one queue went back", offsets{"T@g": {0: 10, 1: 4}}, "offset of T@g queue 1 is 4, was 5"},
		{"a group is gone", offsets{}, "offset of T@g queue"},
	} {
		if got := c.now.behind(was); !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestKindOfAHost(t *testing.T) {
	for uname, want := range map[string]string{
		"Linux x86_64": "linux/amd64", "Linux aarch64": "linux/arm64", "Darwin arm64": "darwin/arm64", "Linux riscv64": "linux/riscv64", "odd": "odd",
	} {
		if got := kindOfHost(uname); got != want {
			t.Errorf("%s is %s, want %s", uname, got, want)
		}
	}
}

func TestPlanReadsAsASentence(t *testing.T) {
	p := &Plan{Cluster: "c", Hosts: []HostPlan{
		{Host: "node1", Address: "10.0.0.1", Roles: []*RolePlan{
			{Role: "host", Checked: 3, Changes: []Change{{Step: "/etc/hosts", Why: "content differs", Diff: "-a\n+b\n"}}},
			{Role: "broker-a", Checked: 4, Changes: []Change{{Step: "run", Why: "other configuration", Consequence: "restart", consequence: step.Restart}}},
		}},
		{Host: "node2", Address: "10.0.0.2", Roles: []*RolePlan{{Role: "host", Checked: 3, Notes: []string{"no firewall is active"}}}},
	}, Order: []string{"hosts: node1"}}
	var b strings.Builder
	if err := p.WriteText(&b, true); err != nil {
		t.Fatal(err)
	}
	want := `node1 (10.0.0.1)
  host
    ~ /etc/hosts: content differs
        -a
        +b
  broker-a
    ~ run: other configuration  [restart]
node2 (10.0.0.2)
  host
    i no firewall is active
  nothing to do
order
  1. hosts: node1
2 changes on 1 host, 1 restart
`
	if b.String() != want {
		t.Errorf("plan reads:\n%s\nwant:\n%s", b.String(), want)
	}
	p.Hosts[0].Roles = nil
	if got := p.Summary(); got != "nothing to do (2 hosts, 3 resources checked)" {
		t.Errorf("summary: %q", got)
	}
	p.Hosts[1].Roles[0].Changes = []Change{{Step: "port", Why: "taken", Obstacle: true, Hint: "stop it"}}
	err := &ObstacleError{p.Obstacles()}
	if p.Empty() || p.Changes() != 0 || !strings.Contains(err.Error(), "node2 host: port: taken (stop it)") || ExitCode(err) != 3 {
		t.Errorf("obstacle: %v", err)
	}
}
