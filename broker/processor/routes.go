// Package processor is what a broker answers. routes.go is the menu; every family of requests has a file of its own.
//
// A handler opens with who calls it, what it does, and where it differs from RocketMQ on purpose.
package processor

import (
	"rmqctl/broker/config"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// Processors are all handlers of a broker. The assembly fills in what they work on.
type Processors struct {
	Send        *Send
	Reply       *Reply
	Pull        *Pull
	Query       *Query
	Clients     *Clients
	Offset      *Offset
	TopicAdmin  *TopicAdmin
	GroupAdmin  *GroupAdmin
	OffsetAdmin *OffsetAdmin
	Relay       *Relay
	Broker      *BrokerAdmin
	Replication *ReplicationAdmin
	Pools       *Pools
}

// Pools are the workers of handlers that may wait for a disk or a peer.
type Pools struct {
	Send, Pull, Query, Client, Admin *remoting.Pool
}

// NewPools makes the pools as large as the configuration says.
func NewPools(c *config.Config) *Pools {
	p := &Pools{
		Send:   remoting.NewPool("send", c.SendMessageThreadPoolNums, c.SendThreadPoolQueueCapacity),
		Pull:   remoting.NewPool("pull", c.PullMessageThreadPoolNums, c.PullThreadPoolQueueCapacity),
		Query:  remoting.NewPool("query", 8, 20000),
		Client: remoting.NewPool("client", 32, 100000),
		Admin:  remoting.NewPool("admin", 16, 10000),
	}
	if c.BrokerFastFailureEnable {
		p.Send.MaxWait(c.WaitTimeInSendQueue)
	}
	return p
}

// namedPool is a pool under the name RocketMQ's runtime numbers have for it.
type namedPool struct {
	name string
	pool *remoting.Pool
}

func (p *Pools) all() []namedPool {
	return []namedPool{{"sendThreadPoolQueue", p.Send}, {"pullThreadPoolQueue", p.Pull}, {"queryThreadPoolQueue", p.Query}}
}

// Close refuses new work and waits for what is under way.
func (p *Pools) Close() {
	for _, pool := range []*remoting.Pool{p.Send, p.Pull, p.Query, p.Client, p.Admin} {
		pool.Close()
	}
}

// Routes is everything the main port answers.
func (p *Processors) Routes() []remoting.Route {
	return append(p.VIPRoutes(),
		remoting.On(protocol.PullMessage, p.Pull.Pull, remoting.Fast),
		remoting.On(protocol.LitePullMessage, p.Pull.Pull, remoting.Fast),
	)
}

// VIPRoutes is what the port two below answers: everything but pulls, so that held pulls never stand in the way.
func (p *Processors) VIPRoutes() []remoting.Route {
	on, admin := p.Pools, p.Pools.Admin
	return []remoting.Route{
		remoting.On(protocol.SendMessage, p.Send.V1, remoting.Fast),
		remoting.On(protocol.SendMessageV2, p.Send.V2, remoting.Fast),
		remoting.On(protocol.SendBatchMessage, p.Send.V2, remoting.Fast),
		remoting.On(protocol.SendReplyMessage, p.Reply.V1, on.Send),
		remoting.On(protocol.SendReplyMessageV2, p.Reply.V2, on.Send),
		remoting.On(protocol.ConsumerSendMsgBack, p.Send.Back, on.Send),

		remoting.On(protocol.QueryMessage, p.Query.ByKey, on.Query),
		remoting.On(protocol.ViewMessageByID, p.Query.View, on.Query),

		remoting.On(protocol.HeartBeat, p.Clients.HeartBeat, on.Client),
		remoting.On(protocol.UnregisterClient, p.Clients.Unregister, on.Client),
		remoting.On(protocol.CheckClientConfig, p.Clients.CheckConfig, on.Client),
		remoting.On(protocol.GetConsumerListByGroup, p.Clients.List, remoting.Fast),
		remoting.On(protocol.LockBatchMQ, p.Clients.Lock, remoting.Fast),
		remoting.On(protocol.UnlockBatchMQ, p.Clients.Unlock, remoting.Fast),

		remoting.On(protocol.QueryConsumerOffset, p.Offset.Query, on.Client),
		remoting.On(protocol.UpdateConsumerOffset, p.Offset.Update, remoting.Fast),
		remoting.On(protocol.GetMaxOffset, p.Offset.Max, admin),
		remoting.On(protocol.GetMinOffset, p.Offset.Min, admin),
		remoting.On(protocol.SearchOffsetByTimestamp, p.Offset.Search, admin),
		remoting.On(protocol.GetEarliestMsgStoreTime, p.Offset.Earliest, admin),
		remoting.On(protocol.GetAllConsumerOffset, p.Offset.All, admin),
		remoting.On(protocol.GetAllDelayOffset, p.Offset.AllDelay, admin),

		remoting.On(protocol.UpdateAndCreateTopic, p.TopicAdmin.Update, admin),
		remoting.On(protocol.UpdateAndCreateTopicList, p.TopicAdmin.UpdateList, admin),
		remoting.On(protocol.DeleteTopicInBroker, p.TopicAdmin.Delete, admin),
		remoting.On(protocol.GetAllTopicConfig, p.TopicAdmin.All, admin),
		remoting.On(protocol.GetTopicConfig, p.TopicAdmin.Get, admin),
		remoting.On(protocol.GetTopicStatsInfo, p.TopicAdmin.QueueStats, admin),
		remoting.On(protocol.QueryTopicConsumeByWho, p.TopicAdmin.ConsumedBy, admin),
		remoting.On(protocol.GetSystemTopicListFromBroker, p.TopicAdmin.SystemList, admin),
		remoting.On(protocol.CleanUnusedTopic, p.TopicAdmin.CleanUnused, admin),

		remoting.On(protocol.UpdateAndCreateSubscriptionGroup, p.GroupAdmin.Update, admin),
		remoting.On(protocol.UpdateAndCreateSubscriptionGroupList, p.GroupAdmin.UpdateList, admin),
		remoting.On(protocol.DeleteSubscriptionGroup, p.GroupAdmin.Delete, admin),
		remoting.On(protocol.GetAllSubscriptionGroupConfig, p.GroupAdmin.All, admin),
		remoting.On(protocol.GetSubscriptionGroupConfig, p.GroupAdmin.Get, admin),
		remoting.On(protocol.GetConsumeStats, p.GroupAdmin.Consumption, admin),
		remoting.On(protocol.GetBrokerConsumeStats, p.GroupAdmin.BrokerConsumption, admin),
		remoting.On(protocol.GetConsumerConnectionList, p.GroupAdmin.ConsumerConnections, admin),
		remoting.On(protocol.GetProducerConnectionList, p.GroupAdmin.ProducerConnections, admin),
		remoting.On(protocol.GetAllProducerInfo, p.GroupAdmin.AllProducers, admin),
		remoting.On(protocol.QueryTopicsByConsumer, p.GroupAdmin.TopicsOf, admin),
		remoting.On(protocol.QuerySubscriptionByConsumer, p.GroupAdmin.Subscription, admin),

		remoting.On(protocol.QueryCorrectionOffset, p.OffsetAdmin.Correction, admin),
		remoting.On(protocol.CloneGroupOffset, p.OffsetAdmin.Clone, admin),
		remoting.On(protocol.QueryConsumeTimeSpan, p.OffsetAdmin.TimeSpan, admin),
		remoting.On(protocol.QueryConsumeQueue, p.OffsetAdmin.Queue, admin),

		remoting.On(protocol.InvokeBrokerResetOffset, p.Relay.Reset, admin),
		remoting.On(protocol.InvokeBrokerConsumerStatus, p.Relay.Status, admin),
		remoting.On(protocol.GetConsumerRunningInfo, p.Relay.RunningInfo, admin),
		remoting.On(protocol.ConsumeMessageDirectly, p.Relay.Consume, admin),

		remoting.On(protocol.GetBrokerConfig, p.Broker.GetConfig, admin),
		remoting.On(protocol.UpdateBrokerConfig, p.Broker.UpdateConfig, admin),
		remoting.On(protocol.GetBrokerRuntimeInfo, p.Broker.RuntimeInfo, admin),
		remoting.On(protocol.ViewBrokerStatsData, p.Broker.ViewStats, admin),
		remoting.On(protocol.CleanExpiredConsumeQueue, p.Broker.Clean, admin),
		remoting.On(protocol.DeleteExpiredCommitLog, p.Broker.Clean, admin),
		remoting.On(protocol.GetBrokerHAStatus, p.Broker.HAStatus, admin),

		remoting.On(protocol.GetReplicationState, p.Replication.Get, remoting.Fast),
		remoting.On(protocol.TransferLeadership, p.Replication.TransferLeadership, admin),
		remoting.On(protocol.ChangeRaftMember, p.Replication.ChangeMember, admin),
		remoting.On(protocol.ChangeBrokerRole, p.Replication.ChangeRole, admin),
	}
}
