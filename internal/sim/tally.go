package sim

// Counts of what happened in the worlds that were played.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Tally counts what happened, for the report.
type Tally map[string]int64

// Add counts n more of what.
func (t Tally) Add(what string, n int64) { t[what] += n }

// Join adds what another one counted.
func (t Tally) Join(o Tally) {
	for what, n := range o {
		t[what] += n
	}
}

func (t Tally) String() string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(t)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, t[what]))
	}
	return strings.Join(parts, ", ")
}
