package chaos

import (
	"rmqctl/test/peers"
	"testing"
)

func Program(t testing.TB) string { return peers.Program(t) }
