// The two calls of transactions and the one of their administration.
package protocol

var (
	EndTransaction         = Define[EndTransactionRequest, Empty](37, "END_TRANSACTION", Pub)
	CheckTransactionState  = Define[CheckTransactionStateRequest, Empty](39, "CHECK_TRANSACTION_STATE", None)
	ResumeCheckHalfMessage = Define[ResumeCheckHalfMessageRequest, Empty](323, "RESUME_CHECK_HALF_MESSAGE", Admin)
)

// Values of EndTransactionRequest.CommitOrRollback: transaction bits of a sysFlag.
const (
	TransactionUnknown  int32 = 0
	TransactionCommit   int32 = 8
	TransactionRollback int32 = 12
)

// EndTransactionRequest is sent one-way by every client.
type EndTransactionRequest struct {
	ProducerGroup        string `rmq:"producerGroup,must,intern"`
	TranStateTableOffset int64  `rmq:"tranStateTableOffset,must"` // queue offset of the half message
	CommitLogOffset      int64  `rmq:"commitLogOffset,must"`
	CommitOrRollback     int32  `rmq:"commitOrRollback,must"`
	FromTransactionCheck bool   `rmq:"fromTransactionCheck"`
	MsgID                string `rmq:"msgId,opt"`
	TransactionID        string `rmq:"transactionId,opt"`
	BrokerName           string `rmq:"bname,opt,intern"`
	Topic                string `rmq:"topic,opt,intern"` // since 5.x
}

// CheckTransactionStateRequest is the broker's, one-way, with one message as its body.
type CheckTransactionStateRequest struct {
	TranStateTableOffset int64  `rmq:"tranStateTableOffset"`
	CommitLogOffset      int64  `rmq:"commitLogOffset"`
	MsgID                string `rmq:"msgId,opt"`
	TransactionID        string `rmq:"transactionId,opt"`
	OffsetMsgID          string `rmq:"offsetMsgId,opt"`
	BrokerName           string `rmq:"bname,opt"`
	Topic                string `rmq:"topic,opt"`
}

type ResumeCheckHalfMessageRequest struct {
	MsgID string `rmq:"msgId,opt"`
}
