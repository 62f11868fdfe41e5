// Answers that are owed, so that stopping can wait for them.

package processor

import (
	"sync"
	"time"
)

// Tasks counts answers that are owed, so that a broker that stops can give them first. The zero value is ready.
type Tasks struct {
	mu   sync.Mutex // guards n, idle
	n    int
	idle chan struct{} // closed when n gets 0; nil while nobody waits
}

// Enter counts one more.
func (t *Tasks) Enter() {
	t.mu.Lock()
	t.n++
	t.mu.Unlock()
}

// Leave counts one less.
func (t *Tasks) Leave() {
	t.mu.Lock()
	t.n--
	if t.n == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
	t.mu.Unlock()
}

// Go runs f on a goroutine of its own and counts it.
func (t *Tasks) Go(f func()) {
	t.Enter()
	go func() {
		defer t.Leave()
		f()
	}()
}

// Wait returns when nothing is owed, or when the limit comes.
func (t *Tasks) Wait(limit <-chan time.Time) {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	select {
	case <-idle:
	case <-limit:
	}
}
