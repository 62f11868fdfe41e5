//go:build linux

package chaos

// Faults of faults, and schedules of them.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// pair is two faults that overlap.
type pair struct {
	a, b      Fault
	recovery  bool
	mostDelay time.Duration
}

// Both has b strike while a holds, up to a second later; a ends first.
func Both(a, b Fault) Fault { return pair{a, b, false, time.Second} }

// DuringRecovery has b strike while the cluster recovers from a: up to half a second after a's end.
func DuringRecovery(a, b Fault) Fault { return pair{a, b, true, 500 * time.Millisecond} }

func (f pair) String() string {
	if f.recovery {
		return fmt.Sprintf("%v, and during recovery %v", f.a, f.b)
	}
	return fmt.Sprintf("%v, and %v", f.a, f.b)
}

func (f pair) begin(c *Cluster, rnd *rand.Rand) (func() error, error) {
	endA, err := f.a.begin(c, rnd)
	if err != nil {
		return nil, err
	}
	delay := time.Duration(rnd.Int64N(int64(f.mostDelay)))
	if !f.recovery {
		time.Sleep(delay)
		endB, err := f.b.begin(c, rnd)
		if err != nil {
			return nil, errors.Join(err, endA())
		}
		return func() error { return errors.Join(endA(), endB()) }, nil
	}
	return func() error {
		if err := endA(); err != nil {
			return err
		}
		time.Sleep(delay)
		endB, err := f.b.begin(c, rnd)
		if err != nil {
			return err
		}
		time.Sleep(time.Second + delay)
		return endB()
	}, nil
}

// Strike lets a fault hold for a while, ends it and waits until every process serves again. Who is picked follows from rnd.
func (c *Cluster) Strike(f Fault, rnd *rand.Rand, hold time.Duration) error {
	c.say("%v, for %v", f, hold)
	end, err := f.begin(c, rnd)
	if err != nil {
		return err
	}
	time.Sleep(hold)
	err = end()
	c.say("  over")
	if err != nil {
		return fmt.Errorf("end of %v: %w", f, err)
	}
	return c.Settle()
}

// Settle waits until every process serves.
func (c *Cluster) Settle() error {
	for _, m := range c.everybody() {
		if err := m.Ready(bootTime); err != nil {
			return err
		}
	}
	return nil
}

// Event is one entry of a schedule.
type Event struct {
	Fault Fault
	Wait  time.Duration // before it
	Hold  time.Duration
	seed  uint64
}

// Schedule chooses n faults of a menu, with times. The same seed gives the same schedule.
func Schedule(seed uint64, n int, menu []Fault, wait, hold time.Duration) []Event {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var all []Event
	for range n {
		all = append(all, Event{
			Fault: menu[rnd.IntN(len(menu))], Wait: wait/2 + time.Duration(rnd.Int64N(int64(wait))),
			Hold: hold/2 + time.Duration(rnd.Int64N(int64(hold))), seed: rnd.Uint64(),
		})
	}
	return all
}

// Play plays a schedule.
func (c *Cluster) Play(events []Event) error {
	for _, e := range events {
		time.Sleep(e.Wait)
		if err := c.Strike(e.Fault, rand.New(rand.NewPCG(e.seed, 2)), e.Hold); err != nil {
			return err
		}
	}
	return nil
}

// say notes what happens, for who reads the test's output.
func (c *Cluster) say(format string, args ...any) {
	c.t.Helper()
	c.t.Logf("%8.3f s "+format, append([]any{time.Since(c.begun).Seconds()}, args...)...)
}
