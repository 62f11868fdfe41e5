package sim

// A member: one machine with its disk, the core that runs on it, and what the driver around the core does.

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"rmqctl/broker/raftgroup"
	"rmqctl/broker/store"
	"rmqctl/internal/sim"
	"rmqctl/internal/vfs"
)

const dir = "/store/raft"

type member struct {
	w    *world
	id   uint64
	line int // its place in the network
	log  *cheapLog
	disk *vfs.Mem
	core *raftgroup.Core
	st   *store.Store // in a real world: what log is the shadow of
	life *life

	up      bool
	asleep  bool     // paused: it does nothing, and what comes waits
	joining bool     // it began with an empty group
	boots   int      // counts the starts of its machine
	lost    sim.Tape // ASYNC_FLUSH: its log before the last power cut, which it may have acknowledged
	lacks   int64    // and how far it must come until it cannot lack any of that; 0 when it is
	gen     int      // counts its lives: what belongs to an earlier one is void
	every   time.Duration
	inbox   [][]byte

	working bool          // a work event is under way
	busy    time.Duration // its disk is busy until then
	cost    time.Duration // of the work being done
	flush   time.Duration // what one flush takes

	power    int // disk operations until the power goes off; 0: it stays on
	off      bool
	diskErr  error // what each write answers
	errAfter int   // after so many more

	now     []uint64 // voters
	before  []uint64
	acked   int64 // what it has acknowledged to a leader, or published
	visible int64 // what has been visible here, in all lives since the last power cut
	written []round
	rounds  []round // written and neither acknowledged nor given up
}

// life is what belongs to one run of the process.
type life struct{ over bool }

// round is what a leader wrote at once.
type round struct {
	from int64
	b    []byte
	ids  []uint64
	term uint64 // in which it was proposed
}

func (r *round) end() int64 { return r.from + int64(len(r.b)) }

func newMember(w *world, id uint64) *member {
	m := &member{w: w, id: id, line: int(id - 1), disk: vfs.NewMem(), every: tick, flush: time.Millisecond}
	m.log = &cheapLog{seg: w.seg, m: m}
	if err := vfs.MakeDirs(m.disk, dir, 0o755); err != nil {
		m.fail("%v", err)
	}
	return m
}

func (m *member) say(format string, a ...any) {
	if m.w.Traced() {
		m.w.Say("%d "+format, append([]any{m.id}, a...)...)
	}
}

func (m *member) fail(format string, a ...any) {
	m.w.Fail("member %d "+format, append([]any{m.id}, a...)...)
}

// diskOp is asked before everything that changes the disk.
func (m *member) diskOp(string) error {
	if m.off {
		return errOff
	}
	if m.power > 0 {
		if m.power--; m.power == 0 {
			m.off = true
			if m.w.Chance(0.5) {
				return errOff // or the operation is done, and it is the last
			}
		}
	}
	if m.diskErr != nil {
		if m.errAfter > 0 {
			m.errAfter--
			return nil
		}
		return m.diskErr
	}
	return nil
}

// slow lets a flush take its time.
func (m *member) slow() { m.cost += m.w.Between(m.flush/2, 2*m.flush) }

func (m *member) fs() vfs.FS {
	m.life = &life{}
	mine := m.life
	return &vfs.Fault{FS: m.disk, Before: func(op vfs.Op) error {
		if mine.over {
			return errOff
		}
		switch op.Kind {
		case "open", "readdir", "lock", "usage", "read":
			if m.off {
				return errOff
			}
			return nil
		case "sync", "syncdir":
			m.slow()
		}
		return m.diskOp(op.Kind)
	}}
}

// truncating is told that the log gives up what lies behind off.
func (m *member) truncating(off int64) {
	m.say("truncates to %d, had %d, committed %d", off, m.log.End(), m.log.committed)
	defer func() { m.acked = min(m.acked, off) }()
	m.w.Tally.Add("truncations", 1)
	if known := min(m.acked, m.log.End(), m.w.model.end()); off < known && off >= m.log.Base && !m.impaired() {
		tail := m.log.Slice(off, known)
		said := false // the filling at a segment's end is the same whoever leads: that of another term was never acknowledged
		_ = m.w.records(tail, func(r sim.Record) { said = said || r.ID != 0 })
		if said && m.w.model.sameAt(off, tail) {
			m.fail("truncates to %d: %d bytes behind it are acknowledged and committed", off, len(tail))
		}
	}
	m.cutRounds(off)
}

// cutRounds gives up the rounds behind off.
func (m *member) cutRounds(off int64) {
	m.refused(off)
	for i, r := range m.rounds {
		if r.end() > off {
			m.lose(m.rounds[i:])
			m.rounds = m.rounds[:i]
			break
		}
	}
}

// refused tells the producers of what was written behind off and never proposed.
func (m *member) refused(off int64) {
	keep := len(m.written)
	for keep > 0 && m.written[keep-1].end() > off {
		keep--
	}
	for _, r := range m.written[keep:] {
		for _, id := range r.ids {
			m.w.model.messages[id].fate = refused
		}
		m.w.Tally.Add("refused", int64(len(r.ids)))
	}
	m.written = m.written[:keep]
}

// lose gives rounds up: nobody knows what becomes of them.
func (m *member) lose(rounds []round) {
	for _, r := range rounds {
		for _, id := range r.ids {
			m.w.model.messages[id].fate = unknown
		}
		m.w.Tally.Add("unknown", int64(len(r.ids)))
	}
}

// published is told of what readers of this member see from now on.
func (m *member) published(from, to int64, b []byte) {
	m.w.Mark(m.id, uint64(from), uint64(to))
	m.voters()
	m.w.model.published(m, from, to, b)
	m.visible, m.acked = max(m.visible, to), max(m.acked, to)
	if to >= m.lacks {
		m.lacks = 0
	}
	for len(m.rounds) > 0 && m.rounds[0].end() <= to {
		r := m.rounds[0]
		m.rounds = m.rounds[1:]
		for _, id := range r.ids {
			m.w.model.acknowledge(m, r.term, id)
		}
	}
}

// append is one round of producers.
func (m *member) append() {
	if m.w.real {
		m.put()
		return
	}
	l := m.log
	var ids []uint64
	var b []byte
	from := l.End()
	room := int(l.seg - from%l.seg)
	next := l.next
	for range 1 + m.w.Rand.IntN(4) {
		size := sim.Unit * (1 + m.w.Rand.IntN(8))
		if len(b)+size > room {
			break
		}
		id, q := m.w.model.newMessage(), uint32(m.w.Rand.IntN(queues))
		b = sim.PutRecord(b, sim.Record{ID: id, Queue: q, Offset: next[q]}, size)
		next[q]++
		ids = append(ids, id)
	}
	if len(ids) == 0 { // what is left of this segment is too small
		b = sim.PutRecord(nil, sim.Record{}, room)
	}
	if err := m.diskOp("append"); err != nil {
		for _, id := range ids {
			m.w.model.messages[id].fate = refused
		}
		m.crashIfOff()
		return
	}
	l.next = next
	l.Append(b)
	m.written = append(m.written, round{from: from, b: b, ids: ids})
	m.say("appends %d to %d, messages %v", from, from+int64(len(b)), ids)
	m.wake()
}

// receive is a message that has arrived.
func (m *member) receive(wire []byte) {
	switch {
	case !m.up:
	case m.asleep:
		if len(m.inbox) < 500 {
			m.inbox = append(m.inbox, wire)
		}
	default:
		var msg raftpb.Message
		if err := msg.Unmarshal(wire); err != nil {
			m.fail("unmarshal: %v", err)
			return
		}
		if m.w.Traced() && msg.Type != raftpb.MsgHeartbeat && msg.Type != raftpb.MsgHeartbeatResp {
			m.say("gets %s", describe(msg))
		}
		m.check(m.core.Step(msg))
		m.wake()
	}
}

// ticks are the member's own clock, which may go wrong.
func (m *member) ticks(gen int) {
	m.w.After(m.every, func() {
		if m.gen != gen {
			return
		}
		if !m.asleep {
			m.check(m.core.Tick())
			m.wake()
		}
		m.ticks(gen)
	})
}

// wake lets the driver look for work, when its disk has time.
func (m *member) wake() {
	if m.working || !m.up || m.asleep {
		return
	}
	m.working = true
	gen := m.gen
	m.w.After(m.busy-m.w.Now(), func() {
		if m.gen == gen {
			m.working = false
			m.work()
		}
	})
}

// work is one turn of the driver.
func (m *member) work() {
	if !m.up || m.asleep {
		return
	}
	m.propose()
	for range 10 {
		if m.w.Failed() != nil || !m.core.HasWork() {
			return
		}
		m.cost = 0
		err := m.core.Work(func(msg raftpb.Message) {
			if !m.off {
				m.sent(msg)
				m.w.send(m, msg, m.cost)
			}
		})
		m.busy = m.w.Now() + m.cost
		if m.check(err); !m.up {
			return
		}
		if m.cost > 0 {
			m.wake()
			return
		}
	}
	m.wake()
}

// sent looks at what leaves a member.
func (m *member) sent(msg raftpb.Message) {
	switch msg.Type {
	case raftpb.MsgVote:
		m.w.Tally.Add("votes asked", 1)
	case raftpb.MsgApp, raftpb.MsgHeartbeat: // its own vote counted; asking for others' is none yet
		m.w.model.voted(m, msg.Term, m.id)
	case raftpb.MsgAppResp:
		if !msg.Reject {
			m.acked = max(m.acked, m.log.End())
		}
	case raftpb.MsgVoteResp:
		if !msg.Reject {
			m.w.model.voted(m, msg.Term, msg.To)
		}
	}
}

func (m *member) crashIfOff() bool {
	if !m.off {
		return false
	}
	m.down(m.w.Chance(0.6) && m.w.mayCut(m))
	m.restartIn(m.w.Between(0, 3*time.Second))
	return true
}

// down ends the member's process: by a kill, or with the machine's power.
func (m *member) down(powerCut bool) {
	if !m.up {
		return
	}
	m.up, m.off, m.asleep, m.working, m.power = false, false, false, false, 0
	m.gen++
	m.inbox = nil
	m.lose(m.written)
	m.lose(m.rounds)
	m.written, m.rounds = nil, nil
	m.core = nil
	if m.life != nil {
		m.life.over = true
	}
	if m.st != nil {
		_ = m.st.Close()
		m.st = nil
	}
	if powerCut {
		m.cut()
		return
	}
	m.say("killed")
	m.w.Tally.Add("kills", 1)
	m.disk = m.disk.Clone()
}

func (m *member) cut() {
	m.say("power cut")
	m.w.Tally.Add("power cuts", 1)
	if !m.w.syncFlush {
		m.lost, m.lacks = m.log.Tape, max(m.log.End(), m.w.model.end())
	}
	m.log.PowerCut(m.w.Rand)
	m.disk = m.disk.PowerCut(m.w.Rand, vfs.AnyCut(m.w.Rand))
	m.visible = 0
	m.boots++
}
