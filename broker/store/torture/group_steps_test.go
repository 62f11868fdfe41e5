package torture

// What happens to a member of a group: messages, commits, changes of the leader, a start from the other one's oldest file.

import (
	"fmt"
	"testing/synctest"
	"time"

	"rmqctl/broker/store"
)

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
	case n < 95:
		if err := p.otherCleans(); err != nil || p.leads || p.rng.IntN(2) == 0 {
			return err
		}
		return p.startAnew()
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
