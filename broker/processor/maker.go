// Topics and groups that come into being because somebody uses them.

package processor

import (
	"log/slog"
	"strings"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/group"
	"rmqctl/broker/role"
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
	Record     func(c *Change) error         // of a raft group: returns when a majority has the change and it is made here; else nil
	Role       *role.Holder
}

// Change is one change of topics or groups that the members of a raft group have in common. Exactly one field before New
// is set.
type Change struct {
	Topic       *protocol.TopicConfig             `json:"topic"`
	Group       *protocol.SubscriptionGroupConfig `json:"group"`
	DeleteTopic string                            `json:"deleteTopic,omitempty"`
	DeleteGroup string                            `json:"deleteGroup,omitempty"`
	Leader      *LeaderAt                         `json:"leader"`

	New     bool `json:"new,omitempty"`     // only if there is none of that name
	Offsets bool `json:"offsets,omitempty"` // with DeleteGroup: what it has consumed is forgotten, too
}

// LeaderAt says where clients and members reach a new leader.
type LeaderAt struct {
	ID   string `json:"id"`
	Addr string `json:"addr"`
}

// Make makes the change in the tables.
func (c *Change) Make(topics *topic.Table, groups *group.Configs, now time.Time) {
	switch {
	case c.Topic != nil && c.New:
		topics.PutNew(c.Topic.TopicName, c.Topic, now)
	case c.Topic != nil:
		topics.Put(c.Topic.TopicName, c.Topic, now)
	case c.Group != nil && c.New:
		groups.PutNew(c.Group.GroupName, c.Group, now)
	case c.Group != nil:
		groups.Put(c.Group.GroupName, c.Group, now)
	case c.DeleteTopic != "":
		topics.Delete(c.DeleteTopic, now)
	case c.DeleteGroup != "":
		groups.Delete(c.DeleteGroup, now)
	}
}

// change makes a change here, and in a raft group at the others first.
func (m *Maker) change(c *Change) error {
	if m.Record != nil {
		return m.Record(c)
	}
	c.Make(m.Topics, m.Groups, m.Clock.Now())
	return nil
}

// DeleteTopic forgets a topic.
func (m *Maker) DeleteTopic(name string) error {
	if err := m.change(&Change{DeleteTopic: name}); err != nil {
		return err
	}
	return m.SaveTopics()
}

// PutGroup stores a group's configuration as it stands.
func (m *Maker) PutGroup(g *protocol.SubscriptionGroupConfig) error {
	return m.change(&Change{Group: g})
}

// DeleteGroup forgets a group.
func (m *Maker) DeleteGroup(name string, offsets bool) error {
	if err := m.change(&Change{DeleteGroup: name, Offsets: offsets}); err != nil {
		return err
	}
	return m.SaveGroups()
}

// Put stores a topic's configuration as it stands.
func (m *Maker) Put(c *protocol.TopicConfig) error {
	if err := m.change(&Change{Topic: c}); err != nil {
		return err
	}
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
	stands, isNew, err := m.putNew(c)
	if err == nil {
		err = m.SaveTopics()
	}
	if err != nil {
		return nil, err
	}
	if isNew {
		m.Log.Info("topic made", "topic", c.TopicName, "queues", c.WriteQueueNums)
		m.Announce(stands)
	}
	return stands, nil
}

func (m *Maker) putNew(c *protocol.TopicConfig) (stands *protocol.TopicConfig, isNew bool, err error) {
	if m.Record == nil {
		stands, isNew = m.Topics.PutNew(c.TopicName, c, m.Clock.Now())
		return stands, isNew, nil
	}
	if err := m.Record(&Change{Topic: c, New: true}); err != nil {
		return nil, false, err
	}
	stands, ok := m.Topics.Get(c.TopicName)
	if !ok { // somebody has deleted it at the same time
		return nil, false, protocol.Errorf(protocol.TopicNotExist, "topic[%s] not exist, apply first please!%s", c.TopicName, seeURL)
	}
	return stands, true, nil
}

// Group is the group's configuration, made when groups are made by themselves; nil when there is none.
func (m *Maker) Group(name string) *protocol.SubscriptionGroupConfig {
	create := m.Role.Takes() && (m.Config.Load().AutoCreateSubscriptionGroup || strings.HasPrefix(name, message.SystemGroupPrefix))
	g, isNew, err := m.findGroup(name, create)
	if err != nil {
		m.Log.Warn("make group", "group", name, "err", err)
	}
	if isNew {
		m.Log.Info("group made", "group", name)
		if err := m.SaveGroups(); err != nil {
			m.Log.Error("save groups", "group", name, "err", err)
		}
	}
	if g == nil && !m.Role.Takes() && m.Config.Load().AutoCreateSubscriptionGroup {
		return group.New(name) // the master will make it; until then it has its defaults here too
	}
	return g
}

func (m *Maker) findGroup(name string, create bool) (g *protocol.SubscriptionGroupConfig, isNew bool, err error) {
	if m.Record == nil {
		g, isNew = m.Groups.Find(name, create, m.Clock.Now())
		return g, isNew, nil
	}
	if g, known := m.Groups.Get(name); known || !create {
		return g, false, nil
	}
	if err := m.Record(&Change{Group: group.New(name), New: true}); err != nil {
		return nil, false, err
	}
	g, isNew = m.Groups.Get(name)
	return g, isNew, nil
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
