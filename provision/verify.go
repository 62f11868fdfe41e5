// Does it work? A probe message goes the whole way: each name server is asked where a master is, the message is sent to
// the address it names, read back from the master, and from every slave.
//
// The probe's topic is the one that every broker makes under its own name, so nothing is added to the cluster's topics.

package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/inventory"
)

const probeGroup = "TOOLS_CONSUMER" // a group that every broker has

// Verify sends and reads back probe messages through the running cluster.
func Verify(ctx context.Context, o Options) error {
	e, err := newEngine(o)
	if err != nil {
		return err
	}
	defer e.close()
	if err := e.open(ctx); err != nil {
		return err
	}
	return e.verify(ctx)
}

func (e *engine) verify(ctx context.Context) error {
	failed := &VerifyError{}
	through, read := 0, 0
	for _, g := range e.inv.Groups {
		if why := e.inSync(ctx, g); why != "" {
			failed.Failed = append(failed.Failed, g.Name+": "+why)
		}
		for _, ns := range e.inv.NameServers {
			sent, err := e.probe(ctx, ns, g)
			if err != nil {
				failed.Failed = append(failed.Failed, fmt.Sprintf("%s through name server %s: %v", g.Name, ns.Addr(), err))
				continue
			}
			through++
			for _, b := range g.Brokers {
				if err := e.readBack(ctx, b, sent); err != nil {
					failed.Failed = append(failed.Failed, fmt.Sprintf("%s on %s: read back: %v", b.Member, b.Node.Name, err))
				} else if b != sent.by {
					read++
				}
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ev := Event{Step: "verify", State: OK, Why: fmt.Sprintf("name servers × masters %d/%d, slaves read %d/%d",
		through, len(e.inv.Groups)*len(e.inv.NameServers), read, len(e.inv.NameServers)*(len(e.inv.Brokers())-len(e.inv.Groups)))}
	if failed.Failed != nil {
		ev.State, ev.Err = Failed, failed
		e.emit(ev)
		return failed
	}
	e.emit(ev)
	return nil
}

// settleLimit is how long slaves may take to come into sync, and masters to see it, after they were started.
const settleLimit = time.Minute

// inSync waits for the slaves of a group; "" = they are there.
func (e *engine) inSync(ctx context.Context, g *inventory.Group) (why string) {
	t := e.taskOf(g.Brokers[0])
	if len(g.Brokers) == 1 || t == nil {
		return ""
	}
	if g.Raft {
		_ = e.until(ctx, t, settleLimit, func() (bool, string, error) {
			what := e.replicas(ctx, g).lacks(nil, e.inv.Rollout.MaxLagBytes)
			return what == "", what, nil
		}, func(what string) error { why = what; return nil })
		return why
	}
	_ = e.until(ctx, t, settleLimit, func() (bool, string, error) {
		worst, missing, what, err := e.lag(ctx, g)
		return err == nil && missing == 0 && worst <= e.inv.Rollout.MaxLagBytes, what, err
	}, func(what string) error { why = what; return nil })
	return why
}

// probed is a message on its way.
type probed struct {
	by     *inventory.Broker
	queue  protocol.MessageQueue
	offset int64
	body   []byte
}

// probe sends one message to the master that the name server names.
func (e *engine) probe(ctx context.Context, ns *inventory.NameServer, g *inventory.Group) (*probed, error) {
	until := e.clock.Now().Add(settleLimit / 2)
	for {
		leader, err := e.namedMaster(ctx, ns, g)
		if err == nil {
			sent, err := e.send(ctx, ns, g, leader.Addr(), settleLimit/2)
			if sent != nil {
				sent.by = leader
			}
			return sent, err
		}
		if !g.Raft || !e.clock.Now().Before(until) { // who was elected just now has yet to register
			return nil, err
		}
		if werr := e.wait(ctx, 200*time.Millisecond); werr != nil {
			return nil, werr
		}
	}
}

// namedMaster is who leads a group, if the name server says so, too.
func (e *engine) namedMaster(ctx context.Context, ns *inventory.NameServer, g *inventory.Group) (*inventory.Broker, error) {
	route, err := e.routeAt(ctx, ns, g.Name)
	if err != nil {
		return nil, err
	}
	addr := ""
	for _, d := range route.BrokerDatas {
		if d.BrokerName == g.Name {
			addr = d.BrokerAddrs[0]
		}
	}
	r := e.replicas(ctx, g)
	if r.leader == nil {
		return nil, errors.New(r.leaderless())
	}
	if want := r.leader.Addr(); addr != want {
		return nil, fmt.Errorf("it names %q as master, which is at %s", addr, want)
	}
	return r.leader, nil
}

// send is tried again for a while when the master only says that its slave is not level yet.
func (e *engine) send(ctx context.Context, ns *inventory.NameServer, g *inventory.Group, addr string, patience time.Duration) (*probed, error) {
	body := []byte("rmqctl probe " + e.id + " through " + ns.Addr())
	now := e.clock.Now().UnixMilli()
	props := message.EncodeProperties(map[string]string{"WAIT": "true"})
	req := &protocol.SendMessageRequestV2{ProducerGroup: "rmqctl_probe", Topic: g.Name, DefaultTopic: "TBW102", DefaultTopicQueueNums: 4,
		BornTimestamp: now, Properties: props}
	c, err := e.net.cluster()
	if err != nil {
		return nil, err
	}
	for end := e.clock.Now().Add(patience); ; {
		resp, _, err := client.Call(ctx, c, addr, protocol.SendMessageV2, req, body)
		if err == nil {
			return &probed{queue: protocol.MessageQueue{Topic: g.Name, BrokerName: g.Name, QueueID: resp.QueueID}, offset: resp.QueueOffset, body: body}, nil
		}
		if storedOnly(err) && e.clock.Now().Before(end) {
			if werr := e.wait(ctx, time.Second); werr != nil {
				return nil, werr
			}
			continue
		}
		return nil, fmt.Errorf("send to %s: %w", addr, err)
	}
}

// storedOnly says whether a send was refused its SEND_OK although the master has stored it.
func storedOnly(err error) bool {
	switch protocol.StatusOf(err) {
	case protocol.SlaveNotAvailable, protocol.FlushSlaveTimeout, protocol.FlushDiskTimeout:
		return true
	}
	return false
}

func (e *engine) routeAt(ctx context.Context, ns *inventory.NameServer, topic string) (*protocol.TopicRouteData, error) {
	c, err := e.net.cluster()
	if err != nil {
		return nil, err
	}
	return client.CallJSON[protocol.TopicRouteData](ctx, c, ns.Addr(), protocol.GetRouteInfoByTopic, &protocol.RouteRequest{Topic: topic})
}

// readBack reads the message by its exact place, and waits a little for a slave that has not got it yet.
func (e *engine) readBack(ctx context.Context, b *inventory.Broker, p *probed) error {
	c, err := e.net.cluster()
	if err != nil {
		return err
	}
	until := e.clock.Now().Add(20 * time.Second)
	for {
		got, err := c.Pull(ctx, b.Addr(), client.PullRequest{Group: probeGroup, Queue: p.queue, Offset: p.offset, Max: 1})
		if err == nil {
			for _, m := range got.Messages {
				if m.QueueOffset == p.offset && bytes.Equal(m.Body, p.body) {
					return nil
				}
			}
			err = errors.New("the message is not there")
		}
		if !e.clock.Now().Before(until) {
			return err
		}
		if werr := e.wait(ctx, 200*time.Millisecond); werr != nil {
			return werr
		}
	}
}
