// Administration of topics at a broker.
package protocol

var (
	UpdateAndCreateTopic         = Define[UpdateTopicRequest, Empty](17, "UPDATE_AND_CREATE_TOPIC", Admin)
	UpdateAndCreateTopicList     = Define[Empty, Empty](18, "UPDATE_AND_CREATE_TOPIC_LIST", Admin)
	DeleteTopicInBroker          = Define[TopicRequest, Empty](215, "DELETE_TOPIC_IN_BROKER", Admin)
	GetAllTopicConfig            = Define[GetAllTopicConfigRequest, GetAllTopicConfigResponse](21, "GET_ALL_TOPIC_CONFIG", Get)
	GetTopicConfig               = Define[GetTopicConfigRequest, Empty](351, "GET_TOPIC_CONFIG", Get)
	GetTopicStatsInfo            = Define[TopicRequest, Empty](202, "GET_TOPIC_STATS_INFO", Get)
	QueryTopicConsumeByWho       = Define[TopicRequest, Empty](300, "QUERY_TOPIC_CONSUME_BY_WHO", Get)
	GetSystemTopicListFromBroker = Define[Empty, Empty](305, "GET_SYSTEM_TOPIC_LIST_FROM_BROKER", Get)
	CleanUnusedTopic             = Define[Empty, Empty](316, "CLEAN_UNUSED_TOPIC", Admin)
)

type UpdateTopicRequest struct {
	Topic           string `rmq:"topic,must"`
	DefaultTopic    string `rmq:"defaultTopic"`
	ReadQueueNums   int32  `rmq:"readQueueNums,must"`
	WriteQueueNums  int32  `rmq:"writeQueueNums,must"`
	Perm            int32  `rmq:"perm,must"`
	TopicFilterType string `rmq:"topicFilterType"` // SINGLE_TAG
	TopicSysFlag    int32  `rmq:"topicSysFlag"`
	Order           bool   `rmq:"order"`
	Attributes      string `rmq:"attributes,opt"` // since 5.x: +k=v,-k
	Force           *bool  `rmq:"force"`          // since 5.x
}

// UpdateTopicListBody is the body of UPDATE_AND_CREATE_TOPIC_LIST.
type UpdateTopicListBody struct {
	Topics []*TopicConfig `json:"topicConfigList"`
}

// GetAllTopicConfigRequest has fields only from 5.x slaves, which page; an
// answer without totalTopicNum is a whole one.
type GetAllTopicConfigRequest struct {
	TopicSeq    int32  `rmq:"topicSeq,opt"`
	DataVersion string `rmq:"dataVersion,opt"`
	MaxTopicNum int32  `rmq:"maxTopicNum,opt"`
}

type GetAllTopicConfigResponse struct {
	TotalTopicNum *int32 `rmq:"totalTopicNum"`
}

type GetTopicConfigRequest struct {
	Topic string `rmq:"topic,must"`
}

// TopicStats is the body of GET_TOPIC_STATS_INFO.
type TopicStats struct {
	OffsetTable map[MessageQueue]TopicOffset `json:"offsetTable"`
	PutTPS      float64                      `json:"topicPutTps,omitempty"` // since 5.x
}

type TopicOffset struct {
	LastUpdateTimestamp int64 `json:"lastUpdateTimestamp"`
	MaxOffset           int64 `json:"maxOffset"`
	MinOffset           int64 `json:"minOffset"`
}

// GroupList is the body of QUERY_TOPIC_CONSUME_BY_WHO.
type GroupList struct {
	Groups []string `json:"groupList"`
}
