// The log and the disk as a Node's Core sees them.

package raftgroup

import "sync"

// nodeLog is the log as the Core sees it. When it stops taking appends, rounds that wait to be proposed are of the past.
type nodeLog struct {
	Log
	n *Node
}

func (l *nodeLog) Follow() (int64, error) {
	end, err := l.Log.Follow()
	l.n.mu.Lock()
	if l.n.core.handing == 0 { // who hands over proposes what was written; this is the driver
		l.n.rounds = nil
	}
	l.n.mu.Unlock()
	return end, err
}

// both syncs two files at once.
func both(a, b func() error) (errA, errB error) {
	var wg sync.WaitGroup
	wg.Go(func() { errB = b() })
	errA = a()
	wg.Wait()
	return errA, errB
}
