package sim

// A broker: its log, its list of masterships, its role, and what package ha's goroutines do with what package decide decides.

import (
	"bytes"
	"strconv"
	"time"

	"rmqctl/broker/ha/decide"
	"rmqctl/broker/ha/epoch"
	"rmqctl/internal/sim"
	"rmqctl/internal/vfs"
)

const dir = "/store"

type role string

const (
	master role = "master"
	slave  role = "slave"
	fenced role = "fenced"
)

type node struct {
	w     *world
	id    int
	tape  sim.Tape
	image []byte // all the log has been from offset 0 on, also what is cleaned away
	disk  *vfs.Mem
	list_ *epoch.File

	// As the role file has it: durable.
	role     role
	epoch    int64
	masterID int

	up, asleep bool
	gen        int
	flush      time.Duration
	power      int    // changes of the disk until it loses its power
	lost       []byte // ASYNC_FLUSH: its log before the last power cut, which it may have reported; nil when it is level again

	boots    int     // of its host
	robbed   bool    // its host has lost power since it led or followed
	asking   bool    // a master that asks its slaves for what it has lost
	heard    []*node // who has told it
	giving   *link
	over     int    // counts the ends that asking may have
	life     uint64 // while a master
	acks     decide.Acks
	waiters  []waiter
	conns    []*link // of slaves, to this master
	up2      *link   // to the master
	flushing bool
	later    []func() // what came while it was paused
	why      string
}

// waiter is a round whose producers wait.
type waiter struct {
	end      int64
	ids      []uint64
	deadline time.Duration
}

func newNode(w *world, i int) *node {
	n := &node{w: w, id: i, disk: vfs.NewMem(), role: slave, epoch: 1, masterID: 0, flush: 2 * time.Millisecond}
	if i == 0 {
		n.role = master
	}
	if err := vfs.MakeDirs(n.disk, dir, 0o755); err != nil {
		w.Fail("%v", err)
	}
	return n
}

func (n *node) say(format string, a ...any) {
	if n.w.Traced() {
		n.w.Say("%d "+format, append([]any{n.id}, a...)...)
	}
}

func (n *node) list() epoch.List {
	if n.list_ == nil {
		return nil
	}
	return n.list_.List()
}

// same tells whether this log and another one are the same up to end.
func (n *node) same(log []byte, end int64) bool {
	return prefix(n.image, log, end)
}

// run lets f happen on this broker: later while it is paused, never if it went down in between.
func (n *node) run(gen int, f func()) {
	switch {
	case !n.up || n.gen != gen:
	case n.asleep:
		n.later = append(n.later, f)
	default:
		f()
	}
}

func (n *node) after(d time.Duration, f func()) {
	gen := n.gen
	n.w.After(d, func() { n.run(gen, f) })
}

// start is a start of the process.
func (n *node) start() {
	n.up, n.asleep = true, false
	n.gen++
	n.tape.Recover()
	n.image = append(n.image[:n.tape.Base:n.tape.Base], n.tape.B...)
	list, err := epoch.Open(n.disk, dir)
	if err != nil {
		n.w.Fail("broker %d: %v", n.id, err)
		return
	}
	n.list_ = list
	now := strconv.Itoa(n.boots)
	before := list.Booted(now)
	n.epoch = max(n.epoch, list.Epoch())
	n.acks = decide.Acks{}
	n.waiters, n.conns, n.up2, n.flushing, n.later = nil, nil, nil, false, nil
	n.asking, n.giving, n.heard = false, nil, nil
	n.say("starts as %s of epoch %d with %d to %d, list %v", n.role, n.epoch, n.tape.Base, n.tape.End(), n.list())
	n.w.Tally.Add("starts", 1)
	n.robbed = !n.w.syncFlush && before != "" && before != now
	n.begin()
}

// wholeRecords cuts half a record off the end: a slave may have no more of it.
func (n *node) wholeRecords() {
	whole := n.tape.Base
	_ = sim.Records(n.tape.B, func(r sim.Record) { whole = n.tape.Base + int64(r.End) })
	if whole < n.tape.End() {
		n.tape.Truncate(whole)
		n.image = n.image[:whole]
	}
}

// begin takes up the role.
func (n *node) begin() {
	switch n.role {
	case master:
		if n.robbed {
			n.ask()
			return
		}
		n.lead()
	case slave:
		n.connect()
	}
}

// lead begins a mastership: it is in the list before the first message is taken.
func (n *node) lead() {
	n.wholeRecords()
	life := n.w.Rand.Uint64() | 1
	if err := n.list_.Lead(n.epoch, life, n.tape.End()); err != nil {
		n.say("may not lead: %v", err)
		n.role = fenced
		return
	}
	n.life, n.robbed = life, false
	n.acks = decide.Acks{}
	n.acks.SetRules(n.w.rules)
	n.w.lives[life] = &history{n, n.epoch, bytes.Clone(n.image)}
	n.w.Tally.Add("masterships", 1)
	n.say("leads epoch %d from %d on", n.epoch, n.tape.End())
	n.sweep()
}

// written adds bytes to the log.
func (n *node) written(b []byte) {
	n.tape.Append(b)
	n.image = append(n.image, b...)
}

// append is one round of producers at a master.
func (n *node) append() {
	if !n.acks.Admit(n.tape.End()) {
		n.w.Tally.Add("refused", 1)
		return
	}
	var b []byte
	var ids []uint64
	from := n.tape.End()
	for range 1 + n.w.Rand.IntN(3) {
		size := sim.Unit * (1 + n.w.Rand.IntN(8))
		at := from + int64(len(b))
		if room := n.w.seg - at%n.w.seg; int64(size) > room {
			b = sim.PutRecord(b, sim.Record{}, int(room))
			at += room
		}
		id := uint64(len(n.w.messages))
		rec := sim.PutRecord(nil, sim.Record{ID: id, Offset: at}, size)
		n.w.messages = append(n.w.messages, message{at: at, bytes: rec})
		b, ids = append(b, rec...), append(ids, id)
	}
	n.written(b)
	h := n.w.lives[n.life]
	h.log = append(h.log, b...)
	n.say("appends %d to %d, messages %v", from, n.tape.End(), ids)
	n.waiters = append(n.waiters, waiter{n.tape.End(), ids, n.w.Now() + 5*time.Second})
	if n.w.syncFlush {
		n.flushSoon()
	} else {
		n.shine()
		if n.w.Chance(0.05) {
			n.flushSoon()
		}
	}
}

// flushSoon syncs what is written now, after the time a disk takes.
func (n *node) flushSoon() {
	if n.flushing {
		return
	}
	n.flushing = true
	to := n.tape.End()
	n.after(n.w.Between(n.flush/2, 2*n.flush), func() {
		n.flushing = false
		n.tape.Sync(min(to, n.tape.End()))
		if n.cutOff() {
			return
		}
		if n.w.syncFlush && n.tape.Durable() < n.tape.End() {
			n.flushSoon()
		}
		if n.role == master {
			n.shine()
		} else if n.up2 != nil && n.up2.joined {
			n.up2.report()
		}
	})
}

// shown is what readers and slaves get: with SYNC_FLUSH only what the disk has.
func (n *node) shown() int64 {
	if n.w.syncFlush {
		return n.tape.Durable()
	}
	return n.tape.End()
}

// shine sends what there is to send, and answers whom it can.
func (n *node) shine() {
	for _, c := range n.conns {
		c.send()
	}
	n.release()
}

// release answers the producers whose rounds enough brokers have.
func (n *node) release() {
	for n.role == master && len(n.waiters) > 0 {
		x := n.waiters[0]
		if x.end > n.shown() || x.end > n.acks.Covered(n.tape.End()) {
			return
		}
		n.waiters = n.waiters[1:]
		for _, id := range x.ids {
			n.w.acked(n, id, n.w.want(n))
		}
	}
}

// want is how many copies SEND_OK means at least.
func (w *world) want(n *node) int {
	if w.rules.AutoInSync {
		return max(w.rules.MinInSyncReplicas, 1)
	}
	return max(n.acks.Rules().InSyncReplicas, 2)
}

// sweep tells the producers that have waited too long.
func (n *node) sweep() {
	life := n.life
	n.after(100*time.Millisecond, func() {
		if n.life != life || n.role != master {
			return
		}
		for len(n.waiters) > 0 && n.waiters[0].deadline <= n.w.Now() {
			n.giveUp(n.waiters[:1], notReplicated)
			n.waiters = n.waiters[1:]
		}
		n.sweep()
	})
}

func (n *node) giveUp(list []waiter, f fate) {
	for _, x := range list {
		for _, id := range x.ids {
			n.w.messages[id].fate = f
		}
		n.w.Tally.Add("not acknowledged", int64(len(x.ids)))
	}
}

// setRole changes the role while the broker runs: everything of the old one ends first.
func (n *node) setRole(r role, e int64, m int) {
	n.say("becomes %s of epoch %d", r, e)
	n.giveUp(n.waiters, unknown)
	n.waiters, n.life = nil, 0
	n.hangUp()
	n.asking, n.giving = false, nil
	n.role, n.epoch, n.masterID = r, max(n.epoch, e), m
	n.begin()
}

func (n *node) hangUp() {
	for _, c := range n.conns {
		c.pipe.Close(0)
	}
	n.conns = nil
	if n.up2 != nil {
		n.up2.pipe.Close(1)
		n.up2 = nil
	}
	n.acks = decide.Acks{}
}

// cutOff takes the power when its time has come.
func (n *node) cutOff() bool {
	if n.power > 0 {
		if n.power--; n.power == 0 {
			n.down(true)
			n.restartIn(n.w.Between(0, 5*time.Second))
			return true
		}
	}
	return false
}

// down ends the process.
func (n *node) down(powerCut bool) {
	if !n.up {
		return
	}
	if powerCut && !n.w.mayCut(n) {
		powerCut = false
	}
	n.giveUp(n.waiters, unknown)
	n.waiters = nil
	if !powerCut { // else nobody is told
		n.hangUp()
	}
	n.conns, n.up2 = nil, nil
	n.up, n.asleep, n.power = false, false, 0
	n.gen++
	n.life = 0
	n.later = nil
	if !powerCut {
		n.say("killed")
		n.w.Tally.Add("kills", 1)
		n.disk = n.disk.Clone()
		return
	}
	n.say("power cut")
	n.w.Tally.Add("power cuts", 1)
	if !n.w.syncFlush {
		n.lost = bytes.Clone(n.image)
	}
	n.boots++
	n.tape.PowerCut(n.w.Rand)
	n.tape.Recover()
	n.image = append(n.image[:n.tape.Base:n.tape.Base], n.tape.B...)
	n.disk = n.disk.PowerCut(n.w.Rand, vfs.AnyCut(n.w.Rand))
}

func (n *node) restartIn(d time.Duration) {
	gen := n.gen
	n.w.After(d, func() {
		if n.gen == gen && !n.up {
			n.start()
		}
	})
}
