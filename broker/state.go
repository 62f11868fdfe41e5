// How a broker stands in its group, for operators and for the others of the group.

package broker

import (
	"fmt"
	"strconv"
	"time"

	"rmqctl/broker/ha"
	"rmqctl/broker/role"
	"rmqctl/internal/protocol"
)

// replicationState answers GET_REPLICATION_STATE.
func (b *Broker) replicationState() *protocol.ReplicationState {
	cfg, now := b.o.Config.Load(), b.role.Load()
	st := &protocol.ReplicationState{
		Mode: protocol.ModeHA, Group: cfg.BrokerName, Self: strconv.FormatInt(cfg.BrokerID, 10), Epoch: now.Epoch,
		BrokerID: now.ID, SyncMaster: now.Sync, Committed: b.store.MaxPhysical(), End: b.store.End(), Writable: now.Takes(), Why: now.Why,
		Members: []protocol.ReplicationMember{},
	}
	if err := b.store.Writable(); err != nil && st.Writable {
		st.Writable, st.Why = false, err.Error()
	}
	if b.raft != nil {
		b.raftState(cfg, st)
		return st
	}
	st.Epoch = max(st.Epoch, b.epochs.Epoch())
	switch now.Kind {
	case role.Master, role.Fenced:
		st.Role, st.Leader, st.LeaderAddr, st.FormerID = protocol.RoleMaster, st.Self, b.Addr(), b.former.Load()
		if now.Kind == role.Fenced {
			st.Role = protocol.RoleFenced
		}
	default:
		st.Role, st.LeaderAddr = protocol.RoleSlave, b.tables.Master()
	}
	st.Members = append(st.Members, protocol.ReplicationMember{
		ID: st.Self, Addr: b.haAddr(), Role: st.Role, Match: st.End, InSync: true, ETASeconds: -1, Voter: true, Connected: true,
	})
	if m := b.master.Load(); m != nil {
		for _, s := range m.Status().Slaves {
			st.Members = append(st.Members, slaveMember(s))
		}
	}
	return st
}

func slaveMember(s ha.SlaveState) protocol.ReplicationMember {
	m := protocol.ReplicationMember{
		Addr: s.Addr, Role: protocol.RoleSlave, Match: s.Ack, LagBytes: s.LagBytes, InSync: s.InSync, BytesPerSecond: s.BytesPerSecond,
		ETASeconds: -1, Connected: true,
	}
	if s.Identity != nil {
		m.ID, m.Addr = strconv.FormatInt(s.Identity.ID, 10), s.Identity.Addr
	}
	if s.Left >= 0 {
		m.ETASeconds = int64((s.Left + time.Second - 1) / time.Second)
	}
	return m
}

// roleLines are the lines of GET_BROKER_RUNTIME_INFO that RocketMQ does not have.
func (b *Broker) roleLines(t map[string]string) {
	st := b.replicationState()
	t["replicationRole"], t["replicationEpoch"] = st.Role, fmt.Sprint(st.Epoch)
	if st.LeaderAddr != "" {
		t["replicationLeader"] = st.LeaderAddr
	}
	if !st.Writable {
		t["takesNoMessages"] = st.Why
	}
}
