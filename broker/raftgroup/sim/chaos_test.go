package sim

// What happens to a group: the schedule of one seed, and what must be true when it is over.

import (
	"errors"
	"fmt"
	"time"

	"rmqctl/internal/sim"
)

// healTime is how long a group may take, once nothing is wrong any more, until it has a leader, takes appends and is level.
const healTime = 60 * time.Second

func play(seed uint64, trace func(string)) (sim.Tally, uint64, error) {
	return newWorld(seed, false, trace).play()
}

func (w *world) play() (sim.Tally, uint64, error) {
	err := w.story()
	w.Tally.Add("virtual ms", int64(w.Now()/time.Millisecond))
	for term := range w.model.leaders {
		_ = term
		w.Tally.Add("terms with an acknowledgement", 1)
	}
	return w.Tally, w.Hash(), err
}

func (w *world) story() error {
	w.Say("members %d, sync %v, segment %d, an append every %v", len(w.members), w.syncFlush, w.seg, w.pace)
	for _, m := range w.members {
		if w.Chance(0.2) {
			m.every = w.Between(tick*8/10, tick*13/10)
		}
		if w.Chance(0.2) {
			m.flush = w.Between(time.Millisecond, 60*time.Millisecond)
		}
		m.start()
	}
	w.producers()
	w.troubles()
	if err := w.Run(w.Between(8*time.Second, 30*time.Second)); err != nil {
		return err
	}
	w.heal()
	return w.settle()
}

// producers append at whoever takes appends, the deposed as well as the new one.
func (w *world) producers() {
	w.After(w.Between(0, 2*w.pace), func() {
		for _, m := range w.members {
			if m.up && !m.asleep && m.log.leading {
				m.append()
			}
		}
		w.producers()
	})
}

// troubles bring one fault after another, some at once, with time to breathe now and then.
func (w *world) troubles() {
	d := w.Between(0, 3*time.Second)
	if w.Chance(0.3) {
		d = w.Between(0, 50*time.Millisecond) // the second of a pair
	}
	w.After(d, func() {
		if w.calm {
			return
		}
		w.trouble()
		w.troubles()
	})
}

// target picks whom a fault hits: the leader as often as anybody else together.
func (w *world) target() *member {
	if l := w.leader(); l != nil && w.Chance(0.5) {
		return l
	}
	return w.members[w.Rand.IntN(len(w.members))]
}

var troubles = []struct {
	weight int
	do     func(w *world)
}{
	{12, func(w *world) { w.target().crash(false) }},
	{10, func(w *world) { w.target().crash(true) }},
	{10, func(w *world) { w.target().armed() }},
	{3, func(w *world) { w.all(false) }},
	{3, func(w *world) { w.all(true) }},
	{14, func(w *world) { w.partition() }},
	{10, func(w *world) { w.net.Heal(); w.Say("network heals") }},
	{8, func(w *world) { w.flap(w.target(), 3+w.Rand.IntN(6)) }},
	{8, func(w *world) { w.target().sleep(w.Between(50*time.Millisecond, 8*time.Second)) }},
	{5, func(w *world) { w.transfer() }},
	{4, func(w *world) { w.target().spoil(errFull) }},
	{3, func(w *world) { w.target().spoil(errIO) }},
	{3, func(w *world) {
		m := w.target()
		m.flush = w.Between(time.Millisecond, 3*time.Second)
		m.say("flush takes %v", m.flush)
	}},
	{3, func(w *world) { w.target().skew() }},
	{5, func(w *world) { w.target().clean() }},
	{4, func(w *world) { w.addMember() }},
	{4, func(w *world) { w.removeMember() }},
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

func (w *world) partition() {
	at := w.target()
	name := w.net.Trouble(at.line)
	w.Say("partition: %s, at %d", name, at.id)
	if w.Chance(0.7) {
		w.After(w.Between(100*time.Millisecond, 10*time.Second), func() { w.net.Heal(); w.Say("network heals") })
	}
}

// flap cuts a member off and on.
func (w *world) flap(m *member, times int) {
	if times == 0 || w.calm {
		return
	}
	name := w.net.Trouble(m.line)
	w.Say("flaps: %s, at %d", name, m.id)
	w.After(w.Between(200*time.Millisecond, 1500*time.Millisecond), func() {
		w.net.Heal()
		w.After(w.Between(100*time.Millisecond, 1500*time.Millisecond), func() { w.flap(m, times-1) })
	})
}

// mayCut tells whether one more member may lose its power. With SYNC_FLUSH all may; with ASYNC_FLUSH a minority, and one that
// was cut counts until it has been brought level.
func (w *world) mayCut(m *member) bool {
	if w.syncFlush || m.impaired() {
		return true
	}
	impaired, voters := 1, 0
	for _, o := range w.members {
		if o.isVoter() {
			voters++
			if o != m && o.impaired() {
				impaired++
			}
		}
	}
	return 2*impaired < voters
}

func (m *member) crash(powerCut bool) {
	if !m.up {
		return
	}
	if powerCut && !m.w.mayCut(m) {
		powerCut = false
	}
	led := m.log.leading
	m.down(powerCut)
	m.restartIn(m.w.Between(0, 6*time.Second))
	if led && !powerCut {
		m.w.refusedConnections(m)
	}
}

// refusedConnections: the machine of a killed leader answers that nobody listens. The driver of a follower then forgets the leader and
// campaigns after a small pause.
func (w *world) refusedConnections(dead *member) {
	for _, m := range w.members {
		if m == dead || !m.up || !w.net.Sees(m.line, dead.line) || w.Chance(0.3) {
			continue
		}
		gen := m.gen
		w.After(w.Between(time.Millisecond, 20*time.Millisecond), func() {
			if m.gen == gen && !m.asleep {
				m.check(m.core.ForgetLeader())
				m.wake()
			}
		})
		w.After(w.Between(20*time.Millisecond, 150*time.Millisecond), func() {
			if m.gen == gen && !m.asleep {
				m.check(m.core.Campaign())
				m.wake()
			}
		})
	}
}

// armed lets the power go off in one of the next operations of the disk.
func (m *member) armed() {
	if m.up {
		m.power = 1 + m.w.Rand.IntN(60)
		m.say("power goes off in %d operations", m.power)
	}
}

// all ends everybody at once.
func (w *world) all(powerCut bool) {
	if powerCut && !w.syncFlush {
		return
	}
	w.Say("everybody at once")
	for _, m := range w.members {
		if m.up {
			m.down(powerCut)
			m.restartIn(w.Between(0, 3*time.Second))
		}
	}
}

func (m *member) restartIn(d time.Duration) {
	gen := m.gen
	m.w.After(d, func() {
		if m.gen == gen && !m.up {
			m.start()
		}
	})
}

// sleep is SIGSTOP and SIGCONT: nothing runs, and what comes waits.
func (m *member) sleep(d time.Duration) {
	if !m.up || m.asleep {
		return
	}
	m.asleep = true
	m.say("is paused for %v", d)
	m.w.Tally.Add("pauses", 1)
	gen := m.gen
	m.w.After(d, func() {
		if m.gen == gen {
			m.awake()
		}
	})
}

func (m *member) awake() {
	if !m.asleep {
		return
	}
	m.asleep = false
	m.say("goes on")
	inbox := m.inbox
	m.inbox = nil
	for _, wire := range inbox {
		m.receive(wire)
	}
	m.wake()
}

// spoil makes the disk answer an error to each change, after some more; a full disk becomes free again.
func (m *member) spoil(err error) {
	if !m.up || m.diskErr != nil {
		return
	}
	m.diskErr, m.errAfter = err, m.w.Rand.IntN(20)
	m.say("disk: %v", err)
	m.w.Tally.Add("disk errors", 1)
	m.w.After(m.w.Between(100*time.Millisecond, 5*time.Second), func() {
		if m.diskErr != nil {
			m.diskErr = nil
			m.say("disk is well again")
		}
	})
}

func (m *member) skew() {
	m.every = m.w.Between(tick/2, tick*2)
	m.say("its clock ticks every %v", m.every)
}

// clean drops the oldest files, as retention does: all of them published, the last one stays.
func (m *member) clean() {
	l := m.log
	if last := (l.committed - 1) / l.seg * l.seg; m.up && last > l.Base {
		to := l.Base/l.seg*l.seg + l.seg*(1+m.w.Rand.Int64N((last-l.Base)/l.seg+1))
		if to = min(to, last); to > l.Base {
			m.say("cleans up to %d", to)
			m.w.Tally.Add("cleaned", 1)
			l.clean(to)
		}
	}
}

func (w *world) transfer() {
	l := w.leader()
	if l == nil || l.asleep {
		return
	}
	to := w.members[w.Rand.IntN(len(w.members))]
	w.Say("%d is to hand over to %d", l.id, to.id)
	w.Tally.Add("transfers", 1)
	_ = l.core.Transfer(to.id)
	l.wake()
}

// heal ends every fault.
func (w *world) heal() {
	w.Say("all faults end")
	w.calm = true
	w.net.Heal()
	for _, m := range w.members {
		m.diskErr, m.power, m.flush, m.every = nil, 0, time.Millisecond, tick
		m.busy, m.working = w.Now(), false
		m.crashIfOff()
		m.awake()
		m.wake()
		if !m.up {
			m.start()
		}
	}
}

// settle wants a leader, an append acknowledged by it, and everybody level.
func (w *world) settle() error {
	before := w.Tally["acknowledged"]
	from := w.Now()
	if !w.RunUntil(healTime, tick, func() bool { return w.leader() != nil && w.Tally["acknowledged"] > before }) {
		if err := w.Failed(); err != nil {
			return err
		}
		return fmt.Errorf("no append was acknowledged within %v after all faults had ended: %s", healTime, w.states())
	}
	w.Tally.Add("ms to recover", int64((w.Now()-from)/time.Millisecond))
	w.pace = time.Hour // no more appends
	if !w.RunUntil(healTime, tick, w.level) {
		if err := w.Failed(); err != nil {
			return err
		}
		return fmt.Errorf("not level within %v: %s", healTime, w.states())
	}
	return w.final()
}

// level tells whether all members have all there is, and see it.
func (w *world) level() bool {
	l := w.leader()
	if l == nil || len(l.written) > 0 || l.log.End() != l.log.committed {
		return false
	}
	for _, m := range w.members {
		if l.knows(m.id) && (!m.up || m.log.committed != l.log.committed || m.log.End() != l.log.End()) {
			return false
		}
	}
	return l.log.committed == w.model.end()
}

// final holds every member's log against what was committed.
func (w *world) final() error {
	for _, m := range w.members {
		if b := m.log.B; m.log.committed == w.model.end() && !w.model.sameAt(m.log.Base, b) {
			return fmt.Errorf("member %d has other bytes than have been committed%s", m.id, w.model.difference(b, m.log.Base))
		}
	}
	for id, msg := range w.model.messages {
		if msg.fate == acknowledged && !msg.seen {
			return fmt.Errorf("message %d is lost", id)
		}
	}
	leaders := 0
	for _, m := range w.members {
		if w.real && m.up {
			m.checkStore()
		}
		if m.up && m.log.leading {
			leaders++
		}
	}
	if leaders != 1 {
		return errors.New("there are several leaders: " + w.states())
	}
	return w.Failed()
}

func (w *world) states() string {
	s := ""
	for _, m := range w.members {
		s += fmt.Sprintf("\n  %d: up %v, asleep %v, leading %v, log %d to %d, committed %d", m.id, m.up, m.asleep, m.log.leading, m.log.Base, m.log.End(), m.log.committed)
		if m.up {
			s += fmt.Sprintf(", %+v", m.core.Status())
		}
	}
	return s + fmt.Sprintf("\n  committed in all: %d", w.model.end())
}
