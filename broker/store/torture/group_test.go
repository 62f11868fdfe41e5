package torture

// A member of a raft group: its store leads and follows, is cut back and starts anew, is killed and loses its power at any
// operation. The rest of the group is a second store that nothing happens to. The model:
//
//	ents       what the log of the member holds, entry by entry
//	committed  what the group has agreed on; the other one has all of it
//	durable    what a Sync that has returned reached, or a start found
//
// After every step and every start: nothing beyond committed is visible, what was committed and durable is there, what was
// cut off does not come back, and no two messages have one place in a queue.

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

var (
	partiesFlag = flag.Int("parties", 100, "how many seeds TestAMemberOfAGroup plays")
	partyFlag   = flag.Uint64("party", 0, "the one seed that it plays, with its story")
)

type ent struct {
	from int64
	b    []byte
}

func (e ent) to() int64 { return e.from + int64(len(e.b)) }

// tape is a Gate that keeps what it is handed.
type tape struct{ got []ent }

func (t *tape) Written(from int64, b []byte) { t.got = append(t.got, ent{from, bytes.Clone(b)}) }

// peer is the rest of the group.
type peer struct {
	s    *store.Store
	tape tape
	ents []ent
}

type party struct {
	*world
	tape      tape
	leads     bool
	began     int64 // of the member's log
	ents      []ent
	committed int64
	told      int64 // the commit that the member has written down
	durable   int64
	doing     string // what was under way when the power went off
	anew      int64  // Reset to there was under way
	cutting   int64  // TruncateTo to there was under way
	other     peer
	puts      []*outcome
	resets    int
	turns     int
}

// outcome is what a producer was told.
type outcome struct {
	p    *party
	x    *sent
	n    int
	res  store.PutResult
	err  error
	live bool // told while the power was on
}

func (o *outcome) Stored(res store.PutResult, err error) {
	o.n++
	o.res, o.err, o.live = res, err, !o.p.p.isOff()
}

func newParty(seed uint64, trace func(string)) *party {
	w := newWorld(seed, trace)
	w.await = false
	w.o.Tunables.SyncFlush = w.sync
	p := &party{world: w, anew: -1, cutting: -1}
	w.o.SegmentSize = 4096
	w.o.Gate = &p.tape
	return p
}

// otherOpens begins the rest of the group.
func (p *party) otherOpens() (err error) {
	o := p.o
	t := *o.Tunables
	t.FileReserved = time.Hour // it deletes when told to
	o.Tunables, o.Gate, o.Events, o.Dir = &t, &p.other.tape, store.Events{}, "/other"
	if p.other.s, err = store.Open(vfs.NewMem(), o); err != nil {
		return err
	}
	return p.other.s.Start()
}

func (p *party) play() error {
	if err := p.otherOpens(); err != nil {
		return err
	}
	defer p.other.s.Close()
	for life := range 2 + p.rng.IntN(3) {
		if err := p.life(); err != nil {
			p.end()
			return fmt.Errorf("life %d: %w", life, err)
		}
	}
	if err := p.begin(); err != nil {
		p.end()
		return fmt.Errorf("last start: %w", err)
	}
	defer p.end()
	return p.agree()
}

func (p *party) life() error {
	if err := p.begin(); err != nil {
		return err
	}
	p.powerCut = false
	p.arm(1 + p.rng.IntN(300))
	for range 10 + p.rng.IntN(60) {
		p.doing = ""
		if err := p.step(); err != nil && !p.p.isOff() {
			return fmt.Errorf("%s: %w", p.doing, err)
		}
		if p.p.isOff() {
			break
		}
		if err := p.hidden(); err != nil && !p.p.isOff() {
			return fmt.Errorf("after %s: %w", p.doing, err)
		}
	}
	if !p.p.isOff() && p.rng.IntN(3) == 0 {
		p.say("close")
		if err := p.s.Close(); err == nil && !p.p.isOff() {
			p.durable = p.end1()
			p.cuts.clean++
		}
	}
	p.end()
	if p.rng.IntN(5) == 0 {
		time.Sleep(time.Second)
	}
	p.fall()
	return p.once()
}

// once: nobody is told twice, and success only of what was committed.
func (p *party) once() error {
	for _, o := range p.puts {
		if o.n > 1 {
			return fmt.Errorf("message %d was answered %d times", o.x.id, o.n)
		}
		if o.n == 1 && o.res.Status == store.PutOK && o.res.NextOffset > p.committed {
			return fmt.Errorf("message %d at %d was acknowledged, committed is %d", o.x.id, o.res.PhysicalOffset, p.committed)
		}
	}
	return nil
}

func (p *party) end1() int64 {
	if n := len(p.ents); n > 0 {
		return p.ents[n-1].to()
	}
	return p.began
}

func (q *peer) end() int64 {
	if n := len(q.ents); n > 0 {
		return q.ents[n-1].to()
	}
	return 0
}

// begin starts the store, with cuts while it recovers and while the group's driver looks at it, and holds it against the
// model. Then the other one leads.
func (p *party) begin() error {
	for {
		p.leads = false
		p.o.Committed = p.told
		if err := p.open(); err != nil {
			return err
		}
		p.arm(1 << 40)
		if err := p.idempotent(); err != nil {
			return err
		}
		if p.rng.IntN(3) == 0 {
			p.arm(1 + p.rng.IntN(12))
		}
		err := p.compare()
		if err == nil {
			err = p.rejoin()
		}
		if !p.p.isOff() {
			p.arm(1 << 40)
			return err
		}
		p.end()
		p.fall()
	}
}

// compare: the log is what the model says, up to some place that is not before what was durable.
func (p *party) compare() error {
	s := p.s
	min, end, shown := s.MinPhysical(), s.End(), s.MaxPhysical()
	if p.anew >= 0 && min == p.anew && end == p.anew && shown == p.anew { // starting anew has happened
		p.began, p.ents, p.committed, p.durable = p.anew, nil, max(p.committed, p.anew), p.anew
		p.told = max(p.told, p.anew)
	} else if p.anew >= 0 && p.doing == "" {
		return fmt.Errorf("starting anew at %d had ended, the log is %d to %d", p.anew, min, end)
	}
	p.anew = -1
	have := int64(0)
	var log []byte
	if n := len(p.ents); n > 0 {
		have = p.ents[0].from
		for _, e := range p.ents {
			log = append(log, e.b...)
		}
	} else {
		have = p.began
	}
	must := p.durable
	if !p.powerCut {
		must = p.end1()
	}
	if p.cutting >= 0 {
		must = min2(must, p.cutting)
	}
	if end > have+int64(len(log)) && p.doing != "put" { // else a round was being written, and handed to nobody
		return fmt.Errorf("the log ends at %d, written was up to %d: something is back", end, have+int64(len(log)))
	}
	if end < must {
		return fmt.Errorf("the log ends at %d, %d is durable (power cut %v)", end, must, p.powerCut)
	}
	if shown > p.committed {
		return fmt.Errorf("visible up to %d, committed %d", shown, p.committed)
	}
	if low := min2(p.o.Committed, end); shown < low {
		return fmt.Errorf("visible up to %d, known to be committed %d, the log ends at %d", shown, p.o.Committed, end)
	}
	for at := max(min, have); at < min2(end, have+int64(len(log))); {
		buf := make([]byte, min2(4096, have+int64(len(log))-at))
		n, err := s.ReadWritten(at, buf)
		if err != nil || n == 0 {
			return fmt.Errorf("read %d: %d, %w", at, n, err)
		}
		if !bytes.Equal(buf[:n], log[at-have:at-have+int64(n)]) {
			return fmt.Errorf("the log differs from what was written, between %d and %d", at, at+int64(n))
		}
		at += int64(n)
	}
	// What is no whole entry is cut off, as the group's driver does; there may be readers who saw a part of it.
	k, cut := len(p.ents), p.began
	for k > 0 && p.ents[k-1].to() > end {
		k--
	}
	if k > 0 {
		cut = p.ents[k-1].to()
	}
	if cut < end {
		p.say("cut what is left of an entry: %d, the log ends at %d", cut, end)
		p.cutting = cut
		if err := s.TruncateTo(cut); err != nil {
			return fmt.Errorf("cut %d to the last entry's end %d: %w", end, cut, err)
		}
	}
	p.forget(p.ents[k:])
	p.ents, p.cutting = p.ents[:k:k], -1
	p.durable = p.end1()
	return p.hidden()
}

func min2(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

// forget notes that entries are gone for good, unless the other one has them.
func (p *party) forget(list []ent) {
	for _, e := range list {
		if p.other.has(e) {
			continue
		}
		for _, id := range p.ids(e) {
			p.byID[id].gone = true
		}
	}
}

func (q *peer) has(e ent) bool {
	for _, f := range q.ents {
		if f.from == e.from && bytes.Equal(f.b, e.b) {
			return true
		}
	}
	return false
}

// ids are the messages of an entry.
func (p *party) ids(e ent) (out []int) {
	for b := e.b; len(b) > 8; {
		m, n, err := message.Decode(b, message.Options{})
		if err != nil {
			break
		}
		id := 0
		fmt.Sscanf(string(m.Body), "%d:", &id)
		out, b = append(out, id), b[n:]
	}
	return out
}

// rejoin brings the member to where the other one's log parts from its own, and lets the other one lead.
func (p *party) rejoin() error {
	q := &p.other
	if p.s.End() < q.s.MinPhysical() {
		return p.startAnew()
	}
	k := 0
	for k < len(p.ents) && (p.ents[k].from < q.s.MinPhysical() || q.has(p.ents[k])) {
		k++
	}
	if k < len(p.ents) {
		if err := p.truncate(p.ents[k].from); err != nil {
			return err
		}
	}
	return p.otherLeads()
}

func (p *party) truncate(to int64) error {
	p.doing, p.cutting = "truncate", to
	err := p.s.TruncateTo(to)
	p.say("truncate to %d: %v", to, err)
	if p.p.isOff() {
		return nil
	}
	if err != nil {
		return err
	}
	k := len(p.ents)
	for k > 0 && p.ents[k-1].to() > to {
		k--
	}
	p.forget(p.ents[k:])
	p.ents, p.cutting, p.durable = p.ents[:k:k], -1, min2(p.durable, to)
	return nil
}

// otherLeads: all that the other one has is committed now.
func (p *party) otherLeads() error {
	q := &p.other
	if err := errors.Join(q.s.Commit(q.end()), q.s.Lead()); err != nil {
		return fmt.Errorf("the other one: %w", err)
	}
	p.committed = max(p.committed, q.end())
	return nil
}

func playParty(t *testing.T, seed uint64, trace func(string)) (p *party, err error) {
	synctest.Test(t, func(t *testing.T) {
		p = newParty(seed, trace)
		err = p.play()
	})
	return p, err
}

// TestAMemberOfAGroup plays seeds; -seed plays one and tells its story.
func TestAMemberOfAGroup(t *testing.T) {
	turns, resets, cuts := 0, 0, tally{}
	first, n := uint64(1), uint64(*partiesFlag)
	var story []string
	var trace func(string)
	if *partyFlag > 0 {
		first, n = *partyFlag, 1
		trace = func(line string) { story = append(story, line) }
	}
	for seed := first; seed < first+n; seed++ {
		p, err := playParty(t, seed, trace)
		if err != nil {
			for _, line := range story {
				t.Log(line)
			}
			t.Fatalf("seed %d: %v\nrepeat: go test ./broker/store/torture -run AMemberOfAGroup -party=%d", seed, err, seed)
		}
		turns, resets = turns+p.turns, resets+p.resets
		cuts.add(p.cuts)
	}
	t.Logf("%d members: %d power cuts, %d kills, %d of them while recovering, %d clean stops, %d changes of the leader, %d starts anew",
		n, cuts.cuts, cuts.kills, cuts.inRecovery, cuts.clean, turns, resets)
}
