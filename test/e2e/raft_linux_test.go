// Raft groups: one over three hosts (D10), two over six (D11).
package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cluster "rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/inventory"
	"rmqctl/test/hosts/bed"
	"rmqctl/test/peers"
)

// oneGroup: D10, node1 leads when it is level.
func oneGroup(t *testing.T, l *lab) {
	l.start(patient, append(makes, application{"java, 30 s", peers.Clients49, "poll=30000"})...)
	l.experiment(t, "X1", "nothing fails", nothingFails)

	l.experiment(t, "X13", "the leader's process is killed while 1,000 are being sent", func(x *experiment) {
		x.probe()
		begun(x.send(1000), 300)
		leader := x.leader(x.inv.Groups[0])
		x.strike(func() error { kill(x.site, x.host(leader.Node), leader.Unit()); return nil })
		x.settle()
		x.revive(leader)
		x.level()
	})

	l.experiment(t, "X13", "the leader's host loses its power while 1,000 are being sent", func(x *experiment) {
		x.apps = x.apps[:len(makes)] // one that looks every 30 s and meets the dead name server waits for a minute
		x.probe()
		begun(x.send(1000), 300)
		leader := x.leader(x.inv.Groups[0])
		x.strike(func() error { return x.host(leader.Node).Cut(ctxOf(x.t)) })
		x.settle()
		must(x.t, x.host(leader.Node).On(ctxOf(x.t)))
		x.level()
	})

	l.experiment(t, "roll", "a rolling restart", rollingRestart)
	l.finish(t)
}

// twoGroups: D11, broker-r0 on node1, node2 (dc1) and node6 (dc2), broker-r1 on node4, node5 (dc2) and node3 (dc1).
func twoGroups(t *testing.T, l *lab) {
	l.start(impatient, append(makes, application{"java 5.3.3", peers.All53, "poll=1000"})...)
	l.experiment(t, "X1", "nothing fails", nothingFails)

	l.experiment(t, "X14", "one leader's host loses its power while 1,000 are being sent", func(x *experiment) {
		x.probe()
		begun(x.send(1000), 300)
		leader := x.leader(x.inv.Groups[0])
		x.strike(func() error { return x.host(leader.Node).Cut(ctxOf(x.t)) })
		x.settle()
		must(x.t, x.host(leader.Node).On(ctxOf(x.t)))
		x.level()
	})

	l.experiment(t, "X15", "both leaders' hosts lose their power while 1,000 are being sent", func(x *experiment) {
		x.probe()
		begun(x.send(1000), 300)
		both := []*bed.Node{x.host(x.leader(x.inv.Groups[0]).Node), x.host(x.leader(x.inv.Groups[1]).Node)}
		x.strike(x.together(both, (*bed.Node).Cut))
		x.settle()
		must(x.t, x.together(both, (*bed.Node).On)())
		x.level()
	})

	l.experiment(t, "dc", "data centre 1 is cut off, with it one group's majority, while 1,000 are being sent", func(x *experiment) {
		begun(x.send(1000), 300)
		x.strike(x.unplug("dc1"))
		ended(x.batches) // what the stopped group's last member does not know to be committed is read when the others are back
		x.consoleWorks(3)
		must(x.t, x.plug("dc1")())
		x.settle()
		x.level()
	})
	l.finish(t)
}

// rollingRestart restarts every process while the applications send; none of them hears of it.
func rollingRestart(x *experiment) {
	starts := x.starts()
	x.probe()
	x.rolls = true
	last := x.order(500, 0, 5, 1)
	begun(last, 100)
	rolled := make(chan result)
	go func() { rolled <- x.rmqctl("", "restart", x.file, "-y") }()
	var roll result
	for roll.args == nil {
		ended(last)
		select {
		case roll = <-rolled:
		default:
			last = x.order(500, 0, 5, 1)
		}
	}
	x.t.Log(roll)
	if roll.code != 0 {
		x.t.Errorf("the roll ends with %d", roll.code)
	}
	again := x.starts()
	for u, n := range starts {
		if again[u] != n+1 {
			x.t.Errorf("%s was started %d times by the roll", u, again[u]-n)
		}
	}
	x.settle()
	for _, f := range x.figures() {
		if f.refused > 0 {
			x.t.Errorf("%s: %d sends were refused: %s", f.client, f.refused, f.why())
		}
	}
	x.level()
}

// leader is the member that leads a group now: a preferred one takes the lead back some time after it has returned.
func (x *experiment) leader(g *inventory.Group) *inventory.Broker {
	x.t.Helper()
	c := x.asking()
	var leads *inventory.Broker
	eventually(x.t, time.Minute, func() bool {
		for _, b := range g.Brokers {
			s, err := cluster.CallJSON[protocol.ReplicationState, protocol.Empty, protocol.Empty](ctxOf(x.t), c, b.Addr(), protocol.GetReplicationState, nil)
			if err == nil && s.Role == protocol.RoleLeader && s.Writable {
				leads = b
			}
		}
		return leads != nil
	}, "%s to have a leader", g.Name)
	return leads
}

// revive starts a broker that kill has ended.
func (x *experiment) revive(b *inventory.Broker) {
	x.t.Helper()
	x.exec(x.host(b.Node), "rm -r /run/systemd/system/"+b.Unit()+".d && systemctl daemon-reload && systemctl start "+b.Unit())
}

// probe sends to every member of every group until the experiment is judged: routes play no part in it. What it measures is the
// longest time in which no member of a group took a message.
func (x *experiment) probe() {
	x.t.Helper()
	c := x.asking()
	const topic = "PROBE"
	x.topic(topic)
	x.routed(topic)
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	var mu sync.Mutex // guards taken
	taken := make([][]time.Time, len(x.inv.Groups))
	var n atomic.Int64
	for i, g := range x.inv.Groups {
		for _, b := range g.Brokers {
			all.Go(func() {
				for ctx.Err() == nil {
					body := fmt.Appendf(nil, "probe-%d", n.Add(1))
					call, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
					_, _, err := cluster.Call(call, c, b.Addr(), protocol.SendMessageV2, &protocol.SendMessageRequestV2{
						ProducerGroup: "probe", Topic: topic, DefaultTopic: message.AutoCreateTopic, DefaultTopicQueueNums: 4,
						BornTimestamp: time.Now().UnixMilli(), BrokerName: g.Name}, body)
					cancel()
					if err == nil {
						mu.Lock()
						taken[i] = append(taken[i], time.Now())
						mu.Unlock()
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
	}
	x.leaderless = func() time.Duration {
		time.Sleep(200 * time.Millisecond)
		stop()
		all.Wait()
		var longest time.Duration
		for i := range taken {
			for k := 1; k < len(taken[i]); k++ {
				longest = max(longest, taken[i][k].Sub(taken[i][k-1]))
			}
			if len(taken[i]) < 10 {
				x.t.Errorf("the prober of %s had %d messages taken", x.inv.Groups[i].Name, len(taken[i]))
			}
		}
		return longest
	}
	x.t.Cleanup(stop)
}
