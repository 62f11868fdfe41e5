// A pool is a bounded number of goroutines for handlers that may wait, and a
// bounded queue before them. Workers exist only while there is work.
package remoting

import (
	"fmt"
	"sync"
	"time"

	"rmqctl/internal/protocol"
)

// Pool runs the routes that name it.
type Pool struct {
	name    string
	workers int
	limit   int
	maxWait time.Duration

	mu      sync.Mutex // guards queue, head, running, closed
	queue   []job      // queue[head:] waits
	head    int
	running int
	closed  bool
	tasks   sync.WaitGroup
}

type job struct {
	route *route
	conn  *Conn
	cmd   *protocol.Command
	at    time.Time
	run   func() // instead of all that
}

// NewPool makes a pool of at most workers goroutines and queue waiting requests.
func NewPool(name string, workers, queue int) *Pool {
	return &Pool{name: name, workers: max(workers, 1), limit: max(queue, 1)}
}

// MaxWait answers SYSTEM_BUSY to requests that waited longer. It returns p.
func (p *Pool) MaxWait(d time.Duration) *Pool {
	p.maxWait = d
	return p
}

// PoolStats describes the queue of a pool.
type PoolStats struct {
	Name              string
	Running, Waiting  int
	Workers, Capacity int
	HeadSince         time.Time // arrival of the oldest waiting request; zero: none
}

func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PoolStats{Name: p.name, Running: p.running, Waiting: len(p.queue) - p.head, Workers: p.workers, Capacity: p.limit}
	if s.Waiting > 0 {
		s.HeadSince = p.queue[p.head].at
	}
	return s
}

// Close refuses new work and waits for what is there.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.tasks.Wait()
}

// Run has a worker call fn: the rest of a request that was begun elsewhere. false: the pool is full or closed.
func (p *Pool) Run(fn func()) bool { return p.submit(job{run: fn, at: time.Now()}) }

func (p *Pool) submit(j job) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || (p.running >= p.workers && len(p.queue)-p.head >= p.limit) {
		return false
	}
	if p.running < p.workers {
		p.running++
		p.tasks.Go(func() { p.work(j) })
		return true
	}
	if p.head > 0 && len(p.queue) == cap(p.queue) {
		n := copy(p.queue, p.queue[p.head:])
		clear(p.queue[n:])
		p.queue, p.head = p.queue[:n], 0
	}
	p.queue = append(p.queue, j)
	return true
}

func (p *Pool) work(j job) {
	for ok := true; ok; j, ok = p.next() {
		p.run(j)
	}
}

func (p *Pool) run(j job) {
	if j.run != nil {
		j.run()
		return
	}
	defer j.conn.hub.later(j.conn)
	if p.maxWait > 0 {
		if waited := j.conn.hub.clock.Now().Sub(j.at); waited > p.maxWait {
			j.route.busy.Add(1)
			j.conn.refuse(j.cmd, protocol.SystemBusy, fmt.Sprintf(
				"[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: %dms, size of queue: %d",
				waited.Milliseconds(), p.Stats().Waiting))
			return
		}
	}
	j.route.serve(j.conn, j.cmd, nil, j.at)
}

func (p *Pool) next() (job, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head == len(p.queue) {
		p.queue, p.head = p.queue[:0], 0
		p.running--
		return job{}, false
	}
	j := p.queue[p.head]
	p.queue[p.head] = job{}
	p.head++
	return j, true
}
