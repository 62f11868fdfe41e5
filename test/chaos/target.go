//go:build linux

package chaos

// Whom a fault strikes.

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Target picks members when a fault begins. The same seed picks the same ones, as far as the cluster is in the same state.
type Target struct {
	name string
	pick func(c *Cluster, rnd *rand.Rand) []*Member
}

func (t Target) String() string { return t.name }

// One is any broker.
func One() Target {
	return Target{"one broker", func(c *Cluster, rnd *rand.Rand) []*Member { return some(c.Brokers(), rnd) }}
}

// Leader is the leader or master of a set (one of them, if there are several): who the name servers say it is.
func Leader() Target {
	return Target{"the leader", func(c *Cluster, rnd *rand.Rand) []*Member {
		s := c.Sets[rnd.IntN(len(c.Sets))]
		if m := c.Leader(s); m != nil {
			return []*Member{m}
		}
		return some(s.Members, rnd)
	}}
}

// Leaders are the leaders of all sets.
func Leaders() Target {
	return Target{"all leaders", func(c *Cluster, rnd *rand.Rand) (all []*Member) {
		for _, s := range c.Sets {
			if m := c.Leader(s); m != nil {
				all = append(all, m)
			}
		}
		return all
	}}
}

// Follower is a replica of a set that lives and does not lead.
func Follower() Target {
	return Target{"a follower", func(c *Cluster, rnd *rand.Rand) []*Member {
		s := c.Sets[rnd.IntN(len(c.Sets))]
		leads := c.Leader(s)
		return some(slices.DeleteFunc(slices.Clone(s.Members), func(m *Member) bool { return m == leads || !m.Alive() }), rnd)
	}}
}

// Zone is all of one data centre, name servers included; "" is any.
func Zone(zone string) Target {
	return Target{"data centre " + zone, func(c *Cluster, rnd *rand.Rand) (all []*Member) {
		z := zone
		if z == "" {
			z = some(c.Brokers(), rnd)[0].Zone
		}
		for _, m := range c.everybody() {
			if m.Zone == z {
				all = append(all, m)
			}
		}
		return all
	}}
}

// All are all brokers.
func All() Target {
	return Target{"all brokers", func(c *Cluster, _ *rand.Rand) []*Member { return c.Brokers() }}
}

// NameServer is one name server.
func NameServer() Target {
	return Target{"a name server", func(c *Cluster, rnd *rand.Rand) []*Member { return some(c.NameServers, rnd) }}
}

// These are the members given.
func These(members ...*Member) Target {
	return Target{fmt.Sprint(members), func(*Cluster, *rand.Rand) []*Member { return members }}
}

func some(of []*Member, rnd *rand.Rand) []*Member {
	if len(of) == 0 {
		return nil
	}
	return []*Member{of[rnd.IntN(len(of))]}
}

func (c *Cluster) everybody() []*Member { return append(slices.Clone(c.NameServers), c.Brokers()...) }
