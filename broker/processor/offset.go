// Offsets of queues and of groups.

package processor

import (
	"rmqctl/broker/delay"
	"rmqctl/broker/offset"
	"rmqctl/broker/store"
	"rmqctl/broker/topic"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// Offset answers how far queues reach and how far groups have consumed them.
type Offset struct {
	Store   *store.Store
	Offsets *offset.Table
	Topics  *topic.Table
	Delay   *delay.Service
}

// Query answers QUERY_CONSUMER_OFFSET. A client takes 22 for "never committed" and any other failure for a reason to give
// the queue up. A group that is new to a queue whose beginning is still fresh starts there: 0, so that it does not skip
// what was sent before its first look.
func (p *Offset) Query(_ *remoting.Exchange, q *protocol.QueryConsumerOffsetRequest) (*protocol.OffsetResponse, error) {
	if n, ok := p.Offsets.Get(q.ConsumerGroup, q.Topic, q.QueueID); ok {
		return &protocol.OffsetResponse{Offset: n}, nil
	}
	wantsZero := q.SetZeroIfNotFound == nil || *q.SetZeroIfNotFound
	if wantsZero && p.fresh(q.Topic, q.QueueID) {
		return &protocol.OffsetResponse{Offset: 0}, nil
	}
	return nil, protocol.Errorf(protocol.QueryNotFound, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")
}

// fresh says whether the queue still has its first message and that is not far behind the newest.
func (p *Offset) fresh(topic string, queue int32) bool {
	if p.Store.MinOffset(topic, queue) > 0 {
		return false
	}
	got, err := p.Store.Get(topic, queue, 0, store.GetLimit{Messages: 1}, store.Match{})
	if err != nil {
		return false
	}
	defer got.Release()
	return !got.SuggestSlave
}

// Update answers UPDATE_CONSUMER_OFFSET, which consumers send every 5 s. Lower offsets are accepted: an operator may set
// a group back.
func (p *Offset) Update(_ *remoting.Exchange, q *protocol.UpdateConsumerOffsetRequest) (*protocol.Empty, error) {
	p.Offsets.Commit(q.ConsumerGroup, q.Topic, q.QueueID, q.CommitOffset)
	return nil, nil
}

// Max answers GET_MAX_OFFSET; 0 for a queue that does not exist.
func (p *Offset) Max(_ *remoting.Exchange, q *protocol.GetMaxOffsetRequest) (*protocol.OffsetResponse, error) {
	return &protocol.OffsetResponse{Offset: max(0, p.Store.MaxOffset(q.Topic, q.QueueID))}, nil
}

// Min answers GET_MIN_OFFSET; 0 for a queue that does not exist.
func (p *Offset) Min(_ *remoting.Exchange, q *protocol.GetMinOffsetRequest) (*protocol.OffsetResponse, error) {
	return &protocol.OffsetResponse{Offset: max(0, p.Store.MinOffset(q.Topic, q.QueueID))}, nil
}

// Search answers SEARCH_OFFSET_BY_TIMESTAMP.
func (p *Offset) Search(_ *remoting.Exchange, q *protocol.SearchOffsetRequest) (*protocol.OffsetResponse, error) {
	return &protocol.OffsetResponse{Offset: max(0, p.Store.OffsetByTime(q.Topic, q.QueueID, q.Timestamp))}, nil
}

// Earliest answers GET_EARLIEST_MSG_STORETIME; -1 for a queue without messages.
func (p *Offset) Earliest(_ *remoting.Exchange, q *protocol.QueueRequest) (*protocol.TimestampResponse, error) {
	return &protocol.TimestampResponse{Timestamp: p.Store.EarliestStoreTime(q.Topic, q.QueueID)}, nil
}

// All answers GET_ALL_CONSUMER_OFFSET, asked by slaves every 10 s.
func (p *Offset) All(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	x.ReplyBody(offset.Encode(p.Offsets.Snapshot()))
	return nil, nil
}

// AllDelay answers GET_ALL_DELAY_OFFSET, asked by slaves every 10 s.
func (p *Offset) AllDelay(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	x.ReplyBody(p.Delay.Encode())
	return nil, nil
}
