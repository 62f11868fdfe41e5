package ha

import "testing"

func TestOneAcknowledgementReleasesAllThatItCovers(t *testing.T) {
	var w waiters
	var told []int64
	for _, next := range []int64{50, 10, 40, 20, 30} {
		w.add(waiter{next: next, done: func(Status) { told = append(told, next) }})
	}
	tell(w.covered(35, nil), Replicated)
	if len(told) != 3 || told[0] != 10 || told[2] != 30 || w.len() != 2 {
		t.Errorf("released %v", told)
	}
	now := int64(100)
	w.list[w.head].deadline, w.list[w.head+1].deadline = now, now+1
	if late := w.late(now, nil); len(late) != 1 || late[0].next != 40 || w.len() != 1 {
		t.Errorf("%d late, %d left", len(late), w.len())
	}
}

func TestWaitersThatComeAndGoTakeNoMoreMemory(t *testing.T) {
	var w waiters
	var out []waiter
	next, released := int64(0), 0
	if n := testing.AllocsPerRun(1000, func() {
		for range 7 {
			next++
			w.add(waiter{next: next})
		}
		out = w.covered(next-13, out[:0]) // some always wait
		released += len(out)
	}); n > 0 {
		t.Errorf("%v allocations for each acknowledgement", n)
	}
	if w.len() != 13 || w.list[w.head].next != next-12 || int64(released) != next-13 {
		t.Errorf("%d wait, the first for %d; %d released of %d", w.len(), w.list[w.head].next, released, next)
	}
}
