package broker

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	var p pace
	for _, step := range []struct {
		match, lag int64
		at         time.Duration
		rate, eta  int64
	}{
		{0, 1000, 0, 0, -1},
		{50, 950, time.Second / 2, 0, -1}, // too soon to tell
		{200, 800, 2 * time.Second, 100, 8},
		{200, 801, 2100 * time.Millisecond, 100, 9},
		{200, 900, 4 * time.Second, 0, -1}, // it stands
		{1100, 0, 5 * time.Second, 900, 0},
		{300, 700, 6 * time.Second, 0, -1}, // it began anew
	} {
		if rate, eta := p.of("n1", step.match, step.lag, step.at); rate != step.rate || eta != step.eta {
			t.Errorf("at %v: %d bytes a second, %d s left; want %d and %d", step.at, rate, eta, step.rate, step.eta)
		}
	}
}
