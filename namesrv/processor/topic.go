// Routes, lists of topics, and the write masks over them.

package processor

import (
	"time"

	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/namesrv/route"
)

const noRoute = "No topic route info in name server for the topic: %s\nSee http://rocketmq.apache.org/docs/faq/ for further details."

// routeOfTopic. Asked by: every client for every topic, every 30 s. Which of the two JSON forms it gets is decided by
// its version: old clients cut the text by themselves.
func (p *Processors) routeOfTopic(x *remoting.Exchange, q *protocol.RouteRequest) (*protocol.Empty, error) {
	cfg, now := p.Config.Load(), p.Clock.Now()
	if cfg.NeedWaitForService && now.Sub(p.Started) < cfg.WaitForService {
		return nil, protocol.Errorf(protocol.SystemError, "name server not ready")
	}
	r, ok := p.Table.Topic(q.Topic, now)
	if !ok {
		return nil, protocol.Errorf(protocol.TopicNotExist, noRoute, q.Topic)
	}
	if cfg.SupportActingMaster {
		route.Act(r)
	}
	if cfg.OrderMessageEnable {
		r.OrderTopicConf, _ = p.KV.Get(protocol.NamespaceOrderTopic, q.Topic)
	}
	x.ReplyBody(protocol.EncodeRoute(r, x.Version(), q.AcceptStandardJSONOnly != nil && *q.AcceptStandardJSONOnly))
	return nil, nil
}

// clusterInfo. Asked by: tools, and clients that send to one cluster.
func (p *Processors) clusterInfo(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	x.ReplyBody(protocol.Marshal(p.Table.Cluster()))
	return nil, nil
}

// allTopics. Asked by: tools.
func (p *Processors) allTopics(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	return p.list(x, p.Config.Load().EnableAllTopicList, p.Table.Topics)
}

// topicsOfCluster. Asked by: tools.
func (p *Processors) topicsOfCluster(x *remoting.Exchange, q *protocol.ClusterRequest) (*protocol.Empty, error) {
	return p.list(x, p.Config.Load().EnableTopicList, func() []string { return p.Table.TopicsOfCluster(q.Cluster) })
}

// systemTopics. Asked by: tools, which then ask the broker named here for its own system topics.
func (p *Processors) systemTopics(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	names, addr := p.Table.SystemTopics()
	x.ReplyBody(protocol.Marshal(&protocol.TopicList{Topics: names, BrokerAddr: addr}))
	return nil, nil
}

func (p *Processors) unitTopics(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	return p.list(x, p.Config.Load().EnableTopicList, p.Table.UnitTopics)
}

func (p *Processors) unitSubTopics(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	return p.list(x, p.Config.Load().EnableTopicList, p.Table.UnitSubTopics)
}

func (p *Processors) unitSubOnlyTopics(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	return p.list(x, p.Config.Load().EnableTopicList, p.Table.UnitSubOnlyTopics)
}

func (p *Processors) list(x *remoting.Exchange, enabled bool, topics func() []string) (*protocol.Empty, error) {
	if !enabled {
		return nil, protocol.Errorf(protocol.SystemError, "disable")
	}
	x.ReplyBody(protocol.Marshal(&protocol.TopicList{Topics: topics()}))
	return nil, nil
}

// registerTopic. Asked by: tools of 5.x.
func (p *Processors) registerTopic(x *remoting.Exchange, q *protocol.TopicRequest) (*protocol.Empty, error) {
	var r protocol.TopicRouteData
	if err := protocol.DecodeJSON(x.Request.Body, &r); err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "topic route: %v", err)
	}
	n := p.Table.AddTopic(q.Topic, r.QueueDatas)
	p.Log.Info("topic registered", "topic", q.Topic, "queues", n, "remote", x.Conn.RemoteAddr())
	return nil, nil
}

// deleteTopic. Asked by: tools, after the brokers have deleted it.
func (p *Processors) deleteTopic(x *remoting.Exchange, q *protocol.DeleteTopicInNamesrvRequest) (*protocol.Empty, error) {
	p.Table.DeleteTopic(q.Topic, q.ClusterName)
	p.Log.Info("topic deleted", "topic", q.Topic, "cluster", q.ClusterName, "remote", x.Conn.RemoteAddr())
	return nil, nil
}

// wipeWritePerm. Asked by: tools that drain a broker; see package route for how long it lasts.
func (p *Processors) wipeWritePerm(x *remoting.Exchange, q *protocol.WipeWritePermRequest) (*protocol.WipeWritePermResponse, error) {
	var lease time.Duration
	if q.LeaseMillis != nil && *q.LeaseMillis > 0 {
		lease = time.Duration(*q.LeaseMillis) * time.Millisecond
	}
	n := p.Table.Mask(q.BrokerName, lease, p.Clock.Now())
	p.Log.Info("write permission masked", "broker", q.BrokerName, "topics", n, "lease", lease, "remote", x.Conn.RemoteAddr())
	return &protocol.WipeWritePermResponse{Count: int32(n)}, nil
}

// addWritePerm. Asked by: tools that end a drain.
func (p *Processors) addWritePerm(x *remoting.Exchange, q *protocol.BrokerNameRequest) (*protocol.AddWritePermResponse, error) {
	n := p.Table.Unmask(q.BrokerName)
	p.Log.Info("write permission shown", "broker", q.BrokerName, "topics", n, "remote", x.Conn.RemoteAddr())
	return &protocol.AddWritePermResponse{Count: int32(n)}, nil
}
