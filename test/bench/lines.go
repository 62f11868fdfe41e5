// A run is a line of JSON, saved when it has ended: whatever happens later, it is there.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"rmqctl/internal/load"
)

// line is one run, or, with Setup, what the runs behind it were made on.
type line struct {
	At        time.Time          `json:"at"`
	Setup     *setup             `json:"setup,omitempty"`
	Workload  string             `json:"workload,omitempty"`
	Peer      string             `json:"peer,omitempty"`
	Round     int                `json:"round"`
	Discarded bool               `json:"discarded,omitempty"` // disturbed, and repeated
	Noisy     bool               `json:"noisy,omitempty"`     // disturbed to the last try
	Error     string             `json:"error,omitempty"`
	Values    map[string]float64 `json:"values,omitempty"`
	Result    *load.Result       `json:"result,omitempty"`
}

// setup is the machine and what was asked for.
type setup struct {
	Command  string   `json:"command"`
	Revision string   `json:"revision"`
	Ours     string   `json:"ours"`
	Java     string   `json:"java"`
	Go       string   `json:"go"`
	Kernel   string   `json:"kernel"`
	CPU      string   `json:"cpu"`
	CPUs     int      `json:"cpus"`
	MemoryGB float64  `json:"memoryGB"`
	Disk     string   `json:"disk"`
	SyncOver float64  `json:"fdatasyncOverMicros"`
	SyncGrow float64  `json:"fdatasyncGrowMicros"`
	NewPage  float64  `json:"writeNewNanosPerKiB"`
	OldPage  float64  `json:"writeOverNanosPerKiB"`
	Heap     string   `json:"heap"`
	Rounds   int      `json:"rounds"`
	Seconds  float64  `json:"seconds"`
	Warm     float64  `json:"warmSeconds"`
	Peers    []string `json:"peers"`
	Network  string   `json:"network"`
}

func (b *bench) save(l *line) error {
	l.At = time.Now().UTC()
	return appendLine(b.s.Results, l)
}

func appendLine(path string, l *line) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	text, err := json.Marshal(l)
	if err == nil {
		_, err = f.Write(append(text, '\n'))
	}
	return errors.Join(err, f.Close())
}

// readLines reads all lines of a file; none is no error. A line cut short by a crash is left out.
func readLines(path string) (lines []*line, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		l := new(line)
		if json.Unmarshal(sc.Bytes(), l) == nil {
			lines = append(lines, l)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return lines, nil
}

// valuesOf are the numbers of a load's result that tables and goals speak of.
func valuesOf(r *load.Result) map[string]float64 {
	v := map[string]float64{
		"perSecond": r.PerSecond, "p50": r.P50, "p99": r.P99, "p999": r.P999, "max": r.Max, "failed": float64(r.Failed),
		"clientCPU": r.Client.CPUPerMessage, "foreign": r.Machine.ForeignPercent, "steal": r.Machine.StealPercent,
	}
	if len(r.Brokers) > 0 {
		m := r.Brokers[0]
		v["cpu"], v["anonMiB"], v["rssMiB"], v["writeCalls"] = m.CPUPerMessage, m.AnonMiB, m.RSSMiB, float64(m.WriteCalls)
	}
	if len(r.Brokers) > 1 {
		v["slaveCPU"] = r.Brokers[1].CPUPerMessage
	}
	if r.Verify != nil {
		v["missing"] = float64(r.Verify.Missing + r.Verify.Corrupt + r.Verify.Duplicates)
	}
	return v
}
