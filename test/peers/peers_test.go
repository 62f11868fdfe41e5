package peers

import (
	"fmt"
	"strings"
	"testing"
)

// What these programs say about our servers counts only if they work among themselves.
func TestPeersUnderstandEachOther(t *testing.T) {
	Need(t, Servers49, Clients49, GoClient)
	ns := StartNamesrv(t, Servers49)
	broker := StartBroker(t, Servers49, ns.Addr, nil)

	for i, version := range []string{Clients49, GoClient} {
		topic := fmt.Sprintf("Peers%d", i)
		sent := Run(t, version, "produce", "namesrv="+ns.Addr, "topic="+topic, "n=20", "tags=A,B", "keys=k%")
		if n := len(Of(sent, "sent")); n != 20 {
			t.Fatalf("%s sent %d of 20: %+v", version, n, sent)
		}
		got := Of(Run(t, version, "consume", "namesrv="+ns.Addr, "topic="+topic, "group=g-"+topic, "tags=A", "n=10"), "received")
		for _, e := range got {
			if e.Tags != "A" || e.Keys == "" || e.MsgID == "" {
				t.Errorf("%s received %+v", version, e)
			}
		}
		if len(Bodies(got)) != 10 || len(got) != 10 {
			t.Errorf("%s received %d messages, want 10", version, len(got))
		}
	}
	if out := Admin(t, Clients49, "clusterList", "-n", ns.Addr); !strings.Contains(out, broker.Addr) {
		t.Errorf("mqadmin clusterList does not show %s:\n%s", broker.Addr, out)
	}
}
