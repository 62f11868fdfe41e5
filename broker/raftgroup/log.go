// The library's log lines, as ours.

package raftgroup

import (
	"context"
	"fmt"
	"log/slog"
)

// raftLogger: what the library calls information is a matter of debugging here. Its panics are caught (Core.guard).
type raftLogger struct{ l *slog.Logger }

func (r raftLogger) Debug(v ...any)            { r.l.Debug(fmt.Sprint(v...)) }
func (r raftLogger) Debugf(f string, v ...any) { r.say(slog.LevelDebug-1, f, v) }
func (r raftLogger) Info(v ...any)             { r.l.Debug(fmt.Sprint(v...)) }
func (r raftLogger) Infof(f string, v ...any)  { r.say(slog.LevelDebug, f, v) }
func (r raftLogger) Warning(v ...any)          { r.l.Info(fmt.Sprint(v...)) }
func (r raftLogger) Warningf(f string, v ...any) {
	r.say(slog.LevelInfo, f, v)
}
func (r raftLogger) Error(v ...any)            { r.l.Warn(fmt.Sprint(v...)) }
func (r raftLogger) Errorf(f string, v ...any) { r.say(slog.LevelWarn, f, v) }
func (r raftLogger) Fatal(v ...any)            { panic(fmt.Sprint(v...)) }
func (r raftLogger) Fatalf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }
func (r raftLogger) Panic(v ...any)            { panic(fmt.Sprint(v...)) }
func (r raftLogger) Panicf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }

func (r raftLogger) say(level slog.Level, f string, v []any) {
	if r.l.Enabled(context.Background(), level) {
		r.l.Log(context.Background(), level, fmt.Sprintf(f, v...))
	}
}
