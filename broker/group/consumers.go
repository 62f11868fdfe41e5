// Consumer groups: who is connected and what each group subscribes to.

package group

import (
	"slices"
	"strings"
	"sync"
	"time"

	"rmqctl/internal/protocol"
)

// Consumers are the connected members of the consumer groups and what they subscribe to.
type Consumers struct {
	mu     sync.RWMutex // guards all below
	groups map[string]*consumerGroup
	conns  map[Conn]map[string]struct{} // the groups of each connection
}

type consumerGroup struct {
	about         About
	members       map[Conn]*Client
	subscriptions map[string]*protocol.SubscriptionData // by topic; values are never changed in place
}

// About is what all members of a group have in common; the last heartbeat decides.
type About struct {
	ConsumeType      string
	MessageModel     string
	ConsumeFromWhere string
}

// Broadcasting says whether every member gets every message.
func (a About) Broadcasting() bool { return a.MessageModel == "BROADCASTING" }

// NewConsumers returns an empty registry.
func NewConsumers() *Consumers {
	return &Consumers{groups: map[string]*consumerGroup{}, conns: map[Conn]map[string]struct{}{}}
}

// Register takes over what a heartbeat says of one group. It reports whether the membership or the set of subscribed
// topics changed, upon which all members must be told. A newer version of a known subscription is no change.
func (c *Consumers) Register(group string, member Client, about About, subscriptions []*protocol.SubscriptionData) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groups[group]
	if g == nil {
		g = &consumerGroup{members: map[Conn]*Client{}, subscriptions: map[string]*protocol.SubscriptionData{}}
		c.groups[group] = g
	}
	g.about = about
	old := g.members[member.Conn]
	changed = old == nil || old.ID != member.ID
	g.members[member.Conn] = &member
	if c.conns[member.Conn] == nil {
		c.conns[member.Conn] = map[string]struct{}{}
	}
	c.conns[member.Conn][group] = struct{}{}
	return g.subscribe(subscriptions) || changed
}

func (g *consumerGroup) subscribe(list []*protocol.SubscriptionData) (changed bool) {
	wanted := make(map[string]struct{}, len(list))
	for _, s := range list {
		wanted[s.Topic] = struct{}{}
		switch old := g.subscriptions[s.Topic]; {
		case old == nil:
			g.subscriptions[s.Topic] = s
			changed = true
		case s.SubVersion > old.SubVersion:
			g.subscriptions[s.Topic] = s
		}
	}
	for topic := range g.subscriptions {
		if _, ok := wanted[topic]; !ok {
			delete(g.subscriptions, topic)
			changed = true
		}
	}
	return changed
}

// Unregister takes the client off one group. It reports whether it was a member.
func (c *Consumers) Unregister(group string, conn Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaveLocked(group, conn)
}

// Disconnected takes the connection off all its groups and returns those that others are left in.
func (c *Consumers) Disconnected(conn Conn) (changed []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for group := range c.conns[conn] {
		if c.leaveLocked(group, conn) && c.groups[group] != nil {
			changed = append(changed, group)
		}
	}
	return changed
}

func (c *Consumers) leaveLocked(group string, conn Conn) bool {
	g := c.groups[group]
	if g == nil || g.members[conn] == nil {
		return false
	}
	delete(g.members, conn)
	if len(g.members) == 0 {
		delete(c.groups, group)
	}
	delete(c.conns[conn], group)
	if len(c.conns[conn]) == 0 {
		delete(c.conns, conn)
	}
	return true
}

// Silent are the connections whose last heartbeat is before the given time for every group they are in.
func (c *Consumers) Silent(before time.Time) (out []Conn) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for conn, groups := range c.conns {
		silent := true
		for group := range groups {
			silent = silent && c.groups[group].members[conn].Seen.Before(before)
		}
		if silent {
			out = append(out, conn)
		}
	}
	return out
}

// Members are the group's clients, sorted by id; nil for a group nobody is connected for.
func (c *Consumers) Members(group string) []Client {
	c.mu.RLock()
	defer c.mu.RUnlock()
	g := c.groups[group]
	if g == nil {
		return nil
	}
	return clients(g.members)
}

// Member is the group's client of that id.
func (c *Consumers) Member(group, id string) (Client, bool) {
	for _, m := range c.Members(group) {
		if m.ID == id {
			return m, true
		}
	}
	return Client{}, false
}

// About is what the group's members have in common.
func (c *Consumers) About(group string) (About, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	g := c.groups[group]
	if g == nil {
		return About{}, false
	}
	return g.about, true
}

// Subscription is the group's subscription to the topic. online says whether the group is known at all.
func (c *Consumers) Subscription(group, topic string) (s *protocol.SubscriptionData, about About, online bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	g := c.groups[group]
	if g == nil {
		return nil, About{}, false
	}
	return g.subscriptions[topic], g.about, true
}

// Subscriptions are all of the group's subscriptions, sorted by topic.
func (c *Consumers) Subscriptions(group string) []*protocol.SubscriptionData {
	c.mu.RLock()
	defer c.mu.RUnlock()
	g := c.groups[group]
	if g == nil {
		return nil
	}
	out := make([]*protocol.SubscriptionData, 0, len(g.subscriptions))
	for _, s := range g.subscriptions {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *protocol.SubscriptionData) int { return strings.Compare(a.Topic, b.Topic) })
	return out
}

// Groups are the connected groups that subscribe to the topic, sorted.
func (c *Consumers) Groups(topic string) (out []string) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for name, g := range c.groups {
		if g.subscriptions[topic] != nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func clients(members map[Conn]*Client) []Client {
	out := make([]Client, 0, len(members))
	for _, m := range members {
		out = append(out, *m)
	}
	slices.SortFunc(out, func(a, b Client) int { return strings.Compare(a.ID, b.ID) })
	return out
}
