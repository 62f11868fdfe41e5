package step

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestBlockGivesTheFileItsBytesBack(t *testing.T) {
	for _, text := range []string{"", "a\n", "a", "a\n\n", "# rmqctl:other begin\nx\n# rmqctl:other end\n", "a\r\n"} {
		set, err := setBlock(text, "orders", []string{"1.2.3.4 x"}, true)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := setBlock(set, "orders", []string{"1.2.3.4 x"}, true); err != nil || again != set {
			t.Errorf("%q: the same lines change the text: %v\n%s", text, err, again)
		}
		if rest, remove, err := dropBlock(set, "orders"); err != nil || rest != text || remove {
			t.Errorf("%q came back as %q (%t, %v)", text, rest, remove, err)
		}
	}
}

func TestBlockWithLinesAfterItStaysWhereItIs(t *testing.T) {
	set, _ := setBlock("a", "orders", []string{"x"}, true)
	set += "b\n"
	moved, err := setBlock(set, "orders", []string{"y"}, true)
	if err != nil || !strings.HasSuffix(moved, "# rmqctl:orders end\nb\n") {
		t.Errorf("%v\n%s", err, moved)
	}
	if rest, _, _ := dropBlock(moved, "orders"); rest != "a\nb\n" {
		t.Errorf("%q", rest)
	}
}

func TestDamagedBlockIsNotTouched(t *testing.T) {
	for _, text := range []string{"# rmqctl:orders begin\nx\n", "# rmqctl:orders end\n",
		"# rmqctl:orders begin\n# rmqctl:orders begin\n# rmqctl:orders end\n",
		"# rmqctl:orders begin\n# rmqctl:orders end\n# rmqctl:orders begin\n# rmqctl:orders end\n"} {
		if _, err := setBlock(text, "orders", nil, true); err == nil {
			t.Errorf("%q was taken", text)
		}
		if _, _, err := dropBlock(text, "orders"); err == nil {
			t.Errorf("%q was dropped", text)
		}
	}
}

func TestZoneIsRead(t *testing.T) {
	z := parseZone("public (active)\n  target: default\n  services: ssh\n  ports: 9876/tcp 10909-10911/tcp 53/udp\n  rich rules: \n\trule family=\"ipv4\" source address=\"10.0.0.1\" port port=\"10912\" protocol=\"tcp\" accept\n")
	for rule, want := range map[string]bool{"port=9876/tcp": true, "port=10910/tcp": true, "port=53/tcp": false, "port=10912/tcp": false,
		`rich-rule=rule family="ipv4" source address="10.0.0.1" port port="10912" protocol="tcp" accept`: true} {
		if z.has(rule) != want {
			t.Errorf("%s: %t", rule, !want)
		}
	}
	if all := parseZone("trusted\n  target: ACCEPT\n"); !all.has("port=1/tcp") {
		t.Error("the zone trusted is open")
	}
}

func TestZoneOfAnInterface(t *testing.T) {
	zones := parseActiveZones("internal (default)\n  interfaces: eth1\npublic\n  interfaces: eth0 eth2\n  sources: 10.0.0.0/8\n")
	want := map[string]string{"eth1": "internal", "eth0": "public", "eth2": "public"}
	if !reflect.DeepEqual(zones, want) {
		t.Errorf("%v", zones)
	}
	out := "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n7: eth2@if8    inet 192.168.31.101/24 brd 192.168.31.255 scope global eth2"
	if got := interfaceOf(out, "192.168.31.101"); got != "eth2" {
		t.Errorf("interface %q", got)
	}
}

// testdata/ruleset.json is what nft 1.0.6 prints for a chain that drops, with two rules of the cluster.
func TestRulesetOfNftIsRead(t *testing.T) {
	out, err := os.ReadFile("testdata/ruleset.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := parseRuleset(string(out))
	if err != nil {
		t.Fatal(err)
	}
	if b := s.blocking(); len(b) != 1 || b[0].String() != "inet filter input" {
		t.Errorf("blocking %v", b)
	}
	if o := s.owned("orders"); len(o) != 2 || o[0].Handle != 6 || o[1].Handle != 8 {
		t.Errorf("owned %v", o)
	}
	if o := s.owned("order"); len(o) != 0 {
		t.Errorf("rules of cluster order: %v", o)
	}
}

func TestClusterInfoOfJavaIsRead(t *testing.T) {
	got, err := ParseClusterInfo(`{"brokerAddrTable":{"broker-{0:":{"brokerAddrs":{0:"a:1",1:"b:2"},"brokerName":"x"},"b":{"brokerAddrs":{"0":"c:3"}}},"clusterAddrTable":{}}`)
	want := map[string]map[int64]string{"broker-{0:": {0: "a:1", 1: "b:2"}, "b": {0: "c:3"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v", got, err)
	}
	if _, err := ParseClusterInfo("<html>"); err == nil {
		t.Error("a web page is no table")
	}
}

func TestListenersInTheWay(t *testing.T) {
	table := "*:22 1 sshd\n127.77.0.1:9876 20 rmqctl\n[::]:8080 30 java -jar x\n0.0.0.0:10911 - -"
	for _, x := range []struct {
		addr string
		port int
		pid  string
	}{{"", 22, "1"}, {"127.77.0.1", 9876, "20"}, {"127.77.0.2", 9876, ""}, {"", 9876, "20"}, {"127.77.0.1", 8080, "30"}, {"", 10911, "-"}, {"", 10912, ""}} {
		l, taken := PortFree{Address: x.addr, Port: x.port}.taken(table)
		if taken != (x.pid != "") || taken && l.pid != x.pid {
			t.Errorf("%s:%d: %v %t", x.addr, x.port, l, taken)
		}
	}
}

func TestHashKeepsItsPartsApart(t *testing.T) {
	if Hash("ab", "c") == Hash("a", "bc") || Hash("a") == Hash("a", "") {
		t.Error("two lists have one hash")
	}
}

func FuzzBlock(f *testing.F) {
	f.Add("127.0.0.1 localhost\n# rmqctl:orders begin\nx\n# rmqctl:orders end\n")
	f.Add("# rmqctl:orders begin (the file was not there)\n# rmqctl:orders end")
	f.Add("x\r\n# rmqctl:orders end")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := findBlock(text, "orders")
		if err != nil {
			return
		}
		set, err := setBlock(text, "orders", []string{"1.2.3.4 a"}, true)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		rest, _, err := dropBlock(set, "orders")
		if err != nil {
			t.Fatalf("%q: %v", set, err)
		}
		if b.from < 0 && rest != text {
			t.Errorf("%q came back as %q", text, rest)
		}
	})
}

func FuzzFirewallOutputs(f *testing.F) {
	f.Add("public (active)\n  interfaces: eth0\n  ports: 1-2/tcp\n  rich rules: \n\trule x")
	f.Add(`{"nftables":[{"chain":{"type":"filter","hook":"input","policy":"drop","family":"ip"}},{"rule":{"expr":[{"drop":null}]}}]}`)
	f.Add("2: eth0    inet 192.168.31.101/24 brd")
	f.Fuzz(func(t *testing.T, text string) {
		parseZone(text).has("port=1/tcp")
		parseActiveZones(text)
		interfaceOf(text, "192.168.31.101")
		if s, err := parseRuleset(text); err == nil {
			s.blocking()
			s.owned("orders")
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add(`{"brokerAddrTable":{"a":{"brokerAddrs":{0:"x"}}}}`)
	f.Add("*:22 1 sshd")
	f.Add("active 1 2")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = ParseClusterInfo(text)
		_, _ = PortFree{Port: 22}.taken(text)
		_ = ParseUnitState(text)
		_, _ = parseHostsLine(text)
		uid(text)
	})
}
