// Response codes, under upstream's names, and the error that carries them.
package protocol

import (
	"errors"
	"fmt"
)

const (
	Success                   int32 = 0
	SystemError               int32 = 1
	SystemBusy                int32 = 2
	RequestCodeNotSupported   int32 = 3
	TransactionFailed         int32 = 4
	FlushDiskTimeout          int32 = 10
	SlaveNotAvailable         int32 = 11
	FlushSlaveTimeout         int32 = 12
	MessageIllegal            int32 = 13
	ServiceNotAvailable       int32 = 14
	VersionNotSupported       int32 = 15
	NoPermission              int32 = 16
	TopicNotExist             int32 = 17
	TopicExistAlready         int32 = 18
	PullNotFound              int32 = 19
	PullRetryImmediately      int32 = 20
	PullOffsetMoved           int32 = 21
	QueryNotFound             int32 = 22
	SubscriptionParseFailed   int32 = 23
	SubscriptionNotExist      int32 = 24
	SubscriptionNotLatest     int32 = 25
	SubscriptionGroupNotExist int32 = 26
	FilterDataNotExist        int32 = 27
	FilterDataNotLatest       int32 = 28
	InvalidParameter          int32 = 29
	ConsumerNotOnline         int32 = 206
	ConsumeMsgTimeout         int32 = 207
	NoMessage                 int32 = 208
	FlowControl               int32 = 215
	GoAway                    int32 = 1500
)

var statusNames = map[int32]string{
	Success: "SUCCESS", SystemError: "SYSTEM_ERROR", SystemBusy: "SYSTEM_BUSY", RequestCodeNotSupported: "REQUEST_CODE_NOT_SUPPORTED",
	TransactionFailed: "TRANSACTION_FAILED", FlushDiskTimeout: "FLUSH_DISK_TIMEOUT", SlaveNotAvailable: "SLAVE_NOT_AVAILABLE",
	FlushSlaveTimeout: "FLUSH_SLAVE_TIMEOUT", MessageIllegal: "MESSAGE_ILLEGAL", ServiceNotAvailable: "SERVICE_NOT_AVAILABLE",
	VersionNotSupported: "VERSION_NOT_SUPPORTED", NoPermission: "NO_PERMISSION", TopicNotExist: "TOPIC_NOT_EXIST",
	TopicExistAlready: "TOPIC_EXIST_ALREADY", PullNotFound: "PULL_NOT_FOUND", PullRetryImmediately: "PULL_RETRY_IMMEDIATELY",
	PullOffsetMoved: "PULL_OFFSET_MOVED", QueryNotFound: "QUERY_NOT_FOUND", SubscriptionParseFailed: "SUBSCRIPTION_PARSE_FAILED",
	SubscriptionNotExist: "SUBSCRIPTION_NOT_EXIST", SubscriptionNotLatest: "SUBSCRIPTION_NOT_LATEST",
	SubscriptionGroupNotExist: "SUBSCRIPTION_GROUP_NOT_EXIST", FilterDataNotExist: "FILTER_DATA_NOT_EXIST",
	FilterDataNotLatest: "FILTER_DATA_NOT_LATEST", InvalidParameter: "INVALID_PARAMETER", ConsumerNotOnline: "CONSUMER_NOT_ONLINE",
	ConsumeMsgTimeout: "CONSUME_MSG_TIMEOUT", NoMessage: "NO_MESSAGE", FlowControl: "FLOW_CONTROL", GoAway: "GO_AWAY",
}

// StatusName names a response code as RocketMQ does.
func StatusName(status int32) string {
	if n, ok := statusNames[status]; ok {
		return n
	}
	return fmt.Sprintf("STATUS_%d", status)
}

// Error is a failure in the peer's own words: it travels as code and remark.
type Error struct {
	Status int32
	Remark string
}

func (e *Error) Error() string {
	if e.Remark == "" {
		return StatusName(e.Status)
	}
	return StatusName(e.Status) + ": " + e.Remark
}

// Errorf makes an *Error.
func Errorf(status int32, format string, args ...any) *Error {
	return &Error{Status: status, Remark: fmt.Sprintf(format, args...)}
}

// StatusOf returns the status of an *Error in err's chain, Success for nil and
// SystemError for anything else.
func StatusOf(err error) int32 {
	if err == nil {
		return Success
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return SystemError
}
