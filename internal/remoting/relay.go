// A reader that is stuck in OnBurst is relieved: another goroutine goes on reading the connection. A broker's reader writes
// to the disk there; when the disk hangs for half a minute, the heartbeats behind it must not.
package remoting

import (
	"errors"
	"sync/atomic"
	"time"
)

// stuckAfter: a reader that has been in OnBurst for so long, at least, is relieved; twice as long at most.
const stuckAfter = 200 * time.Millisecond

// errRelieved: somebody else reads the connection now.
var errRelieved = errors.New("relieved")

// relay is who reads a connection.
//
//	phase: even  the reader works        odd  it is in OnBurst, and at is where to go on
//
// Whoever makes it even again is the reader.
type relay struct {
	phase atomic.Uint64
	at    cursor
	seen  uint64 // minder only
}

// endBurst calls OnBurst. With errRelieved the connection, and the buffer, are somebody else's.
func (c *Conn) endBurst(at *cursor) error {
	h := c.hub
	if h.onBurst == nil {
		return nil
	}
	c.relay.at = *at
	p := c.relay.phase.Add(1)
	if !h.minding.Load() {
		select {
		case h.mind <- struct{}{}:
		default:
		}
	}
	h.onBurst(c)
	if !c.relay.phase.CompareAndSwap(p, p+1) {
		return errRelieved
	}
	return nil
}

// minder looks for stuck readers while there is traffic, and sleeps while there is none.
func (h *hub) minder() {
	idle := true
	for {
		if idle {
			h.minding.Store(false)
			select {
			case <-h.stop:
				return
			case <-h.mind:
			}
			h.minding.Store(true)
		}
		select {
		case <-h.stop:
			return
		case <-h.clock.After(stuckAfter):
		}
		idle = true
		for _, c := range h.all() {
			p := c.relay.phase.Load()
			if p%2 == 1 && p == c.relay.seen {
				h.relieve(c, p)
			}
			if p != c.relay.seen {
				c.relay.seen, idle = p, false
			}
		}
	}
}

// relieve starts another reader for c. Nobody but the stuck one's successor looks at where it stopped.
func (h *hub) relieve(c *Conn, p uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || !c.relay.phase.CompareAndSwap(p, p+1) {
		return
	}
	at := c.relay.at
	at.relieve = true
	h.tasks.Go(func() { c.run(at) })
}
