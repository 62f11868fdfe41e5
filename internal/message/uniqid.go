package message

// Client-made message ids (property UNIQ_KEY).
//
//	| ip 4 or 16 | pid 2 | class loader hash 4 | ms since the 1st of the month 4 | counter 2 |  in upper-case hex

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// UniqIDs makes ids that no other process makes. Make it with NewUniqIDs.
type UniqIDs struct {
	prefix  []byte
	counter atomic.Uint32
}

// NewUniqIDs makes a generator for this machine's address and process id. Java puts a class loader's hash into the id; we
// put a random number there, so two generators of one process do not collide either.
func NewUniqIDs(ip netip.Addr, pid int) *UniqIDs {
	b := ip.Unmap().AsSlice()
	if len(b) == 0 {
		b = []byte{127, 0, 0, 1}
	}
	b = be.AppendUint16(b, uint16(pid))
	g := &UniqIDs{prefix: be.AppendUint32(b, rand.Uint32())}
	g.counter.Store(rand.Uint32())
	return g
}

// Next is a new id for a message made at now.
func (g *UniqIDs) Next(now time.Time) string {
	first := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, now.Location())
	b := append(make([]byte, 0, 32), g.prefix...)
	b = be.AppendUint32(b, uint32(now.Sub(first).Milliseconds()))
	b = be.AppendUint16(b, uint16(g.counter.Add(1)))
	return strings.ToUpper(hex.EncodeToString(b))
}
