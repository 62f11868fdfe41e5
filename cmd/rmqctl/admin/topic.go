// Topics as they are changed: updateTopic, updateTopicPerm, deleteTopic.
package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

type updateTopic struct {
	target
	BrokerAddr    string `short:"b" name:"brokerAddr" xor:"where" required:"" help:"Create the topic at one broker."`
	ClusterName   string `short:"c" name:"clusterName" xor:"where" required:"" help:"Create the topic at every master of a cluster."`
	Topic         string `short:"t" name:"topic" required:"" help:"Topic name."`
	ReadQueueNum  int32  `short:"r" name:"readQueueNums" default:"8" help:"Read queues."`
	WriteQueueNum int32  `short:"w" name:"writeQueueNums" default:"8" help:"Write queues."`
	Perm          int32  `short:"p" name:"perm" default:"6" enum:"2,4,6" help:"Permission: 2 W, 4 R, 6 RW."`
	Order         string `short:"o" name:"order" default:"false" help:"true: an ordered topic."`
	Unit          string `short:"u" name:"unit" default:"false" help:"true: a unit topic."`
	HasUnitSub    string `short:"s" name:"hasUnitSub" default:"false" help:"true: has unit subscriptions."`
}

func (f *updateTopic) Run(e *Env) error {
	ordered := strings.EqualFold(f.Order, "true")
	var flag int32
	if strings.EqualFold(f.Unit, "true") {
		flag |= 1
	}
	if strings.EqualFold(f.HasUnitSub, "true") {
		flag |= 2
	}
	addrs := []string{f.BrokerAddr}
	if f.ClusterName != "" {
		var err error
		if addrs, err = e.C.Masters(e.Ctx, f.ClusterName); err != nil {
			return err
		}
		if len(addrs) == 0 {
			return fmt.Errorf("cluster %s has no master that could hold topic %s", f.ClusterName, f.Topic)
		}
	}
	req := protocol.UpdateTopicRequest{
		Topic: f.Topic, DefaultTopic: message.AutoCreateTopic, ReadQueueNums: f.ReadQueueNum, WriteQueueNums: f.WriteQueueNum,
		Perm: f.Perm, TopicFilterType: "SINGLE_TAG", TopicSysFlag: flag, Order: ordered,
	}
	// As mqadmin: one broker's share of an ordered topic is told before its line, a cluster's after all lines.
	var done []string
	for _, a := range addrs {
		if _, _, err := client.Call(e.Ctx, e.C, a, protocol.UpdateAndCreateTopic, &req); err != nil {
			return err
		}
		line := fmt.Sprintf("create topic to %s success.\n", a)
		if f.BrokerAddr == "" {
			e.printf("%s", line)
			continue
		}
		done = append(done, line)
	}
	if ordered {
		if err := f.orderConf(e); err != nil {
			return err
		}
	}
	e.printf("%s", strings.Join(done, ""))
	e.printf("TopicConfig [topicName=%s, readQueueNums=%d, writeQueueNums=%d, perm=%s, topicFilterType=SINGLE_TAG, topicSysFlag=%d, order=%t]\n",
		f.Topic, f.ReadQueueNum, f.WriteQueueNum, permText(f.Perm), flag, ordered)
	return nil
}

// orderConf tells every name server how many queues of an ordered topic each broker holds.
func (f *updateTopic) orderConf(e *Env) error {
	info, err := e.C.ClusterInfo(e.Ctx)
	if err != nil {
		return err
	}
	conf := map[string]string{}
	if f.BrokerAddr != "" { // one broker's share is merged into what is there
		old, _, err := client.Ask(e.Ctx, e.C, protocol.GetKVConfig, &protocol.KVConfigRequest{Namespace: protocol.NamespaceOrderTopic, Key: f.Topic})
		if err == nil {
			for _, part := range strings.Split(old.Value, ";") {
				if name, n, ok := strings.Cut(part, ":"); ok {
					conf[name] = n
				}
			}
		}
	}
	for name, b := range info.BrokerAddrTable {
		for _, a := range b.BrokerAddrs {
			if (f.BrokerAddr != "" && a == f.BrokerAddr) || (f.ClusterName != "" && b.Cluster == f.ClusterName) {
				conf[name] = fmt.Sprint(f.WriteQueueNum)
			}
		}
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(conf)) {
		parts = append(parts, name+":"+conf[name])
	}
	value := strings.Join(parts, ";")
	for _, ns := range e.C.NameServers() {
		if _, _, err := client.Call(e.Ctx, e.C, ns, protocol.PutKVConfig, &protocol.PutKVConfigRequest{Namespace: protocol.NamespaceOrderTopic, Key: f.Topic, Value: value}); err != nil {
			return err
		}
	}
	scope := "cluster"
	if f.BrokerAddr != "" {
		scope = "broker"
	}
	e.printf("set %s orderConf. isOrder=true, orderConf=[%s]\n", scope, value)
	return nil
}

func permText(p int32) string {
	b := []byte("---")
	if p&protocol.PermRead != 0 {
		b[0] = 'R'
	}
	if p&protocol.PermWrite != 0 {
		b[1] = 'W'
	}
	if p&protocol.PermInherit != 0 {
		b[2] = 'X'
	}
	return string(b)
}

type deleteTopic struct {
	target
	Topic       string `short:"t" name:"topic" required:"" help:"Topic name."`
	ClusterName string `short:"c" name:"clusterName" required:"" help:"Cluster to delete it from."`
}

func (f *deleteTopic) Run(e *Env) error {
	addrs, err := e.C.Masters(e.Ctx, f.ClusterName)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if _, _, err := client.Call(e.Ctx, e.C, a, protocol.DeleteTopicInBroker, &protocol.TopicRequest{Topic: f.Topic}); err != nil {
			return err
		}
	}
	e.printf("delete topic [%s] from cluster [%s] success.\n", f.Topic, f.ClusterName)
	for _, ns := range e.C.NameServers() {
		if _, _, err := client.Call(e.Ctx, e.C, ns, protocol.DeleteTopicInNamesrv, &protocol.DeleteTopicInNamesrvRequest{Topic: f.Topic, ClusterName: f.ClusterName}); err != nil {
			return err
		}
	}
	e.printf("delete topic [%s] from NameServer success.\n", f.Topic)
	return nil
}

type updateTopicPerm struct {
	target
	place
	Topic string `short:"t" name:"topic" required:"" help:"Topic name."`
	Perm  int32  `short:"p" name:"perm" required:"" enum:"2,4,6" help:"Permission: 2 W, 4 R, 6 RW."`
}

func (f *updateTopicPerm) Run(e *Env) error {
	r, err := e.C.Route(e.Ctx, f.Topic)
	if err != nil {
		return err
	}
	return f.each(e, func(addr string) error {
		i := slices.IndexFunc(r.BrokerDatas, func(b *protocol.BrokerData) bool { return client.Master(b) == addr })
		if i < 0 {
			if f.BrokerAddr == "" {
				return nil // a master that does not hold the topic
			}
			return fmt.Errorf("is no master of topic %s", f.Topic)
		}
		at := slices.IndexFunc(r.QueueDatas, func(q *protocol.QueueData) bool { return q.BrokerName == r.BrokerDatas[i].BrokerName })
		if at < 0 {
			return fmt.Errorf("topic %s has no queue there", f.Topic)
		}
		return f.change(e, addr, r.QueueDatas[at])
	})
}

// change keeps everything of the broker's own topic but its permission; mqadmin takes the queue numbers of some other broker.
func (f *updateTopicPerm) change(e *Env, addr string, q *protocol.QueueData) error {
	if q.Perm == f.Perm {
		e.printf("new perm equals to the old one!\n")
		return nil
	}
	req := protocol.UpdateTopicRequest{
		Topic: f.Topic, DefaultTopic: message.AutoCreateTopic, ReadQueueNums: q.ReadQueueNums, WriteQueueNums: q.WriteQueueNums,
		Perm: f.Perm, TopicFilterType: "SINGLE_TAG", TopicSysFlag: q.TopicSysFlag,
	}
	if _, _, err := client.Call(e.Ctx, e.C, addr, protocol.UpdateAndCreateTopic, &req); err != nil {
		return err
	}
	e.printf("update topic perm from %d to %d in %s success.\n", q.Perm, f.Perm, addr)
	if f.BrokerAddr != "" {
		e.printf("TopicConfig [topicName=%s, readQueueNums=%d, writeQueueNums=%d, perm=%s, topicFilterType=SINGLE_TAG, topicSysFlag=%d, order=false].\n",
			f.Topic, q.ReadQueueNums, q.WriteQueueNums, permText(f.Perm), q.TopicSysFlag)
	}
	return nil
}
