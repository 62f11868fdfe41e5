// What a Java broker may have left in the directory that this broker does not serve. What would be missed is a reason not
// to start; the rest is named in the log. Nothing of it is touched: a Java broker finds it as it left it.

package broker

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"rmqctl/broker/config"
	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// ErrUnservedStore: the directory keeps messages, topics or offsets in a form that this broker cannot read.
var ErrUnservedStore = errors.New("the store has parts that are not served")

// checkReadable refuses a directory of which only a part would be seen.
func checkReadable(fsys vfs.FS, c *config.Config) error {
	for _, part := range []struct{ path, what string }{
		{"consumequeue/CURRENT", "the queues are kept in RocksDB (storeType=defaultRocksDB)"},
		{"config/topics/CURRENT", "the topics are kept in RocksDB (storeType=defaultRocksDB)"},
		{"config/rdb/CURRENT", "topics, groups and offsets are kept in RocksDB (configManagerVersion=v2)"},
	} {
		path := filepath.Join(c.StorePathRootDir, filepath.FromSlash(part.path))
		if _, err := fsys.Stat(path); err == nil {
			return fmt.Errorf("%w: %s, as %s shows", ErrUnservedStore, part.what, path)
		}
	}
	entries, _ := fsys.ReadDir(c.StorePathRootDir)
	for _, e := range entries {
		dir := filepath.Join(c.StorePathRootDir, e.Name(), "data")
		if strings.HasPrefix(e.Name(), "dledger-") && filled(fsys, dir) {
			return fmt.Errorf("%w: messages are in the log of a raft group (enableDLegerCommitLog), in %s", ErrUnservedStore, dir)
		}
	}
	return nil
}

func filled(fsys vfs.FS, dir string) bool {
	entries, err := fsys.ReadDir(dir)
	return err == nil && len(entries) > 0
}

// timerTopic is where RocketMQ 5 keeps messages that have a time of their own.
const timerTopic = "rmq_sys_wheel_timer"

// inherited says what will not happen here although a Java broker has promised it.
func inherited(fsys vfs.FS, c *config.Config, st *store.Store) (words []string) {
	waiting := func(topic string) bool {
		for _, q := range st.Queues(topic) {
			if st.MaxOffset(topic, q) > st.MinOffset(topic, q) {
				return true
			}
		}
		return false
	}
	for _, topic := range []struct{ name, what string }{
		{timerTopic, "messages with a time of their own (TIMER_DELAY_SEC and the like) are not delivered"},
		{message.HalfTopic, "transactions that were begun are not settled"},
		{"rmq_sys_REVIVE_LOG_" + c.BrokerClusterName, "messages taken by POP and not acknowledged do not come back"},
	} {
		if waiting(topic.name) {
			words = append(words, topic.what+"; they stay in topic "+topic.name)
		}
	}
	for _, dir := range []struct{ name, what string }{
		{"batchconsumequeue", "topics of RocketMQ 5 with queue.type=BatchCQ are not served"},
		{"compaction/compactionLog", "compacted topics are served from the log, not compacted"},
		{"consumequeue_ext", "filters precalculated for consumers are not used, and their tags not known"},
	} {
		path := filepath.Join(c.StorePathRootDir, filepath.FromSlash(dir.name))
		if filled(fsys, path) {
			words = append(words, dir.what+"; "+path+" is left alone")
		}
	}
	return words
}
