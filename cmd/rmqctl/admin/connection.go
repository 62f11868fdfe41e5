// Who is connected: consumerConnection, producerConnection.
package admin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
)

type consumerConnection struct {
	target
	ConsumerGroup string `short:"g" name:"consumerGroup" required:"" help:"Consumer group."`
	BrokerAddr    string `short:"b" name:"brokerAddr" help:"Ask this broker; else one of the group's."`
}

func (f *consumerConnection) Run(e *Env) error {
	c, err := f.connections(e)
	if err != nil {
		return err
	}
	slices.SortFunc(c.Connections, func(a, b protocol.Connection) int { return cmp.Compare(a.ClientID, b.ClientID) })
	e.printf("%-36s %-22s %-10s %s\n", "#ClientId", "#ClientAddr", "#Language", "#Version")
	for _, m := range c.Connections {
		e.printf("%-36s %-22s %-10s %s\n", m.ClientID, m.ClientAddr, m.Language, protocol.VersionName(m.Version))
	}
	e.printf("\nBelow is subscription:\n%-20s %s\n", "#Topic", "#SubExpression")
	for _, topic := range slices.Sorted(maps.Keys(c.Subscriptions)) {
		e.printf("%-20s %s\n", topic, c.Subscriptions[topic].SubString)
	}
	e.printf("\nConsumeType: %s\nMessageModel: %s\nConsumeFromWhere: %s\n", c.ConsumeType, c.MessageModel, c.ConsumeFromWhere)
	return nil
}

func (f *consumerConnection) connections(e *Env) (*protocol.ConsumerConnection, error) {
	if f.BrokerAddr != "" {
		return client.CallJSON[protocol.ConsumerConnection](e.Ctx, e.C, f.BrokerAddr, protocol.GetConsumerConnectionList, &protocol.ConsumerGroupRequest{ConsumerGroup: f.ConsumerGroup})
	}
	c, _, err := members(e, f.ConsumerGroup)
	return c, err
}

type producerConnection struct {
	target
	ProducerGroup string `short:"g" name:"producerGroup" required:"" help:"Producer group."`
	Topic         string `short:"t" name:"topic" required:"" help:"Topic it has sent to."`
}

func (f *producerConnection) Run(e *Env) error {
	r, err := e.C.Route(e.Ctx, f.Topic)
	if err != nil {
		return err
	}
	if len(r.BrokerDatas) == 0 {
		return fmt.Errorf("topic %s: %w", f.Topic, client.ErrNoRoute)
	}
	addr := client.AnyReplica(r.BrokerDatas[0])
	c, err := client.CallJSON[protocol.ProducerConnection](e.Ctx, e.C, addr, protocol.GetProducerConnectionList, &protocol.ProducerGroupRequest{ProducerGroup: f.ProducerGroup})
	if err != nil {
		return at(addr, err)
	}
	slices.SortFunc(c.Connections, func(a, b protocol.Connection) int { return cmp.Compare(a.ClientID, b.ClientID) })
	for i, p := range c.Connections {
		e.printf("%04d  %-32s %-22s %-8s %s\n", i+1, p.ClientID, p.ClientAddr, p.Language, protocol.VersionName(p.Version))
	}
	return nil
}
