// Who leads a group and who is in sync, from what its members say of it.
package client

import (
	"fmt"

	"rmqctl/internal/protocol"
)

// Replicate fills in what the members' own answers say of the group. id names the member that did not answer, as the
// leader knows it; nil: such members stay unknown.
func (g *GroupStatus) Replicate(id func(*MemberStatus) string) {
	lead := g.leader()
	for i := range g.Members {
		if s := g.Members[i].Replication; s != nil {
			g.Mode = s.Mode
			g.Epoch = max(g.Epoch, s.Epoch)
		}
	}
	if lead == nil {
		g.Leader = ""
		if g.Mode != "" {
			g.Health = g.leaderless()
		}
		return
	}
	g.Leader, g.Epoch = lead.Addr, lead.Replication.Epoch
	for i := range g.Members {
		m := &g.Members[i]
		name := ""
		if m.Replication != nil {
			name = m.Replication.Self
		} else if id != nil {
			name = id(m)
		}
		if r := find(lead.Replication, name, m.Addr); r != nil {
			m.LagBytes, m.ETASeconds, m.InSync = r.LagBytes, r.ETASeconds, r.InSync && m.Err == ""
		}
		if m == lead {
			m.LagBytes, m.ETASeconds, m.InSync = 0, 0, true
		}
	}
	g.Health = g.health(lead)
}

// find is the row of a member in the leader's list. Slaves go by their address: promotions move their ids.
func find(s *protocol.ReplicationState, id, addr string) *protocol.ReplicationMember {
	for i, r := range s.Members {
		if r.Addr == addr || s.Mode == protocol.ModeRaft && id != "" && r.ID == id {
			return &s.Members[i]
		}
	}
	return nil
}

// leader is the member that leads; of several that say so, the one of the highest epoch.
func (g *GroupStatus) leader() *MemberStatus {
	var lead *MemberStatus
	for i := range g.Members {
		m := &g.Members[i]
		s := m.Replication
		if s == nil || s.Role != protocol.RoleLeader && s.Role != protocol.RoleMaster {
			continue
		}
		if lead == nil || s.Epoch > lead.Replication.Epoch {
			lead = m
		}
	}
	return lead
}

func (g *GroupStatus) leaderless() string {
	what := "no master"
	if g.Mode == protocol.ModeRaft {
		what = "no leader"
	}
	for _, m := range g.Members {
		if m.Replication != nil && m.Replication.Why != "" {
			return what + ": " + m.Replication.Why
		}
	}
	return what
}

// health counts by the leader's own list of members: who is not registered anywhere counts too.
func (g *GroupStatus) health(lead *MemberStatus) string {
	s := lead.Replication
	all, in, voters := 0, 0, 0
	for _, m := range s.Members {
		all++
		self := m.ID == s.Self
		if m.Voter || self {
			voters++
		}
		if self || m.InSync && m.Connected {
			in++
		}
	}
	if all == 0 {
		all, in, voters = 1, 1, 1
	}
	if s.Mode == protocol.ModeHA {
		all = max(all, len(g.Members)) // a master lists only the slaves that are connected
	}
	text := fmt.Sprintf("%d/%d in sync", in, all)
	if s.Mode == protocol.ModeRaft {
		switch spare := in - (voters/2 + 1); {
		case spare < 0:
			text += ", no majority is in sync"
		case spare == 0:
			text += ", tolerates no loss"
		case spare == 1:
			text += ", tolerates 1 loss"
		default:
			text += fmt.Sprintf(", tolerates %d losses", spare)
		}
	}
	if !s.Writable && s.Why != "" {
		text += ", takes no messages: " + s.Why
	}
	return text
}

// Behind is how far a member is behind, in words.
func (m *MemberStatus) Behind() string {
	switch {
	case m.LagBytes < 0:
		return "how far it is behind is not known"
	case m.ETASeconds > 0:
		return fmt.Sprintf("%d bytes behind, level in about %d s", m.LagBytes, m.ETASeconds)
	}
	return fmt.Sprintf("%d bytes behind", m.LagBytes)
}
