package inspect

// The small files: checkpoint, settings.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"rmqctl/broker/store"
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

// checkSettings parses one file and its earlier generation.
func (c *checker) checkSettings(path string) error {
	names, bad, err := c.d.parse(path)
	if err != nil {
		return err
	}
	bakNames, bakBad, err := c.d.parse(path + ".bak")
	if err != nil {
		return err
	}
	isTopics := filepath.Base(path) == "topics.json"
	file := c.d.rel(path)
	good, bakGood := bad == nil, bakBad == nil
	switch {
	case good:
		if isTopics {
			c.top = topics{true, names}
		}
		if !bakGood && !errors.Is(bakBad, fs.ErrNotExist) {
			c.note(file+".bak", 0, bakBad.Error(), "only the earlier generation is damaged")
		}
	case bakGood:
		if isTopics {
			c.top = topics{true, bakNames}
		}
		c.r.add(Finding{Severity: Metadata, File: file, What: bad.Error(), Means: "the earlier generation (.bak) is loaded: what changed since is forgotten", Repair: "restored from " + filepath.Base(path) + ".bak"})
	case errors.Is(bad, fs.ErrNotExist) && errors.Is(bakBad, fs.ErrNotExist):
		if isTopics && len(c.d.queues) > 0 {
			c.r.add(Finding{Severity: Metadata, File: file, What: "the file is missing", Means: "topics have to be created again; their messages are there", Repair: "nothing"})
		}
	default:
		if errors.Is(bad, fs.ErrNotExist) {
			file, bad = file+".bak", bakBad
		}
		c.r.add(Finding{Severity: Lost, File: file, What: bad.Error(), Means: "no generation of the file can be read", Repair: "moved to lost+found, so that a broker starts without it"})
	}
	return nil
}

// parse reads a settings file. bad says why it cannot be used; names are the topics in it.
func (d *Dir) parse(path string) (names map[string]bool, bad, err error) {
	b, err := vfs.ReadFile(d.fs, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the file is missing: %w", err), nil
	}
	if err != nil {
		return nil, nil, err
	}
	if len(b) == 0 {
		return nil, errors.New("the file is empty"), nil
	}
	var all map[string]any
	if err := json.Unmarshal(quoteKeys(b), &all); err != nil {
		return nil, fmt.Errorf("no good JSON: %w", err), nil
	}
	names = map[string]bool{}
	if table, ok := all["topicConfigTable"].(map[string]any); ok {
		for name := range table {
			names[name] = true
		}
	}
	return names, nil, nil
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
