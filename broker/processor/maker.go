// Topics and groups that come into being because somebody uses them.

package processor

import (
	"log/slog"
	"strings"

	"rmqctl/broker/config"
	"rmqctl/broker/group"
	"rmqctl/broker/topic"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

// Maker makes the topics and groups that requests ask for. A topic is in its file and known to every name server before
// the request that asked for it is answered.
type Maker struct {
	Config     *conf.Live[config.Config]
	Clock      clock.Clock
	Log        *slog.Logger
	Topics     *topic.Table
	Groups     *group.Configs
	SaveTopics func() error
	SaveGroups func() error
	Announce   func(c *protocol.TopicConfig) // tells all name servers; returns when they know or time is over
	Slave      func() bool
}

// Put stores a topic's configuration as it stands.
func (m *Maker) Put(c *protocol.TopicConfig) error {
	m.Topics.Put(c.TopicName, c, m.Clock.Now())
	if err := m.SaveTopics(); err != nil {
		return err
	}
	m.Announce(c)
	return nil
}

// ForSend is the topic of a send: the one there is, or one made after the template the client names. nil: it may not be
// made.
func (m *Maker) ForSend(name, template string, queues, sysFlag int32) (*protocol.TopicConfig, error) {
	if c, ok := m.Topics.Get(name); ok {
		return c, nil
	}
	t, ok := m.Topics.Get(template)
	if !ok || template == message.AutoCreateTopic && !m.Config.Load().AutoCreateTopicEnable {
		return nil, nil
	}
	c, ok := topic.From(t, name, queues, sysFlag)
	if !ok {
		return nil, nil
	}
	return m.makeNew(c)
}

// Internal is a topic of the broker's own making, such as a retry topic.
func (m *Maker) Internal(name string, queues, perm, sysFlag int32) (*protocol.TopicConfig, error) {
	if c, ok := m.Topics.Get(name); ok {
		return c, nil
	}
	c := topic.New(name, queues, perm)
	c.TopicSysFlag = sysFlag
	return m.makeNew(c)
}

// makeNew puts the topic unless somebody else just did. Those who make topics at the same time wait for the disk together.
func (m *Maker) makeNew(c *protocol.TopicConfig) (*protocol.TopicConfig, error) {
	stands, isNew := m.Topics.PutNew(c.TopicName, c, m.Clock.Now())
	if err := m.SaveTopics(); err != nil {
		return nil, err
	}
	if isNew {
		m.Log.Info("topic made", "topic", c.TopicName, "queues", c.WriteQueueNums)
		m.Announce(stands)
	}
	return stands, nil
}

// Group is the group's configuration, made when groups are made by themselves; nil when there is none.
func (m *Maker) Group(name string) *protocol.SubscriptionGroupConfig {
	create := !m.Slave() && (m.Config.Load().AutoCreateSubscriptionGroup || strings.HasPrefix(name, message.SystemGroupPrefix))
	g, isNew := m.Groups.Find(name, create, m.Clock.Now())
	if isNew {
		m.Log.Info("group made", "group", name)
		if err := m.SaveGroups(); err != nil {
			m.Log.Error("save groups", "group", name, "err", err)
		}
	}
	if g == nil && m.Slave() && m.Config.Load().AutoCreateSubscriptionGroup {
		return group.New(name) // the master will make it; until then it has its defaults here too
	}
	return g
}

// RetryTopic makes sure that the group has its retry topic.
func (m *Maker) RetryTopic(g *protocol.SubscriptionGroupConfig, sysFlag int32) (*protocol.TopicConfig, error) {
	return m.Internal(message.RetryTopic(g.GroupName), g.RetryQueueNums, protocol.PermRead|protocol.PermWrite, sysFlag)
}

// unitSubFlag marks a topic made for consumers of a unit.
func unitSubFlag(unit bool) int32 {
	if unit {
		return 2
	}
	return 0
}

// unitFlag marks a topic made by a producer of a unit.
func unitFlag(unit bool) int32 {
	if unit {
		return 1
	}
	return 0
}
