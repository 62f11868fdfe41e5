// Producer groups: who is connected.

package group

import (
	"maps"
	"sync"
	"time"
)

// Producers are the connected members of the producer groups.
type Producers struct {
	mu     sync.RWMutex // guards groups
	groups map[string]map[Conn]*Client
}

// NewProducers returns an empty registry.
func NewProducers() *Producers { return &Producers{groups: map[string]map[Conn]*Client{}} }

// Register takes over what a heartbeat says of one group.
func (p *Producers) Register(group string, member Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.groups[group] == nil {
		p.groups[group] = map[Conn]*Client{}
	}
	p.groups[group][member.Conn] = &member
}

// Unregister takes the client off one group.
func (p *Producers) Unregister(group string, conn Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaveLocked(group, conn)
}

// Disconnected takes the connection off all groups.
func (p *Producers) Disconnected(conn Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for group := range p.groups {
		p.leaveLocked(group, conn)
	}
}

func (p *Producers) leaveLocked(group string, conn Conn) {
	delete(p.groups[group], conn)
	if len(p.groups[group]) == 0 {
		delete(p.groups, group)
	}
}

// Silent are the connections whose last heartbeat is before the given time for every group they are in.
func (p *Producers) Silent(before time.Time) []Conn {
	p.mu.RLock()
	defer p.mu.RUnlock()
	silent := map[Conn]bool{}
	for _, members := range p.groups {
		for conn, m := range members {
			was, known := silent[conn]
			silent[conn] = m.Seen.Before(before) && (was || !known)
		}
	}
	var out []Conn
	for conn, yes := range silent {
		if yes {
			out = append(out, conn)
		}
	}
	return out
}

// Members are the group's clients, sorted by id.
func (p *Producers) Members(group string) []Client {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return clients(p.groups[group])
}

// All are the members of every group.
func (p *Producers) All() map[string][]Client {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := make(map[string][]Client, len(p.groups))
	for group := range maps.Keys(p.groups) {
		out[group] = clients(p.groups[group])
	}
	return out
}

// Find is the connection of the client with that id, in whichever group.
func (p *Producers) Find(id string) (Client, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, members := range p.groups {
		for _, m := range members {
			if m.ID == id {
				return *m, true
			}
		}
	}
	return Client{}, false
}
