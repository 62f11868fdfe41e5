// The table of operator commands. A command is a row here and a type in the file of its family.
package admin

import "rmqctl/internal/protocol"

// Commands are sorted by family, then as mqadmin lists them.
var Commands = []Command{
	{"updateTopic", "topic", "Update or create topic.", func() Runner { return &updateTopic{} }},
	{"deleteTopic", "topic", "Delete topic from broker and NameServer.", func() Runner { return &deleteTopic{} }},
	{"topicRoute", "topic", "Examine topic route info.", func() Runner { return &topicRoute{} }},
	{"topicStatus", "topic", "Examine topic status info.", func() Runner { return &topicStatus{} }},
	{"topicClusterList", "topic", "Get cluster info for topic.", func() Runner { return &topicClusterList{} }},
	{"topicList", "topic", "Fetch all topic list from name server.", func() Runner { return &topicList{} }},
	{"allocateMQ", "topic", "Allocate MQ.", func() Runner { return &allocateMQ{} }},
	{"statsAll", "topic", "Topic and consumer TPS stats.", func() Runner { return &statsAll{} }},
	{"updateTopicPerm", "topic", "Update topic perm.", func() Runner { return &updateTopicPerm{} }},
	{"cleanUnusedTopic", "topic", "Clean unused topic on broker.", func() Runner { return &clean{call: protocol.CleanUnusedTopic} }},
	{"clusterList", "cluster", "List cluster infos.", func() Runner { return &clusterList{} }},
	{"brokerStatus", "broker", "Fetch broker runtime status data.", func() Runner { return &brokerStatus{} }},
	{"getBrokerConfig", "broker", "Get broker config by cluster or special broker.", func() Runner { return &getBrokerConfig{} }},
	{"updateBrokerConfig", "broker", "Update broker's config.", func() Runner { return &updateBrokerConfig{} }},
	{"cleanExpiredCQ", "broker", "Clean expired ConsumeQueue on broker.", func() Runner { return &clean{call: protocol.CleanExpiredConsumeQueue} }},
	{"deleteExpiredCommitLog", "broker", "Delete expired CommitLog files.", func() Runner { return &clean{call: protocol.DeleteExpiredCommitLog} }},
	{"haStatus", "ha", "Fetch ha runtime status data.", func() Runner { return &haStatus{} }},
	{"wipeWritePerm", "namesrv", "Wipe write perm of broker in all name server you defined in the -n param.", func() Runner { return &wipeWritePerm{} }},
	{"addWritePerm", "namesrv", "Add write perm of broker in all name server you defined in the -n param.", func() Runner { return &addWritePerm{} }},
	{"getNamesrvConfig", "namesrv", "Get configs of name server.", func() Runner { return &getNamesrvConfig{} }},
	{"updateNamesrvConfig", "namesrv", "Update configs of name server.", func() Runner { return &updateNamesrvConfig{} }},
	{"updateKvConfig", "namesrv", "Create or update KV config.", func() Runner { return &updateKvConfig{} }},
	{"deleteKvConfig", "namesrv", "Delete KV config.", func() Runner { return &deleteKvConfig{} }},
	{"updateSubGroup", "group", "Update or create subscription group.", func() Runner { return &updateSubGroup{} }},
	{"deleteSubGroup", "group", "Delete subscription group from broker.", func() Runner { return &deleteSubGroup{} }},
	{"consumerProgress", "group", "Query consumer's progress, speed.", func() Runner { return &consumerProgress{} }},
	{"consumerConnection", "group", "Query consumer's socket connection, client version and subscription.", func() Runner { return &consumerConnection{} }},
	{"producerConnection", "group", "Query producer's socket connection and client version.", func() Runner { return &producerConnection{} }},
	{"resetOffsetByTime", "group", "Reset consumer offset by timestamp.", func() Runner { return &resetOffsetByTime{} }},
	{"skipAccumulatedMessage", "group", "Skip all messages that are accumulated (not consumed) currently.", func() Runner { return &skipAccumulatedMessage{} }},
	{"queryMsgById", "message", "Query message by id.", func() Runner { return &queryMsgByID{} }},
	{"queryMsgByKey", "message", "Query messages by key.", func() Runner { return &queryMsgByKey{} }},
	{"queryMsgByUniqueKey", "message", "Query message by unique key.", func() Runner { return &queryMsgByUniqueKey{} }},
}
