// Replication between brokers of ours: who leads, who is how far behind, and requests that change it. RocketMQ has no such
// requests; its codes end below these, and 30000 still fits the two bytes of the binary header.
package protocol

var (
	GetReplicationState = Define[Empty, Empty](30001, "GET_REPLICATION_STATE", Get)
	TransferLeadership  = Define[TransferLeadershipRequest, Empty](30002, "TRANSFER_LEADERSHIP", Admin)
	ChangeRaftMember    = Define[ChangeRaftMemberRequest, Empty](30003, "CHANGE_RAFT_MEMBER", Admin)
	ChangeBrokerRole    = Define[ChangeBrokerRoleRequest, Empty](30004, "CHANGE_BROKER_ROLE", Admin)
)

// Modes of replication.
const (
	ModeRaft = "raft"
	ModeHA   = "ha"
)

// Roles in a group, as GET_REPLICATION_STATE tells them.
const (
	RoleLeader    = "leader"
	RoleFollower  = "follower"
	RoleCandidate = "candidate"
	RoleMaster    = "master"
	RoleSlave     = "slave"
	RoleFenced    = "fenced" // takes no messages and follows nobody
)

// ReplicationState is the body of GET_REPLICATION_STATE: the group as the broker that is asked sees it.
type ReplicationState struct {
	Mode       string              `json:"mode"`
	Group      string              `json:"group"` // dLegerGroup, or brokerName
	Self       string              `json:"self"`  // n0, or the broker id the properties file gives
	Role       string              `json:"role"`
	Epoch      int64               `json:"epoch"`      // raft term, or the epoch of a master
	BrokerID   int64               `json:"brokerId"`   // under which it is registered now; 0 is leader or master
	FormerID   int64               `json:"formerId"`   // of a master that was promoted: its id before, which is free since
	SyncMaster bool                `json:"syncMaster"` // a master answers when a slave has the message, too
	Leader     string              `json:"leader"`     // leader or master as a member id; "" while it is unknown
	LeaderAddr string              `json:"leaderAddr"` // where clients reach it; "" while it is unknown
	Committed  int64               `json:"committed"`  // what readers may see ends here
	End        int64               `json:"end"`        // the log ends here
	Writable   bool                `json:"writable"`   // producers are served now
	Why        string              `json:"why"`        // why not, in words
	Members    []ReplicationMember `json:"members"`    // of a raft group all; of a master its slaves and itself
}

// ReplicationMember is one replica. Only a leader or master knows how far the others are.
type ReplicationMember struct {
	ID             string `json:"id"`
	Addr           string `json:"addr"` // of the replication: the peer's port, or the connection of a slave
	Role           string `json:"role"`
	Match          int64  `json:"match"` // its log agrees with the leader's up to here
	LagBytes       int64  `json:"lagBytes"`
	InSync         bool   `json:"inSync"`
	BytesPerSecond int64  `json:"bytesPerSecond"`
	ETASeconds     int64  `json:"etaSeconds"` // until it is level at this rate; -1 while it cannot be told
	Voter          bool   `json:"voter"`
	Connected      bool   `json:"connected"`
}

// TransferLeadershipRequest goes to a leader. It is answered when the other leads, or with an error.
type TransferLeadershipRequest struct {
	To string `rmq:"to,opt"` // n1; "" is whoever has the most of the log
}

// What ChangeRaftMember does.
const (
	MemberAdd    = "add"
	MemberRemove = "remove"
)

// ChangeRaftMemberRequest goes to a leader. It is answered when the group has taken the change.
type ChangeRaftMemberRequest struct {
	Op      string `rmq:"op,must"`
	ID      string `rmq:"id,must"`     // n3
	Address string `rmq:"address,opt"` // host:port, of one that is added
}

// ChangeBrokerRoleRequest changes the role of one broker of a group without raft. Who promotes a slave fences its master
// first, as far as that answers, then makes the slave master, and then the old master a slave.
type ChangeBrokerRoleRequest struct {
	Role         string `rmq:"role,must"`        // RoleMaster, RoleSlave or RoleFenced
	Epoch        int64  `rmq:"epoch"`            // of the change: lower ones than the broker's are refused; 0 is the next one
	MasterHAAddr string `rmq:"masterHAAddr,opt"` // of RoleSlave: whom it follows; "" is what name servers say
	MasterAddr   string `rmq:"masterAddr,opt"`
	BrokerID     int64  `rmq:"brokerId"` // of RoleSlave: its id from now on; 0 is the one of its properties file, or of the slave that was promoted
	Sync         bool   `rmq:"sync"`     // of RoleMaster: answer when a slave has the message, too
	Force        bool   `rmq:"force"`    // of RoleMaster: although the old one cannot be asked
}
