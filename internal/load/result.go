// What a run has measured, for programs and for people.
package load

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"rmqctl/internal/protocol"
)

// Quantiles of a full histogram, in microseconds.
type Quantiles struct {
	P50  float64 `json:"p50Micros"`
	P90  float64 `json:"p90Micros"`
	P99  float64 `json:"p99Micros"`
	P999 float64 `json:"p999Micros"`
	Max  float64 `json:"maxMicros"`
}

// Result of a run; as JSON it is one line.
type Result struct {
	What      string  `json:"what"`
	Messages  int64   `json:"messages"`
	Failed    int64   `json:"failed"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"messagesPerSecond"`
	MBPerSec  float64 `json:"megabytesPerSecond"`
	Quantiles
	Errors map[string]int64 `json:"errors,omitempty"` // by status
	Send   *Quantiles       `json:"send,omitempty"`   // end to end: of the sends alone
	Late   *Quantiles       `json:"late,omitempty"`   // with a rate: how late this program itself sent

	Connections int    `json:"connections"`
	InFlight    int    `json:"inFlight"`
	Topics      int    `json:"topics"`
	Queues      int32  `json:"queues"`
	Size        int    `json:"size"`
	Rate        int    `json:"rate,omitempty"`
	Header      string `json:"header"`
	Writes      string `json:"writes"` // batched, or one a request

	Client  Cost      `json:"client"`
	Brokers []Cost    `json:"brokers,omitempty"`
	Machine Machine   `json:"machine"`
	Verify  *Verified `json:"verify,omitempty"`

	FirstError string `json:"firstError,omitempty"`
}

func quantiles(h *hdrhistogram.Histogram) *Quantiles {
	us := func(ns int64) float64 { return float64(ns/10) / 100 }
	q := h.ValueAtQuantile
	return &Quantiles{P50: us(q(50)), P90: us(q(90)), P99: us(q(99)), P999: us(q(99.9)), Max: us(h.Max())}
}

func (r *run) result(mode string, m *meter, took time.Duration, from, to Usage) *Result {
	res := &Result{
		What: mode, Messages: m.ok, Seconds: took.Seconds(), Quantiles: *quantiles(m.histo), Connections: len(r.Targets) * r.Connections,
		InFlight: r.InFlight, Topics: len(r.Topics), Queues: r.Targets[0].Queues, Size: r.Size, Rate: r.Rate, Header: "json", Writes: "batched",
	}
	if r.Encoding == protocol.Binary {
		res.Header = "binary"
	}
	if r.OneWrite {
		res.Writes = "one a request"
	}
	for k, n := range m.failed {
		res.fail(k, n, m.first)
	}
	if res.Seconds > 0 {
		res.PerSecond = float64(m.ok) / res.Seconds
		res.MBPerSec = res.PerSecond * float64(r.Size) / 1e6
	}
	if r.late != nil {
		res.Late = quantiles(r.late.histo)
	}
	res.Brokers, res.Machine = to.Since(from, m.ok)
	res.Client.CPUSeconds = (to.Own - from.Own).Seconds()
	if m.ok > 0 {
		res.Client.CPUPerMessage = res.Client.CPUSeconds * 1e6 / float64(m.ok)
	}
	return res
}

func (r *Result) fail(why string, n int64, first error) {
	if r.Errors == nil {
		r.Errors = map[string]int64{}
	}
	r.Errors[why] += n
	r.Failed += n
	if r.FirstError == "" && first != nil {
		r.FirstError = first.Error()
	}
}

// BrokerCPU is the processor time of all brokers for one message, in microseconds.
func (r *Result) BrokerCPU() (us float64) {
	for _, b := range r.Brokers {
		us += b.CPUPerMessage
	}
	return us
}

// Print writes the result as JSON or for people.
func (r *Result) Print(w io.Writer, form string) error {
	if form == "json" {
		return json.NewEncoder(w).Encode(r)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %d messages in %.1f s  %.0f/s  %.1f MB/s  failed %d\n", r.What, r.Messages, r.Seconds, r.PerSecond, r.MBPerSec, r.Failed)
	fmt.Fprintf(&b, "latency  %s\n", r.Quantiles.text())
	if r.Send != nil {
		fmt.Fprintf(&b, "sends    %s\n", r.Send.text())
	}
	if r.Late != nil {
		fmt.Fprintf(&b, "late     %s\n", r.Late.text())
	}
	for _, k := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(&b, "failed   %s %d\n", k, r.Errors[k])
	}
	fmt.Fprintf(&b, "client   %.2f µs CPU a message\n", r.Client.CPUPerMessage)
	for _, c := range r.Brokers {
		fmt.Fprintf(&b, "broker   %d  %.2f µs CPU a message  RSS %.0f MiB  anonymous %.0f MiB  written %.0f MiB in %d calls\n",
			c.Pid, c.CPUPerMessage, c.RSSMiB, c.AnonMiB, c.WrittenMiB, c.WriteCalls)
	}
	if len(r.Brokers) > 0 {
		fmt.Fprintf(&b, "machine  other programs %.1f %%  stolen %.1f %%\n", r.Machine.ForeignPercent, r.Machine.StealPercent)
	}
	if v := r.Verify; v != nil {
		fmt.Fprintf(&b, "verify   acknowledged %d  read %d  missing %d  corrupt %d  twice %d\n", v.Acked, v.Read, v.Missing, v.Corrupt, v.Duplicates)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (q *Quantiles) text() string {
	us := func(v float64) string { return time.Duration(v * 1e3).Round(time.Microsecond).String() }
	return fmt.Sprintf("p50 %s  p90 %s  p99 %s  p99.9 %s  max %s", us(q.P50), us(q.P90), us(q.P99), us(q.P999), us(q.Max))
}
