package store

// Who wants to know that the log has grown: the senders of a master.

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Watch calls f with the new MaxPhysical once for each round of appends, from whoever wrote it: f must be quick. stop ends
// it; a call may still be under way then.
func (s *Store) Watch(f func(maxPhysical int64)) (stop func()) { return s.watch.add(f) }

type watcher struct{ f func(int64) }

type watchers struct {
	mu   sync.Mutex // one change of list at a time
	list atomic.Pointer[[]*watcher]
}

func (w *watchers) add(f func(int64)) func() {
	x := &watcher{f}
	w.change(func(list []*watcher) []*watcher { return append(list, x) })
	return func() {
		w.change(func(list []*watcher) []*watcher {
			return slices.DeleteFunc(list, func(y *watcher) bool { return y == x })
		})
	}
}

func (w *watchers) change(f func([]*watcher) []*watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []*watcher
	if old := w.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	list = f(list)
	w.list.Store(&list)
}

func (w *watchers) tell(end int64) {
	if list := w.list.Load(); list != nil {
		for _, x := range *list {
			x.f(end)
		}
	}
}
