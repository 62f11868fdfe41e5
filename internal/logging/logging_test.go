package logging

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const bootLine = "The Name Server boot success. serializeType=JSON"

func TestBootLineIsPlainOnTheConsoleOfEveryFormatAndLevel(t *testing.T) {
	for _, opts := range []Options{{}, {Format: "json"}, {Level: "error"}, {Format: "json", Level: "warn"}} {
		var console bytes.Buffer
		opts.Console = &console
		log, closer, err := New(opts)
		if err != nil {
			t.Fatal(err)
		}
		Boot(log.With("broker", "a"), bootLine)
		if got := console.String(); got != bootLine+"\n" {
			t.Errorf("%+v: console %q", opts, got)
		}
		closer.Close()
	}
}

func TestBootLineGoesToTheFileToo(t *testing.T) {
	var console bytes.Buffer
	file := filepath.Join(t.TempDir(), "logs", "namesrv.log")
	log, closer, err := New(Options{File: file, Format: "json", Console: &console})
	if err != nil {
		t.Fatal(err)
	}
	Boot(log, bootLine)
	log.Warn("disk nearly full", "took", "3s")
	closer.Close()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if console.String() != bootLine+"\n" || len(lines) != 2 {
		t.Fatalf("console %q, file %q", console.String(), text)
	}
	var r struct{ Msg, Level, Took string }
	if err := json.Unmarshal([]byte(lines[1]), &r); err != nil || r.Msg != "disk nearly full" || r.Level != "WARN" || r.Took != "3s" {
		t.Errorf("%+v %v", r, err)
	}
}

func TestFileIsRotatedAndOldOnesAreDropped(t *testing.T) {
	dir := t.TempDir()
	log, closer, err := New(Options{File: filepath.Join(dir, "b.log"), MaxSizeMB: 1, Backups: 2})
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 200_000)
	for range 12 {
		log.Info(line)
	}
	closer.Close()
	files, _ := filepath.Glob(filepath.Join(dir, "b*.log"))
	if len(files) < 2 {
		t.Errorf("no rotated file among %v", files)
	}
}

func TestLevelHidesWhatIsBelow(t *testing.T) {
	var out bytes.Buffer
	log, _, err := New(Options{Level: "warn", Console: &out})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	log.Warn("loud")
	if s := out.String(); strings.Contains(s, "quiet") || !strings.Contains(s, "level=WARN msg=loud") {
		t.Errorf("%q", s)
	}
}

func TestBadOptionsAreNamed(t *testing.T) {
	for opts, want := range map[Options]string{
		{Level: "loud"}:           `log level "loud"`,
		{Format: "xml"}:           `log format "xml"`,
		{File: "/dev/null/x/log"}: "/dev/null/x/log",
	} {
		if _, _, err := New(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

func TestBootWithAForeignLoggerIsAnOrdinaryLine(t *testing.T) {
	var out bytes.Buffer
	Boot(slog.New(slog.NewTextHandler(&out, nil)), bootLine)
	if !strings.Contains(out.String(), bootLine) {
		t.Errorf("%q", out.String())
	}
}
