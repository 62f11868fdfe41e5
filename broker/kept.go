// What a broker knows of its group beyond its properties: the role it was given while it ran, and who else there is. It is
// asked before a master takes its first message, because another may have been promoted while it was away.

package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"rmqctl/broker/config"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/internal/vfs"
)

// keptName is the file in the store's root. RocketMQ does not know it and leaves it alone.
const keptName = "rmqctl-role.json"

// kept is what the file holds.
type kept struct {
	Role     string   `json:"role"`     // "" until it is changed: then the properties count
	ID       int64    `json:"brokerId"` // of a slave; of a promoted master the one it had before
	Epoch    int64    `json:"epoch"`
	Sync     bool     `json:"syncMaster"` // it answers, when it is master, as a SYNC_MASTER does
	Master   string   `json:"master"`     // of a slave
	MasterHA string   `json:"masterHA"`
	Members  []string `json:"members"` // addresses of the group's others, as name servers told them last
}

func (b *Broker) keptFile() string {
	return filepath.Join(b.o.Config.Load().StorePathRootDir, keptName)
}

func (b *Broker) loadKept() error {
	text, err := vfs.ReadFile(b.o.FS, b.keptFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &b.kept)
	}
	if err != nil {
		return fmt.Errorf("the role that was kept: %s: %w", b.keptFile(), err)
	}
	b.noteFormer()
	return nil
}

// noteFormer makes the id known that this broker had before it was promoted.
func (b *Broker) noteFormer() {
	former := int64(0)
	if b.kept.Role == protocol.RoleMaster {
		former = b.kept.ID
	}
	b.former.Store(former)
}

// keep writes down what stands after a restart.
func (b *Broker) keep(k kept) error {
	text, err := json.MarshalIndent(k, "", "\t")
	if err != nil {
		return err
	}
	if err := vfs.WriteFileAtomic(b.o.FS, b.keptFile(), append(text, '\n'), 0o640); err != nil {
		return fmt.Errorf("keep the role: %w", err)
	}
	b.kept = k
	b.noteFormer()
	return nil
}

// seen is a master of a later epoch than ours.
type seen struct {
	addr, haAddr string
	epoch        int64
	id           int64 // the id we take as its slave, if somebody has said so
	former       int64 // the id it had before it was promoted, which is free now
}

func seenAs(addr string, st *protocol.ReplicationState) seen {
	s := seen{addr: addr, epoch: st.Epoch, former: st.FormerID}
	for _, m := range st.Members {
		if m.ID == st.Self {
			s.haAddr = m.Addr
		}
	}
	return s
}

// freeID is the id under which this broker follows: the one that the promoted broker had, which nobody has now, whatever was
// exchanged before. Its own of the properties file may be somebody else's by now.
func (s seen) freeID(cfg *config.Config) int64 { return cmp.Or(s.id, s.former, cfg.BrokerID, 1) }

// overruled asks everybody of the group, as far as they are known and answer, for an epoch later than ours.
func (b *Broker) overruled(ctx context.Context, cfg *config.Config, mine int64) (newest seen, found bool) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	mine = max(mine, b.epochs.Epoch(), 1)
	addrs := b.groupAddrs(ctx, cfg)
	b.noteMembers(addrs)
	var mu sync.Mutex // guards newest, found
	var asked sync.WaitGroup
	for _, addr := range addrs {
		asked.Go(func() {
			st, err := b.askState(ctx, addr)
			if err != nil || st.Mode != protocol.ModeHA || st.Epoch <= mine {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			s := seenAs(addr, st)
			if st.Role != protocol.RoleMaster { // a slave of the newer master knows of it
				s = seen{addr: st.LeaderAddr, epoch: st.Epoch}
			}
			if s.epoch > newest.epoch || s.epoch == newest.epoch && st.Role == protocol.RoleMaster {
				newest, found = s, true
			}
		})
	}
	asked.Wait()
	return newest, found
}

// groupAddrs are the group's other brokers: whom the name servers name now, and who was there before.
func (b *Broker) groupAddrs(ctx context.Context, cfg *config.Config) []string {
	found := map[string]bool{}
	for _, addr := range b.kept.Members {
		found[addr] = true
	}
	var mu sync.Mutex // guards found
	var asked sync.WaitGroup
	for _, ns := range cfg.NameServers() {
		asked.Go(func() {
			_, body, err := remoting.Do(ctx, b.client, ns, protocol.GetBrokerCluster, nil)
			if err != nil {
				return
			}
			var info protocol.ClusterInfo
			if protocol.DecodeJSON(body, &info) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if d := info.BrokerAddrTable[cfg.BrokerName]; d != nil && d.Cluster == cfg.BrokerClusterName {
				for _, addr := range d.BrokerAddrs {
					found[addr] = true
				}
			}
		})
	}
	asked.Wait()
	delete(found, b.Addr())
	return slices.Sorted(maps.Keys(found))
}

// noteMembers keeps the addresses of the others for the next start, when the name servers may have forgotten them.
func (b *Broker) noteMembers(addrs []string) {
	if len(addrs) == 0 || slices.Equal(addrs, b.kept.Members) {
		return
	}
	k := b.kept
	k.Members = addrs
	if err := b.keep(k); err != nil {
		b.log.Warn("note who else is in the group", "err", err)
	}
}

// askState asks a broker how it stands. A Java broker does not know the question: that is an error.
func (b *Broker) askState(ctx context.Context, addr string) (*protocol.ReplicationState, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, body, err := remoting.Do(ctx, b.client, addr, protocol.GetReplicationState, nil)
	if err != nil {
		return nil, err
	}
	st := &protocol.ReplicationState{}
	return st, protocol.DecodeJSON(body, st)
}
