package longpoll

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rmqctl/internal/clock"
)

// hold adds a waiter and returns the channel its release arrives on.
func hold(t *Table, topic string, offset int64, accepts func(int64) bool, d time.Duration) chan Reason {
	c := make(chan Reason, 2)
	t.Add(&Waiter{Queue: Queue{Topic: topic}, Offset: offset, Owner: offset, Accepts: accepts, Deadline: time.Now().Add(d), Held: heldFunc(func(r Reason) { c <- r })})
	return c
}

type heldFunc func(Reason)

func (f heldFunc) Wake(r Reason) { f(r) }

func TestANewEntryReleasesOnlyWhoWantsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := New(clock.System)
		any := hold(table, "T", 5, nil, time.Minute)
		tagA := hold(table, "T", 5, func(code int64) bool { return code == 65 }, time.Minute)
		ahead := hold(table, "T", 7, nil, time.Minute)
		other := hold(table, "U", 5, nil, time.Minute)

		table.Notify(Queue{Topic: "T"}, 6, 66)
		if got := <-any; got != Arrived {
			t.Errorf("any: %v", got)
		}
		synctest.Wait()
		if len(tagA)+len(ahead)+len(other) != 0 || table.Len() != 3 {
			t.Errorf("released: tagA %d ahead %d other %d, waiting %d", len(tagA), len(ahead), len(other), table.Len())
		}
		table.NotifyAny(Queue{Topic: "T"}, 7)
		if got := <-tagA; got != Arrived {
			t.Errorf("tagA: %v", got)
		}
		table.Close()
		if a, b := <-ahead, <-other; a != Closed || b != Closed {
			t.Errorf("after close: %v %v", a, b)
		}
	})
}

func TestWaitersExpireInOrderAndNobodyWaitsLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := New(clock.System)
		start := time.Now()
		late := hold(table, "T", 0, nil, 15*time.Second)
		early := hold(table, "T", 0, nil, time.Second)
		if got := <-early; got != Expired || time.Since(start) != time.Second {
			t.Errorf("early: %v after %v", got, time.Since(start))
		}
		if got := <-late; got != Expired || time.Since(start) != 15*time.Second {
			t.Errorf("late: %v after %v", got, time.Since(start))
		}
		again := hold(table, "T", 0, nil, time.Second) // the sleeper had ended and must come back
		if got := <-again; got != Expired {
			t.Errorf("again: %v", got)
		}
		table.Close()
		if got := <-hold(table, "T", 0, nil, time.Second); got != Closed {
			t.Errorf("after close: %v", got)
		}
	})
}

func TestDropReleasesThoseOfAClosedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := New(clock.System)
		defer table.Close()
		a, b := hold(table, "T", 1, nil, time.Minute), hold(table, "T", 2, nil, time.Minute)
		table.Drop(int64(1))
		if got := <-a; got != Closed {
			t.Errorf("a: %v", got)
		}
		if len(b) != 0 || table.Len() != 1 {
			t.Errorf("b released too")
		}
		table.NotifyAny(Queue{Topic: "T"}, 3)
		<-b
	})
}

func TestAFlagCountsTheWaitersOfItsQueue(t *testing.T) {
	table := New(clock.System)
	defer table.Close()
	var flag atomic.Int32
	for i := range 3 {
		table.Add(&Waiter{Queue: Queue{Topic: "T"}, Offset: int64(i), Owner: i, Deadline: time.Now().Add(time.Hour), Flag: &flag, Held: heldFunc(func(Reason) {})})
	}
	for _, step := range []struct {
		act  func()
		left int32
	}{
		{func() {}, 3},
		{func() { table.NotifyAny(Queue{Topic: "T"}, 2) }, 1},
		{func() { table.Drop(0) }, 1},
		{func() { table.Drop(2) }, 0},
	} {
		if step.act(); flag.Load() != step.left || table.Len() != int(step.left) {
			t.Fatalf("flag %d, waiting %d, want %d", flag.Load(), table.Len(), step.left)
		}
	}
}

func TestHoldingAndWakingAllocatesNothing(t *testing.T) {
	table := New(clock.System)
	defer table.Close()
	var flag atomic.Int32
	var w Waiter
	held, deadline := heldFunc(func(Reason) {}), time.Now().Add(time.Hour)
	if n := testing.AllocsPerRun(100, func() {
		w = Waiter{Queue: Queue{Topic: "T"}, Deadline: deadline, Flag: &flag, Held: held}
		table.Add(&w)
		table.Notify(w.Queue, 1, 0)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
