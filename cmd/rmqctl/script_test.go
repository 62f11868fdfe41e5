// Acceptance tests: testdata/script/*.txtar run the real program, daemons included.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// lifeline is set for the daemons of a script: they end when file 3 does, that is with the test binary, however that ends.
const lifeline = "RMQCTL_TEST_LIFELINE"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"rmqctl": func() {
			if os.Getenv(lifeline) != "" {
				go func() {
					_, _ = io.Copy(io.Discard, os.NewFile(3, "lifeline"))
					os.Exit(137)
				}()
			}
			os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// The words a script may use besides testscript's own:
//
//	ports NAME ... NAME/broker  set NAME to a free port; a broker's has the two around it that a broker takes as well
//	expand FILE ...             put the values of $VARIABLES into a file
//	daemon NAME WORDS...        start rmqctl in the background; its output goes to the file NAME.out
//	await NAME PATTERN          wait until a line of NAME.out matches
//	end NAME                    ask it to end; it must exit with 0
//	kill9 NAME                  end it at once
//	exits CODE rmqctl WORDS...  run to the end; the exit code must be this one
//	finally rmqctl WORDS...     run when the script ends, however it ends
//	until PATTERN rmqctl WORDS  run again and again until its stdout matches
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("TZ", "UTC")
			return os.MkdirAll(home, 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ports": cmdPorts, "expand": cmdExpand, "daemon": cmdDaemon, "await": cmdAwait, "end": cmdEnd, "kill9": cmdKill, "exits": cmdExits, "until": cmdUntil, "finally": cmdFinally,
		},
	})
}

func cmdPorts(ts *testscript.TestScript, neg bool, args []string) {
	for _, a := range args {
		name, isBroker := strings.CutSuffix(a, "/broker")
		before, count := 0, 1
		if isBroker { // listenPort-2 is the VIP port, listenPort+1 the replication port
			before, count = 2, 4
		}
		port, err := freePorts(count)
		ts.Check(err)
		ts.Setenv(name, strconv.Itoa(port+before))
	}
}

func cmdExpand(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}

// nextPort hands each process a stretch of its own first, so that packages tested at the same time rarely meet.
var nextPort = struct {
	sync.Mutex
	port int
}{port: 21000 + os.Getpid()%200*40}

// freePorts finds n neighbouring ports below those that the system gives to outgoing connections.
func freePorts(n int) (int, error) {
	nextPort.Lock()
	defer nextPort.Unlock()
	for range 200 {
		base := nextPort.port
		if nextPort.port += n; nextPort.port > 31000 {
			nextPort.port = 21000
		}
		if allFree(base, n) {
			return base, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports", n)
}

func allFree(base, n int) bool {
	for p := base; p < base+n; p++ {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			return false
		}
		ln.Close()
	}
	return true
}

// process is a daemon that a script has started.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // readable after done
}

// daemons holds the last one of each script and name.
var daemons sync.Map // daemonKey to *process

type daemonKey struct {
	ts   *testscript.TestScript
	name string
}

func cmdDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: daemon NAME WORDS...")
	}
	out, err := os.Create(ts.MkAbs(args[0] + ".out"))
	ts.Check(err)
	defer out.Close()
	read, write, err := os.Pipe()
	ts.Check(err)
	defer read.Close()
	cmd := exec.Command("rmqctl", args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{lifeline + "=3", "HOME=" + ts.Getenv("HOME"), "TZ=UTC", "NAMESRV_ADDR=" + ts.Getenv("NAMESRV_ADDR")}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, out, []*os.File{read}
	ts.Check(cmd.Start())
	d := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		d.err = cmd.Wait()
		write.Close()
		close(d.done)
	}()
	daemons.Store(daemonKey{ts, args[0]}, d)
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		<-d.done
		daemons.Delete(daemonKey{ts, args[0]})
	})
}

// named is the daemon that a script means.
func named(ts *testscript.TestScript, neg bool, args []string, want int) *process {
	if neg || len(args) != want {
		ts.Fatalf("wrong usage")
	}
	d, ok := daemons.Load(daemonKey{ts, args[0]})
	if !ok {
		ts.Fatalf("no daemon %s", args[0])
	}
	return d.(*process)
}

// patience is how long a script waits for another process; it never waits for time to pass.
const patience = time.Minute

func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	d := named(ts, neg, args, 2)
	want, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	for end := time.Now().Add(patience); ; {
		ended := isClosed(d.done)
		text := ts.ReadFile(args[0] + ".out")
		if want.MatchString(text) {
			return
		}
		if ended || time.Now().After(end) {
			ts.Fatalf("%s (ended: %v) never said %s:\n%s", args[0], ended, args[1], text)
		}
		select {
		case <-d.done:
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func cmdEnd(ts *testscript.TestScript, neg bool, args []string) {
	d := named(ts, neg, args, 1)
	ts.Check(d.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-d.done:
	case <-time.After(patience):
		ts.Fatalf("%s does not end:\n%s", args[0], ts.ReadFile(args[0]+".out"))
	}
	if d.err != nil {
		ts.Fatalf("%s: %v\n%s", args[0], d.err, ts.ReadFile(args[0]+".out"))
	}
}

func cmdKill(ts *testscript.TestScript, neg bool, args []string) {
	d := named(ts, neg, args, 1)
	ts.Check(d.cmd.Process.Kill())
	<-d.done
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE WORDS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		code = ended.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%v: exit code %d, want %s", args[1:], code, args[0])
	}
}

func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN WORDS...")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for end := time.Now().Add(patience); ; {
		err := ts.Exec(args[1], args[2:]...)
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%v never printed %s: %v", args[1:], args[0], err)
		}
	}
}

func cmdFinally(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: finally WORDS...")
	}
	ts.Defer(func() { _ = ts.Exec(args[0], args[1:]...) })
}
