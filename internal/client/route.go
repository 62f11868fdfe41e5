// Where things are: routes of topics, brokers of clusters.
package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"rmqctl/internal/protocol"
)

// ErrNoRoute: the name servers know no broker for the topic.
var ErrNoRoute = errors.New("no route info of this topic")

// Route is where a topic lives. A topic nobody serves is ErrNoRoute.
func (c *Client) Route(ctx context.Context, topic string) (*protocol.TopicRouteData, error) {
	r, err := AskJSON[protocol.RouteRequest, protocol.Empty, protocol.TopicRouteData](ctx, c, protocol.GetRouteInfoByTopic, &protocol.RouteRequest{Topic: topic})
	if protocol.StatusOf(err) == protocol.TopicNotExist {
		return nil, fmt.Errorf("topic %s: %w", topic, ErrNoRoute)
	}
	return r, err
}

// ClusterInfo is all brokers by cluster, as one name server knows them.
func (c *Client) ClusterInfo(ctx context.Context) (*protocol.ClusterInfo, error) {
	return AskJSON[protocol.Empty, protocol.Empty, protocol.ClusterInfo](ctx, c, protocol.GetBrokerCluster, nil)
}

// ClusterInfoOf is ClusterInfo of one given name server.
func (c *Client) ClusterInfoOf(ctx context.Context, namesrv string) (*protocol.ClusterInfo, error) {
	return CallJSON[protocol.ClusterInfo](ctx, c, namesrv, protocol.GetBrokerCluster, nil)
}

// Topics are the names of all topics.
func (c *Client) Topics(ctx context.Context) ([]string, error) {
	l, err := AskJSON[protocol.Empty, protocol.Empty, protocol.TopicList](ctx, c, protocol.GetAllTopicListFromNamesrv, nil)
	if err != nil {
		return nil, err
	}
	slices.Sort(l.Topics)
	return l.Topics, nil
}

// Master is the address of brokerId 0 of a group, "" when it has none.
func Master(b *protocol.BrokerData) string { return b.BrokerAddrs[0] }

// AnyReplica is the master, or a random other member when there is none, as Java's selectBrokerAddr picks.
func AnyReplica(b *protocol.BrokerData) string {
	if m := Master(b); m != "" {
		return m
	}
	ids := slices.Sorted(maps.Keys(b.BrokerAddrs))
	if len(ids) == 0 {
		return ""
	}
	return b.BrokerAddrs[ids[rand.IntN(len(ids))]]
}

// Masters are the masters of a cluster, sorted by broker name.
func (c *Client) Masters(ctx context.Context, cluster string) ([]string, error) {
	info, err := c.ClusterInfo(ctx)
	if err != nil {
		return nil, err
	}
	names, ok := info.ClusterAddrTable[cluster]
	if !ok {
		return nil, fmt.Errorf("cluster %s does not exist; the name server knows %v", cluster, slices.Sorted(maps.Keys(info.ClusterAddrTable)))
	}
	names = slices.Sorted(slices.Values(names))
	var addrs []string
	for _, n := range names {
		if b := info.BrokerAddrTable[n]; b != nil && Master(b) != "" {
			addrs = append(addrs, Master(b))
		}
	}
	return addrs, nil
}

// PublishQueues are the queues a producer may use: of masters, with write permission, in a stable order.
func PublishQueues(topic string, r *protocol.TopicRouteData) []protocol.MessageQueue {
	return queues(topic, r, protocol.PermWrite, func(q *protocol.QueueData) int32 { return q.WriteQueueNums }, func(b *protocol.BrokerData) bool { return Master(b) != "" })
}

// SubscribeQueues are the queues a consumer reads.
func SubscribeQueues(topic string, r *protocol.TopicRouteData) []protocol.MessageQueue {
	return queues(topic, r, protocol.PermRead, func(q *protocol.QueueData) int32 { return q.ReadQueueNums }, func(*protocol.BrokerData) bool { return true })
}

func queues(topic string, r *protocol.TopicRouteData, perm int32, count func(*protocol.QueueData) int32, usable func(*protocol.BrokerData) bool) []protocol.MessageQueue {
	var out []protocol.MessageQueue
	for _, q := range slices.SortedFunc(slices.Values(r.QueueDatas), func(a, b *protocol.QueueData) int { return compare(a.BrokerName, b.BrokerName) }) {
		b := brokerNamed(r, q.BrokerName)
		if q.Perm&perm == 0 || b == nil || !usable(b) {
			continue
		}
		for i := range count(q) {
			out = append(out, protocol.MessageQueue{Topic: topic, BrokerName: q.BrokerName, QueueID: i})
		}
	}
	return out
}

func brokerNamed(r *protocol.TopicRouteData, name string) *protocol.BrokerData {
	for _, b := range r.BrokerDatas {
		if b.BrokerName == name {
			return b
		}
	}
	return nil
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
