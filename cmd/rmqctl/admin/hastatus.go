// haStatus: how far the slaves of a master are, as mqadmin 5.x prints it. Of a raft group the leader answers as a master.
package admin

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
)

type haStatus struct {
	target
	BrokerAddr  string `short:"b" name:"brokerAddr" xor:"where" required:"" help:"One broker."`
	ClusterName string `short:"c" name:"clusterName" xor:"where" required:"" help:"All masters of a cluster."`
	Interval    int    `short:"i" name:"interval" help:"Repeat every so many seconds."`
}

func (f *haStatus) Run(e *Env) error {
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

func (f *haStatus) once(e *Env) error {
	if f.BrokerAddr != "" {
		return haStatusOf(e, f.BrokerAddr)
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
		if b := info.BrokerAddrTable[name]; b != nil && b.BrokerAddrs[0] != "" {
			failed = errors.Join(failed, haStatusOf(e, b.BrokerAddrs[0]))
		}
	}
	return failed
}

func haStatusOf(e *Env, addr string) error {
	ha, err := client.CallJSON[protocol.HARuntimeInfo](e.Ctx, e.C, addr, protocol.GetBrokerHAStatus, nil)
	if err != nil {
		return err
	}
	const kilo = 1024.0
	if ha.Master {
		e.printf("\n#MasterAddr\t%s\n#MasterCommitLogMaxOffset\t%d\n#SlaveNum\t%d\n#InSyncSlaveNum\t%d\n", addr, ha.MasterCommitLogMaxOffset, len(ha.Connections), ha.InSyncSlaveNums)
		e.printf("%-32s  %-16s %16s %16s %16s %16s\n", "#SlaveAddr", "#SlaveAckOffset", "#Diff", "#TransferSpeed(KB/s)", "#Status", "#TransferFromWhere")
		for _, c := range ha.Connections {
			status := "Fall Behind"
			if c.InSync {
				status = "OK"
			}
			e.printf("%-32s  %-16d %16d %16.2f %16s %16d\n", c.Addr, c.SlaveAckOffset, c.Diff, float64(c.TransferredByteInSecond)/kilo, status, c.TransferFromWhere)
		}
		return nil
	}
	if ha.Client == nil {
		return fmt.Errorf("%s is no master and follows none", addr)
	}
	c := ha.Client
	e.printf("\n#MasterAddr\t%s\n#CommitLogMaxOffset\t%d\n#TransferSpeed(KB/s)\t%.2f\n", c.MasterAddr, c.MaxOffset, float64(c.TransferredByteInSecond)/kilo)
	e.printf("#LastReadTime\t%s\n#LastWriteTime\t%s\n#MasterFlushOffset\t%d\n", human2(c.LastReadTimestamp), human2(c.LastWriteTimestamp), c.MasterFlushOffset)
	return nil
}
