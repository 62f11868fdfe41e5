// Our operator commands and the real mqadmin say the same of the same cluster, ours or Java's.

package compat

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"rmqctl/test/peers"
)

// parity is one command given to both tools. "{T}" is a topic of the tool's own, for commands that change something.
type parity struct {
	args string
	// mask makes what no two runs can have in common equal.
	mask []mask
	// unordered: Java prints hash order, we sort.
	unordered bool
}

type mask struct {
	pattern string
	to      string
}

var (
	tps = []mask{{` +\d+\.\d\d`, " TPS"}, {`Consume TPS: .*`, "TPS"}}
	// clusterList's numbers that change from one look to the next.
	rates = []mask{{` +\d+\.\d\d\(\d+,\d+ms\)`, " TPS"}, {`\d+ +\d+\.\d\d \d\.\d{4}$`, "HOUR SPACE"}}
	// brokerStatus: the keys must be the same, and the form of the values.
	numbers = []mask{{`\d+\.\d+`, "N"}, {`\d+`, "N"}, {`N( N)+`, "N"}, {`: *$`, ": N"}, {` +N *$`, " N"}}
	// allocateMQ: Java takes the queues and the clients in hash order.
	queues = []mask{{`"brokerName":"[^"]+","queueId":\d+`, "Q"}, {`\],"`, "\n\""}, {`[][{}]+`, "\n"}}
	// The group's TPS is a whole number here.
	whole = []mask{{`(PUSH|PULL|OFFLINE)(\s+\w*\s+)\d+`, "$1$2 TPS"}}
	// A client has a connection of its own to every broker, and mqadmin asks any of them.
	clientPorts = []mask{{`(\d+\.\d+\.\d+\.\d+):\d+ +`, "$1 "}}
	// mqadmin is a producer of this group itself.
	innerProducers = append([]mask{{`^\d{4}`, "N"}, {`^N (.*@[^p].*|.*@p[^e].*)\n`, ""}}, clientPorts...)
	// The properties of a message come in hash order, and the tracks on one line.
	messages = []mask{{`, (\w+=)`, "\n$1"}, {`[{}]`, "\n"}, {`\]MessageTrack`, "]\nMessageTrack"}}
	// Java's lines of success and settings have no end.
	config = []mask{{`success(\S)`, "success\n$1"}}
	// The number of topics changes with those of the tools themselves.
	count = []mask{{`OK, [1-9]\d*`, "OK, N"}}
	// Our lines end where 4.9's go on, and a first order configuration is no error to us.
	ordered = []mask{{`^org\.apache\.rocketmq\.client\.exception\.MQClientException: CODE: 22 .*\n(For more .*\n)?(\s+at .*\n)+`, ""}, {`(orderConf=\[[^]]*\])(\S)`, "$1\n$2"}, {`broker-b:4;broker-a:4`, "broker-a:4;broker-b:4"}}
)

// looks are the commands that change nothing.
func looks(b0, group string, m peers.Event) []parity {
	return []parity{
		{args: "clusterList", mask: rates},
		{args: "clusterList -m"},
		{args: "brokerStatus -b " + b0, mask: numbers},
		{args: "brokerStatus -c DefaultCluster", mask: numbers, unordered: true},
		{args: "topicList", unordered: true},
		{args: "topicList -c", unordered: true},
		{args: "topicRoute -t Orders", unordered: true},
		{args: "topicRoute -t Orders -l"},
		{args: "topicRoute -t OnlyA"},
		{args: "topicStatus -t Orders"},
		{args: "topicStatus -t Empty"},
		{args: "topicClusterList -t Orders"},
		{args: "allocateMQ -t Orders -i 10.0.0.1,10.0.0.2,10.0.0.3", mask: queues, unordered: true},
		{args: "allocateMQ -t OnlyA -i 10.0.0.1", mask: queues, unordered: true},
		{args: "statsAll", mask: tps, unordered: true},
		{args: "statsAll -t Orders", mask: tps, unordered: true},
		{args: "statsAll -a", mask: tps, unordered: true},
		{args: "consumerProgress", mask: whole, unordered: true},
		{args: "consumerProgress -g " + group, mask: tps},
		{args: "consumerProgress -g " + group + " -s true", mask: tps},
		{args: "consumerProgress -g gone", mask: tps},
		{args: "consumerConnection -g " + group, mask: clientPorts, unordered: true},
		{args: "consumerConnection -g " + group + " -b " + b0, unordered: true},
		{args: "producerConnection -g CLIENT_INNER_PRODUCER -t Orders", mask: innerProducers},
		{args: "queryMsgById -i " + m.OffsetMsgID, mask: messages, unordered: true},
		{args: "queryMsgByKey -t Orders -k key7"},
		{args: "queryMsgByUniqueKey -t Orders -i " + m.MsgID, mask: messages, unordered: true},
		{args: "getBrokerConfig -b " + b0, unordered: true},
		{args: "getBrokerConfig -c DefaultCluster", unordered: true},
		{args: "getNamesrvConfig", unordered: true},
	}
}

// changes run one after the other, each by both tools.
func changes(b0 string) []parity {
	return []parity{
		{args: "updateTopic -b " + b0 + " -t {T} -r 3 -w 5"},
		{args: "topicRoute -t {T}"},
		{args: "updateTopic -b " + b0 + " -t {T} -o true", mask: ordered},
		{args: "updateTopic -c DefaultCluster -t {T} -r 4 -w 4 -p 4 -o true", mask: ordered, unordered: true},
		{args: "topicRoute -t {T}", unordered: true},
		{args: "topicStatus -t {T}"},
		{args: "updateTopic -c DefaultCluster -t {T} -u true -s true", unordered: true},
		{args: "updateTopicPerm -c DefaultCluster -t {T} -p 2", unordered: true},
		{args: "updateTopicPerm -b " + b0 + " -t {T} -p 6", mask: config},
		{args: "deleteTopic -c DefaultCluster -t {T}"},
		{args: "skipAccumulatedMessage -g {T} -t Orders", unordered: true},
		{args: "resetOffsetByTime -g {T} -t Orders -s 0", unordered: true},
		{args: "resetOffsetByTime -g {T} -t Orders -s now -f false", unordered: true},
		{args: "resetOffsetByTime -g {T} -t Orders -s 2020-01-01#00:00:00:000", unordered: true},
		{args: "resetOffsetByTime -g reader -t Orders -s now", unordered: true},
		{args: "updateSubGroup -c DefaultCluster -g {T} -r 3 -d true", unordered: true},
		{args: "deleteSubGroup -b " + b0 + " -g {T}"},
		{args: "deleteSubGroup -c DefaultCluster -g {T}", unordered: true},
		{args: "updateKvConfig -s N -k {T} -v v"},
		{args: "deleteKvConfig -s N -k {T}"},
		{args: "updateBrokerConfig -b " + b0 + " -k fileReservedTime -v 96"},
		{args: "updateNamesrvConfig -k returnOrderTopicConfigToBroker -v true"},
		{args: "cleanExpiredCQ -b " + b0},
		{args: "cleanUnusedTopic -c DefaultCluster"},
		{args: "deleteExpiredCommitLog"},
		{args: "wipeWritePerm -b broker-a", mask: count},
		{args: "topicRoute -t Orders", unordered: true},
		{args: "addWritePerm -b broker-a", mask: count},
		{args: "topicRoute -t Orders", unordered: true},
		{args: "wipeWritePerm -b nobody"},
		{args: "addWritePerm -b nobody"},
	}
}

func TestAdminCommandsSayWhatMqadminSays(t *testing.T) {
	for _, version := range []string{peers.Ours, peers.Servers49} {
		t.Run("servers "+version, func(t *testing.T) {
			t.Parallel()
			peers.Need(t, version, peers.Clients49, peers.GoClient)
			compareTools(t, version)
		})
	}
}

func compareTools(t *testing.T, version string) {
	ns := peers.StartNamesrv(t, version)
	var brokers [2]*peers.Server
	var group sync.WaitGroup
	for i, name := range []string{"broker-a", "broker-b"} {
		group.Go(func() { brokers[i] = peers.StartBroker(t, version, ns.Addr, map[string]string{"brokerName": name}) })
	}
	group.Wait()
	ours(t, ns.Addr, "updateTopic", "-c", "DefaultCluster", "-t", "Orders", "-r", "4", "-w", "4")
	ours(t, ns.Addr, "updateTopic", "-c", "DefaultCluster", "-t", "Empty", "-r", "2", "-w", "2")
	ours(t, ns.Addr, "updateTopic", "-b", brokers[0].Addr, "-t", "OnlyA", "-r", "2", "-w", "2")
	sent := peers.Of(peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=Orders", "n=40", "keys=key%", "tags=A,B"), "sent")
	if len(sent) != 40 {
		t.Fatalf("sent %d", len(sent))
	}
	// Three groups have read and are gone, one is online.
	for _, g := range []string{"gone", "ParityG", "ParityJ"} {
		group.Go(func() {
			peers.Run(t, peers.GoClient, "consume", "namesrv="+ns.Addr, "topic=Orders", "group="+g, "n=40")
		})
	}
	group.Wait()
	first := peers.Start(t, peers.Clients49, "consume-loop", "namesrv="+ns.Addr, "topic=Orders", "group=reader").Ready()
	first.AwaitN("received", 40, bootTime)
	until(t, "what was read is committed", func() bool {
		return strings.Contains(ours(t, ns.Addr, "consumerProgress", "-g", "reader"), "Diff Total: 0")
	})

	// Three mqadmins look at the same time; what changes the cluster is done by one of them, and before that by us.
	shells := make(chan *peers.AdminShell, 3)
	for range cap(shells) {
		group.Go(func() { shells <- peers.StartAdmin(t, peers.Clients49) })
	}
	for _, p := range looks(brokers[0].Addr, "reader", sent[7]) {
		group.Go(func() {
			s := <-shells
			defer func() { shells <- s }()
			p.compare(t, s.Run(p.words("ParityJ", ns.Addr)...), ours(t, ns.Addr, p.words("ParityG")...))
		})
	}
	group.Wait()
	all := changes(brokers[0].Addr)
	got := make([]string, len(all))
	for i, p := range all {
		got[i] = ours(t, ns.Addr, p.words("ParityG")...)
	}
	s := <-shells
	for i, p := range all {
		p.compare(t, s.Run(p.words("ParityJ", ns.Addr)...), got[i])
	}
}

// words are the command line; with a name server for mqadmin.
func (p parity) words(topic string, ns ...string) []string {
	w := strings.Fields(strings.ReplaceAll(p.args, "{T}", topic))
	for _, addr := range ns {
		w = append(w, "-n", addr)
	}
	return w
}

func (p parity) compare(t *testing.T, java, rmqctl string) {
	t.Helper()
	if want, got := p.plain(java), p.plain(rmqctl); got != want {
		t.Errorf("%s\nrmqctl admin:\n%s\nmqadmin:\n%s", p.args, got, want)
	}
}

func (p parity) plain(out string) string {
	out = strings.NewReplacer("ParityJ", "ParityT", "ParityG", "ParityT").Replace(out)
	for _, m := range p.mask {
		out = regexp.MustCompile("(?m)"+m.pattern).ReplaceAllString(out, m.to)
	}
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	if p.unordered {
		slices.Sort(lines)
	}
	// Java's half-message topic comes into being some time after the start.
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, "RMQ_SYS_TRANS_HALF_TOPIC") })
	return strings.Join(lines, "\n")
}

// ours runs one of our admin commands and returns what it printed on both streams.
func ours(t *testing.T, ns string, args ...string) string {
	t.Helper()
	cmd := exec.Command(peers.Program(t), append([]string{"admin"}, append(args, "-n", ns)...)...)
	out, _ := cmd.CombinedOutput()
	return string(out)
}
