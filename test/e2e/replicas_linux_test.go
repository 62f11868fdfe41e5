// What the brokers themselves hold, asked in our own protocol from the operator's place.
package e2e

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"rmqctl/internal/checker"
	cluster "rmqctl/internal/client"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/test/hosts/bed"
)

// asking makes a client in the operator's namespace.
func (s *site) asking() *cluster.Client {
	s.t.Helper()
	dial := func(ctx context.Context, addr string) (net.Conn, error) { return s.Dial(ctx, "operator", addr) }
	rc := remoting.NewClient(remoting.ClientOptions{Log: slog.New(slog.DiscardHandler), Timeout: 3 * time.Second, ConnectTimeout: time.Second, Dial: dial})
	s.t.Cleanup(func() { rc.Close() })
	var all []string
	for _, ns := range s.inv.NameServers {
		all = append(all, ns.Addr())
	}
	c, err := cluster.New(cluster.Options{NameServers: all, Timeout: 3 * time.Second, Remoting: rc})
	must(s.t, err)
	return c
}

// routed waits until every name server knows every group's share of a topic.
func (s *site) routed(topic string) {
	s.t.Helper()
	c := s.asking()
	for _, ns := range s.inv.NameServers {
		eventually(s.t, 30*time.Second, func() bool {
			r, err := cluster.CallJSON[protocol.TopicRouteData](ctxOf(s.t), c, ns.Addr(), protocol.GetRouteInfoByTopic, &protocol.RouteRequest{Topic: topic})
			return err == nil && len(cluster.PublishQueues(topic, r)) == queuesPerBroker*len(s.inv.Groups)
		}, "%s to know all of %s", ns.Addr(), topic)
	}
}

const queuesPerBroker = 4 // as site.topic makes them

// level waits until all replicas of every group hold the same of the applications' topics.
func (l *lab) level() {
	l.t.Helper()
	c := l.asking()
	for _, g := range l.inv.Groups {
		for _, a := range l.apps {
			for q := range queuesPerBroker {
				mq := protocol.MessageQueue{Topic: a.topic, BrokerName: g.Name, QueueID: int32(q)}
				eventually(l.t, 90*time.Second, func() bool {
					first, err := c.MaxOffset(ctxOf(l.t), g.Brokers[0].Addr(), mq)
					same := err == nil
					for _, b := range g.Brokers[1:] {
						end, err := c.MaxOffset(ctxOf(l.t), b.Addr(), mq)
						same = same && err == nil && end == first
					}
					return same
				}, "all of %s to hold all of %v", g.Name, mq)
			}
		}
	}
}

// verdict reads every replica to its end and lets the checker judge: nothing acknowledged is missing on any replica, none holds what
// was never sent, all hold the same.
func (l *lab) verdict(t *testing.T) {
	t.Helper()
	l.site.t = t
	l.level()
	c := l.asking()
	var replicas []string
	members := 0
	for _, g := range l.inv.Groups {
		members = max(members, len(g.Brokers))
	}
	for i := range members {
		name := []string{"first replicas", "second replicas", "third replicas"}[i]
		replicas = append(replicas, name)
		d := l.record.Drain(name)
		for _, g := range l.inv.Groups {
			for _, a := range l.apps {
				for q := range queuesPerBroker {
					l.drain(c, d, g.Brokers[i].Addr(), protocol.MessageQueue{Topic: a.topic, BrokerName: g.Name, QueueID: int32(q)})
				}
			}
		}
		d.End()
	}
	report := l.record.Check(checker.Rules{Replicas: replicas})
	t.Log(report)
	// A client that repeats a send whose fate it does not know may store it more often than the application has sent it; each
	// experiment has bounded that.
	report.Found[checker.Duplicated] = checker.Found{}
	if err := report.Err(); err != nil {
		t.Error(err)
	}
}

func (l *lab) drain(c *cluster.Client, d *checker.Drain, addr string, mq protocol.MessageQueue) {
	l.t.Helper()
	q := checker.Queue{Broker: mq.BrokerName, Topic: mq.Topic, ID: mq.QueueID}
	first, err := c.MinOffset(ctxOf(l.t), addr, mq)
	must(l.t, err)
	end, err := c.MaxOffset(ctxOf(l.t), addr, mq)
	must(l.t, err)
	d.Queue(q, first, end)
	for at := first; at < end; {
		p, err := c.Pull(ctxOf(l.t), addr, cluster.PullRequest{Group: "checker", Queue: mq, Offset: at, Max: 32})
		must(l.t, err)
		if p.Next <= at {
			l.t.Fatalf("%s %v: nothing at offset %d of %d..%d: status %d", addr, mq, at, first, end, p.Status)
		}
		for i := range p.Messages {
			m := &p.Messages[i]
			d.Seen(q, m.QueueOffset, m.Body, true) // Pull has checked the sums
		}
		at = p.Next
	}
}

// zone are the hosts of a data centre.
func (s *site) zone(name string) []*bed.Node {
	var hosts []*bed.Node
	for _, n := range s.inv.Nodes {
		if n.Zone == name {
			hosts = append(hosts, s.host(n))
		}
	}
	return hosts
}

// together does the same to several hosts at once.
func (s *site) together(hosts []*bed.Node, do func(*bed.Node, context.Context) error) func() error {
	return func() error {
		errs := make([]error, len(hosts))
		var all sync.WaitGroup
		for i, h := range hosts {
			all.Go(func() { errs[i] = do(h, ctxOf(s.t)) })
		}
		all.Wait()
		return errors.Join(errs...)
	}
}

// cut, on, unplug and plug are what happens to a data centre: its power fails and returns, its line is cut and mended.
func (s *site) cut(zone string) func() error { return s.together(s.zone(zone), (*bed.Node).Cut) }
func (s *site) on(zone string) func() error  { return s.together(s.zone(zone), (*bed.Node).On) }
func (s *site) unplug(zone string) func() error {
	return s.together(s.zone(zone), (*bed.Node).Unplug)
}
func (s *site) plug(zone string) func() error { return s.together(s.zone(zone), (*bed.Node).Plug) }
