package clock

import (
	"testing"
	"time"
)

const year = 365 * 24 * time.Hour

func TestAJumpMovesTheWallAlone(t *testing.T) {
	for _, d := range []time.Duration{time.Hour, -time.Hour, 10 * year, -10 * year} {
		var c Jumping
		before := c.Now()
		c.Jump(d)
		after := c.Now()
		if passed := after.Sub(before); passed < 0 || passed > time.Minute {
			t.Errorf("%v: %v have passed", d, passed)
		}
		if moved := after.Round(0).Sub(before.Round(0)); moved < d || moved > d+time.Minute {
			t.Errorf("%v: moved by %v", d, moved)
		}
		if off := after.Sub(time.Now().Add(d).Round(0)); off.Abs() > time.Minute {
			t.Errorf("%v: shows %v", d, after)
		}
	}
}

func TestSteadyTimeIgnoresJumps(t *testing.T) {
	var c Jumping
	s, mono := NewSteady(&c), Mono(&c)
	begun := s.Now()
	c.Jump(-10 * year)
	if passed := s.Now().Sub(begun); passed < 0 || passed > time.Minute {
		t.Errorf("%v have passed", passed)
	}
	if passed := Mono(&c) - mono; passed < 0 || passed > time.Minute {
		t.Errorf("%v have passed", passed)
	}
	if skew := s.Skew(); (skew + 10*year).Abs() > time.Minute {
		t.Errorf("skew %v", skew)
	}
}

func TestSteadyTimeGoesOn(t *testing.T) {
	f := NewFake(t0)
	s := NewSteadyAt(f, t0.Add(-time.Hour))
	f.Advance(time.Minute)
	if got := s.Now(); !got.Equal(t0.Add(-59 * time.Minute)) {
		t.Errorf("%v", got)
	}
	if s.Skew() != time.Hour {
		t.Errorf("skew %v", s.Skew())
	}
}
