// Node: one goroutine drives a Core; connections carry its messages.

package raftgroup

import (
	"context"
	"net"
	"time"

	"rmqctl/internal/clock"
)

// Options say how a member lives among its peers. Listener is required, and what CoreOptions require; Bootstrap is decided
// by Node: when all peers are without state (or a majority, and no other answers for a while) they begin the group.
type Options struct {
	CoreOptions
	Join     bool // a member without state never begins a group: it waits to be added
	Listener net.Listener
	Dial     func(ctx context.Context, addr string) (net.Conn, error) // nil = TCP
	Clock    clock.Clock
	Tick     time.Duration // 100 ms
	OnRole   func(Role)    // one call at a time, in order; it may block, later roles then wait
}

// Node is a running member.
type Node struct{}

// New opens the state beside the log. Nothing runs before Start.
func New(o Options) (*Node, error) { return nil, ErrClosed }

// Start begins to take part in the group.
func (n *Node) Start() error { return ErrClosed }

// Written hands over a round that the store has written: it is the store's Gate. It never blocks.
func (n *Node) Written(from int64, b []byte) {}

// Transfer makes the member to the leader and returns when it is; on the leader only.
func (n *Node) Transfer(ctx context.Context, to uint64) error { return ErrClosed }

// AddMember takes a new member in: at first it only learns, and the leader makes it a voter when it is level. Returns when
// the group has agreed that it learns.
func (n *Node) AddMember(ctx context.Context, p Peer) error { return ErrClosed }

// RemoveMember returns when the group has agreed.
func (n *Node) RemoveMember(ctx context.Context, id uint64) error { return ErrClosed }

// Status is the member now.
func (n *Node) Status() Status { return Status{} }

// Close leaves the group in peace: a leader hands over first.
func (n *Node) Close() error { return nil }
