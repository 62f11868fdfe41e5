// Hosts with nftables alone, and with no firewall at all.
package e2e

import (
	"reflect"
	"regexp"
	"slices"
	"testing"

	"rmqctl/test/hosts/bed"
	"rmqctl/test/peers"
)

func TestOtherFirewalls(t *testing.T) {
	bed.Require(t)
	peers.Need(t, peers.GoClient)
	t.Parallel()
	b := bed.New(t, bed.Options{Nodes: 2, Firewalls: []string{"nftables", "none"}})
	s := layout(t, b, "d6", opsBySudo(b))
	before := s.disks()
	if got := s.reachable("operator")["node1"]; len(got) > 0 {
		t.Errorf("reachable through nftables before: %v", got)
	}
	s.planTouchesNothing(before)
	r := s.deploy()
	t.Log(r)
	if !regexp.MustCompile(`(?i)(host2|node2).*no firewall is active`).MatchString(r.out) {
		t.Error("does not say that the second host has no firewall")
	}
	planned := slices.Concat(nsPort, brokerPort, secondPort)
	if got := s.reachable("operator")["node1"]; !reflect.DeepEqual(got, planned) {
		t.Errorf("reachable through nftables: %v, planned: %v", got, planned)
	}
	must(t, b.Nodes[0].Cut(ctxOf(t)))
	must(t, b.Nodes[0].On(ctxOf(t)))
	if got := s.reachable("operator")["node1"]; !reflect.DeepEqual(got, planned) {
		t.Errorf("reachable after a power cut: %v, planned: %v", got, planned)
	}
	for _, b := range s.inv.Brokers() { // brokers register again every half minute
		s.awaitRoute(b.Addr(), true)
	}
	s.secondDeployChangesNothing()
	s.carries(100, 2)
	s.destroy()
	same(t, "after destroy", before, s.disks())
}
