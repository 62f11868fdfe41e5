package inspect

// The small files: checkpoint, settings.

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rmqctl/broker/store"
	"rmqctl/internal/jsonfile"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

type checkpoint = store.CheckpointInfo

// settings are the files under config/ that a broker, ours or Java's, reads as JSON.
var settings = []string{"topics.json", "subscriptionGroup.json", "consumerOffset.json", "delayOffset.json", "consumerFilter.json",
	"lmqConsumerOffset.json", "consumerOrderInfo.json", "topicQueueMapping.json", "messageRequestMode.json", "timermetrics", "transactionMetrics"}

// topics are the names in topics.json; known is false when nobody can tell.
type topics struct {
	known bool
	names map[string]bool
}

// has tells whether the topic should have its queues. Topics that brokers make for themselves are not always in the file.
func (t topics) has(name string) bool {
	return !t.known || t.names[name] || name == message.ScheduleTopic
}

func (c *checker) checkMeta() error {
	if err := c.checkCheckpoint(); err != nil {
		return err
	}
	for _, name := range settings {
		if err := c.checkSettings(filepath.Join(c.d.o.Dir, "config", name)); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkCheckpoint() error {
	var err error
	file := c.d.rel(c.d.o.CheckpointFile)
	if c.ck, err = store.ReadCheckpoint(c.d.fs, c.d.o.CheckpointFile); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if !c.ck.Found {
		if len(c.d.segs) > 0 {
			c.r.add(Finding{Severity: Metadata, File: file, What: "the file is missing", Means: "nobody knows up to where the log was on the disk: the next start scans more of it", Repair: "written anew"})
		}
		return nil
	}
	b, err := vfs.ReadFile(c.d.fs, c.d.o.CheckpointFile)
	if err != nil {
		return err
	}
	wrong := ""
	switch {
	case len(b) != 4096:
		wrong = fmt.Sprintf("the file has %d bytes instead of 4096", len(b))
	case !c.ck.Exact && len(c.d.segs) > 0 && allZero(b):
		wrong = "the file holds zeros only"
	case !plausible(c.ck.Phys) || !plausible(c.ck.Logics) || !plausible(c.ck.Index):
		wrong = fmt.Sprintf("its times cannot be: %d, %d, %d", c.ck.Phys, c.ck.Logics, c.ck.Index)
	case !c.ck.Exact && !allZero(b[2048:]):
		c.note(file, 2048, "our own part does not count: it is damaged, or a Java broker has written the file since", "the next start scans more of the log")
	}
	if wrong != "" {
		c.r.add(Finding{Severity: Metadata, File: file, What: wrong, Means: "nobody knows up to where the log was on the disk: the next start scans more of it", Repair: "written anew"})
	}
	return nil
}

// plausible: zero, or a time between the first release of RocketMQ and the far future.
func plausible(ms int64) bool {
	return ms == 0 || ms > 1_300_000_000_000 && ms < time.Now().Add(100*365*24*time.Hour).UnixMilli()
}

// checkSettings reads one file and its earlier generations.
func (c *checker) checkSettings(path string) error {
	gens := c.d.generations(path)
	isTopics := filepath.Base(path) == "topics.json"
	good := slices.IndexFunc(gens, func(g generation) bool { return g.bad == nil })
	if isTopics && good >= 0 {
		c.top = topics{true, gens[good].topics}
	}
	file := c.d.rel(path)
	switch {
	case len(gens) == 0:
		if isTopics && len(c.d.queues) > 0 {
			c.r.add(Finding{Severity: Metadata, File: file, What: "the file is missing", Means: "topics have to be created again; their messages are there", Repair: "nothing"})
		}
	case good < 0:
		for _, g := range gens {
			c.r.add(Finding{Severity: Lost, File: c.d.rel(g.file), What: g.bad.Error(), Means: "no generation of " + filepath.Base(path) + " can be read: a broker does not start", Repair: "moved to lost+found, so that a broker starts without it"})
		}
	case gens[good].file != path:
		what := "the file is missing"
		if gens[0].file == path {
			what = gens[0].bad.Error()
		}
		c.r.add(Finding{Severity: Metadata, File: file, What: what, Means: "an earlier generation is loaded: what changed since is forgotten", Repair: "restored from " + filepath.Base(gens[good].file)})
	}
	for _, g := range gens {
		if g.bad != nil && good >= 0 && g.file != path {
			c.note(c.d.rel(g.file), 0, g.bad.Error(), "only an earlier generation is damaged")
		}
	}
	return nil
}

// generation is one text of a settings file.
type generation struct {
	file   string
	text   []byte
	bad    error // why it cannot be used
	topics map[string]bool
}

// generations are the texts of a settings file, the newest first. Checksums, where the file is ours, tell damage.
func (d *Dir) generations(path string) []generation {
	var out []generation
	for _, g := range jsonfile.Generations(d.fs, path) {
		names, bad := topicNames(g.Text)
		if g.Err != nil {
			bad = g.Err
		}
		out = append(out, generation{g.File, g.Text, bad, names})
	}
	return out
}

// topicNames are the topics in a text of topics.json; other settings have none.
func topicNames(text []byte) (map[string]bool, error) {
	var all map[string]any
	if err := json.Unmarshal(quoteKeys(text), &all); err != nil {
		return nil, fmt.Errorf("no good JSON: %w", err)
	}
	names := map[string]bool{}
	if table, ok := all["topicConfigTable"].(map[string]any); ok {
		for name := range table {
			names[name] = true
		}
	}
	return names, nil
}

// withTopics adds topics that have queues to a text of topics.json that is older than they are, with as many queues as there
// are and the usual permissions. Those that brokers make for themselves come by themselves.
func withTopics(text []byte, queues []*queue) (out []byte, added []string) {
	var all map[string]any
	if json.Unmarshal(quoteKeys(text), &all) != nil {
		return text, nil
	}
	table, _ := all["topicConfigTable"].(map[string]any)
	if table == nil {
		table = map[string]any{}
		all["topicConfigTable"] = table
	}
	count := map[string]int32{}
	for _, q := range queues {
		count[q.topic] = max(count[q.topic], q.id+1)
	}
	for _, name := range slices.Sorted(maps.Keys(count)) {
		if _, has := table[name]; has || name == message.ScheduleTopic || strings.HasPrefix(strings.ToLower(name), "rmq_sys_") {
			continue
		}
		table[name] = map[string]any{"topicName": name, "readQueueNums": count[name], "writeQueueNums": count[name], "perm": 6, "order": false, "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0}
		added = append(added, name)
	}
	if out, err := json.MarshalIndent(all, "", "\t"); err == nil {
		return out, added
	}
	return text, nil
}

// quoteKeys puts the number keys, which fastjson writes bare, into quotes.
func quoteKeys(b []byte) []byte {
	out := make([]byte, 0, len(b)+len(b)/8)
	var open []byte // brackets that are open
	key := false    // a key may come next
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			end := i + 1
			for end < len(b) && b[end] != '"' {
				if b[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(b))
			out = append(out, b[i:end]...)
			i, key = end-1, false
			continue
		case c == '{' || c == '[':
			open = append(open, c)
			key = c == '{'
		case c == '}' || c == ']':
			open, key = open[:max(len(open)-1, 0)], false
		case c == ',':
			key = len(open) > 0 && open[len(open)-1] == '{'
		case key && (c == '-' || c >= '0' && c <= '9'):
			end := i + 1
			for end < len(b) && b[end] >= '0' && b[end] <= '9' {
				end++
			}
			out = append(append(append(out, '"'), b[i:end]...), '"')
			i, key = end-1, false
			continue
		case c != ' ' && c != '\t' && c != '\n' && c != '\r':
			key = false
		}
		out = append(out, b[i])
	}
	return out
}
