// Topics and groups of a raft group: they are made through the log.
//
// A change that an operator asks for, or that a first send or heartbeat brings, is a message in a topic that is in no table:
// no client sees it. The leader answers when the message is committed and made here. So whoever leads next has it, for a new
// leader has everything committed; it needs no second protocol and no second majority. Every member reads the queue of
// that topic from where its tables were saved last, so a member that was killed makes again what its files lack.
//
// The tables are copied from the leader as well (slavesync), as on any slave: that brings what the log does not hold any
// more, and the system topics. A copy may have been made before changes that are made here already; they are made again
// after it.

package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"rmqctl/broker/offset"
	"rmqctl/broker/processor"
	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/vfs"
)

const (
	changesTopic = message.SystemPrefix + "RMQCTL_GROUP_CHANGES"
	changesName  = "rmqctl-changes.json" // beside the tables
	// again is how many changes are made again after a copy of the leader's tables: more than can be under way at a time.
	again = 1000
)

// changes makes the group's changes in this broker's tables.
type changes struct {
	b    *Broker
	news chan struct{}

	mu     sync.Mutex // guards all below
	next   int64      // of the queue: what is below is made
	saved  int64      // the tables in the files have what is below
	made   chan struct{}
	leader map[string]string // by member: where clients reach it
}

func newChanges(b *Broker) *changes {
	return &changes{b: b, news: make(chan struct{}, 1), made: make(chan struct{}), leader: map[string]string{}}
}

type changesFile struct {
	Next int64 `json:"next"`
}

// load finds out from where on the tables lack changes.
func (c *changes) load() error {
	name := filepath.Join(c.b.o.Config.Load().ConfigDir(), changesName)
	text, err := vfs.ReadFile(c.b.o.FS, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var f changesFile
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		return fmt.Errorf("changes of the group that are made: %s: %w", name, err)
	}
	c.next, c.saved = f.Next, f.Next
	return nil
}

// save notes that the tables are in their files, after save has written them.
func (c *changes) save(save func() error) error {
	c.mu.Lock()
	next := c.next
	c.mu.Unlock()
	if err := save(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if next == c.saved {
		return nil
	}
	text, err := json.Marshal(changesFile{next})
	if err != nil {
		return err
	}
	if err := vfs.WriteFileAtomic(c.b.o.FS, filepath.Join(c.b.o.Config.Load().ConfigDir(), changesName), text, 0o640); err != nil {
		return err
	}
	c.saved = next
	return nil
}

// arrived hears that the queue has grown.
func (c *changes) arrived() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// run makes what comes, until the context ends.
func (c *changes) run(ctx context.Context) {
	for {
		for c.step() {
		}
		select {
		case <-ctx.Done():
			return
		case <-c.news:
		}
	}
}

// step makes some of the changes there are, and says whether there may be more.
func (c *changes) step() bool {
	c.mu.Lock()
	at := c.next
	c.mu.Unlock()
	next := c.make(at, at+100)
	c.mu.Lock()
	defer c.mu.Unlock()
	if next == c.next {
		return false
	}
	c.next = next
	close(c.made)
	c.made = make(chan struct{})
	return true
}

// make makes the changes from one place of the queue up to another, or to its end, and tells how far it came.
func (c *changes) make(at, to int64) int64 {
	st := c.b.store
	at = max(at, st.MinOffset(changesTopic, 0))
	for at < to {
		got, err := st.Get(changesTopic, 0, at, store.GetLimit{Messages: 32}, store.Match{})
		if err != nil || got.Status != store.Found {
			got.Release()
			if err == nil && got.Next > at && got.Status != store.OffsetOverflowBadly {
				at = got.Next // deleted with the log's oldest files
				continue
			}
			return at
		}
		for _, record := range got.Messages {
			c.one(record)
		}
		at = got.Next
		got.Release()
	}
	return at
}

func (c *changes) one(record []byte) {
	m, _, err := message.Decode(record, message.Options{})
	var ch processor.Change
	if err == nil {
		err = protocol.DecodeJSON(m.Body, &ch)
	}
	if err != nil {
		c.b.log.Error("a change of the group cannot be read", "offset", m.PhysicalOffset, "err", err)
		return
	}
	b := c.b
	if !c.stands(&ch) { // a change that is made again moves no version on
		ch.Make(b.topics, b.groups, b.o.Clock.Now())
	}
	switch {
	case ch.Leader != nil:
		c.mu.Lock()
		c.leader[ch.Leader.ID] = ch.Leader.Addr
		c.mu.Unlock()
		b.leaderSpoke(ch.Leader.ID, ch.Leader.Addr)
	case ch.DeleteTopic != "" && !c.newer(ch.DeleteTopic, m.PhysicalOffset):
		if err := b.store.DeleteTopic(ch.DeleteTopic); err != nil {
			b.log.Error("delete the queues of a topic", "topic", ch.DeleteTopic, "err", err)
		}
	case ch.DeleteGroup != "" && ch.Offsets:
		b.offsets.Forget(func(k offset.Key) bool { return k.Group == ch.DeleteGroup })
	}
}

// stands says whether the tables are already as the change wants them.
func (c *changes) stands(ch *processor.Change) bool {
	switch {
	case ch.Topic != nil:
		row, ok := c.b.topics.Get(ch.Topic.TopicName)
		return ok && (ch.New || reflect.DeepEqual(row, ch.Topic))
	case ch.Group != nil:
		row, ok := c.b.groups.Get(ch.Group.GroupName)
		return ok && (ch.New || reflect.DeepEqual(row, ch.Group))
	}
	return false
}

// newer says whether the topic has messages behind the change: it was made again since, and this is read a second time.
func (c *changes) newer(topic string, at int64) bool {
	for _, q := range c.b.store.Queues(topic) {
		end := c.b.store.MaxOffset(topic, q)
		if end == 0 {
			continue
		}
		got, err := c.b.store.Get(topic, q, end-1, store.GetLimit{Messages: 1}, store.Match{})
		if err != nil {
			return true
		}
		for _, record := range got.Messages {
			if m, _, err := message.Decode(record, message.Options{}); err != nil || m.PhysicalOffset > at {
				got.Release()
				return true
			}
		}
		got.Release()
	}
	return false
}

// record has the group take a change, and returns when it is made here.
func (c *changes) record(ch *processor.Change) error {
	body, err := protocol.EncodeStandardJSON(ch)
	if err != nil {
		return err
	}
	b := c.b
	res, err := b.store.Append(&message.Message{
		Topic: changesTopic, Body: body, BornTimestamp: b.o.Clock.Now().UnixMilli(), BornHost: b.advertise, StoreHost: b.advertise,
	})
	switch {
	case res.Status == store.PutOK || res.Status == store.FlushDiskTimeout:
	case res.Status != store.ServiceNotAvailable:
		return protocol.Errorf(protocol.SystemError, "the group has not agreed in time, and may do so later: %v", err)
	default:
		return protocol.Errorf(protocol.ServiceNotAvailable, "service not available now. %v", cmpErr(err, res.Status))
	}
	c.arrived()
	return c.wait(res.QueueOffset+1, 10*time.Second)
}

func cmpErr(err error, s store.Status) any {
	if err != nil {
		return err
	}
	return s
}

// wait returns when everything below next is made.
func (c *changes) wait(next int64, limit time.Duration) error {
	late := c.b.o.Clock.After(limit)
	for {
		c.mu.Lock()
		at, made := c.next, c.made
		c.mu.Unlock()
		if at >= next {
			return nil
		}
		select {
		case <-made:
		case <-late:
			return protocol.Errorf(protocol.SystemError, "the change is in the log and was not made in time")
		case <-c.b.running.Done():
			return protocol.Errorf(protocol.SystemError, "the change is in the log; this broker is stopping")
		}
	}
}

// level returns when every change that is committed is made.
func (c *changes) level() error {
	c.arrived()
	return c.wait(c.b.store.MaxOffset(changesTopic, 0), 10*time.Second)
}

// redo makes the latest changes once more, after the tables were copied from the leader.
func (c *changes) redo() {
	c.mu.Lock()
	to := c.next
	c.mu.Unlock()
	c.make(max(0, to-again), to)
}

// addr is where clients reach a member that has led; "" if that is not known.
func (c *changes) addr(id string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader[id]
}
