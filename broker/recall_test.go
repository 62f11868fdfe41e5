package broker

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"rmqctl/broker/ha/epoch"
	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
	"rmqctl/internal/vfs"
)

// Two memories had what was acknowledged, and one of them lost its power: the master has it again before it takes more.
func TestAMasterWhoseHostWentDownHasEverythingAgain(t *testing.T) {
	ns, c := startRealNameServer(t), newClient(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	haPort := fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)
	ln.Close()
	disk := vfs.NewMem()
	props := []conf.Prop{prop("namesrvAddr", ns), prop("brokerRole", "SYNC_MASTER"), prop("haListenPort", haPort)}
	master, err := startBrokerOn(t, disk, "/m", nil, props...)
	if err != nil {
		t.Fatal(err)
	}
	mustStart(t, t.TempDir(), prop("namesrvAddr", ns), prop("brokerRole", "SLAVE"), prop("brokerId", "1"), prop("haMasterAddress", "127.0.0.1:"+haPort))
	until(t, "a slave", func() bool { _, ok := master.master.Load().Replicated(); return ok })
	var want []string
	for i := range 20 {
		body := fmt.Sprintf("m%d", i)
		if status, _ := sendTo(t, c, master.Addr(), "T", body); status != protocol.Success {
			t.Fatalf("send %s: %d", body, status)
		}
		want = append(want, body)
	}
	image := disk.PowerCut(rand.New(rand.NewPCG(1, 2)), vfs.Cut{})
	if err := master.Close(); err != nil {
		t.Fatal(err)
	}
	// Since then another system has been started on that host.
	f, err := epoch.Open(image, "/m/store")
	if err != nil {
		t.Fatal(err)
	}
	before := len(f.List())
	f.Booted("the one that lost its power")
	if err := f.Lead(f.Epoch(), epoch.NewLife(), 1<<40); err != nil || before == 0 {
		t.Fatal(before, err)
	}
	if err := f.Adopt(f.List()[:before]); err != nil {
		t.Fatal(err)
	}
	master, err = startBrokerOn(t, image, "/m", nil, props...)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if got := bodies(t, c, master.Addr(), "T"); got != strings.Join(want, " ") {
		t.Errorf("it has %q", got)
	}
	until(t, "the slave follows", func() bool { _, ok := master.master.Load().Replicated(); return ok })
	if status, _ := sendTo(t, c, master.Addr(), "T", "more"); status != protocol.Success {
		t.Errorf("the next send: %d", status)
	}
}
