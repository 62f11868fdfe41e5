package slavesync

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"rmqctl/broker/delay"
	"rmqctl/broker/group"
	"rmqctl/broker/offset"
	"rmqctl/broker/topic"
	"rmqctl/internal/clock"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
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

// master answers what a slave asks and counts the questions for topics and for offsets.
type master struct {
	offsets    *offset.Table
	topicAsks  atomic.Int32
	offsetAsks atomic.Int32
	client     *remoting.Client
}

func startMaster(t *testing.T) *master {
	m := &master{offsets: offset.New()}
	empty := func(body string) func(*remoting.Exchange, *protocol.Empty) (*protocol.Empty, error) {
		return func(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
			x.ReplyBody([]byte(body))
			return nil, nil
		}
	}
	server := remoting.NewServer(remoting.Options{Router: remoting.NewRouter(
		remoting.On(protocol.GetAllTopicConfig, func(x *remoting.Exchange, _ *protocol.GetAllTopicConfigRequest) (*protocol.GetAllTopicConfigResponse, error) {
			m.topicAsks.Add(1)
			x.ReplyBody([]byte(`{"dataVersion":{"counter":1,"timestamp":1},"topicConfigTable":{}}`))
			return nil, nil
		}, remoting.Fast),
		remoting.On(protocol.GetAllSubscriptionGroupConfig, func(x *remoting.Exchange, _ *protocol.GetAllGroupConfigRequest) (*protocol.GetAllGroupConfigResponse, error) {
			x.ReplyBody([]byte(`{"dataVersion":{"counter":1,"timestamp":1},"subscriptionGroupTable":{}}`))
			return nil, nil
		}, remoting.Fast),
		remoting.On(protocol.GetAllConsumerOffset, func(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
			m.offsetAsks.Add(1)
			x.ReplyBody(offset.Encode(m.offsets.Snapshot()))
			return nil, nil
		}, remoting.Fast),
		remoting.On(protocol.GetAllDelayOffset, empty(`{"offsetTable":{}}`), remoting.Fast),
	)})
	ln := remoting.NewMemListener()
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(ln) }()
	m.client = remoting.NewClient(remoting.ClientOptions{Dial: ln.Dial})
	t.Cleanup(func() { m.client.Close(); server.Close(); <-served })
	return m
}

func TestOffsetsAreCopiedEverySecondAndTheOtherTablesOncePerPeriod(t *testing.T) {
	m := startMaster(t)
	clk := clock.NewFake(time.Unix(1000, 0))
	s := &Slave{Client: m.client, Clock: clk, Log: slog.New(slog.DiscardHandler), Topics: &topic.Table{}, Groups: &group.Configs{},
		Offsets: offset.New(), Delay: &delay.Service{Clock: clk, Log: slog.New(slog.DiscardHandler)}, Save: func() error { return nil }, Lost: func() {}}
	s.SetMaster("memory")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	for second := range 5 {
		m.offsets.Commit("g", "T", 0, int64(second+1))
		for { // the slave waits for the clock, nobody else does
			if got, _ := s.Offsets.Get("g", "T", 0); got == int64(second+1) {
				break
			}
			if clk.Waiting() > 0 {
				clk.Advance(offsetsEvery)
			}
			time.Sleep(time.Millisecond)
		}
	}
	if asks := m.topicAsks.Load(); asks > 3 {
		t.Errorf("topics were asked for %d times within some seconds", asks)
	}
	if asks := m.offsetAsks.Load(); asks < 5 {
		t.Errorf("offsets were asked for %d times", asks)
	}
}
