// mqadmin that stays, for a test that asks much: one JVM instead of one for every command.

package peers

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// AdminShell is a running mqadmin.
type AdminShell struct {
	p    *Process
	mu   sync.Mutex // guards seen: one command at a time
	seen int        // lines of the commands before
}

// StartAdmin starts a shell of a version (Clients49, All53).
func StartAdmin(t testing.TB, version string) *AdminShell {
	t.Helper()
	return &AdminShell{p: start(t, version+" mqadmin", java(t, version, t.TempDir(), "Admins"))}
}

// Run runs one command and returns what it printed on both streams.
func (s *AdminShell) Run(args ...string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.p.t
	t.Helper()
	s.p.Tell(strings.Join(args, "\t"))
	for late := time.After(time.Minute); ; {
		s.p.mu.Lock()
		lines, more := s.p.lines, s.p.more
		s.p.mu.Unlock()
		for i := s.seen; i < len(lines); i++ {
			if lines[i] == "END" {
				said := lines[s.seen:i]
				s.seen = i + 1
				return strings.Join(said, "\n")
			}
		}
		select {
		case <-more:
		case <-s.p.done:
			t.Fatalf("%s ended in %q\n%s", s.p.Name, args, s.p.tail())
		case <-late:
			t.Fatalf("%s: no end of %q\n%s", s.p.Name, args, s.p.tail())
		}
	}
}
