// Delivery of delayed messages: one loop for each level, asleep until its next message is due.

package delay

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"rmqctl/broker/store"
	"rmqctl/internal/clock"
	"rmqctl/internal/jsonfile"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/vfs"
)

// retryPause is how long a level waits after a delivery the store refused.
const retryPause = time.Second

// Log is what delivering needs of the store.
type Log interface {
	Get(topic string, queue int32, offset int64, limit store.GetLimit, match store.Match) (store.GetResult, error)
	AppendAll(ms []*message.Message) (stored int, err error)
}

// Service delivers what is due. Each level has one goroutine that sleeps until its first message is due, or until one
// comes; nothing polls.
type Service struct {
	Store  Log
	Levels Levels
	Clock  clock.Clock // of the broker: one that is never set, see clock.Steady
	Log    *slog.Logger

	mu      sync.Mutex    // guards all below
	next    map[int]int64 // by level: the next entry of its queue to deliver
	changed uint64
	running bool
	begun   time.Time

	saving sync.Mutex // one writer of the file; guards saved
	saved  uint64

	wake  []chan struct{} // by level - 1
	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// Start begins delivering; for masters only.
func (s *Service) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return
	}
	s.running, s.begun = true, s.Clock.Now()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.wake = make([]chan struct{}, s.Levels.Max())
	for i := range s.wake {
		wake := make(chan struct{}, 1)
		s.wake[i] = wake
		s.tasks.Go(func() { s.run(ctx, i+1, wake) })
	}
}

// Close stops delivering and waits for what is under way.
func (s *Service) Close() {
	s.mu.Lock()
	stop := s.stop
	s.running, s.wake, s.stop = false, nil, nil
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	s.tasks.Wait()
}

// Arrived tells that a queue of the schedule topic has a new entry.
func (s *Service) Arrived(queue int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(queue) < len(s.wake) && queue >= 0 {
		select {
		case s.wake[queue] <- struct{}{}:
		default:
		}
	}
}

// Next is the next entry of the level's queue to deliver.
func (s *Service) Next(level int) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next[level]
}

func (s *Service) advance(level int, next int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = map[int]int64{}
	}
	if s.next[level] != next {
		s.next[level] = next
		s.changed++
	}
}

// run delivers one level's queue in its order.
func (s *Service) run(ctx context.Context, level int, wake chan struct{}) {
	for ctx.Err() == nil {
		more, pause := s.deliver(ctx, level)
		if more {
			continue
		}
		var timer <-chan time.Time
		news := wake
		if pause > 0 {
			timer, news = s.Clock.After(pause), nil // what comes later is due later
		}
		select {
		case <-ctx.Done():
		case <-news:
		case <-timer:
		}
	}
}

// deliver delivers what is due of the level's next entries. more: there may be further ones at once; else pause says
// how long the first of them still has to wait, 0 when there is none.
func (s *Service) deliver(ctx context.Context, level int) (more bool, pause time.Duration) {
	from := s.Next(level)
	var due []int64 // deliver times, parallel to the messages
	got, err := s.Store.Get(message.ScheduleTopic, int32(level-1), from, store.GetLimit{Messages: 32}, store.Match{
		Unit: func(tagsCode int64) bool { due = append(due, tagsCode); return true },
	})
	if err != nil {
		s.Log.Error("read delayed messages", "level", level, "offset", from, "err", err)
		return false, retryPause
	}
	defer got.Release()
	if got.Status != store.Found {
		return s.step(level, from, got), 0
	}
	ms, pause, failed := s.take(ctx, level, from, due, got.Messages)
	done, err := s.put(level, ms)
	switch {
	case err != nil:
		s.Log.Error("deliver delayed messages", "level", level, "offset", ms[done].QueueOffset, "err", err)
		return false, retryPause
	case failed != nil:
		s.Log.Error("decode delayed message", "level", level, "offset", from+int64(len(ms)), "err", failed)
		return false, retryPause
	}
	return len(ms) == len(got.Messages), pause
}

// take reads the records that are due, up to the first that is not.
func (s *Service) take(ctx context.Context, level int, from int64, due []int64, records [][]byte) (ms []*message.Message, pause time.Duration, err error) {
	for i, record := range records {
		m, _, err := message.Decode(record, message.Options{})
		if err != nil {
			return ms, 0, err
		}
		at := s.dueAt(level, due, i, len(records), &m)
		if wait := at.Sub(s.Clock.Now()); wait > 0 {
			return ms, wait, nil
		}
		if ctx.Err() != nil {
			return ms, 0, nil
		}
		ms = append(ms, &m)
	}
	return ms, 0, nil
}

// step corrects the position after a Get that found nothing, and says whether to look again at once.
func (s *Service) step(level int, from int64, got store.GetResult) bool {
	switch got.Status {
	case store.OffsetOverflowOne:
		return false
	case store.NoMessageInQueue, store.NoMatchedLogicQueue:
		s.advance(level, 0)
		return false
	}
	if got.Next == from {
		return false
	}
	s.Log.Warn("position in delayed messages corrected", "level", level, "from", from, "to", got.Next, "status", got.Status.String())
	s.advance(level, got.Next)
	return true
}

// dueAt is when the message is due: what its queue entry says. An entry that says more than the level's delay from now comes
// from before this start, under a clock that was wrong or a longer table of levels: such a message is due, at the latest, the
// level's delay after the start, and no earlier, for it may have been sent just before.
func (s *Service) dueAt(level int, due []int64, i, n int, m *message.Message) time.Time {
	at := s.Levels.DeliverTime(level, m.StoreTimestamp)
	if len(due) == n {
		at = due[i]
	}
	if delay := s.Levels.Of(level).Milliseconds(); at > s.Clock.Now().UnixMilli()+delay {
		s.mu.Lock()
		at = s.begun.UnixMilli() + delay
		s.mu.Unlock()
	}
	return time.UnixMilli(at)
}

// put stores messages where their senders wanted them, together: under SYNC_FLUSH each would wait for a flush of its own
// otherwise. It returns how many are done with.
func (s *Service) put(level int, ms []*message.Message) (done int, err error) {
	var all []*message.Message
	var from []int // where each of all is in ms
	for i, m := range ms {
		restored, ok := Restore(m)
		if !ok {
			s.Log.Warn("delayed message without a real topic is dropped", "offset", m.QueueOffset)
			continue
		}
		all, from = append(all, restored), append(from, i)
	}
	done = len(ms)
	if len(all) > 0 {
		stored, failed := s.Store.AppendAll(all)
		if err = failed; err != nil {
			done = from[stored]
		}
	}
	if done > 0 {
		s.advance(level, ms[done-1].QueueOffset+1)
	}
	return done, err
}

// Hide makes the message one that waits: it returns the copy to store in the schedule topic.
func Hide(m *message.Message, level int, levels Levels) *message.Message {
	level = min(level, levels.Max())
	out := *m
	out.Properties = message.SetProperty(out.Properties, message.PropDelay, strconv.Itoa(level))
	out.Properties = message.SetProperty(out.Properties, message.PropRealTopic, m.Topic)
	out.Properties = message.SetProperty(out.Properties, message.PropRealQueueID, strconv.Itoa(int(m.QueueID)))
	out.Topic, out.QueueID = message.ScheduleTopic, int32(level-1)
	return &out
}

// Restore is the reverse of Hide, except that REAL_TOPIC and REAL_QID stay readable. Half messages are never delivered
// this way.
func Restore(m *message.Message) (*message.Message, bool) {
	topic, _ := message.Property(m.Properties, message.PropRealTopic)
	text, _ := message.Property(m.Properties, message.PropRealQueueID)
	queue, err := strconv.ParseInt(text, 10, 32)
	if topic == "" || err != nil || topic == message.HalfTopic {
		return nil, false
	}
	out := *m
	out.Topic, out.QueueID = topic, int32(queue)
	out.Properties = message.DeleteProperty(m.Properties, message.PropDelay)
	out.PreparedTransactionOffset = 0
	return &out, true
}

// wire is the text of delayOffset.json and of GET_ALL_DELAY_OFFSET: {"offsetTable":{1:12,2:0}}.
type wire struct {
	OffsetTable map[int]int64 `json:"offsetTable"`
}

// Encode writes the levels' positions as RocketMQ does, compact.
func (s *Service) Encode() []byte {
	s.mu.Lock()
	next := maps.Clone(s.next)
	s.mu.Unlock()
	out := []byte(`{"offsetTable":{`)
	for i, level := range slices.Sorted(maps.Keys(next)) {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, int64(level), 10)
		out = append(out, ':')
		out = strconv.AppendInt(out, next[level], 10)
	}
	return append(out, "}}"...)
}

// Adopt takes over positions read from RocketMQ's text; a slave does so with its master's.
func (s *Service) Adopt(text []byte) error {
	var w wire
	if err := protocol.DecodeJSON(text, &w); err != nil {
		return err
	}
	for level, next := range w.OffsetTable {
		s.advance(level, next)
	}
	return nil
}

// Raise takes over the positions of the text that are further than ours. A master that begins does so with what the others
// of its group know: a message that was delivered is not delivered again.
func (s *Service) Raise(text []byte) error {
	var w wire
	if err := protocol.DecodeJSON(text, &w); err != nil {
		return err
	}
	for level, next := range w.OffsetTable {
		if next > s.Next(level) {
			s.advance(level, next)
		}
	}
	return nil
}

// Load takes over the positions of the file; a missing file means that nothing was delivered.
func (s *Service) Load(fsys vfs.FS, name string) error {
	_, err := jsonfile.Load(fsys, name, s.Adopt)
	return err
}

// Save writes the file if anything changed since the last Save.
func (s *Service) Save(fsys vfs.FS, name string) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	seen := s.changed
	s.mu.Unlock()
	if seen == s.saved {
		return nil
	}
	if err := jsonfile.Save(fsys, name, s.Encode()); err != nil {
		return err
	}
	s.saved = seen
	return nil
}
