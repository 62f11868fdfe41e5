package mutants

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// limit ends a mutant that hangs: that is being caught, too.
const limit = 90 * time.Second

// TestMutants wants each mutant to be caught by its test.
func TestMutants(t *testing.T) {
	root := sources(t)
	at := make(chan struct{}, runtime.NumCPU())
	for _, m := range slices.Concat(mutants, simMutants) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			at <- struct{}{}
			defer func() { <-at }()
			overlay := m.overlay(t, root)
			begun := time.Now()
			out, failed := m.caught.play(t, root, overlay)
			switch {
			case !failed:
				t.Errorf("not caught by %s -run %s %v", m.caught.pkg, m.caught.run, m.caught.args)
			case !strings.Contains(out, "--- FAIL") && !strings.Contains(out, "panic: "):
				t.Errorf("it does not build, or something else went wrong:\n%s", tail(out))
			case m.caught.processes && !strings.Contains(out, "promises were not kept") && !strings.Contains(out, "were acknowledged within"):
				t.Errorf("it failed, and not because a promise was broken:\n%s", tail(out))
			default:
				t.Logf("caught after %v: %s", time.Since(begun).Round(100*time.Millisecond), reason(out))
			}
		})
	}
}

// TestGuardsPassWithoutAMutant: a test that fails anyway catches nothing.
func TestGuardsPassWithoutAMutant(t *testing.T) {
	root := sources(t)
	var mu sync.Mutex // guards seen
	seen := map[string]bool{}
	for _, m := range slices.Concat(mutants, simMutants) {
		if m.caught.processes {
			continue // test/chaos itself is where these pass
		}
		key := m.caught.pkg + m.caught.run + strings.Join(m.caught.args, " ")
		mu.Lock()
		known := seen[key]
		seen[key] = true
		mu.Unlock()
		if known {
			continue
		}
		t.Run(m.caught.pkg+" "+m.caught.run, func(t *testing.T) {
			if out, failed := m.caught.play(t, root, ""); failed {
				t.Errorf("it fails without any mutant:\n%s", tail(out))
			} else if strings.Contains(out, "no tests to run") {
				t.Errorf("there is no such test")
			}
		})
	}
}

// overlay writes the mutated copy and the file that tells go of it.
func (m *mutant) overlay(t *testing.T, root string) string {
	t.Helper()
	file, dir := filepath.Join(root, m.file), t.TempDir()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		t.Fatalf("%s has this text %d times, and once is wanted:\n%s", m.file, n, m.old)
	}
	copied := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(copied, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{file: copied}})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, list, 0o644); err != nil {
		t.Fatal(err)
	}
	return overlay
}

// play runs the guard in the tree, with an overlay or ("") without.
func (g guard) play(t *testing.T, root, overlay string) (out string, failed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit+time.Minute)
	defer cancel()
	args := []string{"test", "-failfast", "-timeout", limit.String(), "-run", g.run, "-vet=off"}
	if overlay != "" && !g.processes {
		args = append(args, "-overlay", overlay)
	}
	if g.processes {
		args = append(args, "-count=1") // go does not see that the program changed
	}
	args = append(append(args, g.pkg), g.args...)
	if overlay != "" && g.processes {
		args = append(args, "-program-overlay="+overlay)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	b, err := cmd.CombinedOutput()
	return string(b), err != nil
}

// sources is the top of the tree.
func sources(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return root
}

// reason is the first line in which a test says what it saw.
func reason(out string) string {
	lines := strings.Split(out, "\n")
	for _, line := range lines {
		if at := strings.Index(line, ": seed "); at >= 0 && !strings.Contains(line, "repeat with") {
			return line[at+2:][:min(len(line)-at-2, 200)]
		}
	}
	for i, line := range lines {
		if strings.Contains(line, "_test.go:") && !strings.Contains(line, "repeat with") {
			text := strings.TrimSpace(line)
			if strings.HasSuffix(text, ":") && i+1 < len(lines) {
				text += " " + strings.TrimSpace(lines[i+1])
			}
			return text[:min(len(text), 200)]
		}
	}
	return strings.TrimSpace(lines[0])
}

func tail(out string) string { return out[max(len(out)-3000, 0):] }
