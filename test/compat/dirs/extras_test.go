// What a 5.3 broker writes that no 4.9 broker knows: it must come through our hands unharmed.

package dirs

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/test/peers"
)

// longGroup makes a retry topic of more than 127 bytes: 5.3 writes its records with the second magic number.
var longGroup = strings.Repeat("g", 150)

// shared are the files that every broker writes; by their first element below the root.
var shared = []string{"commitlog", "consumequeue", "index", "checkpoint", "abort", "lock", "rmqctl-identity.json", "ages.json", "queue.ends", "rmqctl-epochs.json", "lost+found",
	"config/topics.json", "config/subscriptionGroup.json", "config/consumerOffset.json", "config/delayOffset.json"}

// foreign gives the length and a checksum of all files that are not ours to write.
func (c *chain) foreign() map[string]string {
	c.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(c.dir, path)
		for _, s := range shared {
			if name == s || strings.HasPrefix(name, s+".") {
				if d.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
		}
		if d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(path)
		all[name] = fmt.Sprintf("%d bytes, checksum %x", len(b), crc32.ChecksumIEEE(b))
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

// unquoted finds numbers as keys, which fastjson writes.
var unquoted = regexp.MustCompile(`([{,]\s*)(-?\d+):`)

// tables reads topics.json and subscriptionGroup.json.
func (c *chain) tables() map[string]map[string]any {
	c.t.Helper()
	all := map[string]map[string]any{}
	for _, name := range []string{"topics.json", "subscriptionGroup.json"} {
		b, err := os.ReadFile(filepath.Join(c.dir, "config", name))
		if err != nil {
			c.t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal(unquoted.ReplaceAll(b, []byte(`$1"$2":`)), &v); err != nil {
			c.t.Fatalf("%s: %v\n%s", name, err, b)
		}
		all[name] = v
	}
	return all
}

// keeps fails unless everything of was is in is; more may be there, what is left out is zero. Versions move on.
func keeps(t *testing.T, where string, was, is any) {
	t.Helper()
	old, isMap := was.(map[string]any)
	if !isMap {
		if leftOut := is == nil && reflect.ValueOf(was).IsZero(); !leftOut && !reflect.DeepEqual(was, is) {
			t.Errorf("%s was %v and is %v", where, was, is)
		}
		return
	}
	now, _ := is.(map[string]any)
	for key, v := range old {
		if key != "dataVersion" {
			keeps(t, where+" "+key, v, now[key])
		}
	}
}

// unharmed is called before a turn of ours; what it returns is called when our broker has stopped.
func (c *chain) unharmed() (check func()) {
	files, tables := c.foreign(), c.tables()
	return func() {
		c.t.Helper()
		after := c.foreign()
		for name, was := range files {
			if was != after[name] {
				c.t.Errorf("%s was %s, is %s", name, was, after[name])
			}
		}
		for name := range after {
			if _, was := files[name]; !was {
				c.t.Errorf("%s was made", name)
			}
		}
		for name, was := range tables {
			keeps(c.t, name, was, any(c.tables()[name]))
		}
	}
}

// timerTopic is where 5.3 keeps messages that have a time of their own.
const timerTopic = "rmq_sys_wheel_timer"

// write53 leaves traces that only a 5.3 broker leaves.
func (c *chain) write53() {
	c.t.Helper()
	for _, args := range [][]string{
		{"updateTopic", "-b", c.host.String(), "-t", "Typed", "-r", "2", "-w", "2", "-a", "+message.type=FIFO"},
		{"updateSubGroup", "-b", c.host.String(), "-g", "orderly", "-o", "true"},
		{"setConsumeMode", "-b", c.host.String(), "-t", plain, "-g", "popper", "-m", "POP", "-q", "4"},
	} {
		c.says(c.mqadmin(args...), `(?m) success\.$`)
	}
	// A group that may not read a topic: UPDATE_AND_GET_GROUP_FORBIDDEN.
	forbid := &protocol.Command{Code: 353}
	forbid.Fields.Set("group", group)
	forbid.Fields.Set("topic", odd)
	forbid.Fields.Set("readable", "false")
	if resp, err := c.w.c.Remoting().Invoke(context.Background(), c.w.addr, forbid); err != nil || resp.Code != 0 {
		c.t.Errorf("forbid: %v %v", resp, err)
	}
	// Not in the ledger: nobody may deliver it, and nothing else may become of it.
	if _, err := c.w.send(c.writer.letter(plain, 0, []byte("in an hour"), "TIMER_DELAY_SEC", "3600")); err != nil {
		c.t.Errorf("timer message: %v", err)
	}
	r := parse(c.ledger.shelves[spot{plain, 3}].records[3])
	id, _ := message.Property(r.Properties, message.PropUniqKey)
	c.ledger.letters[id].backTo = longGroup
	if err := c.w.sendBack(longGroup, 2, r); err != nil {
		c.t.Errorf("send back for a group of %d bytes: %v", len(longGroup), err)
	}
}

// check53 looks at what write53 has left.
func (c *chain) check53(broker *peers.Server, g leg) {
	c.t.Helper()
	if g.version == peers.Ours {
		broker.Await("not delivered; they stay in topic "+timerTopic, patience)
	}
	records := c.ledger.shelves[spot{message.RetryTopic(longGroup), 0}].records
	if len(records) != 1 || parse(records[0]).Magic != message.MagicV2 {
		c.t.Errorf("%d records for the long name, expected one with the second magic number", len(records))
	}
	tables := c.tables()
	topic := fmt.Sprint(tables["topics.json"]["topicConfigTable"].(map[string]any)["Typed"])
	forbidden := fmt.Sprint(tables["subscriptionGroup.json"]["forbiddenTable"])
	orderly := fmt.Sprint(tables["subscriptionGroup.json"]["subscriptionGroupTable"].(map[string]any)["orderly"])
	if !strings.Contains(topic, "message.type:FIFO") || !strings.Contains(forbidden, group) || !strings.Contains(orderly, "consumeMessageOrderly:true") {
		c.t.Errorf("topic %s\nforbidden %s\ngroup %s", topic, forbidden, orderly)
	}
	files := c.foreign()
	for _, name := range []string{"timerwheel", "timerlog/00000000000000000000", "config/timercheck", "config/messageRequestMode.json"} {
		if _, ok := files[name]; !ok {
			c.t.Errorf("5.3 made no %s", name)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(c.dir, "config", "messageRequestMode.json")); !strings.Contains(string(b), `"POP"`) {
		c.t.Errorf("messageRequestMode.json: %s", b)
	}
	if _, next, err := c.w.bounds(spot{timerTopic, 0}); err != nil || next != 1 {
		c.t.Errorf("the timer's topic ends at %d (%v)", next, err)
	}
}
