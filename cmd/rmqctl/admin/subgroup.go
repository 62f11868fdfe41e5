// Settings of consumer groups: updateSubGroup, deleteSubGroup.
package admin

import (
	"strings"

	"rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

type updateSubGroup struct {
	target
	place
	GroupName        string `short:"g" name:"groupName" required:"" help:"Consumer group."`
	ConsumeEnable    string `short:"s" name:"consumeEnable" default:"true" help:"false: the group may not read."`
	FromMin          string `short:"m" name:"consumeFromMinEnable" default:"false" help:"true: a new group starts with the oldest message."`
	Broadcast        string `short:"d" name:"consumeBroadcastEnable" default:"false" help:"true: members may all read everything."`
	RetryQueueNums   int32  `short:"q" name:"retryQueueNums" default:"1" help:"Queues of the retry topic."`
	RetryMaxTimes    int32  `short:"r" name:"retryMaxTimes" default:"16" help:"Deliveries after the first before a message is put aside."`
	BrokerID         int64  `short:"i" name:"brokerId" default:"0" help:"Broker the group reads from."`
	WhenSlow         int64  `short:"w" name:"whichBrokerWhenConsumeSlowly" default:"1" help:"Broker a group reads from that is far behind."`
	NotifyIDsChanged string `short:"a" name:"notifyConsumerIdsChanged" default:"true" help:"Tell members when others come and go."`
}

func (f *updateSubGroup) Run(e *Env) error {
	c := protocol.SubscriptionGroupConfig{
		GroupName: f.GroupName, ConsumeEnable: isTrue(f.ConsumeEnable), ConsumeFromMinEnable: isTrue(f.FromMin), ConsumeBroadcastEnable: isTrue(f.Broadcast),
		RetryQueueNums: f.RetryQueueNums, RetryMaxTimes: f.RetryMaxTimes, BrokerID: f.BrokerID, WhichBrokerWhenConsumeSlowly: f.WhenSlow,
		NotifyConsumerIdsChangedEnable: isTrue(f.NotifyIDsChanged),
	}
	err := f.each(e, func(addr string) error {
		if _, _, err := client.Call(e.Ctx, e.C, addr, protocol.UpdateAndCreateSubscriptionGroup, nil, protocol.Marshal(&c)); err != nil {
			return err
		}
		e.printf("create subscription group to %s success.\n", addr)
		return nil
	})
	if err != nil {
		return err
	}
	e.printf("SubscriptionGroupConfig [groupName=%s, consumeEnable=%t, consumeFromMinEnable=%t, consumeBroadcastEnable=%t, retryQueueNums=%d, retryMaxTimes=%d, brokerId=%d, whichBrokerWhenConsumeSlowly=%d, notifyConsumerIdsChangedEnable=%t]\n",
		c.GroupName, c.ConsumeEnable, c.ConsumeFromMinEnable, c.ConsumeBroadcastEnable, c.RetryQueueNums, c.RetryMaxTimes, c.BrokerID, c.WhichBrokerWhenConsumeSlowly, c.NotifyConsumerIdsChangedEnable)
	return nil
}

// isTrue reads mqadmin's truth values: everything but "true" is false.
func isTrue(s string) bool { return strings.EqualFold(strings.TrimSpace(s), "true") }

type deleteSubGroup struct {
	target
	place
	GroupName    string `short:"g" name:"groupName" required:"" help:"Consumer group."`
	RemoveOffset string `short:"r" name:"removeOffset" default:"false" help:"true: forget its offsets, too."`
}

func (f *deleteSubGroup) Run(e *Env) error {
	req := protocol.DeleteGroupRequest{GroupName: f.GroupName, RemoveOffset: isTrue(f.RemoveOffset), CleanOffset: isTrue(f.RemoveOffset)}
	err := f.each(e, func(addr string) error {
		if _, _, err := client.Call(e.Ctx, e.C, addr, protocol.DeleteSubscriptionGroup, &req); err != nil {
			return err
		}
		if f.BrokerAddr != "" {
			e.printf("delete subscription group [%s] from broker [%s] success.\n", f.GroupName, addr)
		} else {
			e.printf("delete subscription group [%s] from broker [%s] in cluster [%s] success.\n", f.GroupName, addr, f.ClusterName)
		}
		return nil
	})
	if err != nil || f.BrokerAddr != "" {
		return err
	}
	for _, topic := range []string{message.RetryTopic(f.GroupName), message.DLQTopic(f.GroupName)} {
		if err := (&deleteTopic{Topic: topic, ClusterName: f.ClusterName}).Run(e); err != nil {
			return err
		}
	}
	return nil
}
