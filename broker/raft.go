// A broker that is a member of a raft group.

package broker

import (
	"context"

	"rmqctl/internal/protocol"
)

// raft is a broker's membership.
type raft struct{}

// TransferLeadership answers TRANSFER_LEADERSHIP.
func (b *Broker) TransferLeadership(context.Context, string) error { return errNoGroup }

// ChangeMember answers CHANGE_RAFT_MEMBER.
func (b *Broker) ChangeMember(context.Context, *protocol.ChangeRaftMemberRequest) error {
	return errNoGroup
}

func (b *Broker) leaderSpoke(id, addr string) {}
