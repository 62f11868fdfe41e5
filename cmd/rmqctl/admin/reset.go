// Moving groups in time: resetOffsetByTime, skipAccumulatedMessage.
package admin

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
)

type resetOffsetByTime struct {
	target
	Group     string `short:"g" name:"group" required:"" help:"Consumer group."`
	Topic     string `short:"t" name:"topic" required:"" help:"Topic."`
	Timestamp string `short:"s" name:"timestamp" required:"" help:"now (the newest message), milliseconds, or yyyy-MM-dd#HH:mm:ss:SSS."`
	Force     string `short:"f" name:"force" default:"true" help:"false: only back, never forward."`
}

func (f *resetOffsetByTime) Run(e *Env) error {
	ms, err := moment(f.Timestamp)
	if err != nil {
		return err
	}
	r := reset{f.Group, f.Topic, ms, isTrue(f.Force)}
	online, err := r.online(e)
	if protocol.StatusOf(err) != protocol.ConsumerNotOnline {
		if err != nil {
			return err
		}
		e.printf("rollback consumer offset by specified group[%s], topic[%s], force[%t], timestamp(string)[%s], timestamp(long)[%d]\n", f.Group, f.Topic, r.force, f.Timestamp, ms)
		printOnline(e, online)
		return nil
	}
	rows, err := r.offline(e)
	e.printf("rollback consumer offset by specified consumerGroup[%s], topic[%s], force[%t], timestamp(string)[%s], timestamp(long)[%d]\n", f.Group, f.Topic, r.force, f.Timestamp, ms)
	printOffline(e, rows)
	return err
}

// moment reads mqadmin's three ways to name a point in time.
func moment(s string) (int64, error) {
	if s == "now" {
		return -1, nil
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return ms, nil
	}
	// Go reads a fraction after a point or a comma only, Java's text has a colon.
	if n := len(s); n > 4 && s[n-4] == ':' {
		if t, err := time.ParseInLocation("2006-01-02#15:04:05.000", s[:n-4]+"."+s[n-3:], time.Local); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("timestamp %q is neither now, nor milliseconds, nor yyyy-MM-dd#HH:mm:ss:SSS", s)
}

type skipAccumulatedMessage struct {
	target
	Group string `short:"g" name:"group" required:"" help:"Consumer group."`
	Topic string `short:"t" name:"topic" required:"" help:"Topic."`
	Force string `short:"f" name:"force" default:"true" help:"false: only back, never forward."`
}

func (f *skipAccumulatedMessage) Run(e *Env) error {
	r := reset{f.Group, f.Topic, -1, isTrue(f.Force)}
	online, err := r.online(e)
	if protocol.StatusOf(err) != protocol.ConsumerNotOnline {
		if err == nil {
			printOnline(e, online)
		}
		return err
	}
	rows, err := r.offline(e)
	printOffline(e, rows)
	return err
}

// reset moves a group on one topic; at -1 is the newest message.
type reset struct {
	group, topic string
	at           int64
	force        bool
}

// online lets the brokers tell the group's clients.
func (r reset) online(e *Env) (map[protocol.MessageQueue]int64, error) {
	route, err := e.C.Route(e.Ctx, r.topic)
	if err != nil {
		return nil, err
	}
	all := map[protocol.MessageQueue]int64{}
	for _, b := range route.BrokerDatas {
		addr := client.AnyReplica(b)
		t, err := client.CallJSON[protocol.ResetOffsetBody](e.Ctx, e.C, addr, protocol.InvokeBrokerResetOffset,
			&protocol.ResetOffsetRequest{Topic: r.topic, Group: r.group, Timestamp: r.at, Force: r.force})
		if err != nil {
			return nil, at(addr, err)
		}
		for q, off := range t.OffsetTable {
			all[q] = off
		}
	}
	return all, nil
}

func printOnline(e *Env, offsets map[protocol.MessageQueue]int64) {
	e.printf("%-40s  %-40s  %-40s\n", "#brokerName", "#queueId", "#offset")
	for _, q := range sortedQueues(offsets) {
		e.printf("%-40s  %-40d  %-40d\n", cut(q.BrokerName, 32), q.QueueID, offsets[q])
	}
}

// moved is what became of one queue of an offline group.
type moved struct {
	broker, consumer, target, now int64
}

// offline sets the offsets of a group that has no clients.
func (r reset) offline(e *Env) (map[protocol.MessageQueue]moved, error) {
	route, err := e.C.Route(e.Ctx, r.topic)
	if err != nil {
		return nil, err
	}
	rows := map[protocol.MessageQueue]moved{}
	for _, b := range route.BrokerDatas {
		addr := client.AnyReplica(b)
		have, err := r.known(e, addr)
		if err != nil {
			return rows, at(addr, err)
		}
		for q, o := range have {
			m, err := r.move(e, addr, q, o)
			if err != nil {
				return rows, at(addr, err)
			}
			rows[q] = m
		}
	}
	return rows, nil
}

// known are the group's offsets of the topic at one broker; of a group that has none, all queues at 0.
func (r reset) known(e *Env, addr string) (map[protocol.MessageQueue]protocol.OffsetWrapper, error) {
	out := map[protocol.MessageQueue]protocol.OffsetWrapper{}
	s, err := client.CallJSON[protocol.ConsumeStats](e.Ctx, e.C, addr, protocol.GetConsumeStats, &protocol.GetConsumeStatsRequest{ConsumerGroup: r.group})
	var refused *protocol.Error
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	if err == nil {
		for q, o := range s.OffsetTable {
			if q.Topic == r.topic {
				out[q] = o
			}
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	t, err := client.CallJSON[protocol.TopicStats](e.Ctx, e.C, addr, protocol.GetTopicStatsInfo, &protocol.TopicRequest{Topic: r.topic})
	if err != nil {
		return nil, err
	}
	for q, o := range t.OffsetTable {
		out[q] = protocol.OffsetWrapper{BrokerOffset: o.MaxOffset}
	}
	return out, nil
}

func (r reset) move(e *Env, addr string, q protocol.MessageQueue, o protocol.OffsetWrapper) (moved, error) {
	target, err := r.target(e, addr, q)
	if err != nil {
		return moved{}, err
	}
	m := moved{o.BrokerOffset, o.ConsumerOffset, target, o.ConsumerOffset}
	if r.force || target <= o.ConsumerOffset {
		m.now, err = target, e.C.Commit(e.Ctx, addr, r.group, q, target)
	}
	return m, err
}

func (r reset) target(e *Env, addr string, q protocol.MessageQueue) (int64, error) {
	if r.at == -1 {
		return e.C.MaxOffset(e.Ctx, addr, q)
	}
	t, _, err := client.Call(e.Ctx, e.C, addr, protocol.SearchOffsetByTimestamp, &protocol.SearchOffsetRequest{Topic: q.Topic, QueueID: q.QueueID, Timestamp: r.at})
	if err != nil {
		return 0, err
	}
	return t.Offset, nil
}

func printOffline(e *Env, rows map[protocol.MessageQueue]moved) {
	e.printf("%-20s  %-20s  %-20s  %-20s  %-20s  %-20s\n", "#brokerName", "#queueId", "#brokerOffset", "#consumerOffset", "#timestampOffset", "#rollbackOffset")
	for _, q := range sortedQueues(rows) {
		m := rows[q]
		e.printf("%-20s  %-20d  %-20d  %-20d  %-20d  %-20d\n", cut(q.BrokerName, 32), q.QueueID, m.broker, m.consumer, m.target, m.now)
	}
}
