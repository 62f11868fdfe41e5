//go:build linux

package chaos

// Routes as the clients of a test follow them: asked for again and again, so that what is measured is the cluster's patience
// and not a client's thirty seconds.

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

const askRoute = 25 * time.Millisecond

// router knows the addresses of every set: id 0 leads.
type router struct {
	c     *client.Client
	rc    *remoting.Client
	topic string
	now   atomic.Pointer[map[string]place]
	stop  context.CancelFunc
	ended sync.WaitGroup
}

// place is where a set is found.
type place struct {
	addrs    map[int64]string
	writable bool // without a master the route may show a slave under id 0, to read from
}

// newRemoting is a client that gives up connecting soon: a silent host must not hold up what is asked of another.
func newRemoting() *remoting.Client {
	d := net.Dialer{}
	return remoting.NewClient(remoting.ClientOptions{ConnectTimeout: time.Second, Timeout: sendLimit,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp4", addr) }})
}

func newRouter(namesrvs []string, topic string) *router {
	r := &router{rc: newRemoting(), topic: topic}
	r.c, _ = client.New(client.Options{NameServers: namesrvs, Timeout: 500 * time.Millisecond, Remoting: r.rc})
	r.now.Store(&map[string]place{})
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.ended.Go(func() {
		for ctx.Err() == nil {
			r.ask(ctx)
			pause(ctx, askRoute)
		}
	})
	return r
}

func (r *router) close() {
	r.stop()
	r.ended.Wait()
	_ = r.rc.Close()
}

// ask keeps the old route when nobody answers, as clients do.
func (r *router) ask(ctx context.Context) {
	route, err := r.c.Route(ctx, r.topic)
	if err != nil {
		return
	}
	sets := map[string]place{}
	for _, b := range route.BrokerDatas {
		sets[b.BrokerName] = place{addrs: b.BrokerAddrs}
	}
	for _, q := range route.QueueDatas {
		if p, ok := sets[q.BrokerName]; ok && q.Perm&protocol.PermWrite != 0 {
			p.writable = true
			sets[q.BrokerName] = p
		}
	}
	r.now.Store(&sets)
}

// leader is where producers of a set send to, "" while there is nobody.
func (r *router) leader(set string) string {
	if p := (*r.now.Load())[set]; p.writable {
		return p.addrs[0]
	}
	return ""
}

// reader is where consumers read: of the leader, or of anybody while there is none.
func (r *router) reader(set string) string {
	addrs := (*r.now.Load())[set].addrs
	if a := addrs[0]; a != "" {
		return a
	}
	var all []string
	for _, a := range addrs {
		all = append(all, a)
	}
	if len(all) == 0 {
		return ""
	}
	return all[rand.IntN(len(all))]
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
