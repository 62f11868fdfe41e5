package ha

// Slaves that cannot be followed up are told so, and get nothing.

import (
	"testing"
	"time"

	"rmqctl/internal/clock"
)

// Pitfall 26: a slave that is ahead of its master is told so and gets nothing, also when the master has grown past it.
func TestSlaveAheadIsRefusedForGood(t *testing.T) {
	log := newLog(4096)
	log.append(make([]byte, 100))
	m, addr := serve(t, MasterOptions{Log: log})
	ahead := newLog(4096)
	ahead.append(make([]byte, 140))
	s := follow(t, addr, SlaveOptions{Log: ahead})
	until(t, "refused", func() bool { return s.Status().State == Diverged })
	log.append(make([]byte, 1000))
	s.SetMaster("")
	s.SetMaster(addr)
	until(t, "refused again", func() bool { return s.Status().State == Diverged && len(m.Status().Slaves) == 0 })
	if ahead.MaxPhysical() != 140 {
		t.Errorf("the slave was fed: it ends at %d", ahead.MaxPhysical())
	}
	if got := <-await(m, log.MaxPhysical(), time.Minute); got != SlaveNotAvailable {
		t.Errorf("status %v", got)
	}
	if err := s.Status().Err; err == "" {
		t.Error("the status does not say why")
	}
}

func TestSlaveBehindTheOldestSegmentIsRefused(t *testing.T) {
	log := logFrom(4096, 3*4096)
	log.append(make([]byte, 100))
	_, addr := serve(t, MasterOptions{Log: log})
	old := newLog(4096)
	old.append(make([]byte, 5000))
	s := follow(t, addr, SlaveOptions{Log: old})
	until(t, "refused", func() bool { return s.Status().State == Diverged })
	if old.MaxPhysical() != 5000 {
		t.Errorf("the slave was fed: it ends at %d", old.MaxPhysical())
	}
}

// A slave that cannot follow keeps asking, but not ten times a second.
func TestRefusedSlaveBacksOff(t *testing.T) {
	log := newLog(4096)
	_, addr := serve(t, MasterOptions{Log: log})
	ahead := newLog(4096)
	ahead.append(make([]byte, 140))
	pauses := hurried{clock.System, make(chan time.Duration, 8)}
	follow(t, addr, SlaveOptions{Log: ahead, Clock: pauses})
	for i, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		if got := <-pauses.asked; got != want*time.Millisecond {
			t.Errorf("pause %d: %v, want %v", i, got, want*time.Millisecond)
		}
	}
}

// hurried notes how long a pause was asked for and makes none. When nobody reads the notes any more, a pause does not end.
type hurried struct {
	clock.Clock
	asked chan time.Duration
}

func (h hurried) After(d time.Duration) <-chan time.Time {
	over := make(chan time.Time, 1)
	select {
	case h.asked <- d:
		over <- h.Now()
	default:
	}
	return over
}
