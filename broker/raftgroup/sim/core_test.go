package sim

// How a member's core is opened and asked.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"rmqctl/broker/raftgroup"
	"rmqctl/internal/vfs"
)

func peer(id uint64) raftgroup.Peer {
	return raftgroup.Peer{ID: id, Addr: "10.0.0." + strconv.FormatUint(id, 10) + ":40911"}
}

func (m *member) options(fsys vfs.FS) raftgroup.CoreOptions {
	o := raftgroup.CoreOptions{
		FS: fsys, Dir: dir, Group: "g", Self: m.id, Log: m.theLog(), Bootstrap: !m.joining, IndexEntries: m.w.per,
		Rand: rand.New(rand.NewPCG(m.w.Rand.Uint64(), m.id)), Durable: func() bool { return m.w.syncFlush }, Boot: strconv.Itoa(m.boots),
	}
	for _, id := range m.w.peers {
		o.Peers = append(o.Peers, peer(id))
	}
	if m.joining {
		o.Peers = append(o.Peers, peer(m.id))
	}
	return o
}

// start is a start of the process, on what its disk has.
func (m *member) start() {
	m.up, m.asleep, m.working = true, false, false
	m.gen++
	m.busy = m.w.Now()
	if !m.w.calm && m.w.Chance(0.15) {
		m.power = 1 + m.w.Rand.IntN(30)
	}
	err := m.open()
	if m.crashIfOff() {
		return
	}
	if err != nil {
		if m.diskErr == nil {
			m.fail("does not start: %v", err)
		}
		m.down(false)
		m.restartIn(m.w.Between(0, 3*time.Second))
		return
	}
	m.say("starts with %d to %d, committed %d", m.log.Base, m.log.End(), m.log.committed)
	m.w.Tally.Add("starts", 1)
	m.ticks(m.gen)
	m.wake()
}

func (m *member) open() error {
	fsys := m.fs()
	committed, err := raftgroup.Committed(fsys, dir)
	if err != nil {
		return err
	}
	if m.w.real {
		err = m.openStore(fsys, committed)
	} else {
		m.log.opened(committed)
	}
	if err != nil {
		return err
	}
	switch {
	case m.log.committed < m.visible && committed > 0: // 0: killed while it was to begin anew
		m.fail("shows %d after a kill, and has shown %d", m.log.committed, m.visible)
	case m.w.syncFlush && m.log.End() < m.acked:
		m.fail("ends at %d after a crash, and has acknowledged %d", m.log.End(), m.acked)
	}
	m.core, err = raftgroup.Open(m.options(fsys))
	return err
}

// check looks at what a call of the core says. After an error only another start is of use, and a core that has halted for good has
// seen something that must never be.
func (m *member) check(err error) {
	switch {
	case m.crashIfOff() || err == nil:
	case errors.Is(err, raftgroup.ErrHalted):
		m.fail("has halted: %v", err)
	default:
		m.say("fails: %v", err)
		m.w.Tally.Add("failed members", 1)
		m.down(false)
		m.restartIn(m.w.Between(0, 3*time.Second))
	}
}

func (m *member) term() uint64 { return m.core.Status().Term }

func (m *member) leads() bool { return m.log.leading }

// knows tells whether id is in this member's group.
func (m *member) knows(id uint64) bool {
	for _, o := range m.core.Status().Members {
		if o.ID == id {
			return true
		}
	}
	return false
}

// voters are the voters as this member knows them; before keeps who they were before the last change.
func (m *member) voters() []uint64 {
	var out []uint64
	for _, o := range m.core.Status().Members {
		if o.Voter {
			out = append(out, o.ID)
		}
	}
	if !slices.Equal(out, m.now) {
		m.before, m.now = m.now, out
	}
	return out
}

func (m *member) isVoter() bool {
	l := m.w.leader()
	if l == nil {
		return !m.joining
	}
	for _, id := range l.voters() {
		if id == m.id {
			return true
		}
	}
	return false
}

// impaired tells whether a member may lack what it has acknowledged.
func (m *member) impaired() bool { return m.lacks > 0 }

// propose hands what was written to the core.
func (m *member) propose() {
	for len(m.written) > 0 {
		r := m.written[0]
		if err := m.core.Propose(r.from, r.b); err != nil {
			m.say("proposal of %d refused: %v", r.from, err)
			m.refused(r.from)
			return
		}
		m.written = m.written[1:]
		r.term = m.term()
		m.rounds = append(m.rounds, r)
	}
}

func (w *world) addMember() {
	l := w.leader()
	if l == nil || l.asleep || len(w.members) >= maxMembers {
		return
	}
	m := newMember(w, uint64(len(w.members)+1))
	m.joining = true
	if err := l.core.ChangeMember(true, peer(m.id)); err != nil {
		w.Say("%d refuses to add %d: %v", l.id, m.id, err)
		return
	}
	w.members = append(w.members, m)
	w.Say("%d adds %d", l.id, m.id)
	w.Tally.Add("members added", 1)
	m.start()
	l.wake()
}

func (w *world) removeMember() {
	l := w.leader()
	if l == nil || l.asleep || len(l.voters()) < 3 {
		return
	}
	m := w.members[w.Rand.IntN(len(w.members))]
	if !l.knows(m.id) {
		return
	}
	if err := l.core.ChangeMember(false, peer(m.id)); err != nil {
		w.Say("%d refuses to remove %d: %v", l.id, m.id, err)
		return
	}
	w.Say("%d removes %d", l.id, m.id)
	w.Tally.Add("members removed", 1)
	l.wake()
}

func describe(m raftpb.Message) string {
	s := fmt.Sprintf("%v from %d, term %d", m.Type, m.From, m.Term)
	if m.Index > 0 || m.LogTerm > 0 {
		s += fmt.Sprintf(", index %d of term %d", m.Index, m.LogTerm)
	}
	if len(m.Entries) > 0 {
		s += fmt.Sprintf(", %d entries", len(m.Entries))
	}
	if m.Commit > 0 {
		s += fmt.Sprintf(", commit %d", m.Commit)
	}
	if m.Reject {
		s += fmt.Sprintf(", rejected, hint %d", m.RejectHint)
	}
	if len(m.Context) > 0 {
		s += fmt.Sprintf(", context %q", m.Context)
	}
	return s
}
