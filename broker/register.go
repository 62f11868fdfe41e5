// Registration: the name servers are told of this broker, its topics and its end.

package broker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/role"
	"rmqctl/broker/topic"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// registrar keeps every name server informed of this broker.
//
// Beside RocketMQ's period it registers again as soon as a name server's connection is lost, so that a restarted name
// server knows its brokers after a second and not after half a minute; and after an announcement that a name server
// missed, it moves the topics' version on, because a name server takes topics only from a version it does not know.
type registrar struct {
	config *conf.Live[config.Config]
	clock  clock.Clock
	log    *slog.Logger
	client *remoting.Client
	topics *topic.Table
	role   *role.Holder
	addr   string        // what clients are told
	haAddr func() string // what slaves are told

	onMaster  func(addr, haAddr string)      // what a slave learns
	onDeposed func(addr string, epoch int64) // a name server holds another for the master
	alone     func() bool                    // a slave that does not reach a master
	ready     func()                         // called once, after the first round that some name server took

	kick    chan struct{}
	stopped sync.WaitGroup // the loop of run, and what RoleChanged began

	mu     sync.Mutex // guards failed, turns
	failed map[string]bool
	turns  map[string]*sync.Mutex // by name server: one registration at a time
	once   sync.Once

	amu        sync.Mutex    // guards open and announcing
	open       *announcement // gathers topics for the next registration
	announcing bool          // a registration of topics is under way
}

// retryPause is how soon a name server that did not answer is tried again.
const retryPause = time.Second

// Registration periods outside these bounds are not taken.
const (
	minPeriod = 10 * time.Second
	maxPeriod = time.Minute
)

// run registers at once, then periodically and when kicked, until the context ends.
func (r *registrar) run(ctx context.Context) {
	for {
		pause := min(max(r.config.Load().RegisterNameServerPeriod, minPeriod), maxPeriod)
		if !r.all(ctx, false) || r.alone() { // the answer names the master
			pause = retryPause
		}
		select {
		case <-ctx.Done():
			return
		case <-r.kick:
		case <-r.clock.After(pause):
		}
	}
}

// Kick registers soon.
func (r *registrar) Kick() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// RoleChanged tells all name servers at once, also while the loop waits for one that is dead.
func (r *registrar) RoleChanged(ctx context.Context) {
	r.stopped.Go(func() {
		r.all(ctx, true)
		r.Kick() // for what was not reached, and what the next pause depends on
	})
}

// version is that of the topics, with what a name server compares when two claim one place. A master that was never
// promoted has none, as in RocketMQ without a controller.
func (r *registrar) version(st *role.State) protocol.DataVersion {
	v := r.topics.Version()
	state := st.Epoch
	if state == 1 && !r.config.Load().EnableDLegerCommitLog {
		state = 0
	}
	return protocol.DataVersion{Counter: v.Counter, Timestamp: v.Timestamp, StateVersion: state}
}

// turn is the lock under which a name server is told: what is older must not come after what is newer.
func (r *registrar) turn(ns string) *sync.Mutex {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.turns[ns] == nil {
		if r.turns == nil {
			r.turns = map[string]*sync.Mutex{}
		}
		r.turns[ns] = &sync.Mutex{}
	}
	return r.turns[ns]
}

// all registers everything everywhere and reports whether every name server took it. Without force, name servers may be
// asked first whether they know it already.
func (r *registrar) all(ctx context.Context, force bool) bool {
	cfg := r.config.Load()
	servers := cfg.NameServers()
	if len(servers) == 0 {
		r.once.Do(r.ready)
		return true
	}
	st := r.role.Load()
	v := r.version(st) // not newer than the rows
	rows, _ := r.topics.All()
	known := 0
	if !cfg.ForceRegister && !force {
		all := len(servers)
		servers = r.outdated(ctx, cfg, servers, v, st)
		known = all - len(servers)
	}
	taken := known + r.send(ctx, cfg, servers, rows, v, st)
	if taken > 0 {
		r.once.Do(r.ready)
	}
	return taken == len(cfg.NameServers())
}

// outdated are the name servers that do not have this version of the topics. Asking keeps a broker alive there too.
func (r *registrar) outdated(ctx context.Context, cfg *config.Config, servers []string, v protocol.DataVersion, st *role.State) (out []string) {
	ctx, cancel := context.WithTimeout(ctx, cfg.RegisterBrokerTimeout)
	defer cancel()
	var mu sync.Mutex // guards out
	var asked sync.WaitGroup
	for _, ns := range servers {
		asked.Go(func() {
			resp, _, err := remoting.Do(ctx, r.client, ns, protocol.QueryDataVersion, &protocol.QueryDataVersionRequest{
				BrokerName: cfg.BrokerName, BrokerAddr: r.addr, ClusterName: cfg.BrokerClusterName, BrokerID: st.ID,
			}, protocol.Marshal(&v))
			if err == nil && !resp.Changed {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, ns)
		})
	}
	asked.Wait()
	return out
}

// announcement is topics that go to the name servers in one registration.
type announcement struct {
	rows map[string]*protocol.TopicConfig
	done chan struct{}
}

// Announce tells every name server one topic, and returns when all know it or did not answer in time. Topics that are made
// while a registration is under way share the next one.
func (r *registrar) Announce(c *protocol.TopicConfig) {
	r.amu.Lock()
	if r.open == nil {
		r.open = &announcement{rows: map[string]*protocol.TopicConfig{}, done: make(chan struct{})}
	}
	mine := r.open
	mine.rows[c.TopicName] = c
	if r.announcing {
		r.amu.Unlock()
		<-mine.done
		return
	}
	r.announcing, r.open = true, nil
	r.amu.Unlock()
	r.announce(mine)
	r.amu.Lock()
	more := r.open != nil
	r.announcing = more
	r.amu.Unlock()
	if more {
		go r.announceOn()
	}
}

// announceOn goes on with what gathered until nothing is left. announcing is set.
func (r *registrar) announceOn() {
	for {
		r.amu.Lock()
		next := r.open
		r.open = nil
		r.announcing = next != nil
		r.amu.Unlock()
		if next == nil {
			return
		}
		r.announce(next)
	}
}

func (r *registrar) announce(a *announcement) {
	defer close(a.done)
	cfg := r.config.Load()
	servers := cfg.NameServers()
	st := r.role.Load()
	taken := r.send(context.Background(), cfg, servers, a.rows, r.version(st), st)
	if taken < len(servers) {
		r.topics.Touch(r.clock.Now())
		r.Kick()
	}
}

// send registers the given topics at all name servers at the same time.
func (r *registrar) send(ctx context.Context, cfg *config.Config, servers []string, rows map[string]*protocol.TopicConfig, v protocol.DataVersion, st *role.State) (taken int) {
	body, err := (&protocol.RegisterBrokerBody{TopicConfigs: protocol.TopicConfigTable{DataVersion: v, Topics: allowed(cfg, rows)}}).Encode(cfg.CompressedRegister)
	if err != nil {
		r.log.Error("encode registration", "err", err)
		return 0
	}
	req := &protocol.RegisterBrokerRequest{
		BrokerName: cfg.BrokerName, BrokerAddr: r.addr, ClusterName: cfg.BrokerClusterName, HAServerAddr: r.haAddr(), BrokerID: st.ID,
		Compressed: cfg.CompressedRegister, BodyCRC32: protocol.BodyCRC(body),
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.RegisterBrokerTimeout)
	defer cancel()
	var mu sync.Mutex // guards taken
	var sent sync.WaitGroup
	for _, ns := range servers {
		sent.Go(func() {
			turn := r.turn(ns)
			turn.Lock()
			if r.role.Load() != st { // RoleChanged tells what is true now
				turn.Unlock()
				return
			}
			resp, _, err := remoting.Do(ctx, r.client, ns, protocol.RegisterBroker, req, body)
			turn.Unlock()
			r.note(ctx, ns, err)
			if err != nil {
				return
			}
			switch {
			case resp.MasterAddr == "" || resp.MasterAddr == r.addr:
			case st.ID != 0:
				r.onMaster(resp.MasterAddr, resp.HAServerAddr)
			default:
				go r.onDeposed(resp.MasterAddr, 0)
			}
			mu.Lock()
			taken++
			mu.Unlock()
		})
	}
	sent.Wait()
	return taken
}

// allowed is the topics as name servers may know them: a broker that may not be written, or not be read, says so for
// every topic.
func allowed(cfg *config.Config, rows map[string]*protocol.TopicConfig) map[string]*protocol.TopicConfig {
	const rw = protocol.PermRead | protocol.PermWrite
	perm := int32(cfg.BrokerPermission)
	if perm&rw == rw {
		return rows
	}
	out := make(map[string]*protocol.TopicConfig, len(rows))
	for name, c := range rows {
		masked := *c
		masked.Perm = perm
		out[name] = &masked
	}
	return out
}

// note logs a name server that stops or starts taking registrations, once.
func (r *registrar) note(ctx context.Context, ns string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, known := r.failed[ns]
	r.failed[ns] = err != nil
	switch {
	case err != nil && !was:
		r.log.Warn("register at name server", "remote", ns, "err", err)
	case err == nil && (was || !known):
		r.log.Info("registered at name server", "remote", ns)
	}
}

// unregister takes this broker out of every route. Name servers that do not answer find out by themselves.
func (r *registrar) unregister(ctx context.Context) {
	cfg := r.config.Load()
	var sent sync.WaitGroup
	for _, ns := range cfg.NameServers() {
		sent.Go(func() {
			_, _, err := remoting.Do(ctx, r.client, ns, protocol.UnregisterBroker, &protocol.UnregisterBrokerRequest{
				BrokerName: cfg.BrokerName, BrokerAddr: r.addr, ClusterName: cfg.BrokerClusterName, BrokerID: r.role.Load().ID,
			})
			if err != nil {
				r.log.Warn("unregister at name server", "remote", ns, "err", err)
			}
		})
	}
	sent.Wait()
}
