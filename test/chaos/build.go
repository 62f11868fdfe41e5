//go:build linux

package chaos

// The program under test: the one that is shipped, unless a test needs another.

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"rmqctl/test/peers"
)

// overlayFlag is how test/mutants has a program built that is wrong.
var overlayFlag = flag.String("program-overlay", "", "build the program with this file of go build -overlay")

// clockKnob is a file in a member's home: by how much its clock is wrong.
const clockKnob = "clock"

// knobbed is what a build with knobs has in other words. Only package main changes: what it assembles stays as it is shipped.
var knobbed = struct{ file, old, new, extra, text string }{
	file: "cmd/rmqctl/broker.go", old: "Clock: clock.System", new: "Clock: settableClock(clock.System)",
	extra: "cmd/rmqctl/settable.go", text: `package main

import (
	"os"
	"path/filepath"
	"time"

	"rmqctl/internal/clock"
)

var settable struct {
	clock.Jumping
	begun bool
}

// settableClock is the machine's clock, and as much off as a file says.
func settableClock(clock.Clock) clock.Clock {
	if settable.begun {
		return &settable.Jumping
	}
	settable.begun = true
	go func() {
		for was := time.Duration(0); ; time.Sleep(20 * time.Millisecond) {
			b, _ := os.ReadFile(filepath.Join(os.Getenv("RMQCTL_CHAOS_KNOBS"), "clock"))
			if by, _ := time.ParseDuration(string(b)); by != was {
				settable.Jump(by - was)
				was = by
			}
		}
	}()
	return &settable.Jumping
}
`,
}

// Program is the path of our program: RMQCTL, or built from the tree; with -program-overlay built with that.
func Program(t testing.TB) string {
	t.Helper()
	if *overlayFlag == "" {
		return peers.Program(t)
	}
	b, err := os.ReadFile(*overlayFlag)
	if err != nil {
		t.Fatal(err)
	}
	return build(t, overlay(t, b))
}

// withKnobs is our program with knobs.
func withKnobs(t testing.TB) string {
	t.Helper()
	root, dir := sources(t), t.TempDir()
	text, err := os.ReadFile(filepath.Join(root, knobbed.file))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), knobbed.old) {
		t.Fatalf("%s does not have %q any more", knobbed.file, knobbed.old)
	}
	changed := filepath.Join(dir, "changed.go")
	extra := filepath.Join(dir, "extra.go")
	for path, text := range map[string]string{changed: strings.ReplaceAll(string(text), knobbed.old, knobbed.new), extra: knobbed.text} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return build(t, map[string]string{filepath.Join(root, knobbed.file): changed, filepath.Join(root, knobbed.extra): extra})
}

func overlay(t testing.TB, b []byte) map[string]string {
	t.Helper()
	var o struct{ Replace map[string]string }
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatal(err)
	}
	return o.Replace
}

var builds struct {
	sync.Mutex
	done map[string]string
}

// build builds the tree with some files replaced, once for each set of them.
func build(t testing.TB, replace map[string]string) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	sum := sha256.New()
	for _, path := range replace {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(b)
	}
	key := hex.EncodeToString(sum.Sum(nil))
	if path := builds.done[key]; path != "" {
		return path
	}
	dir, err := os.MkdirTemp("", "rmqctl-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(map[string]any{"Replace": maps.Clone(replace)})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "rmqctl")
	cmd := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", path, "./cmd/rmqctl")
	cmd.Dir = sources(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build with an overlay: %v\n%s", err, out)
	}
	if builds.done == nil {
		builds.done = map[string]string{}
	}
	builds.done[key] = path
	return path
}

func removeBuilds() {
	for _, path := range builds.done {
		_ = os.RemoveAll(filepath.Dir(path))
	}
}

// sources is the top of the tree.
func sources(t testing.TB) string {
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
