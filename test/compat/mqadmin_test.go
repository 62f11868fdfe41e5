// The real mqadmin reads our cluster and changes it.

package compat

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"rmqctl/test/peers"
)

func itoa(i int) string { return strconv.Itoa(i) }

// maxOffsets adds up the column "Max Offset" of topicStatus.
func maxOffsets(out string) int {
	sum := 0
	for _, line := range strings.Split(out, "\n") {
		if f := strings.Fields(line); len(f) >= 4 && f[0] != "#Broker" {
			n, _ := strconv.Atoi(f[3])
			sum += n
		}
	}
	return sum
}

// asked is one mqadmin command line and what its output must match, line by line. A pattern with "!" must not match.
type asked struct {
	args string
	want []string
}

// ask runs commands four at a time: most of mqadmin's seconds are spent waiting for its own threads to end.
func ask(t *testing.T, version, ns string, all ...asked) {
	t.Helper()
	slots := make(chan struct{}, 4)
	var group sync.WaitGroup
	for _, a := range all {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			out := peers.Admin(t, version, append(strings.Fields(a.args), "-n", ns)...)
			for _, p := range append(a.want, "!Exception") {
				pattern, not := strings.CutPrefix(p, "!")
				if regexp.MustCompile(`(?m)`+pattern).MatchString(out) == not {
					t.Errorf("mqadmin %s: expected %s in\n%s", a.args, p, out)
				}
			}
		})
	}
	group.Wait()
}

func TestMqadminUnderstandsTheCluster(t *testing.T) {
	t.Parallel()
	peers.Need(t, peers.Clients49, peers.GoClient)
	ns, b := cluster(t, map[string]string{"brokerClusterName": "C1"})
	addr := regexp.QuoteMeta(b.Addr)

	ask(t, peers.Clients49, ns.Addr,
		asked{"updateTopic -b " + b.Addr + " -t OnOne -r 3 -w 3", []string{`create topic to ` + addr + ` success`, `readQueueNums=3, writeQueueNums=3, perm=RW-`}},
		asked{"updateTopic -c C1 -t OnAll -r 4 -w 4", []string{`create topic to ` + addr + ` success`}},
	)
	sent := peers.Of(peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=OnAll", "n=20", "keys=key%"), "sent")
	peers.Run(t, peers.GoClient, "consume", "namesrv="+ns.Addr, "topic=OnAll", "group=reader", "n=20")
	if len(sent) != 20 {
		t.Fatalf("sent %d", len(sent))
	}
	ask(t, peers.Clients49, ns.Addr,
		asked{"clusterList", []string{`^C1\s+broker-a\s+0\s+` + addr + `\s+\S+\s+\d+\.\d+\(\d+,\d+ms\)\s+\d+\.\d+\(\d+,\d+ms\)`}},
		asked{"topicList", []string{`^OnOne$`, `^OnAll$`, `^%RETRY%reader$`, `^TBW102$`}},
		asked{"topicList -c C1", []string{`C1\s+OnAll\s+reader`}},
		asked{"topicRoute -t OnAll", []string{`"brokerAddrs":\{0:"` + addr + `"`, `"readQueueNums":4`, `"writeQueueNums":4`, `"cluster":"C1"`}},
		asked{"topicClusterList -t OnAll", []string{`^C1$`}},
		asked{"topicStatus -t OnAll", []string{`^broker-a\s+3\s+0\s+5\s+20\d\d-`}},
		asked{"consumerProgress -g reader", []string{`^OnAll\s+broker-a\s+3\s+5\s+5\s+0\s+20\d\d-`, `^Diff Total: 0`}},
		asked{"consumerProgress", []string{`reader`}},
		asked{"brokerStatus -b " + b.Addr, []string{
			`^bootTimestamp\s+: \d+`, `^brokerVersionDesc\s+: V`, `^commitLogMaxOffset\s+: \d+`, `^msgPutTotalTodayNow\s+: 20$`,
			`^putTps\s+:`, `^commitLogDiskRatio\s+: 0?\.\d+`, `^dispatchBehindBytes\s+: 0`, `^runtime\s+: \[`,
		}},
		asked{"statsAll", []string{`^OnAll\s+reader\s+`}},
		asked{"allocateMQ -t OnAll -i ip1,ip2", []string{`"ip1":\[`, `"ip2":\[`}},
		asked{"queryMsgById -i " + sent[7].OffsetMsgID, []string{`OffsetID:\s+` + sent[7].OffsetMsgID, `Topic:\s+OnAll`}},
		asked{"queryMsgByKey -t OnAll -k key7", []string{sent[7].MsgID}},
		asked{"queryMsgByUniqueKey -t OnAll -i " + sent[7].MsgID, []string{`Topic:\s+OnAll`}},
		asked{"getBrokerConfig -b " + b.Addr, []string{`brokerName\s+=\s+broker-a`}},
	)
	ask(t, peers.Clients49, ns.Addr,
		asked{"updateBrokerConfig -b " + b.Addr + " -k fileReservedTime -v 96", []string{`update broker config success`}},
		asked{"deleteTopic -c C1 -t OnOne", []string{`delete topic \[OnOne\] from cluster \[C1\] success`}},
		asked{"wipeWritePerm -b broker-a", []string{`wipe write perm of broker\[broker-a\] in name server\[.*\] OK`}},
	)
	ask(t, peers.Clients49, ns.Addr,
		asked{"getBrokerConfig -b " + b.Addr, []string{`fileReservedTime\s+=\s+96`}},
		asked{"topicList", []string{`!^OnOne$`, `^OnAll$`}},
		asked{"topicRoute -t OnAll", []string{`"perm":4`}},
	)
	ask(t, peers.Clients49, ns.Addr, asked{"addWritePerm -b broker-a", []string{`add write perm of broker\[broker-a\] in name server\[.*\] OK`}})
	ask(t, peers.Clients49, ns.Addr, asked{"topicRoute -t OnAll", []string{`"perm":6`}})
}

func TestMqadmin53UnderstandsTheCluster(t *testing.T) {
	t.Parallel()
	peers.Need(t, peers.All53, peers.GoClient)
	ns, b := cluster(t, nil)
	peers.Run(t, peers.GoClient, "produce", "namesrv="+ns.Addr, "topic=T53", "n=20")
	addr := regexp.QuoteMeta(b.Addr)
	ask(t, peers.All53, ns.Addr,
		asked{"clusterList", []string{`broker-a\s+0\s+` + addr}},
		asked{"topicList", []string{`^T53$`}},
		asked{"topicRoute -t T53", []string{addr}},
		asked{"brokerStatus -b " + b.Addr, []string{`brokerVersionDesc`}},
		asked{"updateTopic -c DefaultCluster -t New53", []string{`success`}},
	)
}
