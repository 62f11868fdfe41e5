// Administration of a broker: configuration, numbers, cleaning, replication.
package protocol

var (
	UpdateBrokerConfig       = Define[Empty, Empty](25, "UPDATE_BROKER_CONFIG", Admin)
	GetBrokerConfig          = Define[Empty, GetBrokerConfigResponse](26, "GET_BROKER_CONFIG", Get)
	GetBrokerRuntimeInfo     = Define[Empty, Empty](28, "GET_BROKER_RUNTIME_INFO", Get)
	ViewBrokerStatsData      = Define[ViewBrokerStatsRequest, Empty](315, "VIEW_BROKER_STATS_DATA", Get)
	CleanExpiredConsumeQueue = Define[Empty, Empty](306, "CLEAN_EXPIRED_CONSUMEQUEUE", Admin)
	DeleteExpiredCommitLog   = Define[Empty, Empty](329, "DELETE_EXPIRED_COMMITLOG", Admin)
	ExchangeBrokerHAInfo     = Define[BrokerHAInfo, BrokerHAInfo](906, "EXCHANGE_BROKER_HA_INFO", None)
	GetBrokerHAStatus        = Define[Empty, Empty](907, "GET_BROKER_HA_STATUS", Get)
	GetAllMessageRequestMode = Define[Empty, Empty](402, "GET_ALL_MESSAGE_REQUEST_MODE", Get) // asked by 5.x slaves
	ResetMasterFlushOffset   = Define[ResetMasterFlushOffsetRequest, Empty](908, "RESET_MASTER_FLUSH_OFFSET", None)
)

// GetBrokerConfigResponse goes with a body of properties text.
type GetBrokerConfigResponse struct {
	Version string `rmq:"version"` // DataVersion as JSON
}

type ViewBrokerStatsRequest struct {
	StatsName string `rmq:"statsName,must"`
	StatsKey  string `rmq:"statsKey,must"`
}

// BrokerStatsData is the body of VIEW_BROKER_STATS_DATA.
type BrokerStatsData struct {
	Day    BrokerStatsItem `json:"statsDay"`
	Hour   BrokerStatsItem `json:"statsHour"`
	Minute BrokerStatsItem `json:"statsMinute"`
}

type BrokerStatsItem struct {
	AvgPT float64 `json:"avgpt"`
	Sum   int64   `json:"sum"`
	TPS   float64 `json:"tps"`
}

// BrokerHAInfo is what 5.x brokers tell each other; an empty request only asks.
type BrokerHAInfo struct {
	MasterHAAddress   string `rmq:"masterHaAddress,opt"`
	MasterFlushOffset *int64 `rmq:"masterFlushOffset"`
	MasterAddress     string `rmq:"masterAddress,opt"`
}

type ResetMasterFlushOffsetRequest struct {
	MasterFlushOffset int64 `rmq:"masterFlushOffset,must"`
}

// HARuntimeInfo is the body of GET_BROKER_HA_STATUS.
type HARuntimeInfo struct {
	Client                   *HAClientInfo      `json:"haClientRuntimeInfo"`
	Connections              []HAConnectionInfo `json:"haConnectionInfo"`
	InSyncSlaveNums          int32              `json:"inSyncSlaveNums"`
	Master                   bool               `json:"master"`
	MasterCommitLogMaxOffset int64              `json:"masterCommitLogMaxOffset"`
}

type HAConnectionInfo struct {
	Addr                    string `json:"addr"`
	Diff                    int64  `json:"diff"`
	InSync                  bool   `json:"inSync"`
	SlaveAckOffset          int64  `json:"slaveAckOffset"`
	TransferFromWhere       int64  `json:"transferFromWhere"`
	TransferredByteInSecond int64  `json:"transferredByteInSecond"`
}

type HAClientInfo struct {
	Activated               bool   `json:"activated"`
	LastReadTimestamp       int64  `json:"lastReadTimestamp"`
	LastWriteTimestamp      int64  `json:"lastWriteTimestamp"`
	MasterAddr              string `json:"masterAddr"`
	MasterFlushOffset       int64  `json:"masterFlushOffset"`
	MaxOffset               int64  `json:"maxOffset"`
	TransferredByteInSecond int64  `json:"transferredByteInSecond"`
}

// MessageRequestModes is the body of GET_ALL_MESSAGE_REQUEST_MODE: topic -> group -> mode.
type MessageRequestModes struct {
	Modes map[string]map[string]MessageRequestMode `json:"messageRequestModeMap"`
}

type MessageRequestMode struct {
	ConsumerGroup    string `json:"consumerGroup"`
	Mode             string `json:"mode"` // PULL or POP
	PopShareQueueNum int32  `json:"popShareQueueNum"`
	Topic            string `json:"topic"`
}
