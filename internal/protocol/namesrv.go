// What a name server answers: registration, routes, topic lists, key-value configuration.
package protocol

var (
	RegisterBroker         = Define[RegisterBrokerRequest, RegisterBrokerResponse](103, "REGISTER_BROKER", None)
	UnregisterBroker       = Define[UnregisterBrokerRequest, Empty](104, "UNREGISTER_BROKER", None)
	QueryDataVersion       = Define[QueryDataVersionRequest, QueryDataVersionResponse](322, "QUERY_DATA_VERSION", None)
	BrokerHeartbeat        = Define[BrokerHeartbeatRequest, Empty](904, "BROKER_HEARTBEAT", None)
	GetBrokerMemberGroup   = Define[BrokerMemberGroupRequest, Empty](901, "GET_BROKER_MEMBER_GROUP", Get)
	RegisterTopicInNamesrv = Define[TopicRequest, Empty](217, "REGISTER_TOPIC_IN_NAMESRV", Admin)

	GetRouteInfoByTopic = Define[RouteRequest, Empty](105, "GET_ROUTEINFO_BY_TOPIC", Get)
	GetBrokerCluster    = Define[Empty, Empty](106, "GET_BROKER_CLUSTER_INFO", Get)

	GetAllTopicListFromNamesrv    = Define[Empty, Empty](206, "GET_ALL_TOPIC_LIST_FROM_NAMESERVER", Get)
	GetTopicsByCluster            = Define[ClusterRequest, Empty](224, "GET_TOPICS_BY_CLUSTER", Get)
	GetSystemTopicListFromNamesrv = Define[Empty, Empty](304, "GET_SYSTEM_TOPIC_LIST_FROM_NS", Get)
	GetUnitTopicList              = Define[Empty, Empty](311, "GET_UNIT_TOPIC_LIST", Get)
	GetHasUnitSubTopicList        = Define[Empty, Empty](312, "GET_HAS_UNIT_SUB_TOPIC_LIST", Get)
	GetHasUnitSubUnunitTopicList  = Define[Empty, Empty](313, "GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST", Get)
	DeleteTopicInNamesrv          = Define[DeleteTopicInNamesrvRequest, Empty](216, "DELETE_TOPIC_IN_NAMESRV", Admin)

	PutKVConfig          = Define[PutKVConfigRequest, Empty](100, "PUT_KV_CONFIG", Admin)
	GetKVConfig          = Define[KVConfigRequest, GetKVConfigResponse](101, "GET_KV_CONFIG", Get)
	DeleteKVConfig       = Define[KVConfigRequest, Empty](102, "DELETE_KV_CONFIG", Admin)
	GetKVListByNamespace = Define[KVListRequest, Empty](219, "GET_KVLIST_BY_NAMESPACE", Get)

	WipeWritePermOfBroker = Define[WipeWritePermRequest, WipeWritePermResponse](205, "WIPE_WRITE_PERM_OF_BROKER", Admin)
	AddWritePermOfBroker  = Define[BrokerNameRequest, AddWritePermResponse](327, "ADD_WRITE_PERM_OF_BROKER", Admin)
	UpdateNamesrvConfig   = Define[Empty, Empty](318, "UPDATE_NAMESRV_CONFIG", Admin)
	GetNamesrvConfig      = Define[Empty, Empty](319, "GET_NAMESRV_CONFIG", Get)
)

// NamespaceOrderTopic is the key-value namespace of ordered topics: topic -> "broker-a:4;broker-b:4".
const NamespaceOrderTopic = "ORDER_TOPIC_CONFIG"

type RegisterBrokerRequest struct {
	BrokerName             string `rmq:"brokerName,must"`
	BrokerAddr             string `rmq:"brokerAddr,must"`
	ClusterName            string `rmq:"clusterName,must"`
	HAServerAddr           string `rmq:"haServerAddr,must"`
	BrokerID               int64  `rmq:"brokerId,must"`
	Compressed             bool   `rmq:"compressed"`
	BodyCRC32              int32  `rmq:"bodyCrc32"`              // 0: not checked
	HeartbeatTimeoutMillis *int64 `rmq:"heartbeatTimeoutMillis"` // since 5.x
	EnableActingMaster     *bool  `rmq:"enableActingMaster"`     // since 5.x
}

// RegisterBrokerResponse tells a slave where its master is.
type RegisterBrokerResponse struct {
	HAServerAddr string `rmq:"haServerAddr,opt"`
	MasterAddr   string `rmq:"masterAddr,opt"`
}

type UnregisterBrokerRequest struct {
	BrokerName  string `rmq:"brokerName,must"`
	BrokerAddr  string `rmq:"brokerAddr,must"`
	ClusterName string `rmq:"clusterName,must"`
	BrokerID    int64  `rmq:"brokerId,must"`
}

type QueryDataVersionRequest struct {
	BrokerName  string `rmq:"brokerName,must"`
	BrokerAddr  string `rmq:"brokerAddr,must"`
	ClusterName string `rmq:"clusterName,must"`
	BrokerID    int64  `rmq:"brokerId,must"`
}

type QueryDataVersionResponse struct {
	Changed bool `rmq:"changed"`
}

type BrokerHeartbeatRequest struct {
	ClusterName string `rmq:"clusterName,must"`
	BrokerAddr  string `rmq:"brokerAddr,must"`
	BrokerName  string `rmq:"brokerName,must"`
	BrokerID    *int64 `rmq:"brokerId"`
}

type BrokerMemberGroupRequest struct {
	ClusterName string `rmq:"clusterName,must"`
	BrokerName  string `rmq:"brokerName,must"`
}

type RouteRequest struct {
	Topic                  string `rmq:"topic,must"`
	AcceptStandardJSONOnly *bool  `rmq:"acceptStandardJsonOnly"`
}

// TopicRequest names a topic.
type TopicRequest struct {
	Topic string `rmq:"topic,must"`
}

type ClusterRequest struct {
	Cluster string `rmq:"cluster,must"`
}

type BrokerNameRequest struct {
	BrokerName string `rmq:"brokerName,must"`
}

// WipeWritePermRequest hides a broker from producers. The lease is ours: RocketMQ's name servers do not look at it.
type WipeWritePermRequest struct {
	BrokerName  string `rmq:"brokerName,must"`
	LeaseMillis *int64 `rmq:"leaseMillis"` // the mask ends by itself unless it is renewed
}

type DeleteTopicInNamesrvRequest struct {
	Topic       string `rmq:"topic,must"`
	ClusterName string `rmq:"clusterName,opt"`
}

type PutKVConfigRequest struct {
	Namespace string `rmq:"namespace,opt"` // absent is answered by the handler, in its own words
	Key       string `rmq:"key,opt"`
	Value     string `rmq:"value,opt"`
}

type KVConfigRequest struct {
	Namespace string `rmq:"namespace,opt"`
	Key       string `rmq:"key,opt"`
}

type KVListRequest struct {
	Namespace string `rmq:"namespace,opt"`
}

type GetKVConfigResponse struct {
	Value string `rmq:"value,opt"`
}

type WipeWritePermResponse struct {
	Count int32 `rmq:"wipeTopicCount"`
}

type AddWritePermResponse struct {
	Count int32 `rmq:"addTopicCount"`
}

// TopicRouteData is the body of GET_ROUTEINFO_BY_TOPIC. Clients of version
// V4_9_4 and later, and those that ask for it, get the standard JSON form
// (EncodeStandardJSON), older ones the default form: see EncodeRoute.
type TopicRouteData struct {
	BrokerDatas       []*BrokerData       `json:"brokerDatas"`
	FilterServerTable map[string][]string `json:"filterServerTable"`
	OrderTopicConf    string              `json:"orderTopicConf,omitempty"`
	QueueDatas        []*QueueData        `json:"queueDatas"`
}

type BrokerData struct {
	BrokerAddrs        map[int64]string `json:"brokerAddrs"`
	BrokerName         string           `json:"brokerName"`
	Cluster            string           `json:"cluster"`
	EnableActingMaster bool             `json:"enableActingMaster,omitempty"` // since 5.x
	ZoneName           string           `json:"zoneName,omitempty"`           // since 5.x
}

type QueueData struct {
	BrokerName     string `json:"brokerName"`
	Perm           int32  `json:"perm"`
	ReadQueueNums  int32  `json:"readQueueNums"`
	TopicSysFlag   int32  `json:"topicSysFlag"`
	WriteQueueNums int32  `json:"writeQueueNums"`
}

// EncodeRoute writes r in the form the asking client reads. client-go panics
// without brokerAddrs and filterServerTable must be there for old Java clients,
// so nil maps and lists are written as empty ones.
func EncodeRoute(r *TopicRouteData, clientVersion int32, standardOnly bool) []byte {
	full := *r
	if full.FilterServerTable == nil {
		full.FilterServerTable = map[string][]string{}
	}
	if full.QueueDatas == nil {
		full.QueueDatas = []*QueueData{}
	}
	full.BrokerDatas = make([]*BrokerData, len(r.BrokerDatas))
	for i, b := range r.BrokerDatas {
		if b.BrokerAddrs == nil {
			c := *b
			c.BrokerAddrs = map[int64]string{}
			b = &c
		}
		full.BrokerDatas[i] = b
	}
	if standardOnly || clientVersion >= V4_9_4 {
		b, err := EncodeStandardJSON(&full)
		if err != nil {
			panic(err)
		}
		return b
	}
	return Marshal(&full)
}

// ClusterInfo is the body of GET_BROKER_CLUSTER_INFO.
type ClusterInfo struct {
	BrokerAddrTable  map[string]*BrokerData `json:"brokerAddrTable"`
	ClusterAddrTable map[string][]string    `json:"clusterAddrTable"`
}

// BrokerMemberGroupBody is the body of GET_BROKER_MEMBER_GROUP.
type BrokerMemberGroupBody struct {
	Group *BrokerMemberGroup `json:"brokerMemberGroup"`
}

type BrokerMemberGroup struct {
	BrokerAddrs map[int64]string `json:"brokerAddrs"`
	BrokerName  string           `json:"brokerName"`
	Cluster     string           `json:"cluster"`
}
