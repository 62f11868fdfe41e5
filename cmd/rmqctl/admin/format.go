// How times, names and orders look in mqadmin's tables.
package admin

import (
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"rmqctl/internal/protocol"
)

func sortedQueues[V any](m map[protocol.MessageQueue]V) []protocol.MessageQueue {
	qs := slices.Collect(maps.Keys(m))
	sort.Slice(qs, func(i, j int) bool {
		a, b := qs[i], qs[j]
		if a.Topic != b.Topic {
			return a.Topic < b.Topic
		}
		if a.BrokerName != b.BrokerName {
			return a.BrokerName < b.BrokerName
		}
		return a.QueueID < b.QueueID
	})
	return qs
}

// human2 is upstream's UtilAll.timeMillisToHumanString2.
func human2(ms int64) string {
	return strings.Replace(time.UnixMilli(ms).Format("2006-01-02 15:04:05.000"), ".", ",", 1)
}

func plainTime(ms int64) string { return time.UnixMilli(ms).Format("2006-01-02 15:04:05") }

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
