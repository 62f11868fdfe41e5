package sim

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestEventsHappenInOrderOfTheirTime(t *testing.T) {
	w := New(1, nil)
	var got []int
	for i, d := range []time.Duration{30, 10, 20, 10, 0} {
		w.After(d*time.Millisecond, func() { got = append(got, i) })
	}
	w.After(time.Hour, func() { t.Error("an event behind the end happens") })
	if err := w.Run(time.Second); err != nil || w.Now() != time.Second {
		t.Fatal(err, w.Now())
	}
	if want := []int{4, 1, 3, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestNothingHappensAfterAFailure(t *testing.T) {
	w := New(1, nil)
	w.After(time.Second, func() { w.Fail("broken: %w", fs.ErrInvalid) })
	w.After(2*time.Second, func() { t.Error("something happens") })
	if err := w.Run(time.Minute); err == nil || w.Now() != time.Second {
		t.Fatal(err, w.Now())
	}
}

func TestTimeThatStandsStillIsAFailure(t *testing.T) {
	w := New(1, nil)
	var again func()
	again = func() { w.After(0, again) }
	again()
	if err := w.Run(time.Second); err == nil {
		t.Error("it ends")
	}
}

// TestAPipeKeepsItsOrder: whatever the line does, what arrives is a beginning of what was sent.
func TestAPipeKeepsItsOrder(t *testing.T) {
	held, lost := 0, 0
	for seed := range uint64(300) {
		w := New(seed, nil)
		n := NewNet(w, 3, Line{Min: time.Millisecond, Max: 80 * time.Millisecond})
		sent, got, told := 0, 0, false
		p := NewPipe(n, 0, 1, func() { t.Error("nobody closed this end") }, func() { told = true })
		for range 100 {
			w.After(w.Between(0, 5*time.Second), func() {
				i := sent
				sent++
				p.Send(0, func() {
					if i != got {
						t.Fatalf("seed %d: %d arrives, %d is next", seed, i, got)
					}
					got++
				})
			})
		}
		w.After(w.Between(0, 4*time.Second), func() { n.Trouble(0) })
		w.After(4500*time.Millisecond, n.Heal)
		w.Run(4500 * time.Millisecond)
		if got < sent-20 {
			held++
		}
		w.Run(30 * time.Second)
		if got != sent {
			t.Fatalf("seed %d: %d of %d arrive", seed, got, sent)
		}
		p.Send(0, func() { got++ })
		p.Close(0)
		w.Run(time.Minute)
		if !told || !p.Closed(1) {
			t.Fatalf("seed %d: the other end does not learn of it", seed)
		}
		if got == sent {
			lost++
		}
	}
	if held == 0 || lost == 0 || lost == 300 {
		t.Errorf("held up %d, lost %d of 300", held, lost)
	}
}

func TestACutLineTakesWhatIsUnderWay(t *testing.T) {
	w := New(1, nil)
	n := NewNet(w, 2, Line{Min: time.Second, Max: time.Second})
	n.Send(0, 1, func() { t.Error("it arrives") })
	w.After(time.Millisecond, func() { n.Line(0, 1).Cut = true })
	back := false
	n.Send(1, 0, func() { back = true })
	w.Run(time.Minute)
	if !back || n.Sees(0, 1) {
		t.Error("the other direction is cut, too")
	}
}

// TestATapeAfterAPowerCut keeps what was synced, and recovers to whole records.
func TestATapeAfterAPowerCut(t *testing.T) {
	lengths := map[int64]bool{}
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tape := Tape{Base: 4096}
		for i := range 10 {
			tape.Append(PutRecord(nil, Record{ID: uint64(i + 1)}, Unit*(1+rng.IntN(30))))
			if i == 4 {
				tape.Sync(tape.End())
			}
		}
		safe, whole := tape.Durable(), slices.Clone(tape.B)
		tape.PowerCut(rng)
		tape.Recover()
		if tape.End() < safe || !slices.Equal(tape.B, whole[:len(tape.B)]) || tape.Durable() != tape.End() {
			t.Fatalf("seed %d: %d to %d, synced were %d", seed, tape.Base, tape.End(), safe)
		}
		lengths[tape.End()-safe] = true
	}
	if len(lengths) < 20 || !lengths[0] {
		t.Errorf("what survives has only %d lengths", len(lengths))
	}
}

// TestAFlippedBitEndsTheWalk: a flipped bit ends the walk before its record.
func TestAFlippedBitEndsTheWalk(t *testing.T) {
	b := PutRecord(PutRecord(nil, Record{ID: 1}, 64), Record{ID: 2, Queue: 2, Offset: 9}, 96)
	for i := range b {
		c := slices.Clone(b)
		c[i] ^= 4
		n := 0
		if err := Records(c, func(Record) { n++ }); (err == nil || n != i/64) && i < 128 && i%64 < 24 {
			t.Fatalf("bit of byte %d: %d records, %v", i, n, err)
		}
	}
	if err := Records(b, func(r Record) {
		if r.ID == 2 && fmt.Sprint(r) != "{2 2 9 160}" {
			t.Errorf("record %v", r)
		}
	}); err != nil {
		t.Error(err)
	}
}
