// The table of operator commands. A command is a row here and a type in the file of its family.
package admin

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
	{"clusterList", "cluster", "List cluster infos.", func() Runner { return &clusterList{} }},
	{"brokerStatus", "broker", "Fetch broker runtime status data.", func() Runner { return &brokerStatus{} }},
	{"wipeWritePerm", "namesrv", "Wipe write perm of broker in all name server you defined in the -n param.", func() Runner { return &wipeWritePerm{} }},
	{"addWritePerm", "namesrv", "Add write perm of broker in all name server you defined in the -n param.", func() Runner { return &addWritePerm{} }},
	{"consumerProgress", "group", "Query consumer's progress, speed.", func() Runner { return &consumerProgress{} }},
}
