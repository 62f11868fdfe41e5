// Roles: what a broker starts and stops when it becomes master, slave or fenced, in which order.
//
//	to master   the log ends with a whole message, nobody appends a master's bytes any more → the epoch is on disk → tables are
//	            its own again, with what the others know further → slaves are served → delayed messages are delivered → sends
//	            are taken → the name servers are told
//	from it     sends are refused → what was taken is written → delayed messages rest → slaves are left → another is followed →
//	            the name servers are told
//
// So nobody is told of a master that does not take messages yet, and none is taken after a broker has said that it is no
// master any more. Members of a raft group change by the same steps, see raft.go.

package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/ha"
	"rmqctl/broker/ha/epoch"
	"rmqctl/broker/role"
	"rmqctl/internal/protocol"
	"rmqctl/internal/vfs"
)

const (
	whySlave    = "this broker is a slave and takes no messages"
	whyStarting = "this broker is starting"
	whyFenced   = "this broker is fenced: it hands over to another of its group, or waits for an operator (rmqctl promote)"
)

// begin takes the role this broker starts with: the one that is kept, or that of its properties.
func (b *Broker) begin(ctx context.Context, cfg *config.Config) error {
	b.roleMu.Lock()
	defer b.roleMu.Unlock()
	k := b.kept
	if k.Role == "" {
		k.Role, k.ID, k.Sync = protocol.RoleSlave, cfg.BrokerID, cfg.BrokerRole == config.SyncMaster
		if cfg.IsMaster() {
			k.Role = protocol.RoleMaster
		}
	} else if wants := k.Role == protocol.RoleMaster; wants != cfg.IsMaster() || !wants && k.ID != cfg.BrokerID {
		b.log.Warn("a role that was changed while the broker ran stands against its properties file", "role", k.Role, "id", k.ID, "epoch", k.Epoch,
			"brokerRole", cfg.BrokerRole, "brokerId", cfg.BrokerID, "file", b.keptFile())
	}
	if k.Role == protocol.RoleMaster {
		if newer, ok := b.overruled(ctx, cfg, k.Epoch); ok {
			b.log.Warn("another broker was promoted while this one was away: it comes up as its slave", "master", newer.addr, "epoch", newer.epoch, "own", k.Epoch)
			return b.demote(cfg, newer)
		}
	}
	switch k.Role {
	case protocol.RoleMaster:
		if err := b.recall(ctx, cfg); err != nil {
			return err
		}
		return b.leadLocked(ctx, cfg, k.Epoch, k.Sync)
	case protocol.RoleFenced:
		b.log.Warn("this broker is fenced and takes no messages; rmqctl promote ends it", "epoch", k.Epoch)
		if err := b.serveSlaves(cfg); err != nil {
			return err
		}
		b.role.Set(role.State{Kind: role.Fenced, Epoch: k.Epoch, Why: whyFenced})
		return nil
	}
	b.followLocked(cfg, k)
	return nil
}

// leadLocked makes this broker a master that takes messages.
func (b *Broker) leadLocked(ctx context.Context, cfg *config.Config, at int64, sync bool) error {
	at = max(at, b.epochs.Epoch(), 1)
	b.leaveMaster()
	if err := b.takePuts(); err != nil {
		return err
	}
	err := b.epochs.Lead(at, epoch.NewLife(), b.store.MaxPhysical())
	if vfs.IsNoSpace(err) {
		err = b.beginLater(at)
	}
	if err != nil {
		return err
	}
	b.ownTables(ctx, cfg)
	if err := b.saveTables(); err != nil {
		return err
	}
	if b.master.Load() == nil {
		if err := b.serveSlaves(cfg); err != nil {
			return err
		}
	}
	b.delay.Start()
	b.role.Set(role.State{Kind: role.Master, Epoch: at, Sync: sync})
	return nil
}

// ownTables makes the tables the group's truth instead of copies of it.
func (b *Broker) ownTables(ctx context.Context, cfg *config.Config, peers ...string) {
	b.takeOver(ctx, cfg, peers...)
	b.offsets.Own()
	b.setBack()
	b.topics.AddSystem(b.names(cfg), b.o.Clock.Now())
	b.groups.AddSystem(b.o.Clock.Now())
}

// refuseLocked ends the taking of messages. When it returns, what was taken before is in the log, and nothing more comes.
func (b *Broker) refuseLocked(s role.State) error {
	was := b.role.Load()
	b.role.Set(s)
	if !was.Takes() {
		return nil
	}
	b.delay.Close()
	return b.endPuts()
}

// followLocked makes this broker a slave of the master that k names, or of whomever the name servers name.
func (b *Broker) followLocked(cfg *config.Config, k kept) {
	b.offsets.Track()
	b.role.Set(role.State{Kind: role.Slave, ID: k.ID, Epoch: k.Epoch, Why: whySlave, Forward: cfg.IsMaster()}) // a file that says master: clients may think so, too
	if err := b.endPuts(); err != nil {                                                                        // nothing but the master's bytes comes into this log
		b.log.Error("follow a master", "err", err)
		return
	}
	b.follow(cfg, k.Master, k.MasterHA)
}

// demote makes this broker, which was master, the slave of a newer one.
func (b *Broker) demote(cfg *config.Config, newer seen) error {
	k := kept{Role: protocol.RoleSlave, ID: newer.freeID(cfg), Epoch: newer.epoch, Sync: b.kept.Sync, Master: newer.addr, MasterHA: newer.haAddr, Members: b.kept.Members}
	if err := b.refuseLocked(role.State{Kind: role.Slave, ID: k.ID, Epoch: k.Epoch, Why: whySlave, Forward: true}); err != nil {
		return err
	}
	b.leaveSlaves()
	b.leaveMaster()
	if err := b.keep(k); err != nil {
		return err
	}
	b.followLocked(cfg, k)
	return nil
}

// ChangeRole answers CHANGE_BROKER_ROLE.
func (b *Broker) ChangeRole(ctx context.Context, q *protocol.ChangeBrokerRoleRequest) error {
	cfg := b.o.Config.Load()
	if cfg.EnableDLegerCommitLog {
		return fmt.Errorf("a raft group elects its leader: use TRANSFER_LEADERSHIP")
	}
	b.roleMu.Lock()
	defer b.roleMu.Unlock()
	if b.stopping.Load() {
		return fmt.Errorf("this broker is stopping")
	}
	now := b.role.Load()
	if q.Epoch != 0 && q.Epoch < now.Epoch {
		return fmt.Errorf("epoch %d is older than this broker's %d", q.Epoch, now.Epoch)
	}
	var err error
	switch q.Role {
	case protocol.RoleMaster:
		err = b.promote(ctx, cfg, q, now)
	case protocol.RoleFenced:
		err = b.fence(q, now)
	case protocol.RoleSlave:
		err = b.follower(ctx, cfg, q, now)
	default:
		err = fmt.Errorf("role %q: want master, slave or fenced", q.Role)
	}
	if err == nil {
		b.log.Warn("role changed by an operator", "role", q.Role, "epoch", b.role.Load().Epoch)
		b.registrar.RoleChanged(b.running)
	}
	return err
}

// fence ends the taking of messages until another is master, or this one again.
func (b *Broker) fence(q *protocol.ChangeBrokerRoleRequest, now *role.State) error {
	if now.Kind == role.Slave {
		return fmt.Errorf("this broker is a slave and takes no messages as it is")
	}
	at := max(q.Epoch, now.Epoch)
	if err := b.refuseLocked(role.State{Kind: role.Fenced, Epoch: at, Why: whyFenced, Forward: true}); err != nil {
		return err
	}
	return b.keep(kept{Role: protocol.RoleFenced, ID: b.kept.ID, Epoch: at, Sync: now.Sync || b.kept.Sync, Members: b.kept.Members})
}

// promote makes a slave master, or a fenced master again.
func (b *Broker) promote(ctx context.Context, cfg *config.Config, q *protocol.ChangeBrokerRoleRequest, now *role.State) error {
	at := max(q.Epoch, now.Epoch+1, b.epochs.Epoch()+1, 2) // a group that has had no promotion is at 1
	if now.Takes() {
		if q.Epoch == 0 || q.Epoch == now.Epoch { // said twice
			return nil
		}
		return fmt.Errorf("this broker is master already, with epoch %d", now.Epoch)
	}
	if now.Kind == role.Slave && !q.Force {
		if err := b.mayPromote(ctx); err != nil {
			return err
		}
	}
	sync, former := q.Sync || b.kept.Sync, b.kept.ID
	if now.Kind == role.Slave {
		former = now.ID
	}
	if err := b.leadLocked(ctx, cfg, at, sync); err != nil {
		b.followLocked(cfg, b.kept)
		return err
	}
	return b.keep(kept{Role: protocol.RoleMaster, ID: former, Epoch: b.role.Load().Epoch, Sync: sync, Members: b.kept.Members})
}

// mayPromote asks the master whether it has stopped taking messages and whether this slave has them all.
func (b *Broker) mayPromote(ctx context.Context) error {
	addr := b.tables.Master()
	if addr == "" {
		return fmt.Errorf("the master is not known and cannot be asked whether it still takes messages; force it")
	}
	st, err := b.askState(ctx, addr)
	switch mine := b.store.MaxPhysical(); {
	case err != nil:
		return fmt.Errorf("the master %s cannot be asked whether it still takes messages; force it: %w", addr, err)
	case st.Role == protocol.RoleMaster:
		return fmt.Errorf("the master %s still takes messages: fence it first", addr)
	case st.End > mine:
		return fmt.Errorf("the master %s has %d bytes that this slave does not have yet", addr, st.End-mine)
	}
	return nil
}

// follower makes this broker a slave.
func (b *Broker) follower(ctx context.Context, cfg *config.Config, q *protocol.ChangeBrokerRoleRequest, now *role.State) error {
	if now.Kind == role.Slave && q.MasterAddr == "" && q.MasterHAAddr == "" {
		return nil
	}
	newer := seen{addr: q.MasterAddr, haAddr: q.MasterHAAddr, epoch: max(q.Epoch, now.Epoch), id: q.BrokerID}
	if newer.id == 0 && now.Kind == role.Slave {
		newer.id = now.ID
	}
	if newer.id == 0 && newer.addr != "" {
		if st, err := b.askState(ctx, newer.addr); err == nil {
			newer.former = st.FormerID
		}
	}
	if newer.addr == b.Addr() {
		return fmt.Errorf("a broker cannot be its own slave")
	}
	return b.demote(cfg, newer)
}

// deposed looks into what a name server, or a slave that followed somebody else, has told this master: that another is
// master with a later epoch. epoch is what was told, 0 if nothing was.
func (b *Broker) deposed(addr string, epoch int64) {
	cfg := b.o.Config.Load()
	if b.raft != nil {
		return // elections tell
	}
	ctx, cancel := context.WithTimeout(b.running, 5*time.Second)
	defer cancel()
	newer := seen{epoch: epoch}
	st, err := b.askState(ctx, addr)
	if err == nil && st.Mode == protocol.ModeHA {
		if newer = seenAs(addr, st); st.Role != protocol.RoleMaster {
			newer = seen{addr: st.LeaderAddr, epoch: max(epoch, st.Epoch)}
		}
	} else if epoch == 0 {
		b.log.Warn("a name server names another master for this group, which does not answer", "remote", addr, "err", err)
		return
	}
	b.roleMu.Lock()
	defer b.roleMu.Unlock()
	now := b.role.Load()
	if b.stopping.Load() || now.Kind == role.Slave || newer.epoch <= now.Epoch {
		return
	}
	b.log.Warn("another broker was promoted: this one becomes its slave", "master", newer.addr, "epoch", newer.epoch, "own", now.Epoch)
	if err := b.demote(cfg, newer); err != nil {
		b.log.Error("become a slave", "master", newer.addr, "err", err)
		return
	}
	b.registrar.RoleChanged(b.running)
}

// alone is a slave that knows no master, or does not reach the one it knows, or a fenced master: a name server may know a
// newer one.
func (b *Broker) alone() bool {
	if b.role.Load().Kind == role.Fenced {
		return true
	}
	if b.raft != nil {
		return !b.role.Takes() && b.tables.Master() == ""
	}
	s := b.slave.Load()
	return s != nil && s.Status().State != ha.Following
}

// takePuts lets the store take messages. A slave's log may end within one that its master never finished sending.
func (b *Broker) takePuts() error {
	if st := b.store.Stats(); st.DispatchedPhysical < st.MaxPhysical {
		if err := b.store.TruncateTo(st.DispatchedPhysical); err != nil {
			return err
		}
	}
	return b.store.Lead()
}

// beginLater: a full disk has no room for the line with which a mastership begins. Everything but messages is served, and the
// store takes those as soon as the line is written.
func (b *Broker) beginLater(at int64) error {
	b.log.Error("no messages are taken until there is room on the disk", "epoch", at)
	if err := b.endPuts(); err != nil {
		return err
	}
	b.loops.Go(func() {
		for done := false; !done; done = b.beginNow(at) {
			select {
			case <-b.running.Done():
				return
			case <-b.o.Clock.After(roomPause):
			}
		}
	})
	return nil
}

// roomPause is how soon room on the disk is looked for again.
const roomPause = 500 * time.Millisecond

// beginNow tells whether nothing is left to be tried.
func (b *Broker) beginNow(at int64) bool {
	b.roleMu.Lock()
	defer b.roleMu.Unlock()
	if st := b.role.Load(); st.Kind != role.Master || st.Epoch != at {
		return true
	}
	err := b.epochs.Lead(at, epoch.NewLife(), b.store.MaxPhysical())
	if vfs.IsNoSpace(err) {
		return false
	}
	if err == nil {
		err = b.store.Lead()
	}
	if err != nil {
		b.log.Error("this master takes no messages until its next start", "epoch", at, "err", err)
	}
	return true
}

// endPuts returns when everything the store has taken is written; it refuses what comes later.
func (b *Broker) endPuts() error {
	_, err := b.store.Follow()
	return err
}

// errNoGroup answers what only members of a raft group can do.
var errNoGroup = errors.New("this broker is no member of a raft group (enableDLegerCommitLog)")
