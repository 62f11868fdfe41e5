// Roles: who is told of them, and when one is taken back or given up.

package raftgroup

import (
	"time"

	"rmqctl/internal/clock"
)

// after makes known what has changed.
func (n *Node) after() {
	role := Role{Term: n.told.Term}
	if n.core != nil {
		role = n.core.Role()
		if n.members != n.core.members || len(n.known) == 0 {
			n.members = n.core.members
			n.connect()
		}
		n.stage.Store(int32(n.core.stage()))
	}
	if role == n.told && !n.resumed() {
		return
	}
	if role.Leader != n.told.Leader || role.LeaderID != n.told.LeaderID {
		n.log.Info("role", "leader", role.Leader, "of", role.LeaderID, "term", role.Term)
	}
	n.told = role
	n.leads.Store(role.Leader)
	n.tell(role)
}

// resumed: the driver goes on after its role was taken back.
func (n *Node) resumed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.hung
	n.hung = false
	return was
}

func (n *Node) tell(role Role) {
	n.mu.Lock()
	n.roles = append(n.roles, role)
	n.announceLocked()
	n.mu.Unlock()
	select {
	case n.roleNow <- struct{}{}:
	default:
	}
}

func (n *Node) announceLocked() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// tellRoles calls OnRole.
func (n *Node) tellRoles() {
	for {
		n.mu.Lock()
		roles := n.roles
		n.roles = nil
		n.mu.Unlock()
		for _, r := range roles {
			if n.o.OnRole != nil {
				n.o.OnRole(r)
			}
		}
		if len(roles) > 0 {
			continue
		}
		select {
		case <-n.ctx.Done():
			return
		case <-n.roleNow:
		}
	}
}

// watch takes the role back when the driver hangs: its disk does not answer. The others, who do not hear of it, elect anew.
func (n *Node) watch() {
	tick := n.o.Clock.NewTicker(n.o.GiveUp / 4)
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
		since := n.busy.Load()
		if since == 0 || clock.Mono(n.o.Clock)-time.Duration(since) < n.o.GiveUp {
			continue
		}
		n.mu.Lock()
		leads := !n.hung && n.leads.Load()
		role := Role{Term: n.status.Term}
		if leads {
			n.hung = true
			n.status.Role, n.status.Err = role, "the disk does not answer"
		}
		n.mu.Unlock()
		if leads {
			n.log.Error("the disk does not answer: this leader is no longer one", "took", n.o.GiveUp)
			n.tell(role)
		}
	}
}

// health lets a leader go whose store cannot write.
func (n *Node) health() {
	if n.o.Healthy == nil || !n.told.Leader {
		n.sick = 0
		return
	}
	err := n.o.Healthy()
	now := clock.Mono(n.o.Clock)
	switch {
	case err == nil:
		n.sick = 0
	case n.sick == 0:
		n.sick = now
	case now-n.sick >= n.o.GiveUp && now-n.gaveUp >= n.o.GiveUp:
		n.gaveUp = now
		to := n.core.levelest()
		n.log.Error("this leader cannot write and hands over", "to", PeerName(to), "err", err)
		if to != 0 {
			n.core.transferNow(to) // tried again if it fails
		}
	}
}
