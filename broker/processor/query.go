// Single messages, by id and by key.

package processor

import (
	"rmqctl/broker/config"
	"rmqctl/broker/store"
	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// Query answers who looks for single messages.
type Query struct {
	Config *conf.Live[config.Config]
	Store  *store.Store
}

// View answers VIEW_MESSAGE_BY_ID: one message by its place in the log.
func (p *Query) View(x *remoting.Exchange, q *protocol.ViewMessageRequest) (*protocol.Empty, error) {
	record, err := p.Store.LookMessage(q.Offset)
	if err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "can not find message by the offset, %d", q.Offset)
	}
	x.ReplyBody(record)
	return nil, nil
}

// ByKey answers QUERY_MESSAGE. The index knows hashes only: the client compares the keys.
func (p *Query) ByKey(x *remoting.Exchange, q *protocol.QueryMessageRequest) (*protocol.QueryMessageResponse, error) {
	cfg := p.Config.Load()
	limit := int(q.MaxNum)
	if q.UniqueKey == "true" {
		limit = cfg.DefaultQueryMaxNum
	}
	limit = min(limit, cfg.MaxMsgsNumBatch)
	got, err := p.Store.Query(q.Topic, q.Key, limit, q.BeginTimestamp, q.EndTimestamp)
	if err != nil {
		return nil, err
	}
	resp := &protocol.QueryMessageResponse{IndexLastUpdateTimestamp: got.LastUpdateTime, IndexLastUpdatePhyOffset: got.LastUpdatePhys}
	if len(got.Messages) == 0 {
		x.Status(protocol.QueryNotFound)
		x.Remark("can not find message, maybe time range not correct")
		return resp, nil
	}
	x.ReplyBody(got.Messages...)
	return resp, nil
}
