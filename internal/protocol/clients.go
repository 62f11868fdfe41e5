// Clients of a broker: heartbeats, group membership, queue locks, and what a
// broker asks its clients.
package protocol

var (
	HeartBeat              = Define[Empty, HeartBeatResponse](34, "HEART_BEAT", None)
	UnregisterClient       = Define[UnregisterClientRequest, Empty](35, "UNREGISTER_CLIENT", None)
	GetConsumerListByGroup = Define[ConsumerGroupRequest, Empty](38, "GET_CONSUMER_LIST_BY_GROUP", Sub)
	CheckClientConfig      = Define[Empty, Empty](46, "CHECK_CLIENT_CONFIG", None)
	LockBatchMQ            = Define[Empty, Empty](41, "LOCK_BATCH_MQ", Sub)
	UnlockBatchMQ          = Define[Empty, Empty](42, "UNLOCK_BATCH_MQ", Sub)

	// From the broker to its clients.
	NotifyConsumerIdsChanged   = Define[ConsumerGroupRequest, Empty](40, "NOTIFY_CONSUMER_IDS_CHANGED", None)
	ResetConsumerClientOffset  = Define[ResetOffsetRequest, Empty](220, "RESET_CONSUMER_CLIENT_OFFSET", None)
	GetConsumerStatusOfClient  = Define[ConsumerStatusRequest, Empty](221, "GET_CONSUMER_STATUS_FROM_CLIENT", None)
	InvokeBrokerResetOffset    = Define[ResetOffsetRequest, Empty](222, "INVOKE_BROKER_TO_RESET_OFFSET", Admin)
	InvokeBrokerConsumerStatus = Define[ConsumerStatusRequest, Empty](223, "INVOKE_BROKER_TO_GET_CONSUMER_STATUS", Get)

	// Relayed: from an admin tool through the broker to a client.
	GetConsumerRunningInfo = Define[ConsumerRunningInfoRequest, Empty](307, "GET_CONSUMER_RUNNING_INFO", Get)
	ConsumeMessageDirectly = Define[ConsumeDirectlyRequest, Empty](309, "CONSUME_MESSAGE_DIRECTLY", Admin)
)

// Values of consumer fields.
const (
	ConsumeActively  = "CONSUME_ACTIVELY"
	ConsumePassively = "CONSUME_PASSIVELY"

	ModelBroadcasting = "BROADCASTING"
	ModelClustering   = "CLUSTERING"

	FromLastOffset  = "CONSUME_FROM_LAST_OFFSET"
	FromFirstOffset = "CONSUME_FROM_FIRST_OFFSET"
	FromTimestamp   = "CONSUME_FROM_TIMESTAMP"
)

// HeartBeatResponse stays empty: 5.x clients then send full heartbeats.
type HeartBeatResponse struct {
	SupportV2 string `rmq:"IS_SUPPORT_HEART_BEAT_V2,opt"`
	SubChange string `rmq:"IS_SUB_CHANGE,opt"`
}

// HeartbeatData is the body of HEART_BEAT.
type HeartbeatData struct {
	ClientID    string         `json:"clientID"`
	Consumers   []ConsumerData `json:"consumerDataSet"`
	Fingerprint int32          `json:"heartbeatFingerprint,omitempty"` // since 5.x
	Producers   []ProducerData `json:"producerDataSet"`
	WithoutSub  bool           `json:"withoutSub,omitempty"` // since 5.x
}

type ProducerData struct {
	GroupName string `json:"groupName"`
}

type ConsumerData struct {
	ConsumeFromWhere string              `json:"consumeFromWhere,omitempty"`
	ConsumeType      string              `json:"consumeType,omitempty"`
	GroupName        string              `json:"groupName"`
	MessageModel     string              `json:"messageModel,omitempty"`
	Subscriptions    []*SubscriptionData `json:"subscriptionDataSet"`
	UnitMode         bool                `json:"unitMode"`
}

type UnregisterClientRequest struct {
	ClientID      string `rmq:"clientID,must"`
	ProducerGroup string `rmq:"producerGroup,opt"`
	ConsumerGroup string `rmq:"consumerGroup,opt"`
}

// ConsumerGroupRequest names a consumer group.
type ConsumerGroupRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,must,intern"`
}

// ConsumerList is the body of GET_CONSUMER_LIST_BY_GROUP.
type ConsumerList struct {
	IDs []string `json:"consumerIdList"`
}

// CheckClientConfigBody is the body of CHECK_CLIENT_CONFIG.
type CheckClientConfigBody struct {
	ClientID     string            `json:"clientId"`
	Group        string            `json:"group"`
	Namespace    string            `json:"namespace,omitempty"`
	Subscription *SubscriptionData `json:"subscriptionData"`
}

// LockBatchBody is the body of LOCK_BATCH_MQ and UNLOCK_BATCH_MQ.
type LockBatchBody struct {
	ClientID       string         `json:"clientId"`
	ConsumerGroup  string         `json:"consumerGroup"`
	Queues         []MessageQueue `json:"mqSet"`
	OnlyThisBroker bool           `json:"onlyThisBroker,omitempty"`
}

// LockBatchResponse is the answer to LOCK_BATCH_MQ: what was granted, an empty list if nothing.
type LockBatchResponse struct {
	Locked []MessageQueue `json:"lockOKMQSet"`
}

// ResetOffsetRequest serves 222 and the push to the clients, 220.
type ResetOffsetRequest struct {
	Topic     string `rmq:"topic,must"`
	Group     string `rmq:"group,must"`
	Timestamp int64  `rmq:"timestamp,must"` // -1: newest
	Force     bool   `rmq:"isForce"`
	QueueID   *int32 `rmq:"queueId"` // since 5.x
	Offset    *int64 `rmq:"offset"`  // since 5.x
}

// ResetOffsetBody is the body of 220 and the answer of 222.
type ResetOffsetBody struct {
	OffsetTable map[MessageQueue]int64 `json:"offsetTable"`
}

// ResetOffsetBodyCPP is ResetOffsetBody for clients whose language is CPP.
type ResetOffsetBodyCPP struct {
	OffsetTable []QueueOffset `json:"offsetTable"`
}

type QueueOffset struct {
	BrokerName string `json:"brokerName"`
	Offset     int64  `json:"offset"`
	QueueID    int32  `json:"queueId"`
	Topic      string `json:"topic"`
}

type ConsumerStatusRequest struct {
	Topic      string `rmq:"topic,must"`
	Group      string `rmq:"group,must"`
	ClientAddr string `rmq:"clientAddr,opt"`
}

// ConsumerStatusBody is the answer of 221 (MessageQueueTable) and of 223 (ConsumerTable).
type ConsumerStatusBody struct {
	ConsumerTable     map[string]map[MessageQueue]int64 `json:"consumerTable"`
	MessageQueueTable map[MessageQueue]int64            `json:"messageQueueTable"`
}

type ConsumerRunningInfoRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,must"`
	ClientID      string `rmq:"clientId,must"`
	JstackEnable  bool   `rmq:"jstackEnable"`
}

// ConsumerRunningInfo is the answer of a client to 307. The broker relays the bytes untouched.
type ConsumerRunningInfo struct {
	Jstack        string                            `json:"jstack,omitempty"`
	MQTable       map[MessageQueue]ProcessQueueInfo `json:"mqTable"`
	Properties    map[string]string                 `json:"properties"`
	StatusTable   map[string]ConsumeStatus          `json:"statusTable"`
	Subscriptions []*SubscriptionData               `json:"subscriptionSet"`
}

type ProcessQueueInfo struct {
	CachedMsgCount          int32 `json:"cachedMsgCount"`
	CachedMsgMaxOffset      int64 `json:"cachedMsgMaxOffset"`
	CachedMsgMinOffset      int64 `json:"cachedMsgMinOffset"`
	CachedMsgSizeInMiB      int32 `json:"cachedMsgSizeInMiB"`
	CommitOffset            int64 `json:"commitOffset"`
	Dropped                 bool  `json:"droped"` // the typo is the wire's
	LastConsumeTimestamp    int64 `json:"lastConsumeTimestamp"`
	LastLockTimestamp       int64 `json:"lastLockTimestamp"`
	LastPullTimestamp       int64 `json:"lastPullTimestamp"`
	Locked                  bool  `json:"locked"`
	TransactionMsgCount     int32 `json:"transactionMsgCount"`
	TransactionMsgMaxOffset int64 `json:"transactionMsgMaxOffset"`
	TransactionMsgMinOffset int64 `json:"transactionMsgMinOffset"`
	TryUnlockTimes          int64 `json:"tryUnlockTimes"`
}

type ConsumeStatus struct {
	ConsumeFailedMsgs int64   `json:"consumeFailedMsgs"`
	ConsumeFailedTPS  float64 `json:"consumeFailedTPS"`
	ConsumeOKTPS      float64 `json:"consumeOKTPS"`
	ConsumeRT         float64 `json:"consumeRT"`
	PullRT            float64 `json:"pullRT"`
	PullTPS           float64 `json:"pullTPS"`
}

type ConsumeDirectlyRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,must"`
	ClientID      string `rmq:"clientId,opt"` // "": the broker picks one of the group
	MsgID         string `rmq:"msgId,opt"`    // offset message id
	BrokerName    string `rmq:"brokerName,opt"`
	Topic         string `rmq:"topic,opt"`    // since 5.x
	TopicSysFlag  *int32 `rmq:"topicSysFlag"` // since 5.x
	GroupSysFlag  *int32 `rmq:"groupSysFlag"` // since 5.x
}

// ConsumeDirectlyResult is the answer of a client to 309. client-go sends the
// ordinal of the result instead of its name.
type ConsumeDirectlyResult struct {
	AutoCommit     bool   `json:"autoCommit"`
	ConsumeResult  string `json:"consumeResult,omitempty"`
	Order          bool   `json:"order"`
	Remark         string `json:"remark,omitempty"`
	SpentTimeMills int64  `json:"spentTimeMills"`
}
