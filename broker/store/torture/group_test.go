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

func (p *party) step() error {
	switch n := p.rng.IntN(100); {
	case n < 35:
		return p.put()
	case n < 60:
		return p.replicate()
	case n < 75:
		return p.commit()
	case n < 80:
		return p.sync1()
	case n < 84:
		p.doing = "checkpoint"
		return p.s.Checkpoint()
	case n < 90:
		p.doing = "sleep"
		time.Sleep(time.Duration(1+p.rng.IntN(3000)) * time.Millisecond)
		return nil
	case n < 92:
		p.doing = "clean"
		p.s.CleanExpired()
		return nil
	case n < 94:
		return p.otherCleans()
	default:
		return p.turn()
	}
}

// put lets whoever leads take some messages.
func (p *party) put() error {
	p.doing = "put"
	s := p.s
	if !p.leads {
		s = p.other.s
	}
	g := s.NewStage()
	for range 1 + p.rng.IntN(4) {
		m, x := p.message(p.place())
		o := &outcome{p: p, x: x}
		p.puts = append(p.puts, o)
		if status, err := g.Add(m, o); status != store.PutOK {
			if !p.leads {
				return fmt.Errorf("the other one takes no puts: %s, %w", status, err)
			}
			x.gone = true
			break
		}
	}
	g.Put()
	synctest.Wait()
	p.collect()
	return nil
}

// collect takes what was handed to the gates.
func (p *party) collect() {
	for _, e := range p.tape.got {
		p.say("entry %d to %d, messages %v", e.from, e.to(), p.ids(e))
	}
	p.ents = append(p.ents, p.tape.got...)
	p.other.ents = append(p.other.ents, p.other.tape.got...)
	p.tape.got, p.other.tape.got = nil, nil
}

// replicate hands some entries of whoever leads to the other one.
func (p *party) replicate() error {
	p.doing = "replicate"
	n := 1 + p.rng.IntN(4)
	if p.leads {
		for _, e := range p.ents {
			if e.from == p.other.end() && n > 0 {
				n--
				if err := p.other.s.AppendRaw(e.from, e.b); err != nil {
					return fmt.Errorf("the other one: %w", err)
				}
				p.other.ents = append(p.other.ents, e)
			}
		}
		return nil
	}
	if p.s.End() < p.other.s.MinPhysical() {
		return p.startAnew()
	}
	for _, e := range p.other.ents {
		if e.from == p.end1() && n > 0 {
			n--
			p.ents, p.cutting = append(p.ents, e), e.from // it may be there, in part, from now on
			err := p.s.AppendRaw(e.from, e.b)
			if p.p.isOff() {
				return nil
			}
			if err != nil {
				return err
			}
			p.cutting = -1
		}
	}
	return nil
}

// commit lets the group agree on something that both have.
func (p *party) commit() error {
	p.doing = "commit"
	both := min2(p.end1(), p.other.end())
	var bounds []int64
	for _, e := range p.ents {
		if e.to() > p.s.MaxPhysical() && e.to() <= both {
			bounds = append(bounds, e.to())
		}
	}
	if len(bounds) == 0 {
		return nil
	}
	to := bounds[p.rng.IntN(len(bounds))]
	p.committed = max(p.committed, to)
	if p.rng.IntN(4) > 0 {
		p.told = max(p.told, to) // written down before, as a rule
	}
	err := p.s.Commit(to)
	p.say("commit %d: %v", to, err)
	if p.p.isOff() {
		return nil
	}
	if err != nil {
		return err
	}
	if p.rng.IntN(2) == 0 {
		return p.other.s.Commit(to)
	}
	return nil
}

func (p *party) sync1() error {
	p.doing = "sync"
	to := p.s.End()
	err := p.s.Sync(to)
	if err == nil && !p.p.isOff() {
		p.durable = max(p.durable, to)
	}
	return err
}

// otherCleans lets the other one delete its old files.
func (p *party) otherCleans() error {
	p.doing = "the other one cleans"
	t := p.other.s.Tunables()
	t.FileReserved, t.DeleteBatch = 0, 1+p.rng.IntN(2)
	p.other.s.Tune(t)
	if err := p.other.s.Sync(p.other.s.MaxPhysical()); err != nil {
		return err
	}
	p.other.s.CleanExpired()
	return nil
}

// turn changes the leader.
func (p *party) turn() error {
	q := &p.other
	p.turns++
	if p.leads {
		p.doing = "follow"
		p.leads = false
		if _, err := p.s.Follow(); err != nil {
			return err
		}
		p.collect()
		return p.rejoin()
	}
	if p.s.End() < q.s.MinPhysical() {
		return p.startAnew()
	}
	p.doing = "lead"
	if p.committed > p.end1() { // it would not be elected
		return nil
	}
	if _, err := q.s.Follow(); err != nil {
		return err
	}
	p.collect()
	if q.end() > p.end1() {
		if err := q.s.TruncateTo(p.end1()); err != nil {
			return fmt.Errorf("the other one: %w", err)
		}
		k := len(q.ents)
		for k > 0 && q.ents[k-1].to() > p.end1() {
			k--
		}
		lost := q.ents[k:]
		q.ents = q.ents[:k:k]
		p.forget(lost)
	}
	p.leads = true // from now on it may be
	p.committed, p.told = p.end1(), p.end1()
	if err := p.s.Commit(p.end1()); err != nil {
		return err
	}
	if p.p.isOff() {
		return nil
	}
	p.say("lead from %d", p.end1())
	return p.s.Lead()
}

// startAnew begins at the other one's oldest file.
func (p *party) startAnew() error {
	q := &p.other
	from := q.s.MinPhysical()
	ends, err := q.s.QueueEnds(from)
	if err != nil {
		return err
	}
	p.doing, p.anew = "start anew", from
	err = p.s.Reset(from, ends)
	p.say("start anew at %d: %v", from, err)
	if p.p.isOff() {
		return nil
	}
	if err != nil {
		return err
	}
	p.resets++
	p.anew = -1
	p.began, p.ents, p.durable, p.told, p.cutting = from, nil, from, max(p.told, from), -1
	return nil
}

// hidden: readers see what is committed, whole, and nothing else.
func (p *party) hidden() error {
	s := p.s
	if shown := s.MaxPhysical(); shown > p.committed {
		return fmt.Errorf("visible up to %d, committed %d", shown, p.committed)
	}
	if n, err := s.ReadLog(s.MaxPhysical(), make([]byte, 10)); n != 0 {
		return fmt.Errorf("%d bytes beyond the visible end are served, %w", n, err)
	}
	if p.rng.IntN(6) > 0 {
		return nil
	}
	for _, e := range p.ents { // not by offset, nor by key
		if e.from < s.MaxPhysical() || len(e.b) < 100 {
			continue
		}
		if b, err := s.LookMessage(e.from); err == nil {
			return fmt.Errorf("%d bytes at %d are served, visible is up to %d", len(b), e.from, s.MaxPhysical())
		}
		for _, id := range p.ids(e) {
			x := p.byID[id]
			if r, err := s.Query(x.topic, x.key, 10, 0, 1<<60); err == nil && len(r.Messages) > 0 {
				return fmt.Errorf("message %d is found by its key, it is at %d, visible is up to %d", id, e.from, s.MaxPhysical())
			}
		}
	}
	if wrong := s.Check(); len(wrong) > 0 && !p.p.isOff() {
		return fmt.Errorf("check: %v", wrong)
	}
	return p.drained(s)
}

// drained reads all queues: every message whole, in its place, none that is gone.
func (p *party) drained(s *store.Store) error {
	for _, topic := range s.Topics() {
		for _, queue := range s.Queues(topic) {
			for next, end := s.MinOffset(topic, queue), s.MaxOffset(topic, queue); next < end; {
				r, err := s.Get(topic, queue, next, store.GetLimit{}, store.Match{})
				if err != nil || len(r.Messages) == 0 {
					return fmt.Errorf("%s/%d at %d of %d: %s, %w", topic, queue, next, end, r.Status, err)
				}
				for _, b := range r.Messages {
					x, m, err := p.recognise(b)
					if err != nil {
						return fmt.Errorf("%s/%d: %w", topic, queue, err)
					}
					if m.QueueOffset != next || m.PhysicalOffset+int64(len(b)) > p.committed {
						return fmt.Errorf("%s/%d at %d: message %d says %d, log %d, committed %d", topic, queue, next, x.id, m.QueueOffset, m.PhysicalOffset, p.committed)
					}
					next++
				}
				r.Release()
			}
		}
	}
	return nil
}

// agree: in the end both have the same, and everything that was acknowledged is there.
func (p *party) agree() error {
	if p.s.End() < p.other.s.MinPhysical() {
		if err := p.startAnew(); err != nil {
			return err
		}
	}
	for p.end1() < p.other.end() {
		if err := p.replicate(); err != nil {
			return err
		}
	}
	p.committed = p.other.end()
	if err := errors.Join(p.s.Commit(p.committed), p.other.s.Commit(p.committed)); err != nil {
		return err
	}
	for _, s := range []*store.Store{p.s, p.other.s} {
		if wrong := s.Check(); len(wrong) > 0 {
			return fmt.Errorf("check: %v", wrong)
		}
		if err := p.drained(s); err != nil {
			return err
		}
	}
	for _, topic := range p.other.s.Topics() {
		for _, queue := range p.other.s.Queues(topic) {
			if a, b := p.s.MaxOffset(topic, queue), p.other.s.MaxOffset(topic, queue); a != b {
				return fmt.Errorf("%s/%d ends at %d, at the other one at %d", topic, queue, a, b)
			}
		}
	}
	for _, o := range p.puts {
		if o.n == 1 && o.live && o.res.Status == store.PutOK && o.res.PhysicalOffset >= max(p.s.MinPhysical(), p.other.s.MinPhysical()) {
			b, err := p.s.LookMessage(o.res.PhysicalOffset)
			if err != nil {
				return fmt.Errorf("acknowledged message %d at %d: %w", o.x.id, o.res.PhysicalOffset, err)
			}
			if x, _, err := p.recognise(b); err != nil || x != o.x {
				return fmt.Errorf("in the place of acknowledged message %d lies %v, %w", o.x.id, x, err)
			}
		}
	}
	return p.once()
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
