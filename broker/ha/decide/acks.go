// Which offsets how many slaves have: counted by slave, not by connection.

package decide

import (
	"math"
	"slices"
)

// DefaultMaxGap is haSlaveFallbehindMax and haMaxGapNotInSync: a slave further behind is not waited for.
const DefaultMaxGap = 256 << 20

// Rules say how many copies an append waits for. Copies count the master's own.
type Rules struct {
	InSyncReplicas    int   // 0 is 2: one slave, as SYNC_MASTER means in 4.x; 1 waits for nobody, as in 5.x
	MinInSyncReplicas int   // fewer copies in sync than this: appends are refused before they are stored
	AllAck            bool  // allAckInSyncStateSet: every slave in sync, and at least one
	AutoInSync        bool  // enableAutoInSyncReplicas: fewer than InSyncReplicas when fewer are in sync, down to MinInSyncReplicas
	MaxGap            int64 // how far behind a slave may be and still be in sync
	BytesPerSecond    int64 // to each slave, by who sends; 0 is no limit
}

func (r Rules) withDefaults() Rules {
	if r.InSyncReplicas <= 0 {
		r.InSyncReplicas = 2
	}
	if r.MinInSyncReplicas <= 0 {
		r.MinInSyncReplicas = 1
	}
	if r.MaxGap <= 0 {
		r.MaxGap = DefaultMaxGap
	}
	return r
}

// Nobody is Covered when there are not as many slaves as an append needs.
const Nobody = math.MinInt64

// Acks counts. The zero value has the rules of 4.x and no slave.
type Acks struct {
	rules  Rules
	conns  []replica // few: looked through each time
	slaves []copied  // made anew by every change
}

// copied is what one slave has. One that is mute is not waited for, but what it has it has.
type copied struct {
	off  int64
	mute bool
}

// replica is what was reported on one connection. While a slave has several, it has the most that one of those tells that
// are not silent.
type replica struct {
	id     string
	conn   int64
	off    int64
	silent bool // its slave has come on another connection since, and nothing came on this
	mute   bool // it owed a report for too long
}

// SetRules changes the rules for appends that wait, too.
func (a *Acks) SetRules(r Rules) { a.rules = r.withDefaults() }

// Rules are the rules with their defaults.
func (a *Acks) Rules() Rules { return a.rules.withDefaults() }

// Join takes a slave's first report on a connection. What it told on others no longer counts: it may have been emptied
// since, and those connections half dead. Two Java slaves of one host have one id between them; the next report revives the
// other's connection, and together they count as one.
func (a *Acks) Join(conn int64, id string, off int64) {
	for i := range a.conns {
		if a.conns[i].id == id {
			a.conns[i].silent = true
		}
	}
	a.conns = append(a.conns, replica{id: id, conn: conn, off: off})
	a.count()
}

// Report takes a later report.
func (a *Acks) Report(conn, off int64) {
	for i := range a.conns {
		if c := &a.conns[i]; c.conn == conn {
			c.off, c.silent, c.mute = off, false, false
		}
	}
	a.count()
}

// Mute says that a connection owes a report for so long that its slave is not waited for until one comes.
func (a *Acks) Mute(conn int64) {
	for i := range a.conns {
		if c := &a.conns[i]; c.conn == conn {
			c.mute = true
		}
	}
	a.count()
}

// Leave forgets a connection and what was reported on it.
func (a *Acks) Leave(conn int64) {
	a.conns = slices.DeleteFunc(a.conns, func(c replica) bool { return c.conn == conn })
	a.count()
}

func (a *Acks) count() {
	a.slaves = a.slaves[:0]
	for i, c := range a.conns {
		first, most := true, copied{Nobody, true}
		for j, other := range a.conns {
			if other.id == c.id {
				first = first && j >= i
				if !other.silent {
					most.off, most.mute = max(most.off, other.off), most.mute && other.mute
				}
			}
		}
		if first && most.off != Nobody {
			a.slaves = append(a.slaves, most)
		}
	}
}

// Slaves is how many slaves have reported and are here.
func (a *Acks) Slaves() int { return len(a.slaves) }

// InSync is how many slaves are near enough to a log that ends at end.
func (a *Acks) InSync(end int64) int {
	n, gap := 0, a.Rules().MaxGap
	for _, s := range a.slaves {
		if !s.mute && end-s.off < gap {
			n++
		}
	}
	return n
}

// Near tells whether the slave on a connection is in sync with a log that ends at end.
func (a *Acks) Near(conn, end int64) bool {
	for _, c := range a.conns {
		if c.conn == conn {
			return !c.silent && !c.mute && end-c.off < a.Rules().MaxGap
		}
	}
	return false
}

// Need is how many copies an append to a log that then ends at end waits for.
func (a *Acks) Need(end int64) int {
	r := a.Rules()
	switch {
	case r.AllAck:
		return max(2, a.InSync(end)+1, r.MinInSyncReplicas)
	case r.AutoInSync:
		return max(min(r.InSyncReplicas, a.InSync(end)+1), r.MinInSyncReplicas)
	}
	return max(r.InSyncReplicas, r.MinInSyncReplicas)
}

// Admit tells whether an append may be stored at all.
func (a *Acks) Admit(end int64) bool { return a.InSync(end)+1 >= a.Rules().MinInSyncReplicas }

// Covered is up to where as many copies exist as Need asks for: math.MaxInt64 when that is the master's alone.
func (a *Acks) Covered(end int64) int64 {
	need := a.Need(end) - 1
	if need <= 0 {
		return math.MaxInt64
	}
	return a.Held(need)
}

// Held is up to where n slaves have the log, Nobody when there are fewer.
func (a *Acks) Held(n int) int64 {
	best := int64(Nobody)
	for _, s := range a.slaves { // the n-th largest: the largest that n reach
		reach := 0
		for _, other := range a.slaves {
			if other.off >= s.off {
				reach++
			}
		}
		if reach >= n {
			best = max(best, s.off)
		}
	}
	return best
}
