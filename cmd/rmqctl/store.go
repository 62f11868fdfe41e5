// A stopped store, ours or Java's, seen from outside: check, dump, repair.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"rmqctl/broker/config"
	"rmqctl/broker/delay"
	"rmqctl/broker/store/inspect"
	"rmqctl/internal/vfs"
)

type storeCmd struct {
	Check  storeCheckCmd  `cmd:"" help:"Look at every record, unit, index entry and settings file; changes nothing. Exit code 3: damage found."`
	Dump   storeDumpCmd   `cmd:"" help:"Print messages, units of queues, index, checkpoint."`
	Repair storeRepairCmd `cmd:"" help:"Say what would be mended; with --yes do it. What is replaced is kept in DIR/lost+found."`
}

// storeFlags name a store.
type storeFlags struct {
	Dir        string `arg:"" type:"path" help:"The store: the broker's storePathRootDir."`
	ConfigFile string `short:"c" name:"configFile" placeholder:"FILE" type:"path" help:"Broker properties; needed only for paths, sizes or delay levels that are not RocketMQ's defaults and not to be seen from the files."`
	Output     string `default:"plain" enum:"plain,json" help:"Form of the result."`
}

// options reads the configuration, if there is one. Directories below its root are looked for below Dir: it may be a copy.
func (f storeFlags) options(std *streams) (inspect.Options, error) {
	o := inspect.Options{Dir: f.Dir}
	live, warnings, err := config.Load(surroundings(), nil, nil)
	if f.ConfigFile != "" {
		file, ferr := fileLayer(f.ConfigFile)
		if ferr != nil {
			return o, withCode(exitUsage, ferr)
		}
		live, warnings, err = config.Load(surroundings(), file, nil)
	}
	if err != nil {
		return o, withCode(exitUsage, err)
	}
	cfg := live.Load()
	o.DeliverTime = delay.Levels(cfg.DelayLevels()).DeliverTime
	if f.ConfigFile == "" {
		return o, nil
	}
	for _, w := range warnings {
		fmt.Fprintln(std.err, "rmqctl:", w)
	}
	place := func(path string) string {
		if r, err := filepath.Rel(cfg.StorePathRootDir, path); err == nil && r != ".." && !strings.HasPrefix(r, "../") {
			return filepath.Join(f.Dir, r)
		}
		return path
	}
	o.CommitLogDir, o.ConsumeQueueDir, o.IndexDir = place(cfg.StorePathCommitLog), place(cfg.StorePathConsumeQueue), place(cfg.StorePathIndex)
	o.CheckpointFile, o.AbortFile = place(cfg.StoreCheckpoint), place(cfg.AbortFile)
	o.SegmentSize, o.QueueSegmentSize = cfg.MappedFileSizeCommitLog, cfg.ConsumeQueueFileSize()
	o.IndexSlots, o.IndexEntries, o.NoIndex = int32(cfg.MaxHashSlotNum), int32(cfg.MaxIndexNum), !cfg.MessageIndexEnable
	return o, nil
}

// open opens the store for looking.
func (f storeFlags) open(std *streams, more func(*inspect.Options)) (*inspect.Dir, error) {
	o, err := f.options(std)
	if err != nil {
		return nil, err
	}
	more(&o)
	d, err := inspect.Open(vfs.OS, o)
	return d, storeError(err)
}

// storeError gives what keeps us from looking at a store its exit code and the next step.
func storeError(err error) error {
	switch {
	case errors.Is(err, inspect.ErrInUse):
		return withCode(exitLocked, &hinted{err, "stop the broker first; `rmqctl store dump --live` looks at a store in use"})
	case errors.Is(err, inspect.ErrNoStore):
		return withCode(exitUsage, &hinted{err, "name the broker's storePathRootDir, the folder that holds commitlog/ and consumequeue/"})
	}
	return err
}

type storeCheckCmd struct {
	storeFlags
}

func (c *storeCheckCmd) Run(ctx context.Context, std *streams) error {
	bar := progressOn(std.err)
	d, err := c.open(std, func(o *inspect.Options) { o.Progress = bar.show })
	if err != nil {
		return err
	}
	defer d.Close()
	r, err := d.Check(ctx)
	bar.clear()
	if err != nil {
		return err
	}
	if c.Output == "json" {
		err = json.NewEncoder(std.out).Encode(r)
	} else {
		err = printReport(std.out, r)
	}
	if err == nil && !r.Clean {
		err = withCode(exitCheck, &hinted{fmt.Errorf("%s is damaged in %s", c.Dir, places(r)), "`rmqctl store repair " + c.Dir + "` says what it would do about it"})
	}
	return err
}

func places(r *inspect.Report) string {
	n := r.More
	for _, f := range r.Findings {
		if f.Severity != inspect.Note {
			n++
		}
	}
	if n == 1 {
		return "1 place"
	}
	return fmt.Sprintf("%d places", n)
}

// printReport is the report for people.
func printReport(w io.Writer, r *inspect.Report) error {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%-8s %s", strings.ToUpper(string(f.Severity)), f.File)
		if f.Severity != inspect.Note || f.Offset > 0 {
			fmt.Fprintf(&b, " at %d", f.Offset)
		}
		if f.Length > 0 {
			fmt.Fprintf(&b, ", %d bytes", f.Length)
		}
		fmt.Fprintf(&b, ": %s\n", f.What)
		if f.Means != "" {
			fmt.Fprintf(&b, "         means:  %s\n", f.Means)
		}
		if f.Repair != "" {
			fmt.Fprintf(&b, "         repair: %s\n", f.Repair)
		}
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "... and %d findings more\n", r.More)
	}
	fmt.Fprintf(&b, "log      %d segments of %d bytes, offsets %d to %d, %d messages", r.Segments, r.SegmentSize, r.LogFrom, r.LogEnd, r.Records)
	if r.LostRanges > 0 {
		fmt.Fprintf(&b, "; %d ranges without a good record, %d bytes, %d messages lost", r.LostRanges, r.LostBytes, r.LostMessages)
	}
	fmt.Fprintf(&b, "\nqueues   %d of %d topics, %d units\nindex    %d files, %d entries\n", r.Queues, r.Topics, r.Units, r.IndexFiles, r.IndexEntries)
	if r.Clean {
		fmt.Fprintf(&b, "clean    checked in %s\n", r.Took.Round(time.Millisecond))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// bar shows progress on a terminal, and nothing elsewhere.
type bar struct {
	w     io.Writer
	start time.Time
	last  time.Time
}

func progressOn(w io.Writer) *bar {
	if !isTerminal(w) {
		w = nil
	}
	return &bar{w: w, start: time.Now()}
}

func (b *bar) show(done, total int64) {
	now := time.Now()
	if b.w == nil || total == 0 || now.Sub(b.last) < 100*time.Millisecond {
		return
	}
	b.last = now
	speed := float64(done) / now.Sub(b.start).Seconds()
	left := time.Duration(float64(total-done) / max(speed, 1) * float64(time.Second)).Round(time.Second)
	fmt.Fprintf(b.w, "\r\x1b[K%3d %%  %.1f of %.1f GiB  %.0f MB/s  %s left", done*100/total, float64(done)/(1<<30), float64(total)/(1<<30), speed/1e6, left)
}

func (b *bar) clear() {
	if b.w != nil {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
