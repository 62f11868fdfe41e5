// What one worker has seen, and the sum of all of them.
package load

import (
	"errors"
	"os"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"rmqctl/internal/protocol"
)

// meter belongs to one goroutine.
type meter struct {
	begin, end int64
	ok         int64
	failed     map[string]int64
	first      error
	last       int64 // when the last counted one ended
	histo      *hdrhistogram.Histogram
}

func newHisto() *hdrhistogram.Histogram {
	return hdrhistogram.New(100, int64(100*time.Second), 3)
}

func newMeter(r *run) *meter {
	return &meter{begin: r.begin, end: r.end, failed: map[string]int64{}, histo: newHisto()}
}

func (m *meter) counts(now int64) bool { return now >= m.begin && now < m.end }

// done counts n messages that came to their end at now after took.
func (m *meter) done(now, took, n int64) {
	if !m.counts(now) {
		return
	}
	m.ok += n
	m.last = now
	m.latency(took)
}

func (m *meter) latency(took int64) {
	_ = m.histo.RecordValue(min(max(took, 100), m.histo.HighestTrackableValue()))
}

// fail counts a refused one whenever it comes: a failure in the warm-up is one, too.
func (m *meter) fail(err error) {
	if m.first == nil {
		m.first = err
	}
	m.failed[reason(err)]++
}

// reason is a name to count a failure under.
func reason(err error) string {
	var refused *protocol.Error
	switch {
	case errors.As(err, &refused):
		return protocol.StatusName(refused.Status)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "NO_ANSWER"
	}
	return "CONNECTION"
}

func (m *meter) add(o *meter) {
	m.ok += o.ok
	for k, n := range o.failed {
		m.failed[k] += n
	}
	if m.first == nil {
		m.first = o.first
	}
	m.last = max(m.last, o.last)
	m.histo.Merge(o.histo)
}
