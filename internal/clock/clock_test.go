package clock

import (
	"testing"
	"time"
)

var t0 = time.Date(2024, 5, 1, 4, 0, 0, 0, time.UTC)

func fired(c <-chan time.Time) (time.Time, bool) {
	select {
	case t := <-c:
		return t, true
	default:
		return time.Time{}, false
	}
}

func TestFakeAfterFiresOnceAtItsTime(t *testing.T) {
	f := NewFake(t0)
	c := f.After(10 * time.Second)
	f.Advance(9 * time.Second)
	if _, ok := fired(c); ok {
		t.Fatal("fired a second early")
	}
	f.Advance(5 * time.Second)
	if at, ok := fired(c); !ok || !at.Equal(t0.Add(10*time.Second)) {
		t.Fatalf("fired %v at %v", ok, at)
	}
	if !f.Now().Equal(t0.Add(14*time.Second)) || f.Waiting() != 0 {
		t.Fatalf("now %v, waiting %d", f.Now(), f.Waiting())
	}
}

func TestFakeTickerDropsTicksNobodyTook(t *testing.T) {
	f := NewFake(t0)
	k := f.NewTicker(time.Second)
	f.Advance(5 * time.Second)
	if at, ok := fired(k.C); !ok || !at.Equal(t0.Add(time.Second)) {
		t.Fatalf("first tick %v %v", ok, at)
	}
	if _, ok := fired(k.C); ok {
		t.Fatal("ticks piled up")
	}
	k.Stop()
	k.Stop()
	f.Advance(time.Minute)
	if _, ok := fired(k.C); ok {
		t.Fatal("ticked after Stop")
	}
}

func TestFakeAfterZeroIsNow(t *testing.T) {
	if _, ok := fired(NewFake(t0).After(0)); !ok {
		t.Fatal("After(0) waits")
	}
}
