// A broker that is a member of a raft group: its log is the group's, its role follows the elections.

package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/processor"
	"rmqctl/broker/raftgroup"
	"rmqctl/broker/role"
	"rmqctl/broker/store"
	"rmqctl/internal/clock"
	"rmqctl/internal/protocol"
)

// takeOverLimit bounds how long a new leader asks the others for consumer offsets before it serves: a host that is silent
// must not hold it up. What they know further they tell by themselves later.
const takeOverLimit = 500 * time.Millisecond

// raft is a broker's membership.
type raft struct {
	relay   *store.Relay
	node    *raftgroup.Node
	changes *changes
	self    config.Peer
	now     raftgroup.Role // guarded by roleMu
	led     string         // guarded by roleMu: who led last, other than this broker
	pace    pace
}

func raftDir(cfg *config.Config) string { return filepath.Join(cfg.StorePathRootDir, "raft") }

// openRaft is what has to be known before the store is opened.
func (b *Broker) openRaft(cfg *config.Config, o *store.Options) error {
	committed, err := raftgroup.Committed(b.o.FS, raftDir(cfg))
	if err != nil {
		return fmt.Errorf("raft group %s: %w", cfg.DLegerGroup, err)
	}
	b.raft = &raft{relay: new(store.Relay), self: cfg.Self(), changes: newChanges(b)}
	o.Gate, o.Committed = b.raft.relay, committed
	return nil
}

// whyNoLeader is for sends that nobody has taken in time.
const whyNoLeader = "the raft group has no leader at the moment"

// makeMember opens the group's state beside the log. From then on sends are held until it is known who leads.
func (b *Broker) makeMember(_ context.Context, cfg *config.Config) error {
	r := b.raft
	peers, err := raftgroup.ParsePeers(cfg.DLegerPeers)
	if err != nil {
		return err
	}
	o := raftgroup.Options{
		CoreOptions: raftgroup.CoreOptions{
			FS: b.o.FS, Dir: raftDir(cfg), Group: cfg.DLegerGroup, Self: uint64(r.self.Number), Peers: peers, Log: b.store,
			Durable: func() bool { return b.o.Config.Load().FlushDiskType == config.SyncFlush }, Boot: bootID(), Logger: b.log.With("part", "raft"),
		},
		Join: cfg.RaftJoin, Listener: b.raftListener, Clock: b.o.Clock, OnRole: b.raftRole,
	}
	o.Healthy = b.store.Writable
	b.offsets.Track()
	b.copyTables("")
	node, err := raftgroup.New(o)
	if err != nil {
		return fmt.Errorf("raft group %s: %w", cfg.DLegerGroup, err)
	}
	r.relay.Set(node)
	r.node = node
	b.role.Set(role.State{ID: r.self.Number, Why: whyNoLeader, Forward: true})
	return nil
}

// joinGroup begins to take part. The broker serves reads already, and takes messages when it is elected.
func (b *Broker) joinGroup() error {
	r := b.raft
	b.store.Attention(changesTopic, 0).Add(1)
	b.loops.Go(func() { r.changes.run(b.running) })
	b.loops.Go(func() { b.prefer(b.running) })
	return r.node.Start()
}

// bootID names the running system: after a power cut it is another.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

// raftRole follows an election. The group calls it for one role after the other.
func (b *Broker) raftRole(r raftgroup.Role) {
	cfg := b.o.Config.Load()
	b.roleMu.Lock()
	defer b.roleMu.Unlock()
	b.raft.now = r
	if r.LeaderID != "" && r.LeaderID != b.raft.self.ID {
		b.raft.led = r.LeaderID
	}
	if r.Leader {
		if b.stopping.Load() {
			return
		}
		if err := b.raftLead(cfg, r); err != nil {
			b.log.Error("elected, and cannot lead", "term", r.Term, "err", err)
			return
		}
		b.log.Info("leads its group", "term", r.Term)
	} else {
		b.raftFollow(r)
	}
	b.registrar.RoleChanged(b.running)
}

// raftLead: everything committed is visible, and the store takes messages. The group learns where this leader is by the
// log, and thereby that it is one.
func (b *Broker) raftLead(cfg *config.Config, r raftgroup.Role) error {
	b.leaveTables()
	if err := b.raft.changes.level(); err != nil {
		return err
	}
	before := b.raft.changes.addr(b.raft.led)
	for { // a group that is short of members agrees late; elections end this one way or the other
		told := make(chan error, 1)
		go func() {
			told <- b.raft.changes.record(&processor.Change{Leader: &processor.LeaderAt{ID: b.raft.self.ID, Addr: b.Addr()}})
		}()
		var err error
		select {
		case <-b.quit: // a group that is short of members would hold up this one's end
			return errors.New("this broker is stopping")
		case err = <-told:
		}
		if err == nil {
			break
		}
		if s := b.raft.node.Status(); !s.Leader || s.Term != r.Term {
			return err
		}
		select {
		case <-b.quit:
		case <-b.o.Clock.After(100 * time.Millisecond):
		}
	}
	ctx, cancel := context.WithTimeout(b.running, takeOverLimit)
	defer cancel()
	if before == "" || before == b.Addr() {
		b.ownTables(ctx, cfg)
	} else {
		b.ownTables(ctx, cfg, before)
	}
	b.delay.Start()
	b.role.Set(role.State{Kind: role.Master, Epoch: int64(r.Term)})
	return nil
}

func (b *Broker) raftFollow(r raftgroup.Role) {
	why := "this broker follows " + r.LeaderID + " in its raft group and takes no messages"
	if r.LeaderID == "" {
		why = whyNoLeader
	}
	wasLeader := b.role.Load().Kind != role.Slave // or has just handed over
	b.role.Set(role.State{Kind: role.Slave, ID: b.raft.self.Number, Epoch: int64(r.Term), Why: why, Forward: true})
	if wasLeader {
		b.delay.Close()
	}
	b.offsets.Track()
	if addr := b.raft.changes.addr(r.LeaderID); wasLeader || b.stopTables == nil {
		b.copyTables(addr)
	} else if addr != "" {
		b.tables.SetMaster(addr)
	}
}

// leaderSpoke is what a leader has written into the log: where it is.
func (b *Broker) leaderSpoke(id, addr string) {
	if id != b.raft.self.ID {
		b.tables.SetMaster(addr)
	}
}

// ChangeMember answers CHANGE_RAFT_MEMBER.
func (b *Broker) ChangeMember(ctx context.Context, q *protocol.ChangeRaftMemberRequest) error {
	if b.raft == nil {
		return errNoGroup
	}
	id, err := raftgroup.ParseName(q.ID)
	if err != nil {
		return err
	}
	switch q.Op {
	case protocol.MemberAdd:
		p, err := config.ParsePeer(q.ID + "-" + q.Address)
		if err != nil {
			return err
		}
		return b.raft.node.AddMember(ctx, raftgroup.Peer{ID: id, Addr: p.Addr})
	case protocol.MemberRemove:
		return b.raft.node.RemoveMember(ctx, id)
	}
	return fmt.Errorf("op %q: want add or remove", q.Op)
}

// raftState fills in what the group knows.
func (b *Broker) raftState(cfg *config.Config, st *protocol.ReplicationState) {
	s := b.raft.node.Status()
	st.Mode, st.Group, st.Self, st.Epoch, st.Role = protocol.ModeRaft, cfg.DLegerGroup, b.raft.self.ID, int64(s.Term), s.State
	st.Leader, st.LeaderAddr = s.LeaderID, b.raft.changes.addr(s.LeaderID)
	st.Committed, st.End = s.Commit, s.End
	if s.Err != "" {
		st.Why = s.Err
	}
	for _, m := range s.Members {
		out := protocol.ReplicationMember{ID: m.Name, Addr: m.Addr, Match: m.Match, ETASeconds: -1, Voter: m.Voter, Connected: m.Connected, Role: protocol.RoleFollower}
		switch {
		case m.Name == s.LeaderID:
			out.Role = protocol.RoleLeader
		case m.ID == uint64(b.raft.self.Number):
			out.Role = s.State
		}
		if s.Leader {
			out.LagBytes = max(0, s.End-m.Match)
			out.BytesPerSecond, out.ETASeconds = b.raft.pace.of(m.Name, m.Match, out.LagBytes, clock.Mono(b.o.Clock))
			out.InSync = m.ID == uint64(b.raft.self.Number) || m.Active && !m.Snapshot && out.LagBytes < cfg.HASlaveFallbehindMax
		}
		st.Members = append(st.Members, out)
	}
}
