// Topics as they are looked at: topicRoute, topicStatus, topicClusterList, topicList, allocateMQ.
package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"rmqctl/internal/client"
	"rmqctl/internal/jsonfile"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

type topicRoute struct {
	target
	Topic string `short:"t" name:"topic" required:"" help:"Topic name."`
	List  bool   `short:"l" name:"list" help:"As a table."`
}

func (f *topicRoute) Run(e *Env) error {
	r, err := e.C.Route(e.Ctx, f.Topic)
	if err != nil {
		return err
	}
	slices.SortFunc(r.BrokerDatas, func(a, b *protocol.BrokerData) int { return strings.Compare(a.BrokerName, b.BrokerName) })
	slices.SortFunc(r.QueueDatas, func(a, b *protocol.QueueData) int { return strings.Compare(a.BrokerName, b.BrokerName) })
	if f.List {
		f.table(e, r)
		return nil
	}
	if r.FilterServerTable == nil {
		r.FilterServerTable = map[string][]string{}
	}
	e.printf("%s\n", jsonfile.Indent(protocol.Marshal(r)))
	return nil
}

func (f *topicRoute) table(e *Env, r *protocol.TopicRouteData) {
	const row = "%-45s %-32s %-50s %-10v %-11v %-5v\n"
	e.printf(row, "#ClusterName", "#BrokerName", "#BrokerAddrs", "#ReadQueue", "#WriteQueue", "#Perm")
	queues := map[string]*protocol.QueueData{}
	for _, q := range r.QueueDatas {
		queues[q.BrokerName] = q
	}
	var read, write int32
	for _, b := range r.BrokerDatas {
		q := queues[b.BrokerName]
		if q == nil {
			continue
		}
		var addrs []string
		for _, id := range slices.Sorted(maps.Keys(b.BrokerAddrs)) {
			addrs = append(addrs, fmt.Sprintf("%d=%s", id, b.BrokerAddrs[id]))
		}
		e.printf(row, b.Cluster, b.BrokerName, "{"+strings.Join(addrs, ", ")+"}", q.ReadQueueNums, q.WriteQueueNums, q.Perm)
		read, write = read+q.ReadQueueNums, write+q.WriteQueueNums
	}
	e.printf("%s\n", strings.Repeat("-", 158))
	e.printf(row, "Total:", fmt.Sprint(len(r.BrokerDatas)), "", read, write, "")
}

type topicStatus struct {
	target
	Topic string `short:"t" name:"topic" required:"" help:"Topic name."`
}

func (f *topicStatus) Run(e *Env) error {
	r, err := e.C.Route(e.Ctx, f.Topic)
	if err != nil {
		return err
	}
	all := map[protocol.MessageQueue]protocol.TopicOffset{}
	for _, b := range r.BrokerDatas {
		s, err := client.CallJSON[protocol.TopicStats](e.Ctx, e.C, client.AnyReplica(b), protocol.GetTopicStatsInfo, &protocol.TopicRequest{Topic: f.Topic})
		if err != nil {
			return err
		}
		maps.Copy(all, s.OffsetTable)
	}
	if len(all) == 0 {
		return protocol.Errorf(protocol.TopicNotExist, "Not found the topic stats info")
	}
	e.printf("%-32s  %-4s  %-20s  %-20s    %s\n", "#Broker Name", "#QID", "#Min Offset", "#Max Offset", "#Last Updated")
	for _, q := range sortedQueues(all) {
		last := ""
		if t := all[q].LastUpdateTimestamp; t > 0 {
			last = human2(t)
		}
		e.printf("%-32s  %-4d  %-20d  %-20d    %s\n", cut(q.BrokerName, 32), q.QueueID, all[q].MinOffset, all[q].MaxOffset, last)
	}
	return nil
}

type topicClusterList struct {
	target
	Topic string `short:"t" name:"topic" required:"" help:"Topic name."`
}

func (f *topicClusterList) Run(e *Env) error {
	clusters, err := clustersOf(e, f.Topic)
	if err != nil {
		return err
	}
	for _, c := range clusters {
		e.printf("%s\n", c)
	}
	return nil
}

// clustersOf are the clusters that hold the first broker of a topic's route.
func clustersOf(e *Env, topic string) ([]string, error) {
	info, err := e.C.ClusterInfo(e.Ctx)
	if err != nil {
		return nil, err
	}
	r, err := e.C.Route(e.Ctx, topic)
	if err != nil {
		return nil, err
	}
	var out []string
	if len(r.BrokerDatas) > 0 {
		for _, c := range slices.Sorted(maps.Keys(info.ClusterAddrTable)) {
			if slices.Contains(info.ClusterAddrTable[c], r.BrokerDatas[0].BrokerName) {
				out = append(out, c)
			}
		}
	}
	return out, nil
}

type topicList struct {
	target
	ClusterModel bool `short:"c" name:"clusterModel" help:"With cluster and consumer groups."`
}

func (f *topicList) Run(e *Env) error {
	topics, err := e.C.Topics(e.Ctx)
	if err != nil {
		return err
	}
	if !f.ClusterModel {
		for _, t := range topics {
			e.printf("%s\n", t)
		}
		return nil
	}
	e.printf("%-20s  %-48s  %-48s\n", "#Cluster Name", "#Topic", "#Consumer Group")
	for _, t := range topics {
		if message.IsRetryTopic(t) || message.IsDLQTopic(t) {
			continue
		}
		cluster := ""
		if cs, err := clustersOf(e, t); err == nil && len(cs) > 0 {
			cluster = cs[0]
		}
		groups := groupsOf(e, t)
		if len(groups) == 0 {
			groups = []string{""}
		}
		for _, g := range groups {
			e.printf("%-20s  %-64s  %-64s\n", cut(cluster, 20), cut(t, 64), cut(g, 64))
		}
	}
	return nil
}

// groupsOf are the groups that consume a topic, as one broker of its route knows; none when nobody answers.
func groupsOf(e *Env, topic string) []string {
	r, err := e.C.Route(e.Ctx, topic)
	if err != nil || len(r.BrokerDatas) == 0 {
		return nil
	}
	l, err := client.CallJSON[protocol.GroupList](e.Ctx, e.C, client.AnyReplica(r.BrokerDatas[0]), protocol.QueryTopicConsumeByWho, &protocol.TopicRequest{Topic: topic})
	if err != nil {
		return nil
	}
	slices.Sort(l.Groups)
	return l.Groups
}

type allocateMQ struct {
	target
	Topic  string `short:"t" name:"topic" required:"" help:"Topic name."`
	IPList string `short:"i" name:"ipList" required:"" help:"Client ids, comma-joined, in the order of the group."`
}

func (f *allocateMQ) Run(e *Env) error {
	r, err := e.C.Route(e.Ctx, f.Topic)
	if err != nil {
		return err
	}
	ids := strings.Split(f.IPList, ",")
	queues := client.SubscribeQueues(f.Topic, r)
	result := map[string][]protocol.MessageQueue{}
	for _, id := range ids {
		result[id] = client.Allocate(queues, ids, id)
		if result[id] == nil {
			result[id] = []protocol.MessageQueue{}
		}
	}
	b, err := json.Marshal(map[string]any{"result": result})
	if err != nil {
		return err
	}
	e.printf("%s\n", b)
	return nil
}
