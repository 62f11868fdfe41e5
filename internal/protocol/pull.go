// Pulling, viewing and querying messages.
package protocol

var (
	PullMessage     = Define[PullMessageRequest, PullMessageResponse](11, "PULL_MESSAGE", Sub)
	LitePullMessage = Define[PullMessageRequest, PullMessageResponse](361, "LITE_PULL_MESSAGE", Sub)
	QueryMessage    = Define[QueryMessageRequest, QueryMessageResponse](12, "QUERY_MESSAGE", Sub)
	ViewMessageByID = Define[ViewMessageRequest, Empty](33, "VIEW_MESSAGE_BY_ID", Sub)
)

// Bits of PullMessageRequest.SysFlag.
const (
	PullCommitOffset int32 = 1
	PullSuspend      int32 = 2
	PullSubscription int32 = 4
	PullClassFilter  int32 = 8
	PullLite         int32 = 16
)

type PullMessageRequest struct {
	ConsumerGroup        string `rmq:"consumerGroup,must,intern"`
	Topic                string `rmq:"topic,must,intern"`
	QueueID              int32  `rmq:"queueId,must"`
	QueueOffset          int64  `rmq:"queueOffset,must"` // first offset wanted
	MaxMsgNums           int32  `rmq:"maxMsgNums,must"`
	SysFlag              int32  `rmq:"sysFlag,must"`
	CommitOffset         int64  `rmq:"commitOffset,must"` // with PullCommitOffset
	SuspendTimeoutMillis int64  `rmq:"suspendTimeoutMillis,must"`
	Subscription         string `rmq:"subscription,opt,intern"` // with PullSubscription
	SubVersion           int64  `rmq:"subVersion,must"`
	ExpressionType       string `rmq:"expressionType,opt,intern"` // "" is TAG
	BrokerName           string `rmq:"bname,opt,intern"`
	MaxMsgBytes          int32  `rmq:"maxMsgBytes,opt"` // since 5.x
}

// PullMessageResponse is sent with 0, 19, 20 and 21 alike: clients read its
// four numbers in every case and fail without them.
type PullMessageResponse struct {
	SuggestWhichBrokerID int64 `rmq:"suggestWhichBrokerId"`
	NextBeginOffset      int64 `rmq:"nextBeginOffset"`
	MinOffset            int64 `rmq:"minOffset"`
	MaxOffset            int64 `rmq:"maxOffset"`
}

type QueryMessageRequest struct {
	Topic          string `rmq:"topic,must"`
	Key            string `rmq:"key,must"`
	MaxNum         int32  `rmq:"maxNum,must"`
	BeginTimestamp int64  `rmq:"beginTimestamp,must"`
	EndTimestamp   int64  `rmq:"endTimestamp,must"`
	UniqueKey      string `rmq:"_UNIQUE_KEY_QUERY,opt"` // "true": key is a client's message id
	BrokerName     string `rmq:"bname,opt"`
}

type QueryMessageResponse struct {
	IndexLastUpdateTimestamp int64 `rmq:"indexLastUpdateTimestamp"`
	IndexLastUpdatePhyOffset int64 `rmq:"indexLastUpdatePhyoffset"`
}

type ViewMessageRequest struct {
	Topic      string `rmq:"topic,opt"`   // since 5.x
	Offset     int64  `rmq:"offset,must"` // in the commit log
	BrokerName string `rmq:"bname,opt"`
}
