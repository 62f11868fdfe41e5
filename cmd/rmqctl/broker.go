// The broker and the name server by hand, exactly as mqbroker and mqnamesrv, and both in one process for development.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"rmqctl/broker"
	brokerconfig "rmqctl/broker/config"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/logging"
	"rmqctl/internal/vfs"
	"rmqctl/namesrv"
	namesrvconfig "rmqctl/namesrv/config"
)

// logFlags are shared by all daemons.
type logFlags struct {
	LogLevel  string `default:"info" enum:"debug,info,warn,error" help:"Least level that is logged."`
	LogFormat string `default:"text" enum:"text,json" help:"Form of a log line."`
	LogFile   string `placeholder:"FILE" type:"path" help:"Log to FILE, rotated at 100 MiB, ten kept; default is stdout."`
}

// openFor makes the log. What a command is asked to print goes to stdout alone: warnings about it go to stderr.
func (l logFlags) openFor(printing bool, std *streams) (*slog.Logger, io.Closer, error) {
	if printing {
		return logging.New(logging.Options{Level: l.LogLevel, Format: l.LogFormat, Console: std.err})
	}
	return l.open(std)
}

func (l logFlags) open(std *streams) (*slog.Logger, io.Closer, error) {
	return logging.New(logging.Options{Level: l.LogLevel, Format: l.LogFormat, File: l.LogFile, Console: std.out})
}

type brokerCmd struct {
	ConfigFile         string `short:"c" name:"configFile" placeholder:"FILE" type:"path" help:"Broker properties, as RocketMQ writes them."`
	NamesrvAddr        string `short:"n" name:"namesrvAddr" placeholder:"A:9876;B:9876" help:"Name servers; overrides the file and NAMESRV_ADDR."`
	PrintConfigItem    bool   `short:"p" name:"printConfigItem" help:"Print every setting and exit."`
	PrintImportantItem bool   `short:"m" name:"printImportantConfig" help:"Print the settings that differ from their defaults and exit."`
	logFlags
}

func (c *brokerCmd) Run(ctx context.Context, std *streams) error {
	log, closer, err := c.openFor(c.PrintConfigItem || c.PrintImportantItem, std)
	if err != nil {
		return withCode(exitUsage, err)
	}
	defer closer.Close()
	var file, flags []conf.Prop
	if c.ConfigFile != "" {
		if file, err = fileLayer(c.ConfigFile); err != nil {
			return withCode(exitUsage, err)
		}
	}
	if c.NamesrvAddr != "" {
		flags = []conf.Prop{{Key: "namesrvAddr", Value: c.NamesrvAddr, File: "command line"}}
	}
	live, warnings, err := brokerconfig.Load(surroundings(), file, flags)
	if err != nil {
		return withCode(exitUsage, err)
	}
	for _, w := range warnings {
		log.Warn(w.String())
	}
	if c.PrintConfigItem || c.PrintImportantItem {
		return printSettings(std.out, live.Values(), new(brokerconfig.Config).Keys(), c.PrintImportantItem)
	}
	beLean()
	notify := &notifier{log: log}
	b, err := broker.New(broker.Options{
		Config: live, ConfigFile: c.ConfigFile, FS: vfs.OS, Log: log, Clock: clock.System, Version: version,
		Ready: notify.ready, Progress: notify.progress,
	})
	if err != nil {
		return err
	}
	return serve(ctx, log, b.Start, b.Close)
}

type namesrvCmd struct {
	ConfigFile      string `short:"c" name:"configFile" placeholder:"FILE" type:"path" help:"Name server properties."`
	PrintConfigItem bool   `short:"p" name:"printConfigItem" help:"Print every setting and exit."`
	NamesrvAddr     string `short:"n" name:"namesrvAddr" placeholder:"ADDR" help:"Accepted for mqnamesrv's sake: name servers do not talk to each other."`
	logFlags
}

func (c *namesrvCmd) Run(ctx context.Context, std *streams) error {
	log, closer, err := c.openFor(c.PrintConfigItem, std)
	if err != nil {
		return withCode(exitUsage, err)
	}
	defer closer.Close()
	var file []conf.Prop
	if c.ConfigFile != "" {
		if file, err = fileLayer(c.ConfigFile); err != nil {
			return withCode(exitUsage, err)
		}
	}
	home, _ := os.UserHomeDir()
	live, warnings, err := namesrvconfig.Load(namesrvconfig.Surroundings(home, c.ConfigFile), file)
	if err != nil {
		return withCode(exitUsage, err)
	}
	for _, w := range warnings {
		log.Warn(w.String())
	}
	if c.PrintConfigItem {
		return printSettings(std.out, live.Values(), new(namesrvconfig.Config).Keys(), false)
	}
	notify := &notifier{log: log}
	n, err := namesrv.New(namesrv.Options{
		Config: live, FS: vfs.OS, Log: log, Clock: clock.System, Version: version, Ready: notify.ready,
	})
	if err != nil {
		return err
	}
	return serve(ctx, log, n.Start, n.Close)
}

// beLean keeps the memory of a daemon close to what it uses: little of that has pointers and little is allocated per message,
// so collecting twice as often as Go does by itself costs next to nothing. GOGC overrules it.
func beLean() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// serve runs a daemon until the context ends, then stops it gracefully.
func serve(ctx context.Context, log *slog.Logger, start func(context.Context) error, stop func() error) error {
	if err := start(ctx); err != nil {
		return errors.Join(err, stop())
	}
	<-ctx.Done()
	begun := time.Now()
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	log.Info("stopping")
	err := stop()
	log.Info("stopped", "took", time.Since(begun).Round(time.Millisecond))
	return err
}

// notifier tells systemd, or whoever set NOTIFY_SOCKET, how far a start has come.
type notifier struct {
	log  *slog.Logger
	last atomic.Int64 // percent last told
}

func (n *notifier) ready() {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS=serving"); err != nil {
		n.log.Warn("readiness not told", "err", err)
	}
}

// progress extends the start timeout while a recovery goes on: a large store is not a hanging one.
func (n *notifier) progress(done, total int64) {
	if total <= 0 {
		return
	}
	percent := done * 100 / total
	if n.last.Swap(percent) == percent {
		return
	}
	_, _ = daemon.SdNotify(false, fmt.Sprintf("STATUS=recovering, %d %% of %d MiB\nEXTEND_TIMEOUT_USEC=%d",
		percent, total>>20, (60*time.Second).Microseconds()))
}

func fileLayer(path string) ([]conf.Prop, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	defer f.Close()
	return conf.ParseProperties(f, path)
}

// surroundings are the settings that this machine and the environment give a broker before its file is read.
func surroundings() []conf.Prop {
	hostname, _ := os.Hostname()
	home, _ := os.UserHomeDir()
	return brokerconfig.Surroundings(hostname, home, os.LookupEnv)
}

// printSettings prints what is in force, one "key=value" a line; with changedOnly what differs from the defaults.
func printSettings(w io.Writer, values []conf.Prop, keys conf.Set, changedOnly bool) error {
	for _, v := range values {
		k, ok := keys.Find(v.Key)
		if !ok || (changedOnly && k.Default == v.Value) { // an unknown key is in force nowhere; a warning has named it
			continue
		}
		if _, err := fmt.Fprintln(w, conf.FormatProp(v.Key, v.Value)); err != nil {
			return err
		}
	}
	return nil
}

// defaultDevStore keeps what `rmqctl dev` stores between runs.
func defaultDevStore() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "rmqctl", "dev")
	}
	return filepath.Join(os.TempDir(), "rmqctl-dev")
}
