// What happens during a run, told as values. The engine knows none of its listeners: plain lines, JSON and the live view
// are faces over the same events.

package provision

import (
	"encoding/json"
	"sync"
	"time"
)

// State is what an event says of a step.
type State string

// The states.
const (
	Running  State = "running"  // begun
	OK       State = "ok"       // it held already
	Changed  State = "changed"  // it did not hold, and now does
	Failed   State = "failed"   // Err says why
	Skipped  State = "skipped"  // Why says why
	Progress State = "progress" // Done of Total, or Why in words
	Note     State = "note"     // something to be seen: a new host key, a warning
)

// Event is one piece of news. Host and Role are "" for what concerns the whole cluster.
type Event struct {
	Time        time.Time
	Host        string // node's name
	Role        string // host, namesrv, or the broker's member name
	Step        string
	State       State
	Why         string
	Done, Total int64 // bytes of an upload, seconds of a wait
	Err         error
}

// MarshalJSON writes the stable form of `--output json`.
func (e Event) MarshalJSON() ([]byte, error) {
	v := struct {
		Time  string `json:"time"`
		Host  string `json:"host,omitempty"`
		Role  string `json:"role,omitempty"`
		Step  string `json:"step,omitempty"`
		State State  `json:"state"`
		Why   string `json:"why,omitempty"`
		Done  int64  `json:"done,omitempty"`
		Total int64  `json:"total,omitempty"`
		Err   string `json:"error,omitempty"`
	}{e.Time.UTC().Format(time.RFC3339Nano), e.Host, e.Role, e.Step, e.State, e.Why, e.Done, e.Total, ""}
	if e.Err != nil {
		v.Err = e.Err.Error()
	}
	return json.Marshal(v)
}

// sink hands events to the listener one at a time.
type sink struct {
	mu sync.Mutex
	to func(Event)
}

func (s *sink) send(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to(e)
}
