// Offsets of queues and of groups.
package protocol

var (
	QueryConsumerOffset     = Define[QueryConsumerOffsetRequest, OffsetResponse](14, "QUERY_CONSUMER_OFFSET", Sub)
	UpdateConsumerOffset    = Define[UpdateConsumerOffsetRequest, Empty](15, "UPDATE_CONSUMER_OFFSET", Sub)
	SearchOffsetByTimestamp = Define[SearchOffsetRequest, OffsetResponse](29, "SEARCH_OFFSET_BY_TIMESTAMP", Get)
	GetMaxOffset            = Define[GetMaxOffsetRequest, OffsetResponse](30, "GET_MAX_OFFSET", Get)
	GetMinOffset            = Define[GetMinOffsetRequest, OffsetResponse](31, "GET_MIN_OFFSET", Get)
	GetEarliestMsgStoreTime = Define[QueueRequest, TimestampResponse](32, "GET_EARLIEST_MSG_STORETIME", Get)
	GetAllConsumerOffset    = Define[Empty, Empty](43, "GET_ALL_CONSUMER_OFFSET", Get)
	GetAllDelayOffset       = Define[Empty, Empty](45, "GET_ALL_DELAY_OFFSET", Get)
	QueryCorrectionOffset   = Define[QueryCorrectionOffsetRequest, Empty](308, "QUERY_CORRECTION_OFFSET", Get)
	CloneGroupOffset        = Define[CloneGroupOffsetRequest, Empty](314, "CLONE_GROUP_OFFSET", Admin)
	QueryConsumeTimeSpan    = Define[QueryConsumeTimeSpanRequest, Empty](303, "QUERY_CONSUME_TIME_SPAN", Get)
	QueryConsumeQueue       = Define[QueryConsumeQueueRequest, Empty](321, "QUERY_CONSUME_QUEUE", Get)
)

type QueryConsumerOffsetRequest struct {
	ConsumerGroup     string `rmq:"consumerGroup,must,intern"`
	Topic             string `rmq:"topic,must,intern"`
	QueueID           int32  `rmq:"queueId,must"`
	SetZeroIfNotFound *bool  `rmq:"setZeroIfNotFound"` // since 5.x
	BrokerName        string `rmq:"bname,opt,intern"`
}

type UpdateConsumerOffsetRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,must,intern"`
	Topic         string `rmq:"topic,must,intern"`
	QueueID       int32  `rmq:"queueId,must"`
	CommitOffset  int64  `rmq:"commitOffset,must"`
	BrokerName    string `rmq:"bname,opt,intern"`
}

// OffsetResponse carries one queue offset.
type OffsetResponse struct {
	Offset int64 `rmq:"offset"`
}

type TimestampResponse struct {
	Timestamp int64 `rmq:"timestamp"`
}

// QueueRequest names one queue.
type QueueRequest struct {
	Topic      string `rmq:"topic,must,intern"`
	QueueID    int32  `rmq:"queueId,must"`
	BrokerName string `rmq:"bname,opt,intern"`
}

// GetMaxOffsetRequest and GetMinOffsetRequest name one queue.
type (
	GetMaxOffsetRequest = QueueRequest
	GetMinOffsetRequest = QueueRequest
)

type SearchOffsetRequest struct {
	Topic        string `rmq:"topic,must,intern"`
	QueueID      int32  `rmq:"queueId,must"`
	Timestamp    int64  `rmq:"timestamp,must"`
	BoundaryType string `rmq:"boundaryType,opt"` // since 5.x: LOWER, UPPER
	BrokerName   string `rmq:"bname,opt,intern"`
}

type QueryCorrectionOffsetRequest struct {
	Topic        string `rmq:"topic,must"`
	CompareGroup string `rmq:"compareGroup,must"`
	FilterGroups string `rmq:"filterGroups,opt"` // comma-joined
}

type CloneGroupOffsetRequest struct {
	SrcGroup  string `rmq:"srcGroup,must"`
	DestGroup string `rmq:"destGroup,must"`
	Topic     string `rmq:"topic,opt"` // "": all
	Offline   bool   `rmq:"offline"`
}

type QueryConsumeTimeSpanRequest struct {
	Topic string `rmq:"topic,must"`
	Group string `rmq:"group,must"`
}

type QueryConsumeQueueRequest struct {
	Topic         string `rmq:"topic"`
	QueueID       int32  `rmq:"queueId"`
	Index         int64  `rmq:"index"`
	Count         int32  `rmq:"count"`
	ConsumerGroup string `rmq:"consumerGroup,opt"`
}

// ConsumerOffsetTable is the body of GET_ALL_CONSUMER_OFFSET: topic@group -> queue -> next offset.
type ConsumerOffsetTable struct {
	DataVersion *DataVersion               `json:"dataVersion"` // since 5.x
	OffsetTable map[string]map[int32]int64 `json:"offsetTable"`
}

// DelayOffsetTable is the body of GET_ALL_DELAY_OFFSET: delay level -> next offset.
type DelayOffsetTable struct {
	DataVersion *DataVersion    `json:"dataVersion"` // since 5.x
	OffsetTable map[int32]int64 `json:"offsetTable"`
}

// CorrectionOffsets is the body of QUERY_CORRECTION_OFFSET.
type CorrectionOffsets struct {
	Offsets map[int32]int64 `json:"correctionOffsets"`
}

// ConsumeTimeSpans is the body of QUERY_CONSUME_TIME_SPAN.
type ConsumeTimeSpans struct {
	Spans []ConsumeTimeSpan `json:"consumeTimeSpanSet"`
}

type ConsumeTimeSpan struct {
	ConsumeTimestamp int64        `json:"consumeTimeStamp"`
	DelayTime        int64        `json:"delayTime"`
	MaxTimestamp     int64        `json:"maxTimeStamp"`
	MessageQueue     MessageQueue `json:"messageQueue"`
	MinTimestamp     int64        `json:"minTimeStamp"`
}

// ConsumeQueueData is the body of QUERY_CONSUME_QUEUE.
type ConsumeQueueData struct {
	FilterData       string             `json:"filterData,omitempty"`
	MaxQueueIndex    int64              `json:"maxQueueIndex"`
	MinQueueIndex    int64              `json:"minQueueIndex"`
	QueueData        []ConsumeQueueUnit `json:"queueData"`
	SubscriptionData *SubscriptionData  `json:"subscriptionData"`
}

type ConsumeQueueUnit struct {
	BitMap         string `json:"bitMap,omitempty"`
	Eval           bool   `json:"eval"`
	ExtendDataJSON string `json:"extendDataJson,omitempty"`
	Msg            string `json:"msg,omitempty"`
	PhysicOffset   int64  `json:"physicOffset"`
	PhysicSize     int32  `json:"physicSize"`
	TagsCode       int64  `json:"tagsCode"`
}
