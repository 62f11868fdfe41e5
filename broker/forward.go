// To whom sends are handed on that this broker does not take any more; see processor/forward.go.

package broker

import (
	"context"
	"time"

	"rmqctl/internal/protocol"
)

const (
	// forwardLimit is a little less than the three seconds that clients wait.
	forwardLimit = 2500 * time.Millisecond
	forwardPause = 20 * time.Millisecond
)

// sendElsewhere hands a send on to the master or leader of the group, as soon as there is one.
func (b *Broker) sendElsewhere(ctx context.Context, cmd *protocol.Command) (*protocol.Command, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardLimit)
	defer cancel()
	for {
		if addr := b.whoTakes(); addr != "" {
			answer, err := b.handOn(ctx, addr, cmd)
			if answer != nil || err != nil {
				return answer, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, protocol.Errorf(protocol.ServiceNotAvailable, "service not available now. %s", b.role.Load().Why)
		case <-b.o.Clock.After(forwardPause):
		}
	}
}

// handOn is nil twice when the message is surely not stored there, and may be tried again.
func (b *Broker) handOn(ctx context.Context, addr string, cmd *protocol.Command) (*protocol.Command, error) {
	if _, err := b.client.Conn(ctx, addr); err != nil {
		return nil, nil
	}
	answer, err := b.client.Invoke(ctx, addr, cmd)
	switch {
	case err != nil:
		return nil, protocol.Errorf(protocol.SystemError, "handed on to %s, which has not answered: %v", addr, err)
	case answer.Code == protocol.ServiceNotAvailable && ctx.Err() == nil:
		return nil, nil
	}
	return answer, nil
}

// whoTakes is where messages are taken now, as far as this broker knows; "" while it does not.
func (b *Broker) whoTakes() string {
	if b.role.Takes() {
		return b.Addr()
	}
	if b.raft == nil {
		return b.tables.Master()
	}
	return b.raft.changes.addr(b.raft.node.Status().LeaderID)
}
