// Package logging sets up slog: text or JSON, to stdout or to a file that is rotated.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/natefinch/lumberjack.v2"
)

// Options says where a log goes and how it looks. The zero value logs text at level info to stdout.
type Options struct {
	Level     string    // debug, info, warn or error; "" is info
	Format    string    // text or json; "" is text
	File      string    // rotated; "" is Console
	MaxSizeMB int       // a file that grows beyond it is rotated; 0 is 100
	Backups   int       // rotated files that are kept; 0 is 10
	Console   io.Writer // where boot lines, and the log without a File, go; nil is stdout
}

// New opens the log. Close it last: it flushes nothing but frees the file.
func New(opts Options) (*slog.Logger, io.Closer, error) {
	level, err := parseLevel(opts.Level)
	if err != nil {
		return nil, nil, err
	}
	console := opts.Console
	if console == nil {
		console = os.Stdout
	}
	out, closer := console, io.Closer(nopCloser{})
	if opts.File != "" {
		f, err := openRotated(opts)
		if err != nil {
			return nil, nil, err
		}
		out, closer = f, f
	}
	inner, err := newHandler(opts.Format, out, level)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(&handler{Handler: inner, console: console, toFile: opts.File != ""}), closer, nil
}

// Boot logs a line that operators and scripts of RocketMQ wait for. With a logger of New it appears unadorned
// on the console whatever the level and format, and in the log file as well if there is one.
func Boot(log *slog.Logger, line string) {
	h, ok := log.Handler().(*handler)
	if !ok {
		log.Info(line)
		return
	}
	fmt.Fprintln(h.console, line)
	if h.toFile {
		log.Info(line)
	}
}

// handler is slog's own, plus the console that Boot writes to.
type handler struct {
	slog.Handler
	console io.Writer
	toFile  bool
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{Handler: h.Handler.WithAttrs(attrs), console: h.console, toFile: h.toFile}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{Handler: h.Handler.WithGroup(name), console: h.console, toFile: h.toFile}
}

func parseLevel(s string) (slog.Level, error) {
	if s == "" {
		return slog.LevelInfo, nil
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return 0, fmt.Errorf("log level %q: want debug, info, warn or error", s)
	}
	return l, nil
}

func newHandler(format string, out io.Writer, level slog.Level) (slog.Handler, error) {
	opts := &slog.HandlerOptions{Level: level}
	switch strings.ToLower(format) {
	case "", "text":
		return slog.NewTextHandler(out, opts), nil
	case "json":
		return slog.NewJSONHandler(out, opts), nil
	}
	return nil, fmt.Errorf("log format %q: want text or json", format)
}

// openRotated writes nothing, but proves that the file can be written: lumberjack would tell at the first line only.
func openRotated(opts Options) (*lumberjack.Logger, error) {
	if err := os.MkdirAll(filepath.Dir(opts.File), 0o755); err != nil {
		return nil, fmt.Errorf("log file %s: %w", opts.File, err)
	}
	f, err := os.OpenFile(opts.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	l := &lumberjack.Logger{Filename: opts.File, MaxSize: opts.MaxSizeMB, MaxBackups: opts.Backups}
	if l.MaxSize == 0 {
		l.MaxSize = 100
	}
	if l.MaxBackups == 0 {
		l.MaxBackups = 10
	}
	return l, nil
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }
