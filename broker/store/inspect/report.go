package inspect

// What a check says.

import (
	"sort"
	"time"
)

// Severity orders findings by what they mean.
type Severity string

const (
	Lost     Severity = "lost"     // bytes of messages or settings are gone for good
	Derived  Severity = "derived"  // made again from the log: nothing is lost, but readers miss it until then
	Metadata Severity = "metadata" // a settings file; an older or a second copy helps
	Note     Severity = "note"     // no damage
)

// Finding is one thing that is wrong.
type Finding struct {
	Severity Severity `json:"severity"`
	File     string   `json:"file"`             // below the store's directory
	Offset   int64    `json:"offset"`           // in the file
	Length   int64    `json:"length,omitempty"` // bytes; 0 = up to the reader
	What     string   `json:"what"`
	Means    string   `json:"means,omitempty"`  // for those who read
	Repair   string   `json:"repair,omitempty"` // what repair would do
}

// Report is the outcome of Check.
type Report struct {
	Dir      string    `json:"dir"`
	Clean    bool      `json:"clean"` // no finding but notes
	Crashed  bool      `json:"abortFile"`
	Findings []Finding `json:"findings"`
	More     int       `json:"moreFindings,omitempty"` // beyond the most that are kept

	Segments     int   `json:"segments"`
	SegmentSize  int64 `json:"segmentSize"`
	LogFrom      int64 `json:"logFrom"`
	LogEnd       int64 `json:"logEnd"`
	Records      int64 `json:"records"`
	Marked       int64 `json:"marked"` // stretches that an earlier repair has marked as unreadable
	LostRanges   int   `json:"lostRanges"`
	LostBytes    int64 `json:"lostBytes"`
	LostMessages int64 `json:"lostMessages"` // units that point into lost ranges
	Topics       int   `json:"topics"`
	Queues       int   `json:"queues"`
	Units        int64 `json:"units"`
	IndexFiles   int   `json:"indexFiles"`
	IndexEntries int64 `json:"indexEntries"`

	Took time.Duration `json:"tookNanos"`
}

// mostFindings bounds the memory of a report about a store that is damaged everywhere.
const mostFindings = 2000

func (r *Report) add(f Finding) {
	if f.Severity != Note {
		r.Clean = false
	}
	if len(r.Findings) >= mostFindings {
		r.More++
		return
	}
	r.Findings = append(r.Findings, f)
}

// sorted puts the findings in the order of importance, then of place.
func (r *Report) sorted() {
	rank := map[Severity]int{Lost: 0, Metadata: 1, Derived: 2, Note: 3}
	sort.SliceStable(r.Findings, func(i, j int) bool {
		a, b := r.Findings[i], r.Findings[j]
		if rank[a.Severity] != rank[b.Severity] {
			return rank[a.Severity] < rank[b.Severity]
		}
		if a.File != b.File {
			return a.File < b.File
		}
		return a.Offset < b.Offset
	})
}
