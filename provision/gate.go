// The numbers on which a roll decides, asked over RocketMQ's own protocol. What cannot be asked does not hold: a gate
// fails closed.

package provision

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
	"rmqctl/inventory"
	"rmqctl/provision/step"
)

// refuse builds the error of a gate.
func refuse(t *task, may, what, limit, next string) *GateError {
	return &GateError{Host: t.host.name(), Member: t.role, May: may, What: what, Limit: limit, Next: next}
}

func (e *engine) taskOf(b *inventory.Broker) *task {
	for _, h := range e.hosts {
		for _, t := range h.tasks {
			if t.broker == b {
				return t
			}
		}
	}
	return nil
}

// unitState asks the supervisor.
func (e *engine) unitState(ctx context.Context, t *task) (step.UnitState, error) {
	out, err := t.host.m.Look(ctx).Query(t.host.sup.State(t.unit))
	if err != nil {
		return step.UnitState{}, err
	}
	return step.ParseUnitState(out), nil
}

func (e *engine) clusterInfo(ctx context.Context, addr string) (*protocol.ClusterInfo, error) {
	return askJSON[protocol.ClusterInfo](ctx, e.net, addr, protocol.GetBrokerCluster)
}

func (e *engine) haStatus(ctx context.Context, b *inventory.Broker) (*protocol.HARuntimeInfo, error) {
	return askJSON[protocol.HARuntimeInfo](ctx, e.net, b.Addr(), protocol.GetBrokerHAStatus)
}

func (e *engine) runtime(ctx context.Context, b *inventory.Broker) (map[string]string, error) {
	kv, err := askJSON[protocol.KVTable](ctx, e.net, b.Addr(), protocol.GetBrokerRuntimeInfo)
	if err != nil {
		return nil, err
	}
	return kv.Table, nil
}

// nameServersOf is those of the inventory's name servers that a running broker was started with: one that was added since is
// known to it after its restart only, and must not be a gate before it. All of them, if the broker does not tell.
func (e *engine) nameServersOf(ctx context.Context, b *inventory.Broker) []*inventory.NameServer {
	list := strings.Split(e.running(ctx, b)["namesrvAddr"], ";")
	var out []*inventory.NameServer
	for _, ns := range e.inv.NameServers {
		if slices.Contains(list, ns.Addr()) {
			out = append(out, ns)
		}
	}
	if out == nil {
		return e.inv.NameServers
	}
	return out
}

// running is the configuration that a broker runs with, which need not be the inventory's; nil when it does not tell.
func (e *engine) running(ctx context.Context, b *inventory.Broker) map[string]string {
	_, body, err := ask(ctx, e.net, b.Addr(), protocol.GetBrokerConfig, nil)
	if err != nil {
		return nil
	}
	props, err := conf.ParseProperties(bytes.NewReader(body), b.Member)
	if err != nil {
		return nil
	}
	out := map[string]string{}
	for _, p := range props {
		out[p.Key] = p.Value
	}
	return out
}

// registered says where a broker is missing: "" = each of its name servers knows it under its address, with whatever id.
func (e *engine) registered(ctx context.Context, b *inventory.Broker) string {
	for _, ns := range e.nameServersOf(ctx, b) {
		info, err := e.clusterInfo(ctx, ns.Addr())
		if err != nil {
			return fmt.Sprintf("name server %s cannot be asked: %v", ns.Addr(), err)
		}
		got := ""
		if d := info.BrokerAddrTable[b.Name]; d != nil {
			got = d.BrokerAddrs[b.ID]
			for _, addr := range d.BrokerAddrs { // elections and promotions move the ids
				if addr == b.Addr() {
					got = addr
				}
			}
			if b.Raft() && got != b.Addr() {
				got = ""
			}
		}
		switch got {
		case b.Addr():
		case "":
			return fmt.Sprintf("%s is not registered at name server %s", b.Member, ns.Addr())
		default:
			return fmt.Sprintf("%s is registered at name server %s as %s, not %s", b.Member, ns.Addr(), got, b.Addr())
		}
	}
	return ""
}

// lag is how far the slaves of a group are behind: the worst of them, and a phrase about it. missing counts those that
// are not connected.
func (e *engine) lag(ctx context.Context, g *inventory.Group) (worst int64, missing int, what string, err error) {
	master := e.replicas(ctx, g).leader
	if master == nil {
		return 0, 0, "", fmt.Errorf("%s has no master", g.Name)
	}
	ha, err := e.haStatus(ctx, master)
	if err != nil {
		return 0, 0, "", fmt.Errorf("master %s cannot be asked about its slaves: %w", master.Member, err)
	}
	for _, c := range ha.Connections {
		if c.Diff >= worst {
			worst = c.Diff
			what = fmt.Sprintf("slave at %s is %s behind", c.Addr, bytesText(c.Diff))
		}
	}
	if missing = max(0, len(g.Slaves)-len(ha.Connections)); missing > 0 {
		what = fmt.Sprintf("%d of %s of %s connected", len(ha.Connections), count(len(g.Slaves), "slave"), master.Member)
	}
	return worst, missing, what, nil
}

// level waits until every slave of a group is connected and at most limit bytes behind.
func (e *engine) level(ctx context.Context, t *task, g *inventory.Group, limit int64, within time.Duration, may string) error {
	return e.until(ctx, t, within, func() (bool, string, error) {
		worst, missing, what, err := e.lag(ctx, g)
		return err == nil && missing == 0 && worst <= limit, what, err
	}, func(what string) error {
		return refuse(t, may, what, bytesText(limit), "wait until the slaves have caught up (rmqctl status), then run it again")
	})
}

// until asks twice a second. what is the number that is still wrong; an error counts as "does not hold yet".
func (e *engine) until(ctx context.Context, t *task, within time.Duration, holds func() (bool, string, error), give func(what string) error) error {
	end := e.clock.Now().Add(within)
	shown := ""
	for {
		ok, what, err := holds()
		if err != nil {
			what = err.Error()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if ok {
			return nil
		}
		if what != shown {
			shown = what
			e.emit(Event{Host: t.host.name(), Role: t.role, Step: "gate", State: Progress, Why: what})
		}
		if !e.clock.Now().Before(end) {
			return give(what)
		}
		if err := e.wait(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

// offsets is where consumers are, by topic@group and queue.
type offsets map[string]map[int32]int64

func (e *engine) offsets(ctx context.Context, b *inventory.Broker) (offsets, error) {
	t, err := askJSON[protocol.ConsumerOffsetTable](ctx, e.net, b.Addr(), protocol.GetAllConsumerOffset)
	if protocol.StatusOf(err) == protocol.SystemError { // how a broker says that it has none
		return offsets{}, nil
	}
	if err != nil {
		return nil, err
	}
	return t.OffsetTable, nil
}

// behind names the first offset of o that is lower than in want; "" = none.
func (o offsets) behind(want offsets) string {
	for key, queues := range want {
		for q, n := range queues {
			if have := o[key][q]; have < n {
				return fmt.Sprintf("offset of %s queue %d is %d, was %d", key, q, have, n)
			}
		}
	}
	return ""
}

// others says whether another group can take the sends of g: somebody leads it, and every name server says so.
func (e *engine) others(ctx context.Context, g *inventory.Group) bool {
	for _, o := range e.inv.Groups {
		if o == g {
			continue
		}
		if r := e.replicas(ctx, o); r.leader != nil && e.shownAsMaster(ctx, r.leader) == "" {
			return true
		}
	}
	return false
}

func number(kv map[string]string, key string) (int64, bool) {
	n, err := strconv.ParseInt(kv[key], 10, 64)
	return n, err == nil
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// members counts brokers in a name server's table.
func members(table map[string]*protocol.BrokerData) int {
	n := 0
	for _, d := range table {
		n += len(d.BrokerAddrs)
	}
	return n
}
