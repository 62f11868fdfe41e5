// Package slavesync copies to a slave what the replicated log does not hold: topics, groups, consumer offsets and the
// positions of delayed messages. It asks the master in RocketMQ's own requests, so the master may be a Java broker.
//
// Invariant: a consumer offset that somebody committed never gets lost or lower because a master came back. Two ways lead
// there. A master that starts takes over what its slaves have further than itself (Raise) before it serves anybody. A
// slave remembers what clients committed to it while the master was away, keeps that against the master's older view, and
// tells the master as soon as it answers.
package slavesync

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"rmqctl/broker/group"
	"rmqctl/broker/offset"
	"rmqctl/broker/topic"
	"rmqctl/internal/clock"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

const (
	period     = 10 * time.Second
	retryPause = 2 * time.Second
	lostEvery  = 5 // failures
	timeout    = 5 * time.Second
	// offsetsEvery is how far a slave may be behind with consumer offsets: what was committed later is consumed again when it
	// has to take over. Tables of more than offsetsMost rows are copied once a period only.
	offsetsEvery = time.Second
	offsetsMost  = 20_000
	// newsPause is the least time between two rounds that news in the log asked for.
	newsPause = 200 * time.Millisecond
)

// Slave keeps a slave's tables level with its master's.
type Slave struct {
	Client  *remoting.Client
	Clock   clock.Clock
	Log     *slog.Logger
	Topics  *topic.Table
	Groups  *group.Configs
	Offsets *offset.Table
	Delay   interface{ Adopt(text []byte) error } // takes over the master's positions
	Save    func() error                          // writes the tables that changed
	Lost    func()                                // the master did not answer: it may have moved
	Copied  func()                                // topics or groups were replaced by the master's; nil: nobody asks

	rows     int        // of the master's offset table; Run's alone
	replaced bool       // by a round: topics or groups; Run's alone
	mu       sync.Mutex // guards master
	master   string
	moved    chan struct{}
	once     sync.Once
}

func (s *Slave) init() { s.once.Do(func() { s.moved = make(chan struct{}, 1) }) }

// SetMaster names the master's address; "" while it is unknown. A new one is asked at once.
func (s *Slave) SetMaster(addr string) {
	s.init()
	s.mu.Lock()
	same := s.master == addr
	s.master = addr
	s.mu.Unlock()
	if !same {
		s.wake()
	}
}

func (s *Slave) wake() {
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

// Arrived hears of every message that the replicated log brings. The log is ahead of the tables: a topic made a moment ago
// would stay unknown here for up to a period, and for as long as the master is away if it died in between, with its
// messages in this store. So an unknown topic gets a provisional row at once, and the master is asked for the real one.
func (s *Slave) Arrived(name string, queue int32) {
	row, known := s.Topics.Get(name)
	if known && queue < row.ReadQueueNums {
		return
	}
	s.init()
	now := s.Clock.Now()
	if known {
		wider := *row
		wider.ReadQueueNums, wider.WriteQueueNums = queue+1, max(row.WriteQueueNums, queue+1)
		s.Topics.Put(name, &wider, now)
	} else {
		s.Topics.Put(name, topic.New(name, queue+1, protocol.PermRead|protocol.PermWrite), now)
	}
	s.wake()
}

// Master is the master's address; "" while it is unknown.
func (s *Slave) Master() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.master
}

// Run copies every ten seconds, offsets every second, until the context ends, and tries every two while the master does not answer: what it
// missed should reach it before clients ask it.
func (s *Slave) Run(ctx context.Context) {
	s.init()
	failures := 0
	for {
		pause := period
		if addr := s.Master(); addr != "" {
			err := s.Round(ctx, addr)
			switch {
			case err != nil:
				if failures == 0 && ctx.Err() == nil {
					s.Log.Warn("copy tables from master", "remote", addr, "err", err)
				}
				if failures%lostEvery == 0 {
					s.Lost()
				}
				failures++
				pause = retryPause
			case failures > 0:
				s.Log.Info("tables are copied from master again", "remote", addr)
				failures = 0
			}
		}
		if !s.between(ctx, pause) {
			return
		}
	}
}

// between waits until the next round is due, or news ask for one, and keeps the consumer offsets close meanwhile. It is
// false when the context has ended.
func (s *Slave) between(ctx context.Context, pause time.Duration) bool {
	for end := s.Clock.Now().Add(pause); ; {
		left := end.Sub(s.Clock.Now())
		if left <= 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-s.moved:
			select {
			case <-ctx.Done():
				return false
			case <-s.Clock.After(newsPause):
				return true
			}
		case <-s.Clock.After(min(left, offsetsEvery)):
		}
		addr := s.Master()
		if pause != period || addr == "" || s.rows > offsetsMost {
			continue // the master is away, or the table is too large to be asked for all the time
		}
		short, cancel := context.WithTimeout(ctx, timeout)
		err := errors.Join(s.offsets(short, addr), s.delays(short, addr))
		cancel()
		if err != nil {
			return ctx.Err() == nil // the round finds out what is the matter, and says it
		}
	}
}

// Round copies everything once, or up to what fails.
func (s *Slave) Round(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var err error
	s.replaced = false
	for _, table := range []func(context.Context, string) error{s.topics, s.groups, s.offsets, s.delays} {
		if err = table(ctx, addr); err != nil {
			break
		}
	}
	if s.replaced && s.Copied != nil {
		s.Copied()
	}
	return errors.Join(err, s.Save())
}

func (s *Slave) topics(ctx context.Context, addr string) error {
	_, body, err := remoting.Do(ctx, s.Client, addr, protocol.GetAllTopicConfig, nil)
	if err != nil {
		return err
	}
	rows, version, err := topic.Decode(body)
	if err == nil && version != s.Topics.Version() {
		s.Topics.Replace(rows, version)
		s.replaced = true
	}
	return err
}

func (s *Slave) groups(ctx context.Context, addr string) error {
	_, body, err := remoting.Do(ctx, s.Client, addr, protocol.GetAllSubscriptionGroupConfig, nil)
	if err != nil {
		return err
	}
	rows, version, err := group.Decode(body)
	if err == nil && version != s.Groups.Version() {
		s.Groups.Replace(rows, version)
		s.replaced = true
	}
	return err
}

func (s *Slave) offsets(ctx context.Context, addr string) error {
	table, err := fetchOffsets(ctx, s.Client, addr)
	if err != nil {
		return err
	}
	s.rows = 0
	for _, queues := range table {
		s.rows += len(queues)
	}
	for _, e := range s.Offsets.Follow(table) {
		s.Log.Info("tell the master an offset it missed", "topic", e.Topic, "group", e.Group, "queue", e.Queue, "offset", e.Offset)
		_, _, err := remoting.Do(ctx, s.Client, addr, protocol.UpdateConsumerOffset, &protocol.UpdateConsumerOffsetRequest{
			ConsumerGroup: e.Group, Topic: e.Topic, QueueID: e.Queue, CommitOffset: e.Offset,
		})
		if err != nil {
			return err
		}
		s.Offsets.Told(e)
	}
	return nil
}

func (s *Slave) delays(ctx context.Context, addr string) error {
	_, body, err := remoting.Do(ctx, s.Client, addr, protocol.GetAllDelayOffset, nil)
	if err != nil {
		return missing(err)
	}
	return s.Delay.Adopt(body)
}

// fetchOffsets asks a broker for all its consumer offsets.
func fetchOffsets(ctx context.Context, c *remoting.Client, addr string) (map[offset.Key]map[int32]int64, error) {
	_, body, err := remoting.Do(ctx, c, addr, protocol.GetAllConsumerOffset, nil)
	if err != nil {
		return nil, missing(err)
	}
	return offset.Decode(body)
}

// missing forgives the answer with which a Java broker says that it has no such table yet.
func missing(err error) error {
	if protocol.StatusOf(err) == protocol.SystemError && errors.As(err, new(*protocol.Error)) {
		return nil
	}
	return err
}

// Returning lets a broker that becomes master take over what the others of its group know further than itself. They are
// found through the name servers; those that do not answer in time are left out, they will tell by themselves.
type Returning struct {
	Client      *remoting.Client
	Log         *slog.Logger
	NameServers []string
	Cluster     string
	Broker      string
	Self        string   // our own address: nobody else's, whatever a name server says
	More        []string // addresses known otherwise
	Offsets     *offset.Table
	Delay       interface{ Raise(text []byte) error } // takes over positions that are further
}

// Raise asks all of them at once, each as soon as it is known, and returns how many offsets went up.
func (r *Returning) Raise(ctx context.Context) (raised int) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var mu sync.Mutex // guards raised, known
	known := map[string]bool{r.Self: true}
	var asked sync.WaitGroup
	ask := func(addr string) {
		mu.Lock()
		again := known[addr]
		known[addr] = true
		mu.Unlock()
		if again {
			return
		}
		asked.Go(func() {
			n := r.raise(ctx, addr)
			mu.Lock()
			raised += n
			mu.Unlock()
		})
	}
	for _, addr := range r.More {
		ask(addr)
	}
	for _, ns := range r.NameServers {
		asked.Go(func() {
			for _, addr := range r.others(ctx, ns) {
				ask(addr)
			}
		})
	}
	asked.Wait()
	return raised
}

// raise takes over what one broker knows further.
func (r *Returning) raise(ctx context.Context, addr string) (n int) {
	table, err := fetchOffsets(ctx, r.Client, addr)
	if err == nil {
		err = r.delays(ctx, addr)
	}
	if err != nil {
		r.Log.Warn("ask for offsets", "remote", addr, "err", err)
	}
	for key, queues := range table {
		for queue, at := range queues {
			if r.Offsets.Raise(offset.Entry{Key: key, Queue: queue, Offset: at}) {
				n++
			}
		}
	}
	return n
}

func (r *Returning) delays(ctx context.Context, addr string) error {
	_, body, err := remoting.Do(ctx, r.Client, addr, protocol.GetAllDelayOffset, nil)
	if err != nil {
		return missing(err)
	}
	return r.Delay.Raise(body)
}

// others are the addresses that a name server has under our name.
func (r *Returning) others(ctx context.Context, ns string) []string {
	_, body, err := remoting.Do(ctx, r.Client, ns, protocol.GetBrokerCluster, nil)
	if err != nil {
		return nil
	}
	var info protocol.ClusterInfo
	if err := protocol.DecodeJSON(body, &info); err != nil {
		r.Log.Warn("cluster info", "remote", ns, "err", err)
		return nil
	}
	if b := info.BrokerAddrTable[r.Broker]; b != nil && b.Cluster == r.Cluster {
		return slices.Sorted(maps.Values(b.BrokerAddrs))
	}
	return nil
}
