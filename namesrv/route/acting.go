package route

// Who stands in the place of a master that is away.

import (
	"maps"
	"slices"

	"rmqctl/internal/protocol"
)

// Act puts the lowest slave of every group without a master in the master's place, and takes the write permission away. Clients
// that ask nobody but id 0 for offsets (client-go 2.1.2) then read on, and none sends. RocketMQ 5.x does the same for brokers
// with enableSlaveActingMaster. The route is the caller's own, but for its queues, which are copied.
func Act(r *protocol.TopicRouteData) {
	for _, b := range r.BrokerDatas {
		if _, led := b.BrokerAddrs[0]; led || len(b.BrokerAddrs) == 0 {
			continue
		}
		lowest := slices.Min(slices.Collect(maps.Keys(b.BrokerAddrs)))
		b.BrokerAddrs[0] = b.BrokerAddrs[lowest]
		delete(b.BrokerAddrs, lowest)
		for i, q := range r.QueueDatas {
			if q.BrokerName == b.BrokerName {
				shown := *q
				shown.Perm &^= protocol.PermWrite
				r.QueueDatas[i] = &shown
			}
		}
	}
}
