package processor

import (
	"strings"
	"testing"
	"time"

	"rmqctl/internal/message"
)

func TestPropertiesAreReadOnceAndRewritten(t *testing.T) {
	for _, row := range []struct {
		in, out     string
		wait, trans bool
		delay       int
	}{
		{in: "", out: "CLUSTER=C;", wait: true},
		{in: "WAIT=true;TAGS=a", out: "TAGS=a;CLUSTER=C;", wait: true},
		{in: "TAGS=a;WAIT=false;", out: "TAGS=a;CLUSTER=C;"},
		{in: "DELAY=3;CLUSTER=old;KEYS=k", out: "DELAY=3;KEYS=k;CLUSTER=C;", wait: true, delay: 3},
		{in: "DELAY=-1", out: "DELAY=-1;CLUSTER=C;", wait: true},
		{in: "TRAN_MSG=true;PGROUP=P;", out: "TRAN_MSG=true;PGROUP=P;CLUSTER=C;", wait: true, trans: true},
		{in: "TRAN_MSG=false;", out: "TRAN_MSG=false;CLUSTER=C;", wait: true},
		{in: ";=x;EMPTY=;A=b", out: "A=b;CLUSTER=C;", wait: true},
	} {
		wire := strings.NewReplacer("=", "\x01", ";", "\x02")
		s := readProps(nil, []byte(wire.Replace(row.in)), "C")
		if string(s.props) != wire.Replace(row.out) || s.wait != row.wait || s.delay != row.delay || s.transaction != row.trans {
			t.Errorf("%q: %q wait %v delay %d transaction %v", row.in, s.props, s.wait, s.delay, s.transaction)
		}
	}
}

func TestReadingPropertiesAllocatesNothing(t *testing.T) {
	in := []byte("UNIQ_KEY\x01C0000202611C4E0E2F2A6A54F5850003\x02WAIT\x01true\x02TAGS\x01A")
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { readProps(buf, in, "C") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzReadProps(f *testing.F) {
	f.Add([]byte("A\x01b\x02WAIT\x01false"))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := readProps(nil, in, "C")
		for name, value := range message.Properties(in) {
			if name == message.PropWait || name == message.PropCluster {
				continue
			}
			if _, ok := message.Property(s.props, name); !ok {
				t.Errorf("%q=%q got lost: %q", name, value, s.props)
			}
		}
		if got, _ := message.Property(s.props, message.PropCluster); got != "C" {
			t.Errorf("cluster %q in %q", got, s.props)
		}
	})
}

func TestTasksAreWaitedForUntilTheLimit(t *testing.T) {
	var tasks Tasks
	tasks.Wait(nil) // nothing is owed
	done := make(chan struct{})
	tasks.Go(func() { <-done })
	limit := make(chan time.Time, 1)
	limit <- time.Time{}
	tasks.Wait(limit)
	close(done)
	tasks.Wait(nil)
}
