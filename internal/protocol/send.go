// Sending, sending back, and replying.
package protocol

var (
	SendMessage        = Define[SendMessageRequest, SendMessageResponse](10, "SEND_MESSAGE", Pub)
	SendMessageV2      = Define[SendMessageRequestV2, SendMessageResponse](310, "SEND_MESSAGE_V2", Pub)
	SendBatchMessage   = Define[SendMessageRequestV2, SendMessageResponse](320, "SEND_BATCH_MESSAGE", Pub)
	SendReplyMessage   = Define[SendMessageRequest, SendMessageResponse](324, "SEND_REPLY_MESSAGE", Pub)
	SendReplyMessageV2 = Define[SendMessageRequestV2, SendMessageResponse](325, "SEND_REPLY_MESSAGE_V2", Pub)

	// PushReplyMessageToClient is the broker's, to the producer that waits for a reply.
	PushReplyMessageToClient = Define[PushReplyMessageRequest, Empty](326, "PUSH_REPLY_MESSAGE_TO_CLIENT", None)
	ConsumerSendMsgBack      = Define[ConsumerSendMsgBackRequest, Empty](36, "CONSUMER_SEND_MSG_BACK", Sub)
)

// SendMessageRequestV2 has the one-letter names of all modern clients.
type SendMessageRequestV2 struct {
	ProducerGroup         string `rmq:"a,must,intern"`
	Topic                 string `rmq:"b,must,intern"`
	DefaultTopic          string `rmq:"c,must,intern"` // template for a topic made by itself
	DefaultTopicQueueNums int32  `rmq:"d,must"`
	QueueID               int32  `rmq:"e,must"` // < 0: the broker picks
	SysFlag               int32  `rmq:"f,must"`
	BornTimestamp         int64  `rmq:"g,must"`
	Flag                  int32  `rmq:"h,must"`
	Properties            []byte `rmq:"i"` // view of the frame: name \x01 value \x02 …
	ReconsumeTimes        int32  `rmq:"j"`
	UnitMode              bool   `rmq:"k"`
	MaxReconsumeTimes     *int32 `rmq:"l"` // only for sends to %RETRY% topics
	Batch                 bool   `rmq:"m"`
	BrokerName            string `rmq:"n,opt,intern"`
}

// SendMessageRequest is the same with long names: convert the pointer,
// (*SendMessageRequestV2)(q).
type SendMessageRequest struct {
	ProducerGroup         string `rmq:"producerGroup,must,intern"`
	Topic                 string `rmq:"topic,must,intern"`
	DefaultTopic          string `rmq:"defaultTopic,must,intern"`
	DefaultTopicQueueNums int32  `rmq:"defaultTopicQueueNums,must"`
	QueueID               int32  `rmq:"queueId,must"`
	SysFlag               int32  `rmq:"sysFlag,must"`
	BornTimestamp         int64  `rmq:"bornTimestamp,must"`
	Flag                  int32  `rmq:"flag,must"`
	Properties            []byte `rmq:"properties"`
	ReconsumeTimes        int32  `rmq:"reconsumeTimes"`
	UnitMode              bool   `rmq:"unitMode"`
	MaxReconsumeTimes     *int32 `rmq:"maxReconsumeTimes"`
	Batch                 bool   `rmq:"batch"`
	BrokerName            string `rmq:"bname,opt,intern"`
}

// SendMessageResponse goes with codes 0, 10, 11 and 12, and with them only.
type SendMessageResponse struct {
	MsgID         string `rmq:"msgId"` // offset message id; of a batch: one per message, comma-joined
	QueueID       int32  `rmq:"queueId"`
	QueueOffset   int64  `rmq:"queueOffset"`
	TransactionID string `rmq:"transactionId,opt"`
	BatchUniqID   string `rmq:"batchUniqId,opt"`
	Region        string `rmq:"MSG_REGION,opt"` // normally DefaultRegion
	TraceOn       string `rmq:"TRACE_ON,opt"`   // "true" or "false"
}

type PushReplyMessageRequest struct {
	ProducerGroup         string `rmq:"producerGroup"`
	Topic                 string `rmq:"topic"`
	DefaultTopic          string `rmq:"defaultTopic"`
	DefaultTopicQueueNums int32  `rmq:"defaultTopicQueueNums"`
	QueueID               int32  `rmq:"queueId"`
	SysFlag               int32  `rmq:"sysFlag"`
	BornTimestamp         int64  `rmq:"bornTimestamp"`
	Flag                  int32  `rmq:"flag"`
	Properties            string `rmq:"properties,opt"`
	ReconsumeTimes        int32  `rmq:"reconsumeTimes"`
	UnitMode              bool   `rmq:"unitMode"`
	BornHost              string `rmq:"bornHost"`
	StoreHost             string `rmq:"storeHost"`
	StoreTimestamp        int64  `rmq:"storeTimestamp"`
}

type ConsumerSendMsgBackRequest struct {
	Offset            int64  `rmq:"offset,must"` // in the commit log
	Group             string `rmq:"group,must,intern"`
	DelayLevel        int32  `rmq:"delayLevel,must"`
	OriginMsgID       string `rmq:"originMsgId,opt"`
	OriginTopic       string `rmq:"originTopic,opt"`
	UnitMode          bool   `rmq:"unitMode"`
	MaxReconsumeTimes *int32 `rmq:"maxReconsumeTimes"`
	BrokerName        string `rmq:"bname,opt,intern"`
}
