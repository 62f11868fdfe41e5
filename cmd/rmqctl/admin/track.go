// Who has consumed a message: the last part of queryMsgById and queryMsgByUniqueKey.
package admin

import (
	"errors"
	"fmt"
	"slices"

	"rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

func printTracks(e *Env, m *message.Message) error {
	groups := groupsOf(e, m.Topic)
	if len(groups) == 0 {
		e.printf("\n\nWARN: No Consumer\n")
		return nil
	}
	info, err := e.C.ClusterInfo(e.Ctx)
	if err != nil {
		return err
	}
	e.printf("\n\n")
	for _, g := range groups {
		kind, why := track(e, info, g, m)
		e.printf("MessageTrack [consumerGroup=%s, trackType=%s, exceptionDesc=%s]\n", g, kind, why)
	}
	return nil
}

// track tells whether a group has consumed a message: its offset in the message's queue is beyond it.
func track(e *Env, info *protocol.ClusterInfo, group string, m *message.Message) (kind, why string) {
	c, _, err := members(e, group)
	if err != nil {
		if protocol.StatusOf(err) == protocol.ConsumerNotOnline {
			return "NOT_ONLINE", describe(err)
		}
		return "UNKNOWN", describe(err)
	}
	if c.ConsumeType != protocol.ConsumePassively {
		return "PULL", "null"
	}
	s, err := consumeStats(e, group)
	if err != nil {
		return "UNKNOWN", describe(err)
	}
	for q, o := range s.OffsetTable {
		b := info.BrokerAddrTable[q.BrokerName]
		if q.Topic != m.Topic || q.QueueID != m.QueueID || b == nil || client.Master(b) != m.StoreHost.String() || o.ConsumerOffset <= m.QueueOffset {
			continue
		}
		if sub := c.Subscriptions[m.Topic]; sub != nil && filtered(sub, m) {
			return "CONSUMED_BUT_FILTERED", "null"
		}
		return "CONSUMED", "null"
	}
	return "NOT_CONSUME_YET", "null"
}

// filtered: the group does not want the message's tag.
func filtered(s *protocol.SubscriptionData, m *message.Message) bool {
	return s.SubString != "*" && len(s.TagsSet) > 0 && !slices.Contains(s.TagsSet, property(m, message.PropTags))
}

// describe is an error in the words of mqadmin.
func describe(err error) string {
	var refused *protocol.Error
	if !errors.As(err, &refused) {
		return err.Error()
	}
	return fmt.Sprintf("CODE:%d DESC:%s", refused.Status, refused.Remark)
}
