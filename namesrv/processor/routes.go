// Package processor is what a name server answers, request code by request code.
package processor

import (
	"log/slog"
	"time"

	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/internal/vfs"
	"rmqctl/namesrv/config"
	"rmqctl/namesrv/kv"
	"rmqctl/namesrv/route"
)

// Processors answers with what its fields hold.
type Processors struct {
	Table   *route.Table
	KV      *kv.Store
	Config  *conf.Live[config.Config]
	FS      vfs.FS // of the configuration file
	Clock   clock.Clock
	Log     *slog.Logger
	Started time.Time
}

// Routes is every code a name server answers. Others are answered REQUEST_CODE_NOT_SUPPORTED; RocketMQ 4.9 leaves the
// one who asked to wait for its timeout.
func (p *Processors) Routes() []remoting.Route {
	return []remoting.Route{
		// brokers
		remoting.On(protocol.RegisterBroker, p.registerBroker),
		remoting.On(protocol.UnregisterBroker, p.unregisterBroker),
		remoting.On(protocol.QueryDataVersion, p.queryDataVersion, remoting.Fast),
		remoting.On(protocol.BrokerHeartbeat, p.brokerHeartbeat, remoting.Fast),
		remoting.On(protocol.GetBrokerMemberGroup, p.brokerMemberGroup, remoting.Fast),
		// clients
		remoting.On(protocol.GetRouteInfoByTopic, p.routeOfTopic, remoting.Fast),
		// tools: brokers and topics
		remoting.On(protocol.GetBrokerCluster, p.clusterInfo),
		remoting.On(protocol.GetAllTopicListFromNamesrv, p.allTopics),
		remoting.On(protocol.GetTopicsByCluster, p.topicsOfCluster),
		remoting.On(protocol.GetSystemTopicListFromNamesrv, p.systemTopics),
		remoting.On(protocol.GetUnitTopicList, p.unitTopics),
		remoting.On(protocol.GetHasUnitSubTopicList, p.unitSubTopics),
		remoting.On(protocol.GetHasUnitSubUnunitTopicList, p.unitSubOnlyTopics),
		remoting.On(protocol.RegisterTopicInNamesrv, p.registerTopic),
		remoting.On(protocol.DeleteTopicInNamesrv, p.deleteTopic),
		remoting.On(protocol.WipeWritePermOfBroker, p.wipeWritePerm),
		remoting.On(protocol.AddWritePermOfBroker, p.addWritePerm),
		// tools: key-value configuration
		remoting.On(protocol.PutKVConfig, p.putKV),
		remoting.On(protocol.GetKVConfig, p.getKV),
		remoting.On(protocol.DeleteKVConfig, p.deleteKV),
		remoting.On(protocol.GetKVListByNamespace, p.kvNamespace),
		// tools: the name server itself
		remoting.On(protocol.UpdateNamesrvConfig, p.updateConfig),
		remoting.On(protocol.GetNamesrvConfig, p.getConfig),
	}
}
