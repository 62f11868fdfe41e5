// Operators: the broker as a whole, its numbers and its settings.

package processor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/delay"
	"rmqctl/broker/ha"
	"rmqctl/broker/stats"
	"rmqctl/broker/store"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/internal/vfs"
)

// BrokerAdmin answers operators who look at the broker as a whole and change its settings.
type BrokerAdmin struct {
	Config     *conf.Live[config.Config]
	ConfigFile string // the file that live changes are written to
	FS         vfs.FS
	Clock      clock.Clock
	Log        *slog.Logger
	Store      *store.Store
	Stats      *stats.Set
	Delay      *delay.Service
	Master     func() *ha.Master // nil on a slave
	Slave      func() *ha.Slave  // nil on a master
	Pools      *Pools
	Started    time.Time
	Register   func()                    // registers at the name servers, without waiting
	Group      func(t map[string]string) // adds what the broker is in its group

	mu      sync.Mutex // one change of the settings at a time; guards version
	version protocol.DataVersion
}

// blackList are settings that may not be changed over the network.
var blackList = []string{"brokerConfigPath", "rocketmqHome", "configBlackList"}

// GetConfig answers GET_BROKER_CONFIG with every setting, as properties.
func (p *BrokerAdmin) GetConfig(x *remoting.Exchange, _ *protocol.Empty) (*protocol.GetBrokerConfigResponse, error) {
	p.mu.Lock()
	version := p.version
	p.mu.Unlock()
	x.ReplyBody([]byte(p.Config.Properties()))
	return &protocol.GetBrokerConfigResponse{Version: string(protocol.Marshal(&version))}, nil
}

// UpdateConfig answers UPDATE_BROKER_CONFIG.
//
// Unlike RocketMQ: a setting that takes effect only after a restart, an unknown one and a bad value are refused, with
// the reason, and then nothing of the request is applied; comments in the file survive.
func (p *BrokerAdmin) UpdateConfig(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	props, err := conf.ParseProperties(bytes.NewReader(x.Request.Body), "request")
	if err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "string2Properties error: %v", err)
	}
	changes := map[string]string{}
	for _, prop := range props {
		for _, black := range blackList {
			if strings.EqualFold(prop.Key, black) {
				return nil, protocol.Errorf(protocol.NoPermission, "Can not update config in black list.")
			}
		}
		changes[prop.Key] = prop.Value
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.Config.Load()
	if err := p.Config.Update(changes); err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "%v", err)
	}
	p.version.Counter++
	p.version.Timestamp = p.Clock.Now().UnixMilli()
	p.Log.Info("settings changed", "remote", x.Conn.RemoteAddr().String(), "keys", fmt.Sprint(changes))
	if p.Config.Load().BrokerPermission != before.BrokerPermission {
		p.Register()
	}
	if err := p.saveConfig(changes); err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "in effect, but not in the file: %v", err)
	}
	return nil, nil
}

func (p *BrokerAdmin) saveConfig(changes map[string]string) error {
	old, err := vfs.ReadFile(p.FS, p.ConfigFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := p.Config.EditFile(string(old), changes)
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(p.FS, p.ConfigFile, []byte(text), 0o640)
}

// ViewStats answers VIEW_BROKER_STATS_DATA.
func (p *BrokerAdmin) ViewStats(x *remoting.Exchange, q *protocol.ViewBrokerStatsRequest) (*protocol.Empty, error) {
	w, ok := p.Stats.View(q.StatsName, q.StatsKey)
	if !ok {
		return nil, protocol.Errorf(protocol.SystemError, "The stats <%s> <%s> not exist", q.StatsName, q.StatsKey)
	}
	item := func(s stats.Sum) protocol.BrokerStatsItem {
		return protocol.BrokerStatsItem{AvgPT: s.Avg, Sum: s.Sum, TPS: s.TPS}
	}
	x.ReplyBody(protocol.Marshal(&protocol.BrokerStatsData{Day: item(w.Day), Hour: item(w.Hour), Minute: item(w.Minute)}))
	return nil, nil
}

// Clean answers CLEAN_EXPIRED_CONSUMEQUEUE and DELETE_EXPIRED_COMMITLOG: retention runs now.
func (p *BrokerAdmin) Clean(*remoting.Exchange, *protocol.Empty) (*protocol.Empty, error) {
	p.Store.CleanExpired()
	return nil, nil
}

// HAStatus answers GET_BROKER_HA_STATUS of 5.x.
func (p *BrokerAdmin) HAStatus(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	info := protocol.HARuntimeInfo{MasterCommitLogMaxOffset: p.Store.MaxPhysical(), Connections: []protocol.HAConnectionInfo{}}
	if master := p.Master(); master != nil {
		info.Master = true
		for _, s := range master.Status().Slaves {
			info.Connections = append(info.Connections, slaveInfo(s))
			if s.InSync {
				info.InSyncSlaveNums++
			}
		}
	}
	if slave := p.Slave(); slave != nil {
		st := slave.Status()
		info.Client = &protocol.HAClientInfo{
			Activated: st.State == ha.Following, MasterAddr: st.Master, MaxOffset: st.MaxOffset,
			LastReadTimestamp: st.LastRead.UnixMilli(), LastWriteTimestamp: st.LastReport.UnixMilli(),
		}
	}
	x.ReplyBody(protocol.Marshal(&info))
	return nil, nil
}

// RuntimeInfo answers GET_BROKER_RUNTIME_INFO: everything as text, under RocketMQ's names.
func (p *BrokerAdmin) RuntimeInfo(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	t := map[string]string{}
	p.identity(t)
	p.counts(t)
	p.storeNumbers(t)
	p.Group(t)
	for _, pool := range p.Pools.all() {
		s := pool.pool.Stats()
		wait := int64(0)
		if !s.HeadSince.IsZero() {
			wait = p.Clock.Now().Sub(s.HeadSince).Milliseconds()
		}
		t[pool.name+"Size"] = fmt.Sprint(s.Waiting)
		t[pool.name+"Capacity"] = fmt.Sprint(s.Capacity)
		t[pool.name+"HeadWaitTimeMills"] = fmt.Sprint(wait)
	}
	x.ReplyBody(protocol.Marshal(&protocol.KVTable{Table: t}))
	return nil, nil
}

func (p *BrokerAdmin) identity(t map[string]string) {
	up := p.Clock.Now().Sub(p.Started)
	t["brokerVersionDesc"] = protocol.VersionName(protocol.CurrentVersion)
	t["brokerVersion"] = fmt.Sprint(protocol.CurrentVersion)
	t["bootTimestamp"] = fmt.Sprint(p.Started.UnixMilli())
	t["runtime"] = fmt.Sprintf("[ %d days, %d hours, %d minutes, %d seconds ]",
		int(up.Hours())/24, int(up.Hours())%24, int(up.Minutes())%60, int(up.Seconds())%60)
	t["startAcceptSendRequestTimeStamp"] = fmt.Sprint(p.Config.Load().StartAcceptSendRequestAt)
	for level := 1; level <= p.Delay.Levels.Max(); level++ {
		t[fmt.Sprintf("scheduleMessageOffset_%d", level)] = fmt.Sprintf("%d,%d", p.Delay.Next(level), p.Store.MaxOffset(message.ScheduleTopic, int32(level-1)))
	}
}

func (p *BrokerAdmin) counts(t map[string]string) {
	m := p.Stats.Mornings()
	t["msgPutTotalYesterdayMorning"] = fmt.Sprint(m.PutYesterday)
	t["msgPutTotalTodayMorning"] = fmt.Sprint(m.PutToday)
	t["msgPutTotalTodayNow"] = fmt.Sprint(p.Stats.Put.Nums())
	t["msgGetTotalYesterdayMorning"] = fmt.Sprint(m.GetYesterday)
	t["msgGetTotalTodayMorning"] = fmt.Sprint(m.GetToday)
	t["msgGetTotalTodayNow"] = fmt.Sprint(p.Stats.Get.Nums())
	r := p.Stats.Rates()
	t["putTps"], t["getFoundTps"], t["getMissTps"], t["getTotalTps"] = r.Put, r.GetFound, r.GetMiss, r.GetTotal
	t["getTransferedTps"], t["getTransferredTps"] = r.GetTransferred, r.GetTransferred // the spellings of 4.9 and of 5.x
	t["putMessageTimesTotal"] = fmt.Sprint(p.Stats.Put.Nums())
	t["putMessageSizeTotal"] = fmt.Sprint(p.Stats.Put.Size())
	avg := 0.0
	if n := p.Stats.Put.Nums(); n > 0 {
		avg = float64(p.Stats.Put.Size()) / float64(n)
	}
	t["putMessageAverageSize"] = fmt.Sprint(avg)
}

func slaveInfo(s ha.SlaveState) protocol.HAConnectionInfo {
	return protocol.HAConnectionInfo{Addr: s.Addr, Diff: s.LagBytes, InSync: s.InSync, SlaveAckOffset: s.Ack, TransferFromWhere: s.Sent}
}

// storeNumbers are those of the store. Java's commitLogDiskRatio is a fraction; -1 stands for unknown.
func (p *BrokerAdmin) storeNumbers(t map[string]string) {
	s, cfg := p.Store.Stats(), p.Config.Load()
	t["commitLogMinOffset"], t["commitLogMaxOffset"] = fmt.Sprint(s.MinPhysical), fmt.Sprint(s.MaxPhysical)
	t["dispatchBehindBytes"], t["remainHowManyDataToFlush"] = fmt.Sprint(s.DispatchBehind), fmt.Sprintf("%d B", s.ToFlush)
	t["remainHowManyDataToCommit"], t["remainTransientStoreBufferNumbs"] = "0 B", "0"
	t["dispatchMaxBuffer"], t["pageCacheLockTimeMills"] = "0", "0"
	t["putMessageFailedTimes"], t["putMessageEntireTimeMax"], t["getMessageEntireTimeMax"] = "0", "0", "0"
	t["putMessageDistributeTime"] = ""
	t["commitLogFlushes"] = fmt.Sprint(s.Flushes) // ours: how often the log was made durable
	t["EndTransactionQueueSize"], t["EndTransactionThreadPoolQueueCapacity"] = "0", "0"
	if err := p.Store.Writable(); err != nil {
		t["storeTakesNoMessages"] = err.Error() // ours: absent while all is well
	}
	if s.Damages > 0 {
		t["storeDamaged"] = fmt.Sprintf("%d places since the start, the last: %s", s.Damages, s.LastDamage) // ours: absent while all is well
	}
	t["earliestMessageTimeStamp"] = fmt.Sprint(p.earliest(s.MinPhysical))
	for key, dir := range map[string]string{"commitLogDiskRatio": cfg.StorePathCommitLog, "consumeQueueDiskRatio": cfg.StorePathConsumeQueue} {
		total, free, err := p.FS.DiskUsage(dir)
		if err != nil || total <= 0 {
			t[key] = "-1"
			continue
		}
		t[key] = fmt.Sprint(float64(total-free) / float64(total))
		if key == "commitLogDiskRatio" {
			t[key+"_"+dir] = t[key]
			t["commitLogDirCapacity"] = fmt.Sprintf("Total : %s, Free : %s.", human(total), human(free))
		}
	}
}

// earliest is the store time of the oldest message; -1 without one.
func (p *BrokerAdmin) earliest(at int64) int64 {
	record, err := p.Store.LookMessage(at)
	if err != nil {
		return -1
	}
	m, _, err := message.Decode(record, message.Options{})
	if err != nil {
		return -1
	}
	return m.StoreTimestamp
}

// human writes bytes as Java's tools expect to show them: 12.3 GiB.
func human(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/unit, 0
	for ; f >= unit && i < 4; i++ {
		f /= unit
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[i])
}
