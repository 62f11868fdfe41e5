package sim

// A world: a master and its slaves, their disks, the network, the producers, and an operator who promotes.

import (
	"bytes"
	"fmt"
	"time"

	"rmqctl/broker/ha/decide"
	"rmqctl/internal/sim"
)

type world struct {
	*sim.World
	net       *sim.Net
	nodes     []*node
	syncFlush bool // of all of them
	rules     decide.Rules
	seg       int64
	pace      time.Duration
	messages  []message // by id; id 0 is nobody
	lives     map[uint64]*history
	top       int64 // the highest epoch that a master was promoted to
	calm      bool
}

// fate is what the producer of a message has been told.
type fate uint8

const (
	waiting fate = iota
	acknowledged
	notReplicated // stored, but SLAVE_NOT_AVAILABLE or FLUSH_SLAVE_TIMEOUT
	unknown
)

type message struct {
	fate  fate
	at    int64
	bytes []byte
}

// history is all that a mastership has ever had in its log, from the first byte on, and in which order masters came.
type history struct {
	node  *node
	epoch int64
	log   []byte
}

func newWorld(seed uint64, trace func(string)) *world {
	w := &world{World: sim.New(seed, trace), messages: make([]message, 1), lives: map[uint64]*history{}, top: 1}
	n := []int{2, 2, 2, 3}[w.Rand.IntN(4)]
	w.syncFlush = w.Rand.IntN(2) == 0
	w.seg = 1024 << w.Rand.IntN(4)
	w.pace = w.Between(5*time.Millisecond, 200*time.Millisecond)
	w.rules = []decide.Rules{{}, {InSyncReplicas: 2}, {InSyncReplicas: 3}, {AllAck: true}, {InSyncReplicas: 3, AutoInSync: true, MinInSyncReplicas: 2}}[w.Rand.IntN(5)]
	if w.rules.InSyncReplicas > n {
		w.rules.InSyncReplicas = n
	}
	usual := sim.Line{Min: 100 * time.Microsecond, Max: time.Millisecond}
	if w.Chance(0.2) {
		usual = sim.Line{Min: time.Millisecond, Max: 40 * time.Millisecond}
	}
	w.net = sim.NewNet(w.World, n, usual)
	for i := range n {
		w.nodes = append(w.nodes, newNode(w, i))
	}
	return w
}

// master is who takes messages, of the highest epoch.
func (w *world) master() *node {
	var best *node
	for _, n := range w.nodes {
		if n.up && n.role == master && (best == nil || n.epoch > best.epoch) {
			best = n
		}
	}
	return best
}

// holders counts the brokers that have these bytes, and everything before them as the master has it: with SYNC_FLUSH on their disk, with
// ASYNC_FLUSH in their memory, when they reported it.
func (w *world) holders(m *node, end int64) int {
	count := 0
	for _, n := range w.nodes {
		have := n.tape.End()
		if w.syncFlush {
			have = n.tape.Durable()
		}
		if have >= end && n.same(m.image, end) || prefix(n.lost, m.image, end) {
			count++
		}
	}
	return count
}

func prefix(a, b []byte, end int64) bool {
	return int64(len(a)) >= end && int64(len(b)) >= end && bytes.Equal(a[:end], b[:end])
}

// acked is told of each message whose producer is told SEND_OK.
func (w *world) acked(m *node, id uint64, need int) {
	msg := &w.messages[id]
	end := msg.at + int64(len(msg.bytes))
	if got := w.holders(m, end); got < need {
		w.Fail("broker %d acknowledges message %d (%d to %d), which %d have; %d are wanted", m.id, id, msg.at, end, got, need)
	}
	msg.fate = acknowledged
	w.Tally.Add("acknowledged", 1)
}

// has tells whether a log has a message where it was stored.
func (msg *message) in(log []byte) bool {
	end := msg.at + int64(len(msg.bytes))
	return end <= int64(len(log)) && string(log[msg.at:end]) == string(msg.bytes)
}

// cutting is told that a slave gives up what lies behind off, to follow a master.
func (w *world) cutting(n *node, off int64, life uint64) {
	h := w.lives[life]
	for id := range w.messages {
		msg := &w.messages[id]
		if msg.fate == acknowledged && msg.at >= off && msg.at < n.tape.End() && !msg.in(h.log) {
			w.Fail("broker %d cuts its log at %d and loses message %d at %d, which was acknowledged and which its master %d has not", n.id, off, id, msg.at, h.node.id)
			return
		}
	}
}

func (w *world) states() string {
	s := ""
	for _, n := range w.nodes {
		s += fmt.Sprintf("\n  %d: up %v, asleep %v, %v of epoch %d, log %d to %d, durable %d, follows %d (%s), refused: %s, list %v", n.id, n.up, n.asleep, n.role, n.epoch,
			n.tape.Base, n.tape.End(), n.tape.Durable(), n.masterID, n.state(), n.why, n.list())
	}
	return s
}
