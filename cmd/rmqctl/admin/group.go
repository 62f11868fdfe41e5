// Groups and traffic: consumerProgress, statsAll.
package admin

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

type consumerProgress struct {
	target
	GroupName    string `short:"g" name:"groupName" help:"One group; else all."`
	ShowClientIP string `short:"s" name:"showClientIP" default:"false" help:"true: who reads which queue."`
}

func (f *consumerProgress) Run(e *Env) error {
	if f.GroupName == "" {
		return allProgress(e)
	}
	stats, err := consumeStats(e, f.GroupName)
	if err != nil {
		return err
	}
	if len(stats.OffsetTable) == 0 {
		return protocol.Errorf(protocol.ConsumerNotOnline, "Not found the consumer group consume stats, because return offset table is empty, maybe the consumer not consume any message")
	}
	showIP := strings.EqualFold(f.ShowClientIP, "true")
	var who map[protocol.MessageQueue]string
	if showIP {
		who = readers(e, f.GroupName)
		e.printf("%-64s  %-32s  %-4s  %-20s  %-20s  %-20s %-20s  %s\n", "#Topic", "#Broker Name", "#QID", "#Broker Offset", "#Consumer Offset", "#Client IP", "#Diff", "#LastTime")
	} else {
		e.printf("%-64s  %-32s  %-4s  %-20s  %-20s  %-20s  %s\n", "#Topic", "#Broker Name", "#QID", "#Broker Offset", "#Consumer Offset", "#Diff", "#LastTime")
	}
	var total int64
	for _, q := range sortedQueues(stats.OffsetTable) {
		o := stats.OffsetTable[q]
		diff := o.BrokerOffset - o.ConsumerOffset
		total += diff
		last := "N/A"
		if o.LastTimestamp > 0 {
			last = plainTime(o.LastTimestamp)
		}
		if showIP {
			ip := who[q]
			if ip == "" {
				ip = "N/A"
			}
			e.printf("%-64s  %-32s  %-4d  %-20d  %-20d  %-20s %-20d  %s\n", cut(q.Topic, 64), cut(q.BrokerName, 32), q.QueueID, o.BrokerOffset, o.ConsumerOffset, ip, diff, last)
			continue
		}
		e.printf("%-64s  %-32s  %-4d  %-20d  %-20d  %-20d  %s\n", cut(q.Topic, 64), cut(q.BrokerName, 32), q.QueueID, o.BrokerOffset, o.ConsumerOffset, diff, last)
	}
	e.printf("\nConsume TPS: %.2f\nDiff Total: %d\n", stats.ConsumeTPS, total)
	return nil
}

// consumeStats joins what the brokers of a group's retry topic say.
func consumeStats(e *Env, group string) (*protocol.ConsumeStats, error) {
	r, err := e.C.Route(e.Ctx, message.RetryTopic(group))
	if errors.Is(err, client.ErrNoRoute) {
		return nil, fmt.Errorf("group %s has never been online: %w", group, err)
	}
	if err != nil {
		return nil, err
	}
	all := &protocol.ConsumeStats{OffsetTable: map[protocol.MessageQueue]protocol.OffsetWrapper{}}
	for _, b := range r.BrokerDatas {
		s, err := client.CallJSON[protocol.ConsumeStats](e.Ctx, e.C, client.AnyReplica(b), protocol.GetConsumeStats, &protocol.GetConsumeStatsRequest{ConsumerGroup: group})
		if err != nil {
			return nil, err
		}
		maps.Copy(all.OffsetTable, s.OffsetTable)
		all.ConsumeTPS += s.ConsumeTPS
	}
	return all, nil
}

// members are the clients of a group, as the first broker knows them that knows any, and that broker's address.
func members(e *Env, group string) (c *protocol.ConsumerConnection, addr string, err error) {
	r, err := e.C.Route(e.Ctx, message.RetryTopic(group))
	if err != nil {
		return nil, "", err
	}
	err = protocol.Errorf(protocol.ConsumerNotOnline, "the consumer group[%s] not online", group)
	for _, b := range r.BrokerDatas {
		addr = client.AnyReplica(b)
		if c, err = client.CallJSON[protocol.ConsumerConnection](e.Ctx, e.C, addr, protocol.GetConsumerConnectionList, &protocol.ConsumerGroupRequest{ConsumerGroup: group}); err == nil {
			return c, addr, nil
		}
	}
	return nil, "", err
}

// readers asks every client of a group which queues it reads.
func readers(e *Env, group string) map[protocol.MessageQueue]string {
	out := map[protocol.MessageQueue]string{}
	conns, addr, err := members(e, group)
	if err != nil {
		return out
	}
	for _, c := range conns.Connections {
		info, err := client.CallJSON[protocol.ConsumerRunningInfo](e.Ctx, e.C, addr, protocol.GetConsumerRunningInfo, &protocol.ConsumerRunningInfoRequest{ConsumerGroup: group, ClientID: c.ClientID})
		if err != nil {
			continue
		}
		ip, _, _ := strings.Cut(c.ClientID, "@")
		for q := range info.MQTable {
			out[q] = ip
		}
	}
	return out
}

func allProgress(e *Env) error {
	topics, err := e.C.Topics(e.Ctx)
	if err != nil {
		return err
	}
	e.printf("%-64s  %-6s  %-24s %-5s  %-14s  %-7s  %s\n", "#Group", "#Count", "#Version", "#Type", "#Model", "#TPS", "#Diff Total")
	for _, t := range topics {
		group, ok := strings.CutPrefix(t, message.RetryPrefix)
		if !ok {
			continue
		}
		var diff int64
		var tps float64
		if s, err := consumeStats(e, group); err == nil {
			tps = s.ConsumeTPS
			for _, o := range s.OffsetTable {
				diff += o.BrokerOffset - o.ConsumerOffset
			}
		}
		count, version, kind, model := 0, "OFFLINE", "", ""
		if c, _, err := members(e, group); err == nil && len(c.Connections) > 0 {
			count = len(c.Connections)
			lowest := slices.MinFunc(c.Connections, func(a, b protocol.Connection) int { return int(a.Version - b.Version) })
			version = protocol.VersionName(lowest.Version)
			kind = "PULL"
			if c.ConsumeType == protocol.ConsumePassively {
				kind, model = "PUSH", c.MessageModel
			}
		}
		e.printf("%-64s  %-6d  %-24s %-5s  %-14s  %-7d  %d\n", cut(group, 64), count, version, kind, model, int64(tps), diff)
	}
	return nil
}

type statsAll struct {
	target
	ActiveTopic bool   `short:"a" name:"activeTopic" help:"Only topics with traffic in the last 24 hours."`
	Topic       string `short:"t" name:"topic" help:"Only this topic."`
}

func (f *statsAll) Run(e *Env) error {
	topics, err := e.C.Topics(e.Ctx)
	if err != nil {
		return err
	}
	e.printf("%-64s  %-64s %12s %11s %11s %14s %14s\n", "#Topic", "#Consumer Group", "#Accumulation", "#InTPS", "#OutTPS", "#InMsg24Hour", "#OutMsg24Hour")
	var failed error
	for _, t := range topics {
		if message.IsRetryTopic(t) || message.IsDLQTopic(t) || (f.Topic != "" && f.Topic != t) {
			continue
		}
		failed = errors.Join(failed, f.topic(e, t))
	}
	return failed
}

func (f *statsAll) topic(e *Env, topic string) error {
	r, err := e.C.Route(e.Ctx, topic)
	if err != nil {
		return err
	}
	inTPS, in24 := traffic(e, r, "TOPIC_PUT_NUMS", topic)
	groups := groupsOf(e, topic)
	if len(groups) == 0 {
		if !f.ActiveTopic || in24 > 0 {
			e.printf("%-64s  %-64s %12d %11.2f %11s %14d %14s\n", cut(topic, 64), "", 0, inTPS, "", in24, "NO_CONSUMER")
		}
		return nil
	}
	for _, g := range groups {
		outTPS, out24 := traffic(e, r, "GROUP_GET_NUMS", topic+"@"+g)
		if f.ActiveTopic && in24 == 0 && out24 == 0 {
			continue
		}
		e.printf("%-64s  %-64s %12d %11.2f %11.2f %14d %14d\n", cut(topic, 64), cut(g, 64), max(backlog(e, r, g, topic), 0), inTPS, outTPS, in24, out24)
	}
	return nil
}

// traffic sums one statistic over the masters of a route: messages per second in the last minute, messages of the day. A broker
// without the statistic has had no traffic.
func traffic(e *Env, r *protocol.TopicRouteData, name, key string) (tps float64, day int64) {
	for _, b := range r.BrokerDatas {
		if client.Master(b) == "" {
			continue
		}
		s, err := client.CallJSON[protocol.BrokerStatsData](e.Ctx, e.C, client.Master(b), protocol.ViewBrokerStatsData, &protocol.ViewBrokerStatsRequest{StatsName: name, StatsKey: key})
		if err != nil {
			continue
		}
		tps += s.Minute.TPS
		switch {
		case s.Day.Sum > 0:
			day += s.Day.Sum
		case s.Hour.Sum > 0:
			day += s.Hour.Sum
		default:
			day += s.Minute.Sum
		}
	}
	return tps, day
}

func backlog(e *Env, r *protocol.TopicRouteData, group, topic string) (diff int64) {
	for _, b := range r.BrokerDatas {
		s, err := client.CallJSON[protocol.ConsumeStats](e.Ctx, e.C, client.AnyReplica(b), protocol.GetConsumeStats, &protocol.GetConsumeStatsRequest{ConsumerGroup: group, Topic: topic})
		if err != nil {
			continue
		}
		for _, o := range s.OffsetTable {
			diff += o.BrokerOffset - o.ConsumerOffset
		}
	}
	return diff
}
