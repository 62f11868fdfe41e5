package sim

// What happens to a master and its slaves: the schedule of one seed, and what must be true when it is over.

import (
	"fmt"
	"strings"
	"time"

	"rmqctl/internal/sim"
	"rmqctl/internal/vfs"
)

// healTime is how long brokers may take, once nothing is wrong any more, until an append is acknowledged and all are level.
const healTime = 90 * time.Second

func play(seed uint64, trace func(string)) (sim.Tally, uint64, error) {
	w := newWorld(seed, trace)
	err := w.story()
	w.Tally.Add("virtual ms", int64(w.Now()/time.Millisecond))
	return w.Tally, w.Hash(), err
}

func (w *world) story() error {
	w.Say("brokers %d, sync flush %v, segment %d, an append every %v, rules %+v", len(w.nodes), w.syncFlush, w.seg, w.pace, w.rules)
	for _, n := range w.nodes {
		if w.Chance(0.2) {
			n.flush = w.Between(time.Millisecond, 100*time.Millisecond)
		}
		n.start()
	}
	w.producers()
	w.troubles()
	if err := w.Run(w.Between(8*time.Second, 60*time.Second)); err != nil {
		return err
	}
	w.heal()
	return w.settle()
}

func (w *world) producers() {
	w.After(w.Between(0, 2*w.pace), func() {
		for _, n := range w.nodes {
			if n.up && !n.asleep && n.role == master && !n.asking {
				n.append()
			}
		}
		w.producers()
	})
}

func (w *world) troubles() {
	d := w.Between(0, 4*time.Second)
	if w.Chance(0.3) {
		d = w.Between(0, 50*time.Millisecond)
	}
	w.After(d, func() {
		if !w.calm {
			w.trouble()
			w.troubles()
		}
	})
}

func (w *world) target() *node {
	if m := w.master(); m != nil && w.Chance(0.5) {
		return m
	}
	return w.nodes[w.Rand.IntN(len(w.nodes))]
}

var troubles = []struct {
	weight int
	do     func(w *world)
}{
	{12, func(w *world) { w.target().crash(false) }},
	{12, func(w *world) { w.target().crash(true) }},
	{8, func(w *world) { n := w.target(); n.power = 1 + w.Rand.IntN(30) }},
	{3, func(w *world) { w.all() }},
	{10, func(w *world) {
		at := w.target()
		name := w.net.Trouble(at.id)
		w.Say("partition: %s, at %d", name, at.id)
		if w.Chance(0.7) {
			w.After(w.Between(100*time.Millisecond, 30*time.Second), w.net.Heal)
		}
	}},
	{8, func(w *world) { w.net.Heal() }},
	{8, func(w *world) { w.target().sleep(w.Between(50*time.Millisecond, 8*time.Second)) }},
	{3, func(w *world) { n := w.target(); n.flush = w.Between(time.Millisecond, time.Second) }},
	{5, func(w *world) { w.target().clean() }},
	{8, func(w *world) { w.promote() }},
	{3, func(w *world) { w.unreachable() }},
}

func (w *world) trouble() {
	sum := 0
	for _, t := range troubles {
		sum += t.weight
	}
	at := w.Rand.IntN(sum)
	for _, t := range troubles {
		if at -= t.weight; at < 0 {
			t.do(w)
			return
		}
	}
}

// mayCut: with ASYNC_FLUSH one broker at a time may lose its memory, and the next one only when all others have what was
// acknowledged: nothing is lost while one lives.
func (w *world) mayCut(n *node) bool {
	if w.syncFlush {
		return true
	}
	for _, o := range w.nodes {
		if o != n && !w.level(o) {
			return false
		}
	}
	return true
}

// level tells whether a broker has all that was acknowledged.
func (w *world) level(n *node) bool {
	for id := range w.messages {
		if msg := &w.messages[id]; msg.fate == acknowledged && !msg.in(n.image) {
			return false
		}
	}
	if len(n.image) >= len(n.lost) {
		n.lost = nil
	}
	return true
}

func (n *node) crash(powerCut bool) {
	if n.up {
		n.down(powerCut)
		n.restartIn(n.w.Between(0, 6*time.Second))
	}
}

func (w *world) all() {
	w.Say("everybody at once")
	powerCut := w.syncFlush && w.Chance(0.5)
	for _, n := range w.nodes {
		if n.up {
			n.down(powerCut)
			n.restartIn(w.Between(0, 4*time.Second))
		}
	}
}

func (n *node) sleep(d time.Duration) {
	if !n.up || n.asleep {
		return
	}
	n.asleep = true
	n.say("is paused for %v", d)
	n.w.Tally.Add("pauses", 1)
	gen := n.gen
	n.w.After(d, func() {
		if n.gen == gen {
			n.awake()
		}
	})
}

func (n *node) awake() {
	if !n.asleep {
		return
	}
	n.asleep = false
	later, gen := n.later, n.gen
	n.later = nil
	for _, f := range later {
		n.run(gen, f)
	}
}

// clean drops the oldest files.
func (n *node) clean() {
	if last := (n.shown() - 1) / n.w.seg * n.w.seg; n.up && last > n.tape.Base {
		to := n.tape.Base + n.w.seg*(1+n.w.Rand.Int64N((last-n.tape.Base)/n.w.seg))
		if n.tape.Durable() >= to {
			n.say("cleans up to %d", to)
			n.tape.Clean(to)
			n.w.Tally.Add("cleaned", 1)
		}
	}
}

// promote is `rmqctl promote`: the old master is fenced, the slave comes level, and takes over.
func (w *world) promote() {
	old := w.master()
	if old == nil || old.asleep || old.asking {
		return
	}
	next := w.nodes[w.Rand.IntN(len(w.nodes))]
	if next == old || !next.up || next.asleep || next.role != slave || next.masterID != old.id {
		return
	}
	w.Say("operator: %d is to replace %d", next.id, old.id)
	w.Tally.Add("promotions", 1)
	e := old.epoch + 1
	old.fence()
	w.promoteWhenLevel(old, next, e, old.gen, next.gen, 50)
}

// fence: it takes no messages any more, and goes on feeding its slaves.
func (n *node) fence() {
	n.say("is fenced")
	n.role = fenced
}

func (w *world) promoteWhenLevel(old, next *node, e int64, oldGen, nextGen, tries int) {
	w.After(100*time.Millisecond, func() {
		switch {
		case old.gen != oldGen || next.gen != nextGen || tries == 0 || w.calm:
			if old.up && old.role == fenced && w.top < e {
				w.Say("operator: gives up, %d goes on as master", old.id)
				old.setRole(master, old.epoch, old.id)
			}
		case old.asleep || next.asleep || next.up2 == nil || !next.up2.joined || next.tape.End() != old.tape.End() || old.shown() != old.tape.End():
			w.promoteWhenLevel(old, next, e, oldGen, nextGen, tries-1)
		default:
			w.takeOver(next, e)
			old.setRole(slave, e, next.id)
		}
	})
}

// takeOver makes a slave the master of an epoch. A half record at its end goes first.
func (w *world) takeOver(n *node, e int64) {
	n.hangUp()
	n.wholeRecords()
	w.top = e
	n.setRole(master, e, n.id)
	for _, o := range w.nodes {
		if o != n && o.role == slave {
			o.masterID = n.id
			if o.up {
				o.setRole(slave, o.epoch, n.id)
			}
		}
	}
}

// unreachable is `rmqctl promote --force`: the master is down, and of its slaves, all of which answer, the longest log takes over. The old
// one finds out when it returns.
func (w *world) unreachable() {
	var best *node
	var e int64
	for _, n := range w.nodes {
		e = max(e, n.epoch)
		switch {
		case n.up && n.role != slave:
			return
		case n.role == slave && (!n.up || n.asleep):
			return
		case n.role == slave && (best == nil || n.epoch > best.epoch || n.epoch == best.epoch && n.tape.End() > best.tape.End()):
			best = n
		}
	}
	if best == nil || best.lost != nil && !w.level(best) { // it would not be the slave that lives
		return
	}
	w.Say("operator: the master is down, %d takes over", best.id)
	w.Tally.Add("forced promotions", 1)
	w.takeOver(best, e+1)
}

// heal ends every fault; an operator makes slaves of masters that have been replaced.
func (w *world) heal() {
	w.Say("all faults end")
	w.calm = true
	w.net.Heal()
	for _, n := range w.nodes {
		n.power, n.flush = 0, time.Millisecond
		n.awake()
		if !n.up {
			n.start()
		}
	}
	w.appoint()
}

// appoint leaves one master: the one of the highest epoch.
func (w *world) appoint() {
	var best *node
	for _, n := range w.nodes {
		if n.role != slave && (best == nil || n.epoch > best.epoch) {
			best = n
		}
	}
	if best == nil {
		w.Fail("nobody was ever a master: %s", w.states())
		return
	}
	if best.role == fenced {
		best.setRole(master, best.epoch, best.id)
	}
	for _, n := range w.nodes {
		if n != best && (n.role != slave || n.masterID != best.id) {
			n.setRole(slave, n.epoch, best.id)
		}
	}
}

// emptyRefused is what an operator does who is told to empty a slave's store, again and again.
func (w *world) emptyRefused() {
	for _, n := range w.nodes {
		if m := w.nodes[n.masterID]; n.role == slave && n.up2 == nil && strings.Contains(n.why, "empty") && m.life != 0 {
			n.say("operator: its store is emptied")
			w.Tally.Add("stores emptied", 1)
			w.cutting(n, 0, m.life)
			n.down(false)
			n.tape.Reset(0)
			n.image, n.why, n.lost = nil, "", nil
			n.disk = vfs.NewMem()
			if err := vfs.MakeDirs(n.disk, dir, 0o755); err != nil {
				w.Fail("%v", err)
			}
			n.start()
		}
	}
	w.After(3*time.Second, w.emptyRefused)
}

func (w *world) settle() error {
	before := w.Tally["acknowledged"]
	w.emptyRefused()
	if !w.RunUntil(healTime, 100*time.Millisecond, func() bool { return w.Tally["acknowledged"] > before }) {
		if err := w.Failed(); err != nil {
			return err
		}
		return fmt.Errorf("no append was acknowledged within %v after all faults had ended: %s", healTime, w.states())
	}
	w.pace = time.Hour
	m := w.master()
	if !w.RunUntil(healTime, 100*time.Millisecond, func() bool {
		for _, n := range w.nodes {
			if n.tape.End() != m.tape.End() {
				return false
			}
		}
		return true
	}) {
		if err := w.Failed(); err != nil {
			return err
		}
		return fmt.Errorf("not level within %v: %s", healTime, w.states())
	}
	for _, n := range w.nodes {
		if !n.same(m.image, m.tape.End()) {
			return fmt.Errorf("brokers %d and %d have different logs", n.id, m.id)
		}
	}
	for id := range w.messages {
		if msg := &w.messages[id]; msg.fate == acknowledged && !msg.in(m.image) {
			return fmt.Errorf("message %d at %d was acknowledged and is lost", id, msg.at)
		}
	}
	return w.Failed()
}
