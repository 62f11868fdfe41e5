// Package stats counts what goes through the broker, per topic and per group, and answers how much it was within the
// last minute, hour and day. Counting is one addition; the windows are cut by Sample, called once a second.
package stats

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Counter counts messages and bytes of one thing.
type Counter struct {
	nums, size, times atomic.Int64

	mu                sync.Mutex // guards the windows
	minute, hour, day window
}

// Add counts one request that carried so many messages and bytes.
func (c *Counter) Add(messages, bytes int64) {
	c.nums.Add(messages)
	c.size.Add(bytes)
	c.times.Add(1)
}

// AddMany is Add for several requests at once.
func (c *Counter) AddMany(requests, messages, bytes int64) {
	c.nums.Add(messages)
	c.size.Add(bytes)
	c.times.Add(requests)
}

// Nums is the number of messages since the start.
func (c *Counter) Nums() int64 { return c.nums.Load() }

// Size is the number of bytes since the start.
func (c *Counter) Size() int64 { return c.size.Load() }

// snapshot is a counter at one moment.
type snapshot struct {
	at                time.Time
	nums, size, times int64
}

// window holds the last snapshots, the oldest first.
type window []snapshot

func (w *window) add(s snapshot, step time.Duration, keep int) {
	if len(*w) == 0 {
		*w = append(*w, snapshot{at: s.at.Add(-step)})
	}
	*w = append(*w, s)
	if len(*w) > keep {
		*w = append((*w)[:0], (*w)[len(*w)-keep:]...)
	}
}

// Sum is what happened within one window.
type Sum struct {
	Sum int64
	TPS float64 // per second
	Avg float64 // per request
}

func (w window) sum(of func(snapshot) int64) Sum {
	if len(w) < 2 {
		return Sum{}
	}
	first, last := w[0], w[len(w)-1]
	s := Sum{Sum: of(last) - of(first)}
	if d := last.at.Sub(first.at).Seconds(); d > 0 {
		s.TPS = float64(s.Sum) / d
	}
	if n := last.times - first.times; n > 0 {
		s.Avg = float64(s.Sum) / float64(n)
	}
	return s
}

func nums(s snapshot) int64 { return s.nums }
func size(s snapshot) int64 { return s.size }

// Windows are the three answers RocketMQ gives.
type Windows struct{ Minute, Hour, Day Sum }

func (c *Counter) windows(of func(snapshot) int64) Windows {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Windows{c.minute.sum(of), c.hour.sum(of), c.day.sum(of)}
}

func (c *Counter) sample(now time.Time, hour, day bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := snapshot{now, c.nums.Load(), c.size.Load(), c.times.Load()}
	c.minute.add(s, minuteStep, 7)
	if hour || len(c.hour) == 0 {
		c.hour.add(s, hourStep, 7)
	}
	if day || len(c.day) == 0 {
		c.day.add(s, dayStep, 25)
	}
}

// Steps between the snapshots of the three windows.
const (
	minuteStep = 10 * time.Second
	hourStep   = 10 * time.Minute
	dayStep    = time.Hour
)

// Set is all counters of a broker.
type Set struct {
	cluster string

	Put, Get                Counter // all messages stored, all messages handed out
	put, miss, found, moved rate

	mu       sync.RWMutex // guards the maps
	topics   map[string]*Counter
	groups   map[pair]*Counter
	sendBack map[pair]*Counter

	sampled atomic.Int64 // number of seconds sampled
	Misses  atomic.Int64 // pulls that found nothing
	Founds  atomic.Int64 // pulls that found something

	days daily
}

type pair struct{ topic, group string }

// New returns a set for a broker of that cluster.
func New(cluster string) *Set {
	return &Set{cluster: cluster, topics: map[string]*Counter{}, groups: map[pair]*Counter{}, sendBack: map[pair]*Counter{}}
}

// Topic is the counter of what is sent to the topic.
func (s *Set) Topic(topic string) *Counter { return counter(s, s.topics, topic) }

// Group is the counter of what the group gets of the topic.
func (s *Set) Group(topic, group string) *Counter { return counter(s, s.groups, pair{topic, group}) }

// SendBack is the counter of what the group gives back of the topic.
func (s *Set) SendBack(topic, group string) *Counter {
	return counter(s, s.sendBack, pair{topic, group})
}

func counter[K comparable](s *Set, m map[K]*Counter, key K) *Counter {
	s.mu.RLock()
	c := m[key]
	s.mu.RUnlock()
	if c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c = m[key]; c == nil {
		c = &Counter{}
		m[key] = c
	}
	return c
}

// Forget drops the counters of a deleted topic.
func (s *Set) Forget(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.topics, topic)
	for _, m := range []map[pair]*Counter{s.groups, s.sendBack} {
		for key := range m {
			if key.topic == topic {
				delete(m, key)
			}
		}
	}
}

// View answers VIEW_BROKER_STATS_DATA: a statistic by RocketMQ's name and key.
func (s *Set) View(name, key string) (Windows, bool) {
	of := nums
	if strings.HasSuffix(name, "_SIZE") {
		of = size
	}
	if c := s.find(name, key); c != nil {
		return c.windows(of), true
	}
	return Windows{}, false
}

func (s *Set) find(name, key string) *Counter {
	topic, group, _ := strings.Cut(key, "@")
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch name {
	case "TOPIC_PUT_NUMS", "TOPIC_PUT_SIZE":
		return s.topics[key]
	case "GROUP_GET_NUMS", "GROUP_GET_SIZE":
		return s.groups[pair{topic, group}]
	case "SNDBCK_PUT_NUMS":
		return s.sendBack[pair{topic, group}]
	case "BROKER_PUT_NUMS":
		if key == s.cluster {
			return &s.Put
		}
	case "BROKER_GET_NUMS":
		if key == s.cluster {
			return &s.Get
		}
	}
	return nil
}

// Sample cuts the windows; call it once a second.
func (s *Set) Sample(now time.Time) {
	n := s.sampled.Add(1)
	s.put.add(now, s.Put.Nums())
	s.found.add(now, s.Founds.Load())
	s.miss.add(now, s.Misses.Load())
	s.moved.add(now, s.Get.Nums())
	s.days.turn(now, s.Put.Nums(), s.Get.Nums())
	if n%10 != 0 {
		return
	}
	hour, day := n%600 == 0, n%3600 == 0
	s.Put.sample(now, hour, day)
	s.Get.sample(now, hour, day)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.topics {
		c.sample(now, hour, day)
	}
	for _, m := range []map[pair]*Counter{s.groups, s.sendBack} {
		for _, c := range m {
			c.sample(now, hour, day)
		}
	}
}
