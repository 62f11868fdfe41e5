// Bench measures our broker and Apache RocketMQ's with the same load, in turns, on one machine, and writes
// docs/BENCHMARKS.md. `make bench` runs it.
//
// How it is kept fair: one load generator (internal/load) for all; the same flush and replication settings, file system,
// segment size, queues, index, properties and body; A B A B in one run, with the brokers whose turn it is not stopped
// by SIGSTOP (except replicating pairs, which would take each other for dead); JVMs warmed at full load until their rate
// is level; every acknowledged message read back and compared; a run with foreign processor time over 10 % or stolen
// time over 3 % is discarded and repeated.
//
// Every run is a line of JSON in RESULTS as soon as it has ended, and the page can be made again from the lines alone.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// settings come from the environment, as make passes them on.
type settings struct {
	Workloads []string      // names or beginnings with *, each with @PEER behind it or not; none: all
	Peers     []string      // ours and versions of Java's
	Rounds    int           // of each workload
	Length    time.Duration // of one measured run
	Warm      time.Duration // at full load, for each JVM
	Heap      string        // of each JVM
	Dir       string        // stores and logs lie below it
	Results   string        // lines of JSON, appended to
	Page      string
	Program   string // rmqctl
	Libs      string // Java's jars, a folder for each version
	Topics    int    // of the workload with many
	Conns     int    // of the workload with many connections
	Backlog   int64  // messages that are consumed, and that are recovered
	Idle      time.Duration
	Store     int64         // bytes at which a store is trimmed
	Quiet     time.Duration // longest wait for a quiet machine before a run
	Tries     int           // of a run that was disturbed
	Command   string
	Port      int // the first of those that brokers listen on
	started   time.Time
}

const usage = `usage: bench [run | page]
  run   measure, save each run as a line in RESULTS, write the page (default)
  page  write the page from RESULTS

environment: WORKLOADS="async* sync-1x1@4.9.7" (names, beginnings with *, each with @PEER or not, or table for the short list) PEERS="ours 4.9.7 5.3.3" ROUNDS=5 SECONDS=5 WARM=60 HEAP=4g
             BENCH_DIR RESULTS PAGE TOPICS=10000 CONNS=10000 BACKLOG=600000 IDLE=30 TRIES=3 STORE_GB=15 CPUS=0-1 RMQCTL RMQ_JAVA_LIBS`

func main() {
	if len(os.Args) > 1 && os.Args[1] == "spin" {
		spin()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	s, err := fromEnvironment()
	if err != nil {
		return err
	}
	what := "run"
	if len(args) > 0 {
		what = args[0]
	}
	switch what {
	case "page":
		return writePage(s)
	case "run":
	default:
		return errors.New(usage)
	}
	if entered, err := ownNetwork(ctx); err != nil || entered {
		return err // the run was made by a child, in a network of its own
	}
	if err := pin(os.Getenv("CPUS")); err != nil {
		return err
	}
	b, err := newBench(s)
	if err != nil {
		return err
	}
	defer b.close()
	err = b.all(ctx)
	if perr := writePage(s); perr != nil {
		err = errors.Join(err, perr)
	} else {
		b.say("page: %s, lines: %s", s.Page, s.Results)
	}
	return err
}

func fromEnvironment() (*settings, error) {
	root, err := filepath.Abs(".")
	if err != nil {
		return nil, err
	}
	home, _ := os.UserHomeDir()
	cache := env("XDG_CACHE_HOME", filepath.Join(home, ".cache"))
	s := &settings{
		Workloads: words(os.Getenv("WORKLOADS")), Peers: words(env("PEERS", "ours 4.9.7 5.3.3")), Heap: env("HEAP", "4g"),
		Dir: env("BENCH_DIR", filepath.Join(root, "bin", "bench.d")), Page: env("PAGE", filepath.Join(root, "docs", "BENCHMARKS.md")),
		Program: env("RMQCTL", filepath.Join(root, "bin", "rmqctl")), Libs: env("RMQ_JAVA_LIBS", filepath.Join(cache, "rmqctl-java")),
		Quiet: 10 * time.Second, Port: 20890, started: time.Now(),
	}
	s.Results = env("RESULTS", filepath.Join(root, "bin", "bench.jsonl"))
	var errs []error
	number := func(name string, std int) int {
		n, err := strconv.Atoi(env(name, strconv.Itoa(std)))
		if err != nil || n < 0 {
			errs = append(errs, fmt.Errorf("%s=%s is no number", name, os.Getenv(name)))
		}
		return n
	}
	s.Rounds = number("ROUNDS", 5)
	s.Length = time.Duration(number("SECONDS", 5)) * time.Second
	s.Warm = time.Duration(number("WARM", 60)) * time.Second
	s.Idle = time.Duration(number("IDLE", 30)) * time.Second
	s.Topics, s.Conns, s.Backlog = number("TOPICS", 10000), number("CONNS", 10000), int64(number("BACKLOG", 600000))
	s.Tries, s.Store = number("TRIES", 3), int64(number("STORE_GB", 15))<<30
	s.Command = command()
	if !slices.Contains(s.Peers, ours) {
		s.Peers = append([]string{ours}, s.Peers...)
	}
	return s, errors.Join(errs...)
}

// command is what repeats this run.
func command() string {
	c := "make bench"
	for _, name := range []string{"WORKLOADS", "PEERS", "ROUNDS", "SECONDS", "WARM", "HEAP", "TOPICS", "CONNS", "BACKLOG", "IDLE", "CPUS"} {
		if v := os.Getenv(name); v != "" {
			if strings.ContainsAny(v, " *") {
				v = "'" + v + "'"
			}
			c += " " + name + "=" + v
		}
	}
	return c
}

func env(name, std string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return std
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == ';' })
}

// wants says whether a workload is asked for, of a peer; peer "" asks for the workload of anybody.
func (s *settings) wants(workload, peer string) bool {
	if len(s.Workloads) == 0 {
		return true
	}
	for _, w := range s.Workloads {
		if w == wordForTable && slices.Contains(issueTable, workload) {
			return true
		}
		name, of, limited := strings.Cut(w, "@")
		if limited && peer != "" && of != peer {
			continue
		}
		if begin, any := strings.CutSuffix(name, "*"); name == workload || any && strings.HasPrefix(workload, begin) {
			return true
		}
	}
	return false
}

// wordForTable asks for the short list: one workload for each row of the table that the project has set itself.
const wordForTable = "table"

var issueTable = []string{
	"async-64x16", "async-8x32", "async-8x32-binary", "async-64x1", "async-1x1", "consume", "e2e-1k", "e2e-10k",
	"sync-64x16", "sync-1x1", "ha-64x16", "ha-1x1", "start", "idle", "conns", "recovery", "topics",
}

// say prints progress; the page and the lines are the result.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Since(b.s.started).Round(time.Second), fmt.Sprintf(format, args...))
}

// spin is the work of the processes that keep virtual processors awake.
func spin() {
	runtime.GOMAXPROCS(1)
	idlePriority()
	for n := new(atomic.Uint64); ; {
		n.Add(1)
	}
}
