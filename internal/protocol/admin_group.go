// Administration of groups and looks at their members and progress.
package protocol

var (
	UpdateAndCreateSubscriptionGroup     = Define[Empty, Empty](200, "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP", Admin)
	UpdateAndCreateSubscriptionGroupList = Define[Empty, Empty](225, "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST", Admin)
	GetAllSubscriptionGroupConfig        = Define[GetAllGroupConfigRequest, GetAllGroupConfigResponse](201, "GET_ALL_SUBSCRIPTIONGROUP_CONFIG", Get)
	GetSubscriptionGroupConfig           = Define[GroupRequest, Empty](352, "GET_SUBSCRIPTIONGROUP_CONFIG", Get)
	DeleteSubscriptionGroup              = Define[DeleteGroupRequest, Empty](207, "DELETE_SUBSCRIPTIONGROUP", Admin)
	GetConsumeStats                      = Define[GetConsumeStatsRequest, Empty](208, "GET_CONSUME_STATS", Get)
	GetBrokerConsumeStats                = Define[GetBrokerConsumeStatsRequest, Empty](317, "GET_BROKER_CONSUME_STATS", Get)
	GetConsumerConnectionList            = Define[ConsumerGroupRequest, Empty](203, "GET_CONSUMER_CONNECTION_LIST", Get)
	GetProducerConnectionList            = Define[ProducerGroupRequest, Empty](204, "GET_PRODUCER_CONNECTION_LIST", Get)
	GetAllProducerInfo                   = Define[Empty, Empty](328, "GET_ALL_PRODUCER_INFO", Get)
	QueryTopicsByConsumer                = Define[GroupRequest, Empty](343, "QUERY_TOPICS_BY_CONSUMER", Get)
	QuerySubscriptionByConsumer          = Define[QuerySubscriptionRequest, Empty](345, "QUERY_SUBSCRIPTION_BY_CONSUMER", Get)
)

// UpdateGroupListBody is the body of UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
// that of the single form is one SubscriptionGroupConfig.
type UpdateGroupListBody struct {
	Groups []*SubscriptionGroupConfig `json:"groupConfigList"`
}

// GetAllGroupConfigRequest has fields only from 5.x slaves: see GetAllTopicConfigRequest.
type GetAllGroupConfigRequest struct {
	GroupSeq    int32  `rmq:"groupSeq,opt"`
	DataVersion string `rmq:"dataVersion,opt"`
	MaxGroupNum int32  `rmq:"maxGroupNum,opt"`
}

type GetAllGroupConfigResponse struct {
	TotalGroupNum *int32 `rmq:"totalGroupNum"`
}

// GroupRequest names a group.
type GroupRequest struct {
	Group string `rmq:"group,must"`
}

type ProducerGroupRequest struct {
	ProducerGroup string `rmq:"producerGroup,must"`
}

// DeleteGroupRequest: 4.9 and 5.x name the same wish differently; either counts.
type DeleteGroupRequest struct {
	GroupName    string `rmq:"groupName,must"`
	RemoveOffset bool   `rmq:"removeOffset"`
	CleanOffset  bool   `rmq:"cleanOffset"`
}

type GetConsumeStatsRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,must"`
	Topic         string `rmq:"topic,opt"`     // "": every topic the group has offsets of
	TopicList     string `rmq:"topicList,opt"` // since 5.x; joined by ;
}

// ConsumeStats is the body of GET_CONSUME_STATS.
type ConsumeStats struct {
	ConsumeTPS  float64                        `json:"consumeTps"`
	OffsetTable map[MessageQueue]OffsetWrapper `json:"offsetTable"`
}

type OffsetWrapper struct {
	BrokerOffset   int64 `json:"brokerOffset"`
	ConsumerOffset int64 `json:"consumerOffset"`
	LastTimestamp  int64 `json:"lastTimestamp"`
	PullOffset     int64 `json:"pullOffset"` // since 5.x
}

type GetBrokerConsumeStatsRequest struct {
	IsOrder bool `rmq:"isOrder"`
}

// BrokerConsumeStats is the body of GET_BROKER_CONSUME_STATS.
type BrokerConsumeStats struct {
	BrokerAddr        string                      `json:"brokerAddr"`
	ConsumeStatsList  []map[string][]ConsumeStats `json:"consumeStatsList"`
	TotalDiff         int64                       `json:"totalDiff"`
	TotalInflightDiff int64                       `json:"totalInflightDiff"` // since 5.x
}

// ConsumerConnection is the body of GET_CONSUMER_CONNECTION_LIST.
type ConsumerConnection struct {
	Connections      []Connection                 `json:"connectionSet"`
	ConsumeFromWhere string                       `json:"consumeFromWhere,omitempty"`
	ConsumeType      string                       `json:"consumeType,omitempty"`
	MessageModel     string                       `json:"messageModel,omitempty"`
	Subscriptions    map[string]*SubscriptionData `json:"subscriptionTable"`
}

// ProducerConnection is the body of GET_PRODUCER_CONNECTION_LIST.
type ProducerConnection struct {
	Connections []Connection `json:"connectionSet"`
}

type Connection struct {
	ClientAddr string `json:"clientAddr"`
	ClientID   string `json:"clientId"`
	Language   string `json:"language"`
	Version    int32  `json:"version"`
}

// ProducerTable is the body of GET_ALL_PRODUCER_INFO.
type ProducerTable struct {
	Data map[string][]ProducerInfo `json:"data"`
}

type ProducerInfo struct {
	ClientID            string `json:"clientId"`
	Language            string `json:"language"`
	LastUpdateTimestamp int64  `json:"lastUpdateTimestamp"`
	RemoteIP            string `json:"remoteIP"` // "/ip:port"
	Version             int32  `json:"version"`
}

type QuerySubscriptionRequest struct {
	Group string `rmq:"group,must"`
	Topic string `rmq:"topic"`
}

// SubscriptionOfGroup is the body of QUERY_SUBSCRIPTION_BY_CONSUMER.
type SubscriptionOfGroup struct {
	Group        string            `json:"group"`
	Subscription *SubscriptionData `json:"subscriptionData"`
	Topic        string            `json:"topic"`
}
