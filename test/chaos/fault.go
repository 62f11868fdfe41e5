//go:build linux

package chaos

// Faults: small values that say what goes wrong, and for whom. They begin and end; several may hold at once.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Fault is a disaster. begin strikes and returns how it ends; ending does not wait until the cluster has recovered.
type Fault interface {
	fmt.Stringer
	begin(c *Cluster, rnd *rand.Rand) (end func() error, err error)
}

// eachOf is a fault that strikes each of its targets by itself.
type eachOf struct {
	what   string
	target Target
	on     func(c *Cluster, m *Member) (off func() error, err error)
}

func (f eachOf) String() string { return f.what + " " + f.target.String() }

func (f eachOf) begin(c *Cluster, rnd *rand.Rand) (func() error, error) {
	var offs []func() error
	end := func() (err error) {
		for _, off := range offs {
			err = errors.Join(err, off())
		}
		return err
	}
	hit := f.target.pick(c, rnd)
	c.say("  %v: %v", f, hit)
	for _, m := range hit {
		off, err := f.on(c, m)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%v: %s: %w", f, m.Name, err), end())
		}
		offs = append(offs, off)
	}
	return end, nil
}

// Kill is kill -9; at its end the process is started again.
func Kill(target Target) Fault {
	return eachOf{"kill -9 of", target, func(_ *Cluster, m *Member) (func() error, error) {
		m.Kill()
		return m.Start, nil
	}}
}

// PowerCut is kill -9 of what runs on a host whose disk then loses all that was not flushed (Layout.DiskMB).
func PowerCut(target Target) Fault {
	return eachOf{"power cut of", target, func(_ *Cluster, m *Member) (func() error, error) {
		m.Kill()
		if m.disk == nil {
			return m.Start, nil // a name server
		}
		return m.Start, m.disk.cutPower()
	}}
}

// Pause is SIGSTOP; at its end the process goes on as if nothing had been.
func Pause(target Target) Fault {
	return eachOf{"pause of", target, func(_ *Cluster, m *Member) (func() error, error) {
		return func() error { return m.pause(-1) }, m.pause(1)
	}}
}

// Silent is a host that neither hears nor says anything any more; connections stay as they are.
func Silent(target Target) Fault {
	return eachOf{"silence of", target, func(c *Cluster, m *Member) (func() error, error) {
		return func() error { return c.net.hush(-1, m.card) }, c.net.hush(1, m.card)
	}}
}

// Unplugged is a pulled network cable.
func Unplugged(target Target) Fault {
	return eachOf{"pulled cable of", target, func(c *Cluster, m *Member) (func() error, error) {
		return func() error { return c.net.plug(m.card, true) }, c.net.plug(m.card, false)
	}}
}

// FullDisk leaves no byte (Layout.DiskMB).
func FullDisk(target Target) Fault {
	return eachOf{"full disk of", target, func(_ *Cluster, m *Member) (func() error, error) {
		if m.disk == nil {
			return nil, errNoDisk
		}
		return func() error { return m.disk.fill(-1) }, m.disk.fill(1)
	}}
}

// SlowDisk makes every write and fsync wait up to each (Layout.DiskMB). With a long one the disk hangs.
func SlowDisk(target Target, each time.Duration) Fault {
	return eachOf{fmt.Sprintf("disk that takes %v of", each), target, func(_ *Cluster, m *Member) (func() error, error) {
		if m.disk == nil {
			return nil, errNoDisk
		}
		return func() error { return m.disk.setSlow(0) }, m.disk.setSlow(each)
	}}
}

// SlowNetwork delays all that a host sends and loses a share of it.
func SlowNetwork(target Target, delay, jitter time.Duration, lose float64) Fault {
	return eachOf{fmt.Sprintf("line of %v±%v, %.0f %% lost, of", delay, jitter, lose*100), target, func(c *Cluster, m *Member) (func() error, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.line != nil {
			return func() error { return nil }, nil // one line is slow once
		}
		line, err := c.net.slow(m.card, delay, jitter, lose)
		m.line = line
		return func() error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.line = nil
			return line.close()
		}, err
	}}
}

// ClockJump sets the wall clock of processes, and back (Layout.Knobs).
func ClockJump(target Target, by time.Duration) Fault {
	return eachOf{fmt.Sprintf("clock set by %v of", by), target, func(c *Cluster, m *Member) (func() error, error) {
		if !c.layout.Knobs {
			return nil, errors.New("only a build with knobs has a clock that can be set")
		}
		return func() error { return m.turn(clockKnob, "") }, m.turn(clockKnob, by.String())
	}}
}

var errNoDisk = errors.New("only a disk of its own can suffer: Layout.DiskMB")

// partition is a fault of the network between members.
type partition struct {
	name string
	cuts func(c *Cluster, rnd *rand.Rand) []cut
}

func (f partition) String() string { return f.name }

func (f partition) begin(c *Cluster, rnd *rand.Rand) (func() error, error) {
	cuts := f.cuts(c, rnd)
	c.say("  %s: %s", f.name, c.describe(cuts))
	if err := c.net.change(1, cuts...); err != nil {
		return nil, err
	}
	return func() error { return c.net.change(-1, cuts...) }, nil
}

// Isolated cuts members off from all others and from the name servers; clients still reach them, which is the worst: a leader
// that does not know better could go on acknowledging.
func Isolated(target Target) Fault {
	return partition{"isolation of " + target.String(), func(c *Cluster, rnd *rand.Rand) (cuts []cut) {
		hit := target.pick(c, rnd)
		for _, m := range hit {
			for _, o := range c.everybody() {
				if !slices.Contains(hit, o) {
					cuts = append(cuts, cut{m.card, o.card}, cut{o.card, m.card})
				}
			}
		}
		return cuts
	}}
}

// Halves splits each set's members in two, in a random way, and the name servers and clients with them: the clients stay with
// the half that has the first name server.
func Halves() Fault {
	return partition{"partition into halves", func(c *Cluster, rnd *rand.Rand) (cuts []cut) {
		left := map[*card]bool{nil: true, c.NameServers[0].card: true}
		cards := []*card{nil}
		for _, m := range c.everybody() {
			if m != c.NameServers[0] && rnd.IntN(2) == 0 {
				left[m.card] = true
			}
			cards = append(cards, m.card)
		}
		for _, a := range cards {
			for _, b := range cards {
				if a != b && left[a] != left[b] {
					cuts = append(cuts, cut{a, b})
				}
			}
		}
		return cuts
	}}
}

// OneWay lets members be heard by the others of their set, and hear nothing from them (deaf), or the other way round.
func OneWay(target Target, deaf bool) Fault {
	name := "nobody of its set hears "
	if deaf {
		name = "deafness to its set of "
	}
	return partition{name + target.String(), func(c *Cluster, rnd *rand.Rand) (cuts []cut) {
		for _, m := range target.pick(c, rnd) {
			for _, o := range m.Set.Members {
				switch {
				case o == m:
				case deaf:
					cuts = append(cuts, cut{o.card, m.card})
				default:
					cuts = append(cuts, cut{m.card, o.card})
				}
			}
		}
		return cuts
	}}
}

// Bridge cuts the ways between all members of a set but one, which all the others still reach.
func Bridge() Fault {
	return partition{"partition with a bridge", func(c *Cluster, rnd *rand.Rand) (cuts []cut) {
		for _, s := range c.Sets {
			bridge := some(s.Members, rnd)[0]
			for _, a := range s.Members {
				for _, b := range s.Members {
					if a != b && a != bridge && b != bridge {
						cuts = append(cuts, cut{a.card, b.card})
					}
				}
			}
		}
		return cuts
	}}
}

func (c *Cluster) describe(cuts []cut) string {
	name := func(k *card) string {
		if k == nil {
			return "clients"
		}
		return k.name
	}
	text := ""
	for _, k := range cuts {
		text += fmt.Sprintf(" %s>%s", name(k.from), name(k.to))
	}
	return "no" + text
}
