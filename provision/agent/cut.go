// Faults on purpose: what tests of the engine need to pull the cable at the n-th change.

package agent

import (
	"io"
	"sync/atomic"
)

// CutAfterChanges lets left more changes through and closes the connection at the next, before the agent hears of it.
// It is for tests.
func (c *Client) CutAfterChanges(left *atomic.Int64) { c.cut = left }

// spend counts a change.
func (c *Client) spend(q *request) error {
	if c.cut == nil {
		return nil
	}
	switch q.Op {
	case "write", "mkdir", "remove", "removeall", "copy", "append", "run", "lock":
		if c.cut.Add(-1) < 0 {
			c.conn.Close()
			return io.ErrClosedPipe
		}
	}
	return nil
}
