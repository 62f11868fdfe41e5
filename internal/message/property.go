package message

// Properties as text: name 0x01 value 0x02 name 0x01 value 0x02 ... The last 0x02 may be missing (Java 4.9 writes none).

import (
	"bytes"
	"errors"
	"iter"
	"sort"
	"strings"
)

const (
	nameEnd  = 0x01
	valueEnd = 0x02
)

// Property names that the broker itself reads or writes.
const (
	PropKeys                  = "KEYS"
	PropTags                  = "TAGS"
	PropUniqKey               = "UNIQ_KEY"
	PropWait                  = "WAIT"
	PropDelay                 = "DELAY"
	PropRetryTopic            = "RETRY_TOPIC"
	PropRealTopic             = "REAL_TOPIC"
	PropRealQueueID           = "REAL_QID"
	PropTransactionPrepared   = "TRAN_MSG"
	PropProducerGroup         = "PGROUP"
	PropMinOffset             = "MIN_OFFSET"
	PropMaxOffset             = "MAX_OFFSET"
	PropOriginMessageID       = "ORIGIN_MESSAGE_ID"
	PropReconsumeTime         = "RECONSUME_TIME"
	PropMaxReconsumeTimes     = "MAX_RECONSUME_TIMES"
	PropCluster               = "CLUSTER"
	PropRegion                = "MSG_REGION"
	PropTraceOn               = "TRACE_ON"
	PropTransactionCheckTimes = "TRANSACTION_CHECK_TIMES"
	PropCheckImmunity         = "CHECK_IMMUNITY_TIME_IN_SECONDS"
	PropTransactionID         = "__transactionId__"
	PropPreparedQueueOffset   = "TRAN_PREPARED_QUEUE_OFFSET"
	PropInstanceID            = "INSTANCE_ID"
	PropCorrelationID         = "CORRELATION_ID"
	PropReplyToClient         = "REPLY_TO_CLIENT"
	PropMessageType           = "MSG_TYPE"
	PropShardingKey           = "__SHARDINGKEY"
	PropDLQOriginTopic        = "DLQ_ORIGIN_TOPIC"
	PropDLQOriginMessageID    = "DLQ_ORIGIN_MESSAGE_ID"
)

// Property finds one value in the text. An empty value counts as absent, as RocketMQ's own decoder has it.
func Property(props []byte, name string) (string, bool) {
	v := PropertyBytes(props, name)
	return string(v), len(v) > 0
}

// PropertyBytes is Property without a copy; nil when absent.
func PropertyBytes(props []byte, name string) []byte {
	for len(props) > 0 {
		entry := props
		if i := bytes.IndexByte(props, valueEnd); i >= 0 {
			entry, props = props[:i], props[i+1:]
		} else {
			props = nil
		}
		if len(entry) > len(name)+1 && entry[len(name)] == nameEnd && string(entry[:len(name)]) == name {
			return entry[len(name)+1:]
		}
	}
	return nil
}

// Properties walks over all pairs in their order. Entries without a name or a value are skipped.
func Properties(props []byte) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for len(props) > 0 {
			entry := props
			if i := bytes.IndexByte(props, valueEnd); i >= 0 {
				entry, props = props[:i], props[i+1:]
			} else {
				props = nil
			}
			if i := bytes.IndexByte(entry, nameEnd); i > 0 && i+1 < len(entry) && !yield(string(entry[:i]), string(entry[i+1:])) {
				return
			}
		}
	}
}

// SetProperty returns the text with name set to value: in its place when it is there, else at the end. props itself is
// not changed; the result is new.
func SetProperty(props []byte, name, value string) []byte {
	out := make([]byte, 0, len(props)+len(name)+len(value)+3)
	done := false
	for n, v := range Properties(props) {
		if n == name {
			if done {
				continue
			}
			v, done = value, true
		}
		out = appendProperty(out, n, v)
	}
	if !done {
		out = appendProperty(out, name, value)
	}
	return out
}

// DeleteProperty returns the text without name. When name is not there, props itself is returned.
func DeleteProperty(props []byte, name string) []byte {
	if PropertyBytes(props, name) == nil {
		return props
	}
	out := make([]byte, 0, len(props))
	for n, v := range Properties(props) {
		if n != name {
			out = appendProperty(out, n, v)
		}
	}
	return out
}

// AppendProperties appends more behind props with the separator between them that a missing last 0x02 demands.
func AppendProperties(props, more []byte) []byte {
	if len(props) > 0 && len(more) > 0 && props[len(props)-1] != valueEnd {
		props = append(props, valueEnd)
	}
	return append(props, more...)
}

// EncodeProperties writes a map, sorted by name.
func EncodeProperties(m map[string]string) []byte {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	var out []byte
	for _, n := range names {
		out = appendProperty(out, n, m[n])
	}
	return out
}

// DecodeProperties reads the text into a map; a name that comes twice keeps its last value, as in Java.
func DecodeProperties(props []byte) map[string]string {
	m := map[string]string{}
	for n, v := range Properties(props) {
		m[n] = v
	}
	return m
}

func appendProperty(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, nameEnd)
	dst = append(dst, value...)
	return append(dst, valueEnd)
}

// ErrBadProperty: a name or value holds one of the separators.
var ErrBadProperty = errors.New("property name or value holds a separator byte")

// CheckProperty says whether name and value can be stored without shifting their neighbours.
func CheckProperty(name, value string) error {
	if name == "" || strings.ContainsAny(name, "\x01\x02") || strings.ContainsAny(value, "\x01\x02") {
		return ErrBadProperty
	}
	return nil
}
