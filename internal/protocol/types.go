// Values that several bodies share.
package protocol

// MessageQueue names one queue of one broker. It is also a map key on the wire.
type MessageQueue struct {
	BrokerName string `json:"brokerName"`
	QueueID    int32  `json:"queueId"`
	Topic      string `json:"topic"`
}

// DataVersion orders the states of one table.
type DataVersion struct {
	Counter      int64 `json:"counter"`
	StateVersion int64 `json:"stateVersion,omitempty"` // since 5.x
	Timestamp    int64 `json:"timestamp"`
}

// Perm bits of topics and brokers.
const (
	PermInherit int32 = 1
	PermWrite   int32 = 2
	PermRead    int32 = 4
)

// TopicConfig is one topic as a broker holds it.
type TopicConfig struct {
	Attributes      map[string]string `json:"attributes"` // since 5.x
	Order           bool              `json:"order"`
	Perm            int32             `json:"perm"`
	ReadQueueNums   int32             `json:"readQueueNums"`
	TopicFilterType string            `json:"topicFilterType"`
	TopicName       string            `json:"topicName"`
	TopicSysFlag    int32             `json:"topicSysFlag"`
	WriteQueueNums  int32             `json:"writeQueueNums"`
}

// TopicConfigTable is the body of GET_ALL_TOPIC_CONFIG and topics.json.
type TopicConfigTable struct {
	DataVersion DataVersion             `json:"dataVersion"`
	Topics      map[string]*TopicConfig `json:"topicConfigTable"`
}

// SubscriptionGroupConfig is one consumer group as a broker holds it.
type SubscriptionGroupConfig struct {
	Attributes                     map[string]string `json:"attributes"` // since 5.x
	BrokerID                       int64             `json:"brokerId"`
	ConsumeBroadcastEnable         bool              `json:"consumeBroadcastEnable"`
	ConsumeEnable                  bool              `json:"consumeEnable"`
	ConsumeFromMinEnable           bool              `json:"consumeFromMinEnable"`
	ConsumeMessageOrderly          bool              `json:"consumeMessageOrderly,omitempty"` // since 5.x
	ConsumeTimeoutMinute           int32             `json:"consumeTimeoutMinute,omitempty"`  // since 5.x
	GroupName                      string            `json:"groupName"`
	GroupRetryPolicy               Raw               `json:"groupRetryPolicy"`       // since 5.x
	GroupSysFlag                   int32             `json:"groupSysFlag,omitempty"` // since 5.x
	NotifyConsumerIdsChangedEnable bool              `json:"notifyConsumerIdsChangedEnable"`
	RetryMaxTimes                  int32             `json:"retryMaxTimes"`
	RetryQueueNums                 int32             `json:"retryQueueNums"`
	SubscriptionDataSet            Raw               `json:"subscriptionDataSet"` // since 5.x
	WhichBrokerWhenConsumeSlowly   int64             `json:"whichBrokerWhenConsumeSlowly"`
}

// SubscriptionGroupTable is the body of GET_ALL_SUBSCRIPTIONGROUP_CONFIG and subscriptionGroup.json.
type SubscriptionGroupTable struct {
	DataVersion    DataVersion                         `json:"dataVersion"`
	ForbiddenTable Raw                                 `json:"forbiddenTable"` // since 5.x
	Groups         map[string]*SubscriptionGroupConfig `json:"subscriptionGroupTable"`
}

// SubscriptionData is what a group wants of one topic.
type SubscriptionData struct {
	ClassFilterMode   bool     `json:"classFilterMode"`
	CodeSet           []int32  `json:"codeSet"` // tag hashes as the client computed them
	ExpressionType    string   `json:"expressionType"`
	FilterClassSource string   `json:"-"`
	SubString         string   `json:"subString"`
	SubVersion        int64    `json:"subVersion"`
	TagsSet           []string `json:"tagsSet"`
	Topic             string   `json:"topic"`
}

const (
	ExpressionTag   = "TAG"
	ExpressionSQL92 = "SQL92"
)

// KVTable is a table of texts.
type KVTable struct {
	Table map[string]string `json:"table"`
}

// TopicList is a list of topic names.
type TopicList struct {
	BrokerAddr string   `json:"brokerAddr,omitempty"`
	Topics     []string `json:"topicList"`
}
