package stats

import (
	"math"
	"testing"
	"time"
)

func TestWindowsCountWhatHappenedWithinThem(t *testing.T) {
	s := New("C")
	now := time.Unix(1700000000, 0)
	for range 120 {
		s.Topic("T").Add(2, 100)
		s.Put.Add(2, 100)
		now = now.Add(time.Second)
		s.Sample(now)
	}
	w, ok := s.View("TOPIC_PUT_NUMS", "T")
	if !ok || w.Minute.Sum != 120 || math.Abs(w.Minute.TPS-2) > 0.01 || w.Minute.Avg != 2 {
		t.Errorf("minute %+v %v", w.Minute, ok)
	}
	if w, _ := s.View("TOPIC_PUT_SIZE", "T"); w.Minute.Sum != 6000 {
		t.Errorf("bytes %+v", w.Minute)
	}
	if w, ok := s.View("BROKER_PUT_NUMS", "C"); !ok || w.Minute.Sum != 120 {
		t.Errorf("broker %+v %v", w, ok)
	}
	if _, ok := s.View("TOPIC_PUT_NUMS", "U"); ok {
		t.Error("an unknown topic has statistics")
	}
	if got := s.Rates().Put; got != "2 2 2" {
		t.Errorf("rates %q", got)
	}
}

func TestMorningsTurnAtMidnight(t *testing.T) {
	s := New("C")
	now := time.Date(2026, 3, 1, 23, 59, 58, 0, time.Local)
	for range 4 {
		s.Put.Add(10, 0)
		s.Sample(now)
		now = now.Add(time.Second)
	}
	if m := s.Mornings(); m.PutToday != 30 || m.PutYesterday != 0 {
		t.Errorf("%+v", m)
	}
}
