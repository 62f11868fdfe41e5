// Operators: the group of a broker, who leads it and who is in it. Requests of ours alone; see internal/protocol.

package processor

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// ReplicationAdmin answers operators who look at a group and change it.
type ReplicationAdmin struct {
	Log      *slog.Logger
	State    func() *protocol.ReplicationState
	Role     func(ctx context.Context, q *protocol.ChangeBrokerRoleRequest) error
	Transfer func(ctx context.Context, to string) error
	Member   func(ctx context.Context, q *protocol.ChangeRaftMemberRequest) error
}

// changeLimit bounds a change: who asks waits for its answer.
const changeLimit = 30 * time.Second

// Get answers GET_REPLICATION_STATE.
func (p *ReplicationAdmin) Get(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	x.ReplyBody(protocol.Marshal(p.State()))
	return nil, nil
}

// ChangeRole answers CHANGE_BROKER_ROLE when the broker has the role, with all that belongs to it.
func (p *ReplicationAdmin) ChangeRole(x *remoting.Exchange, q *protocol.ChangeBrokerRoleRequest) (*protocol.Empty, error) {
	return p.change(x, "role", func(ctx context.Context) error { return p.Role(ctx, q) })
}

// TransferLeadership answers TRANSFER_LEADERSHIP when the other leads.
func (p *ReplicationAdmin) TransferLeadership(x *remoting.Exchange, q *protocol.TransferLeadershipRequest) (*protocol.Empty, error) {
	return p.change(x, "leadership", func(ctx context.Context) error { return p.Transfer(ctx, q.To) })
}

// ChangeMember answers CHANGE_RAFT_MEMBER when the group has agreed.
func (p *ReplicationAdmin) ChangeMember(x *remoting.Exchange, q *protocol.ChangeRaftMemberRequest) (*protocol.Empty, error) {
	return p.change(x, "member", func(ctx context.Context) error { return p.Member(ctx, q) })
}

func (p *ReplicationAdmin) change(x *remoting.Exchange, what string, do func(context.Context) error) (*protocol.Empty, error) {
	ctx, cancel := context.WithTimeout(context.Background(), changeLimit)
	defer cancel()
	err := do(ctx)
	if err == nil {
		return nil, nil
	}
	p.Log.Warn("change of the group refused", "what", what, "remote", x.Conn.RemoteAddr().String(), "err", err)
	if own := (*protocol.Error)(nil); errors.As(err, &own) {
		return nil, err
	}
	return nil, protocol.Errorf(protocol.SystemError, "%v", err)
}
