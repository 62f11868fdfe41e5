// Cluster, broker and name server: clusterList, brokerStatus, wipeWritePerm, addWritePerm.
package admin

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
)

type clusterList struct {
	target
	MoreStats   bool   `short:"m" name:"moreStats" help:"Print totals of yesterday and today instead."`
	Interval    int    `short:"i" name:"interval" help:"Repeat every so many seconds."`
	ClusterName string `short:"c" name:"clusterName" help:"Only this cluster."`
}

func (f *clusterList) Run(e *Env) error {
	for {
		if err := f.once(e); err != nil || f.Interval <= 0 {
			return err
		}
		select {
		case <-e.Ctx.Done():
			return nil
		case <-time.After(time.Duration(f.Interval) * time.Second):
		}
	}
}

func (f *clusterList) once(e *Env) error {
	info, err := e.C.ClusterInfo(e.Ctx)
	if err != nil {
		return err
	}
	if f.MoreStats {
		e.printf("%-16s  %-32s %14s %14s %14s %14s\n", "#Cluster Name", "#Broker Name", "#InTotalYest", "#OutTotalYest", "#InTotalToday", "#OutTotalToday")
	} else {
		e.printf("%-16s  %-22s  %-4s  %-22s %-16s %19s %19s %10s %5s %6s\n", "#Cluster Name", "#Broker Name", "#BID", "#Addr", "#Version",
			"#InTPS(LOAD)", "#OutTPS(LOAD)", "#PCWait(ms)", "#Hour", "#SPACE")
	}
	var failed error
	for _, cluster := range slices.Sorted(maps.Keys(info.ClusterAddrTable)) {
		if f.ClusterName != "" && f.ClusterName != cluster {
			continue
		}
		for _, name := range slices.Sorted(slices.Values(info.ClusterAddrTable[cluster])) {
			b := info.BrokerAddrTable[name]
			if b == nil {
				continue
			}
			for _, id := range slices.Sorted(maps.Keys(b.BrokerAddrs)) {
				kv, err := e.C.RuntimeInfo(e.Ctx, b.BrokerAddrs[id])
				failed = errors.Join(failed, err)
				f.row(e, cluster, name, id, b.BrokerAddrs[id], kv)
			}
		}
	}
	return failed
}

// row prints one broker; kv is nil when it did not answer.
func (f *clusterList) row(e *Env, cluster, name string, id int64, addr string, kv map[string]string) {
	num := func(key string) int64 { n, _ := strconv.ParseInt(kv[key], 10, 64); return n }
	if f.MoreStats {
		e.printf("%-16s  %-32s %14d %14d %14d %14d\n", cluster, name,
			num("msgPutTotalTodayMorning")-num("msgPutTotalYesterdayMorning"), num("msgGetTotalTodayMorning")-num("msgGetTotalYesterdayMorning"),
			num("msgPutTotalTodayNow")-num("msgPutTotalTodayMorning"), num("msgGetTotalTodayNow")-num("msgGetTotalTodayMorning"))
		return
	}
	out := kv["getTransferedTps"]
	if out == "" {
		out = kv["getTransferredTps"]
	}
	hour, space := 0.0, 0.0
	if kv != nil {
		hour = float64(time.Now().UnixMilli()-num("earliestMessageTimeStamp")) / 3600000
		space = client.FirstNumber(kv["commitLogDiskRatio"])
	}
	e.printf("%-16s  %-22s  %-4d  %-22s %-16s %19s %19s %10s %5s %6s\n", cluster, name, id, addr, kv["brokerVersionDesc"],
		fmt.Sprintf("%9.2f(%s,%sms)", client.FirstNumber(kv["putTps"]), kv["sendThreadPoolQueueSize"], kv["sendThreadPoolQueueHeadWaitTimeMills"]),
		fmt.Sprintf("%9.2f(%s,%sms)", client.FirstNumber(out), kv["pullThreadPoolQueueSize"], kv["pullThreadPoolQueueHeadWaitTimeMills"]),
		kv["pageCacheLockTimeMills"], fmt.Sprintf("%2.2f", hour), fmt.Sprintf("%.4f", space))
}

type brokerStatus struct {
	target
	BrokerAddr  string `short:"b" name:"brokerAddr" xor:"where" required:"" help:"One broker."`
	ClusterName string `short:"c" name:"clusterName" xor:"where" required:"" help:"All brokers of a cluster."`
}

func (f *brokerStatus) Run(e *Env) error {
	if f.BrokerAddr != "" {
		kv, err := e.C.RuntimeInfo(e.Ctx, f.BrokerAddr)
		if err != nil {
			return err
		}
		for _, k := range slices.Sorted(maps.Keys(kv)) {
			e.printf("%-32s: %s\n", k, kv[k])
		}
		return nil
	}
	info, err := e.C.ClusterInfo(e.Ctx)
	if err != nil {
		return err
	}
	names, ok := info.ClusterAddrTable[f.ClusterName]
	if !ok {
		return fmt.Errorf("make sure the specified clusterName exists or the name server connected to is correct: %s", f.ClusterName)
	}
	var failed error
	for _, name := range slices.Sorted(slices.Values(names)) {
		b := info.BrokerAddrTable[name]
		for _, id := range slices.Sorted(maps.Keys(b.BrokerAddrs)) {
			addr := b.BrokerAddrs[id]
			kv, err := e.C.RuntimeInfo(e.Ctx, addr)
			failed = errors.Join(failed, err)
			for _, k := range slices.Sorted(maps.Keys(kv)) {
				e.printf("%-24s %-32s: %s\n", addr, k, kv[k])
			}
		}
	}
	return failed
}

type wipeWritePerm struct {
	target
	BrokerName string `short:"b" name:"brokerName" required:"" help:"Broker name."`
}

func (f *wipeWritePerm) Run(e *Env) error {
	return eachNameServer(e, "wipe", f.BrokerName, func(ns string) (int32, error) {
		r, _, err := client.Call(e.Ctx, e.C, ns, protocol.WipeWritePermOfBroker, &protocol.WipeWritePermRequest{BrokerName: f.BrokerName})
		if err != nil {
			return 0, err
		}
		return r.Count, nil
	})
}

type addWritePerm struct {
	target
	BrokerName string `short:"b" name:"brokerName" required:"" help:"Broker name."`
}

func (f *addWritePerm) Run(e *Env) error {
	return eachNameServer(e, "add", f.BrokerName, func(ns string) (int32, error) {
		r, _, err := client.Call(e.Ctx, e.C, ns, protocol.AddWritePermOfBroker, &protocol.BrokerNameRequest{BrokerName: f.BrokerName})
		if err != nil {
			return 0, err
		}
		return r.Count, nil
	})
}

func eachNameServer(e *Env, verb, broker string, do func(ns string) (int32, error)) error {
	var failed error
	for _, ns := range e.C.NameServers() {
		n, err := do(ns)
		if err != nil {
			e.printf("%s write perm of broker[%s] in name server[%s] Failed\n", verb, broker, ns)
			failed = errors.Join(failed, err)
			continue
		}
		e.printf("%s write perm of broker[%s] in name server[%s] OK, %d\n", verb, broker, ns, n)
	}
	return failed
}
