// A client as groups see it.

package group

import (
	"context"
	"net"
	"time"

	"rmqctl/internal/protocol"
)

// Conn is a client's connection as far as groups need it: to be told from another, and to be written to.
type Conn interface {
	RemoteAddr() net.Addr
	WriteOneway(cmd *protocol.Command) error
	Call(ctx context.Context, cmd *protocol.Command) (*protocol.Command, error)
}

// Client is one connected member of a group.
type Client struct {
	Conn     Conn
	ID       string
	Language protocol.Language
	Version  int32
	Seen     time.Time // of the last heartbeat
}
