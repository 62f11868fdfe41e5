package templates

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

func unit() Unit {
	return Unit{Description: "RocketMQ broker broker-a of cluster orders", Exec: "/opt/rmq/releases/0123456789ab/rmqctl broker -c /etc/rmq/broker-a.properties",
		Environment: []string{"RMQ_SPEC=0011"}, User: "rmq", Group: "rmq", Writes: []string{"/var/lib/rmq/store", "/etc/rmq"},
		MemoryMax: 4 << 30, LimitNoFile: 655350, StartTimeout: 2 * time.Minute, StopTimeout: 10 * time.Minute}
}

func TestUnitText(t *testing.T) {
	const golden = "testdata/broker.service"
	if *update {
		os.MkdirAll("testdata", 0o755)
		os.WriteFile(golden, []byte(unit().Text()), 0o644)
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := unit().Text(); got != string(want) {
		t.Errorf("the unit is not %s (-update writes it):\n%s", golden, got)
	}
}

func TestUnitInHomeOrTmpSeesThem(t *testing.T) {
	u := unit()
	u.Writes = append(u.Writes, "/home/rmq/store")
	if s := u.Text(); strings.Contains(s, "ProtectHome") || !strings.Contains(s, "PrivateTmp") {
		t.Error("a unit that works in /home must see /home, and only that")
	}
	u = unit()
	u.Exec = "/tmp/rmq/rmqctl broker"
	if s := u.Text(); strings.Contains(s, "PrivateTmp") {
		t.Error("a program in /tmp must be seen")
	}
}

func TestUnitIsAcceptedBySystemd(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("systemd-analyze is missing: .ci/packages must bring systemd")
		}
		t.Skip("systemd-analyze is not on this machine")
	}
	dir := t.TempDir()
	u := unit()
	u.Exec = "/bin/true broker" // verify looks for the program
	u.User, u.Group = "root", "root"
	name := filepath.Join(dir, "rmq-orders-broker-a.service")
	if err := os.WriteFile(name, []byte(u.Text()), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", name).CombinedOutput()
	for _, line := range strings.Split(string(out), "\n") {
		if strings.Contains(line, "rmq-orders") {
			t.Errorf("systemd-analyze: %s", line)
		}
	}
	t.Logf("systemd-analyze verify: %v", err)
}
