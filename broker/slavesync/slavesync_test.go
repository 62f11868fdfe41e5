package slavesync

import (
	"log/slog"
	"testing"

	"rmqctl/broker/topic"
	"rmqctl/internal/clock"
)

func TestAnUnknownTopicIsReadableBeforeTheMasterWasAsked(t *testing.T) {
	s := &Slave{Clock: clock.System, Log: slog.New(slog.DiscardHandler), Topics: &topic.Table{}}
	for _, queue := range []int32{2, 0, 3} {
		s.Arrived("T", queue)
	}
	row, ok := s.Topics.Get("T")
	if !ok || row.ReadQueueNums != 4 || row.Perm != 6 {
		t.Fatalf("%+v %v", row, ok)
	}
	select {
	case <-s.moved:
	default:
		t.Error("the master is not asked for the real row")
	}
	before := s.Topics.Version()
	s.Arrived("T", 1)
	if s.Topics.Version() != before || len(s.moved) != 0 {
		t.Error("a known queue made news")
	}
}
