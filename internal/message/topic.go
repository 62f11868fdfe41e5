package message

// Names of topics and groups that RocketMQ keeps for itself.

import "strings"

const (
	RetryPrefix  = "%RETRY%"
	DLQPrefix    = "%DLQ%"
	SystemPrefix = "rmq_sys_"

	AutoCreateTopic     = "TBW102"
	ScheduleTopic       = "SCHEDULE_TOPIC_XXXX"
	HalfTopic           = "RMQ_SYS_TRANS_HALF_TOPIC"
	OpHalfTopic         = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
	CheckMaxTimeTopic   = "TRANS_CHECK_MAX_TIME_TOPIC"
	SelfTestTopic       = "SELF_TEST_TOPIC"
	BenchmarkTopic      = "BenchmarkTest"
	OffsetMovedTopic    = "OFFSET_MOVED_EVENT"
	TraceTopic          = "RMQ_SYS_TRACE_TOPIC"
	ReplyTopicSuffix    = "_REPLY_TOPIC"
	ToolsConsumerGroup  = "TOOLS_CONSUMER"
	SystemGroupPrefix   = "CID_RMQ_SYS_"
	TransactionSysGroup = "CID_RMQ_SYS_TRANS"
)

// RetryTopic is where a group's failed messages wait for their next try.
func RetryTopic(group string) string { return RetryPrefix + group }

// DLQTopic is where a group's messages go that failed too often.
func DLQTopic(group string) string { return DLQPrefix + group }

// IsRetryTopic tells whether topic is some group's retry topic.
func IsRetryTopic(topic string) bool { return strings.HasPrefix(topic, RetryPrefix) }

// IsDLQTopic tells whether topic is some group's dead-letter topic.
func IsDLQTopic(topic string) bool { return strings.HasPrefix(topic, DLQPrefix) }

// IsSystemTopic tells whether topic belongs to the broker: it may be neither created nor deleted by an operator.
func IsSystemTopic(topic string) bool {
	switch topic {
	case AutoCreateTopic, ScheduleTopic, HalfTopic, OpHalfTopic, CheckMaxTimeTopic, SelfTestTopic, BenchmarkTopic,
		OffsetMovedTopic, TraceTopic:
		return true
	}
	return strings.HasPrefix(topic, SystemPrefix)
}
