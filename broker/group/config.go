// Package group keeps what the broker knows of producer and consumer groups: their configuration
// (config/subscriptionGroup.json), the clients that are connected for them, and who holds which order lock.
package group

import (
	"fmt"
	"sync/atomic"
	"time"

	"rmqctl/internal/journal"
	"rmqctl/internal/jsonfile"
	"rmqctl/internal/protocol"
	"rmqctl/internal/vfs"
)

// Configs is the set of group configurations; values are never changed in place. Safe for concurrent use.
type Configs struct {
	journal.Table[*protocol.SubscriptionGroupConfig]
	forbidden atomic.Pointer[protocol.Raw] // RocketMQ 5's forbiddenTable: kept in the file as it was found
}

// New is the configuration a group has when nobody made one.
func New(name string) *protocol.SubscriptionGroupConfig {
	return &protocol.SubscriptionGroupConfig{
		GroupName:                      name,
		ConsumeEnable:                  true,
		ConsumeFromMinEnable:           true,
		ConsumeBroadcastEnable:         true,
		RetryQueueNums:                 1,
		RetryMaxTimes:                  16,
		BrokerID:                       0,
		WhichBrokerWhenConsumeSlowly:   1,
		NotifyConsumerIdsChangedEnable: true,
	}
}

// systemGroups are there from the start, whether or not groups are made by themselves.
var systemGroups = []string{
	"TOOLS_CONSUMER", "FILTERSRV_CONSUMER", "SELF_TEST_C_GROUP", "CID_ONS-HTTP-PROXY", "CID_ONSAPI_PULL",
	"CID_ONSAPI_PERMISSION", "CID_ONSAPI_OWNER", "CID_RMQ_SYS_TRANS",
}

// AddSystem puts the system groups that are missing.
func (c *Configs) AddSystem(now time.Time) {
	for _, name := range systemGroups {
		c.PutNew(name, New(name), now)
	}
}

// Find is the group's configuration; with create a missing one is made, and isNew says the file must be saved.
func (c *Configs) Find(name string, create bool, now time.Time) (g *protocol.SubscriptionGroupConfig, isNew bool) {
	if g, ok := c.Get(name); ok {
		return g, false
	}
	if !create {
		return nil, false
	}
	return c.PutNew(name, New(name), now)
}

// Load fills the set from the file and the journal beside it; missing ones leave it empty.
func (c *Configs) Load(fsys vfs.FS, name string) error { return c.Table.Load(fsys, name, c.codec()) }

// Commit makes every change so far survive a power cut; the file may follow later, see package journal.
func (c *Configs) Commit(fsys vfs.FS, name string, now time.Time) error {
	return c.Table.Commit(fsys, name, c.codec(), now)
}

// Save writes the file if anything differs from it.
func (c *Configs) Save(fsys vfs.FS, name string) error { return c.Table.Save(fsys, name, c.codec()) }

var codec = journal.Codec[*protocol.SubscriptionGroupConfig]{
	Decode: Decode, Encode: Encode,
	EncodeRow: func(g *protocol.SubscriptionGroupConfig) ([]byte, error) { return protocol.EncodeStandardJSON(g) },
	DecodeRow: func(name string, b []byte) (*protocol.SubscriptionGroupConfig, error) {
		g := &protocol.SubscriptionGroupConfig{}
		err := protocol.DecodeJSON(b, g)
		g.GroupName = name
		return g, err
	},
}

// codec is that of the file: with what it holds beside the groups.
func (c *Configs) codec() journal.Codec[*protocol.SubscriptionGroupConfig] {
	own := codec
	own.Decode = func(b []byte) (map[string]*protocol.SubscriptionGroupConfig, jsonfile.Version, error) {
		rows, version, err := Decode(b)
		var rest struct {
			Forbidden protocol.Raw `json:"forbiddenTable"`
		}
		if err == nil {
			err = protocol.DecodeJSON(b, &rest)
		}
		if err == nil {
			c.forbidden.Store(&rest.Forbidden)
		}
		return rows, version, err
	}
	own.Encode = func(rows map[string]*protocol.SubscriptionGroupConfig, v jsonfile.Version) ([]byte, error) {
		t := table(rows, v)
		if f := c.forbidden.Load(); f != nil {
			t.ForbiddenTable = *f
		}
		return protocol.EncodeJSON(t)
	}
	return own
}

// Decode reads RocketMQ's text, the one of the file and of GET_ALL_SUBSCRIPTIONGROUP_CONFIG.
func Decode(b []byte) (map[string]*protocol.SubscriptionGroupConfig, jsonfile.Version, error) {
	var w protocol.SubscriptionGroupTable
	if err := protocol.DecodeJSON(b, &w); err != nil {
		return nil, jsonfile.Version{}, err
	}
	rows := make(map[string]*protocol.SubscriptionGroupConfig, len(w.Groups))
	for name, g := range w.Groups {
		if g == nil {
			return nil, jsonfile.Version{}, fmt.Errorf("group table: %q has no configuration", name)
		}
		g.GroupName = name
		rows[name] = g
	}
	return rows, jsonfile.Version{Counter: w.DataVersion.Counter, Timestamp: w.DataVersion.Timestamp}, nil
}

// Encode writes RocketMQ's text, compact.
func Encode(rows map[string]*protocol.SubscriptionGroupConfig, v jsonfile.Version) ([]byte, error) {
	return protocol.EncodeJSON(table(rows, v))
}

func table(rows map[string]*protocol.SubscriptionGroupConfig, v jsonfile.Version) *protocol.SubscriptionGroupTable {
	return &protocol.SubscriptionGroupTable{
		DataVersion: protocol.DataVersion{Counter: v.Counter, Timestamp: v.Timestamp},
		Groups:      rows,
	}
}
